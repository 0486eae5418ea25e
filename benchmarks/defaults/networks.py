"""Networks with their defaults alone, compared with Ridge, over several seeds.

    python -m benchmarks run defaults_networks [-- --sets us_flu,irish_wind --forecasters GatedRNN --part validation]

Fits and forecasts are those of the benchmark `defaults`, and are kept in its working folder.
"""

from __future__ import annotations

import json
from functools import partial

import numpy as np

from benchmarks.defaults import ours, store, summary
from benchmarks.defaults.run import with_own
from benchmarks.defaults.scores import mean_of, scored, shared_cases
from benchmarks.defaults.sets import RECORDS, Task, task_of
from benchmarks.options import Findings, Options
from benchmarks.record import write
from benchmarks.registry import BenchmarkError, benchmark
from benchmarks.tables import table

BAR = 1.01
"""Largest ratio of a network's CRPS to that of Ridge on a record, the geometric mean over leads."""


@benchmark(
    "defaults_networks",
    claim="GatedRNN and STHSepNet are no worse than Ridge by more than 1 % on any record, and better on most",
    cost="hours; all data sets",
    quick="us_flu with Persistence, on validation",
    seeds=3,
    one_thread=True,
)
def run(
    options: Options, *, sets: str = "all", forecasters: str = "GatedRNN,STHSepNet", part: str = "validation"
) -> Findings:
    """Compare networks with Ridge.

    Args:
        options: Options of all benchmarks.
        sets: Names of records, joined by commas; all of them by default.
        forecasters: Names of networks, joined by commas.
        part: The part that is scored: validation (nothing is written among the results) or test.
    """
    names = list(RECORDS) if sets == "all" else sets.split(",")
    own = forecasters.split(",")
    if options.quick:
        names, own, part = ["us_flu"], ["Persistence"], "validation"
    if part not in ("validation", "test"):
        raise BenchmarkError(f"--part {part}: one of validation, test")
    if unknown := [name for name in names if name not in RECORDS]:
        raise BenchmarkError(f"no record {unknown[0]}; there are {', '.join(RECORDS)}")
    results: dict[str, summary.Scores] = {}
    for name in names:
        results[name] = compared(task_of(RECORDS[name], options, part), own, options, part)
        write(options.working("defaults") / f"networks-{part}.json", json.dumps(results, indent=1) + "\n")
    return findings(results, own, part, keep=part == "test" and not options.quick)


def compared(task: Task, own: list[str], options: Options, part: str) -> summary.Scores:
    """Return the scores of networks and of Ridge on the cases that all have, the mean over seeds.

    Args:
        task: Record and scored part.
        own: Names of the networks.
        options: Options of all benchmarks.
        part: The part that is scored.
    """
    record = task.record
    home = options.working("defaults") / part / record.name / f"stgate-{store.package_digest(task)}"
    made = with_own({}, task.truth, record.name, ["Ridge", *own], options.seeds, home, partial(ours.forecasts, task))
    cases = shared_cases(task.truth, made)
    return {
        name: mean_of([scored(task.truth, one, cases, cases, record.horizons) for one in held])
        for name, held in made.items()
    }


def findings(results: dict[str, summary.Scores], own: list[str], part: str, *, keep: bool) -> Findings:
    """Return table, figures and missed bars.

    Args:
        results: Scores of each record.
        own: Names of the networks.
        part: Part that is scored.
        keep: Whether this is a result to be written.
    """
    rows, missed = [], []
    for record, scores in results.items():
        for name in own:
            if name not in scores:
                continue
            cells = [record, name, ", ".join(scores[name])]
            for score in ("crps", "mae"):
                ratios = [scores[name][h][score] / scores["Ridge"][h][score] for h in scores[name]]
                cells += [" ".join(f"{one:.3f}" for one in ratios), f"{np.exp(np.mean(np.log(ratios))):.3f}"]
            cells.append(" / ".join(f"{100 * share:.0f}" for share in summary.coverage(scores[name])))
            rows.append(cells)
            if (apart := summary.ratio(scores, name, "Ridge", "crps")) > BAR:
                missed.append(f"{name}, {record}: CRPS {100 * (apart - 1):.1f} % above Ridge")
    for name in own:
        ratios = [summary.ratio(scores, name, "Ridge", "crps") for scores in results.values() if name in scores]
        better = sum(one < 1 for one in ratios)
        if ratios and better <= len(ratios) / 2:
            missed.append(f"{name}: better than Ridge on {better} of {len(ratios)} records")
    head = ["record", "network", "leads", "CRPS / Ridge", "mean", "MAE / Ridge", "mean", "50 / 80 / 90 / 95 % cover"]
    return Findings(
        f"Networks with defaults alone on {len(results)} targets, {part} part",
        table(head, rows),
        results,
        "Ratios to Ridge by lead and their geometric mean; scores are means over seeds.",
        missed if part == "test" else [],
        keep=keep,
    )
