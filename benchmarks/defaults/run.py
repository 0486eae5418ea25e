"""Forecasters with their defaults alone, compared with strong rivals on ten records.

    python -m benchmarks run defaults [-- --sets us_flu,irish_wind --forecasters Ridge,GatedRNN --part validation|test]

A forecaster is fitted by `stgate fit` with panel, targets and horizon, and nothing else that can be left out (ours.py).
Rivals are written as a knowledgeable user would, with transforms, anomalies, lags and neighbours by hand (hand.py,
features.py, rivals.py, learned.py). All give 23 quantiles and are scored on the cases that all of them have. Choices
are made on the validation part, which is the default; the fits then see only what lies before it. `none` as forecasters
runs the rivals alone. Forecasts are kept in the working folder below a digest of the code that made them, so that a run
that was stopped goes on, and a change of the package makes only its own forecasts again.

Needs lightgbm and statsforecast (the extra `bench`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.defaults import ours, places, store, summary
from benchmarks.defaults.learned import Learned
from benchmarks.defaults.rivals import simple
from benchmarks.defaults.scores import Floats, Made, mean_of, scored, shared_cases
from benchmarks.defaults.sets import RECORDS, TITLES, Task, task_of
from benchmarks.options import Findings, Options
from benchmarks.record import write
from benchmarks.registry import BenchmarkError, benchmark
from stgate.errors import StgateError

SIMPLE = ("hand.py", "rivals.py")
LEARNED = (*SIMPLE, "features.py", "linear.py", "spread.py", "learned.py")
SPATIAL = (*LEARNED, "kriging.py", "places.py")
MEASURED = (*ours.FORECASTERS, "CGLUBNF")
"""Forecasters that are measured unless others are asked for."""


def rival_forecasts(task: Task, folder: Path) -> dict[str, list[Made]]:
    """Return the forecasts of all rivals of a record.

    Args:
        task: Record and scored part.
        folder: Folder of kept forecasts.
    """
    found: dict[str, list[Made]] = {}
    for files, makers in ((SIMPLE, simple(task)), (LEARNED, Learned(task).makers())):
        key = store.rival_digest(task, *files)
        for name, make in makers.items():
            path = folder / f"rivals-{key}" / f"{name.replace(' ', '-')}.npz"
            found[name] = [timed(f"{task.record.name}, {name}", path, make)]
    return found


def own_forecasts(label: str, name: str, seeds: tuple[int, ...], folder: Path, make: Callable[..., Made]) -> list[Made]:
    """Return the forecasts of one of the package's forecasters, one for each seed.

    Args:
        label: Name of the task.
        name: Class of the forecaster.
        seeds: Seeds; a forecaster without random numbers takes the first only.
        folder: Folder of kept forecasts.
        make: Function from name, seed and folder of the run to forecasts.
    """
    made = []
    for seed in seeds[:1] if name in ours.DETERMINISTIC else seeds:
        run = folder / f"{name}-{seed}"
        path = folder / f"{name}-{seed}.npz"
        made.append(timed(f"{label}, {name}, seed {seed}", path, partial(make, name, seed, run)))
    return made


def timed(label: str, path: Path, make: Callable[[], Made]) -> Made:
    """Return kept or new forecasts; tell how long new ones took."""
    fresh, started = not path.exists(), time.monotonic()
    made = store.once(path, make)
    if fresh:
        print(f"{label}: {time.monotonic() - started:.0f} s", flush=True)
    return made


def with_own(
    made: dict[str, list[Made]],
    truth: Floats,
    label: str,
    names: list[str],
    seeds: tuple[int, ...],
    folder: Path,
    make: Callable[..., Made],
) -> dict[str, list[Made]]:
    """Add the package's forecasters to the rivals; one that fails, or lacks a tenth of the cases, is reported instead.

    Args:
        made: Forecasts of the rivals.
        truth: Observed values of the scored part, (time, node).
        label: Name of the task.
        names: Classes of the forecasters.
        seeds: Seeds.
        folder: Folder of kept forecasts.
        make: Function from name, seed and folder of the run to forecasts.
    """
    for name in names:
        try:
            found = own_forecasts(label, name, seeds, folder, make)
            share = min(float(one.finite[:, np.isfinite(truth)].mean()) for one in found)
            if share < 0.9:
                raise BenchmarkError(f"only {100 * share:.0f} % of the cases have finite forecasts; left out")
            made[name] = found
        except (BenchmarkError, StgateError) as error:
            print(f"{label}, {name}: {error}", flush=True)
    return made


def compared(task: Task, names: list[str], seeds: tuple[int, ...], folder: Path) -> summary.Scores:
    """Return the scores of forecasts of a record, on the cases that all forecasters have.

    Args:
        task: Record and scored part.
        names: Classes of the package.
        seeds: Seeds.
        folder: Folder of kept forecasts.
    """
    made = rival_forecasts(task, folder)
    made = with_own(
        made,
        task.truth,
        task.record.name,
        names,
        seeds,
        folder / f"stgate-{store.package_digest(task)}",
        partial(ours.forecasts, task),
    )
    cases = shared_cases(task.truth, made)
    horizons = task.record.horizons
    observed = np.isfinite(task.values)
    seen = np.stack([observed[task.start - lead : len(observed) - lead] for lead in horizons])
    return {
        name: mean_of([scored(task.truth, one, cases, seen, horizons) for one in held]) for name, held in made.items()
    }


def estimated(task: Task, kind: str, names: list[str], seeds: tuple[int, ...], folder: Path) -> summary.Scores:
    """Return the scores of estimates at held-out places or in gaps, on the entries that all have.

    Args:
        task: Record and scored part.
        kind: `places` or `gaps`.
        names: Classes of the package.
        seeds: Seeds.
        folder: Folder of kept forecasts.
    """
    case, label = places.Masked.of(task, kind), f"{task.record.name}, {kind}"
    home = folder / f"rivals-{store.rival_digest(task, *SPATIAL)}"
    made = {
        name: [timed(f"{label}, {name}", home / f"{name.replace(' ', '-')}.npz", make)]
        for name, make in places.Spatial(case).makers().items()
    }
    made = with_own(
        made,
        case.truth,
        label,
        names,
        seeds,
        folder / f"stgate-{store.package_digest(task)}",
        partial(places.field, case),
    )
    cases = shared_cases(case.truth, made)
    return {
        name: mean_of([scored(case.truth, one, cases, cases, (kind,)) for one in held]) for name, held in made.items()
    }


@benchmark(
    "defaults",
    claim="with defaults alone, forecasters are as good as the best of strong rivals on ten records",
    cost="hours; all data sets, lightgbm, statsforecast",
    quick="us_flu, Persistence, Climatology and Ridge alone, on validation",
    seeds=3,
    one_thread=True,
)
def run(options: Options, *, sets: str = "all", forecasters: str = "all", part: str = "validation", tasks: str = "all"):
    """Compare forecasters with rivals.

    Args:
        options: Options of all benchmarks.
        sets: Names of records, joined by commas; all of them by default.
        forecasters: Names of forecasters, joined by commas; `all` that are measured, or `none` for the rivals alone.
        part: The part that is scored: validation (nothing is written among the results) or test.
        tasks: Tasks: all, forecasts, or estimates (of held-out places and gaps).
    """
    names = list(RECORDS) if sets == "all" else sets.split(",")
    own = {"all": list(MEASURED), "none": []}.get(forecasters, forecasters.split(","))
    if options.quick:
        names, own, part, tasks = ["us_flu"], ["Persistence", "Climatology", "Ridge"], "validation", "forecasts"
    if unknown := [name for name in names if name not in RECORDS]:
        raise BenchmarkError(f"no record {unknown[0]}; there are {', '.join(RECORDS)}")
    for option, value, known in (
        ("part", part, ("validation", "test")),
        ("tasks", tasks, ("all", "forecasts", "estimates")),
    ):
        if value not in known:
            raise BenchmarkError(f"--{option} {value}: one of {', '.join(known)}")
    results: dict[str, summary.Scores] = {}
    for name in names:
        task, home = task_of(RECORDS[name], options, part), options.working("defaults") / part
        fields = [n for n in own if n in places.FIELDS]
        windows = [n for n in own if n not in places.FIELDS]
        if tasks != "estimates":
            results[name] = compared(task, windows, options.seeds, home / name)
        for kind in places.KINDS if task.record.places and tasks != "forecasts" else ():
            results[f"{name}, {kind}"] = estimated(task, kind, fields, options.seeds, home / f"{name}-{kind}")
        write(home.parent / f"{part}.json", json.dumps(results, indent=1) + "\n")
    return findings(results, own, part, keep=part == "test" and sets == "all" and not options.quick)


def findings(results: dict[str, summary.Scores], own: list[str], part: str, *, keep: bool) -> Findings:
    """Return tables, figures and missed bars.

    Args:
        results: Scores of each task.
        own: Classes of the package.
        part: Part that is scored.
        keep: Whether this is a result to be written.
    """
    rivals = {name for scores in results.values() for name in scores if name not in own}
    found: dict[str, Any] = {}
    words = {name: (TITLES[name], record.step) for name, record in RECORDS.items()}
    lines = summary.short_table({k: v for k, v in results.items() if "," not in k}, rivals, words, "auto")
    groups = {
        "Forecasts": {k: v for k, v in results.items() if "," not in k},
        "Held-out places and gaps": {k: v for k, v in results.items() if "," in k},
    }
    for title, group in groups.items():
        if group:
            found[title] = summary.summary(group, rivals)
            lines += ["", f"## {title}", "", *summary.summary_table(found[title], rivals)]
    for name, scores in results.items():
        step = RECORDS[name.partition(",")[0]].step
        lines += ["", f"### {name}, steps of one {step}", "", *summary.record_table(scores, rivals)]
    return Findings(
        f"Defaults on {len({name.partition(',')[0] for name in results})} records, {part} part",
        lines,
        {"summary": found, "records": results},
        "CRPS is that of 23 quantiles; forecasters of the package in bold, all with defaults alone.",
        summary.missed(results, found, rivals) if part == "test" else [],
        keep=keep,
    )
