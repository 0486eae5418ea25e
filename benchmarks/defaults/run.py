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
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.defaults import ours, store, summary
from benchmarks.defaults.learned import Learned
from benchmarks.defaults.rivals import simple
from benchmarks.defaults.scores import Made, mean_of, scored, shared_cases
from benchmarks.defaults.sets import RECORDS, Task, task_of
from benchmarks.options import Findings, Options
from benchmarks.record import write
from benchmarks.registry import BenchmarkError, benchmark

SIMPLE, LEARNED = (
    ("hand.py", "rivals.py"),
    ("hand.py", "rivals.py", "features.py", "linear.py", "spread.py", "learned.py"),
)


def rival_forecasts(task: Task, folder: Path) -> dict[str, list[Made]]:
    """Return the forecasts of all rivals of a record.

    Args:
        task: Record and scored part.
        folder: Folder of kept forecasts.
    """
    found: dict[str, list[Made]] = {}
    for files, makers in ((SIMPLE, simple(task)), (LEARNED, Learned(task).makers())):
        key = store.rival_digest(*files)
        for name, make in makers.items():
            path = folder / f"rivals-{key}" / f"{name.replace(' ', '-')}.npz"
            found[name] = [timed(f"{task.record.name}, {name}", path, make)]
    return found


def own_forecasts(task: Task, name: str, seeds: tuple[int, ...], folder: Path) -> list[Made]:
    """Return the forecasts of one of the package's forecasters, one for each seed.

    Args:
        task: Record and scored part.
        name: Class of the forecaster.
        seeds: Seeds; a forecaster without random numbers takes the first only.
        folder: Folder of kept forecasts.
    """
    home = folder / f"stgate-{store.package_digest()}"
    made = []
    for seed in seeds[:1] if name in ours.DETERMINISTIC else seeds:
        run = home / f"{name}-{seed}"
        label = f"{task.record.name}, {name}, seed {seed}"
        made.append(timed(label, home / f"{name}-{seed}.npz", lambda s=seed, r=run: ours.forecasts(task, name, s, r)))
    return made


def timed(label: str, path: Path, make: Callable[[], Made]) -> Made:
    """Return kept or new forecasts; tell how long new ones took."""
    fresh, started = not path.exists(), time.monotonic()
    made = store.once(path, make)
    if fresh:
        print(f"{label}: {time.monotonic() - started:.0f} s", flush=True)
    return made


def compared(task: Task, forecasters: list[str], seeds: tuple[int, ...], folder: Path) -> summary.Scores:
    """Return the scores of rivals and forecasters of a record, on the cases that all of them have.

    Args:
        task: Record and scored part.
        forecasters: Classes of the package.
        seeds: Seeds.
        folder: Folder of kept forecasts.
    """
    made = rival_forecasts(task, folder)
    for name in forecasters:
        try:
            made[name] = own_forecasts(task, name, seeds, folder)
        except BenchmarkError as error:  # told, and left out of this record
            print(f"{task.record.name}, {name}: {error}", flush=True)
    cases = shared_cases(task.truth, made)
    horizons = task.record.horizons
    observed = np.isfinite(task.values)
    seen = np.stack([observed[task.start - lead : len(observed) - lead] for lead in horizons])
    return {
        name: mean_of([scored(task.truth, one, cases, seen, horizons) for one in held]) for name, held in made.items()
    }


@benchmark(
    "defaults",
    claim="with defaults alone, forecasters are as good as the best of strong rivals on ten records",
    cost="hours; all data sets, lightgbm, statsforecast",
    quick="us_flu, Persistence, Climatology and Ridge alone, on validation",
    seeds=3,
    one_thread=True,
)
def run(options: Options, *, sets: str = "all", forecasters: str = "windows", part: str = "validation"):
    """Compare forecasters with rivals.

    Args:
        options: Options of all benchmarks.
        sets: Names of records, joined by commas; all of them by default.
        forecasters: Names of forecasters, joined by commas; `windows` is all that are measured, `none` the rivals.
        part: The part that is scored: validation (nothing is written among the results) or test.
    """
    names = list(RECORDS) if sets == "all" else sets.split(",")
    own = {"windows": list(ours.FORECASTERS), "none": []}.get(forecasters, forecasters.split(","))
    if options.quick:
        names, own, part = ["us_flu"], ["Persistence", "Climatology", "Ridge"], "validation"
    if unknown := [name for name in names if name not in RECORDS]:
        raise BenchmarkError(f"no record {unknown[0]}; there are {', '.join(RECORDS)}")
    if part not in ("validation", "test"):
        raise BenchmarkError(f"--part {part}: validation or test")
    results = {}
    for name in names:
        task = task_of(RECORDS[name], options, part)
        folder = options.working("defaults") / part / name
        results[name] = compared(task, own, options.seeds, folder)
        print("\n".join(["", name, "", *summary.record_table(results[name], rivals_of(results, own)), ""]), flush=True)
        write(options.working("defaults") / f"{part}.json", json.dumps(results, indent=1) + "\n")
    rivals = rivals_of(results, own)
    found = summary.summary(results, rivals)
    lines = ["Over all records:", "", *summary.summary_table(found, rivals)]
    for name, scores in results.items():
        record = RECORDS[name]
        lines += ["", f"## {name}, horizons in steps of one {record.step}", "", *summary.record_table(scores, rivals)]
    return Findings(
        f"Defaults on {len(names)} records, {part} part",
        lines,
        {"summary": found, "records": results},
        "CRPS is that of 23 quantiles; forecasters of the package in bold, all with defaults alone.",
        summary.missed(results, found, rivals) if part == "test" else [],
        keep=part == "test" and sets == "all" and forecasters == "windows",
    )


def rivals_of(results: dict[str, Any], own: list[str]) -> set[str]:
    """Return the names of the rivals."""
    return {name for scores in results.values() for name in scores if name not in own}
