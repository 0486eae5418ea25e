"""Coverage of the ways to calibrate a fit, and what they cost: split, cross and refit, stored and adaptive intervals.

    python -m benchmarks run defaults_coverage [-- --sets us_flu,irish_wind --forecaster Ridge --part validation|test]

Each record is fitted with each way by `stgate fit --calibration`, otherwise with defaults alone.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any, get_args

import numpy as np

from benchmarks.defaults import ours, store
from benchmarks.defaults.scores import INTERVALS, Made, scored, shared_cases
from benchmarks.defaults.sets import RECORDS, Task, task_of
from benchmarks.options import Findings, Options
from benchmarks.record import write
from benchmarks.registry import BenchmarkError, benchmark
from benchmarks.tables import table
from stgate.forecasting.online_intervals import Mode

WAYS = ("split", "cross", "refit")
MODES: tuple[Mode, ...] = ("stored", "adaptive")
OVERALL, GROUP = 1.5, 3.0
"""Largest distance from the level, in points, of the mean over records: overall, and by lead or missingness group."""
GROUPS = ("observed at the origin", "not observed at the origin")
FEWEST = 1000
"""A record counts in the mean of a missingness group if it has so many cases of it, over all leads."""


@benchmark(
    "defaults_coverage",
    claim="intervals of split, cross and refit hold their level on ten records, stored and adaptive",
    cost="an hour; all data sets",
    quick="us_flu with Ridge, on validation",
    one_thread=True,
)
def run(options: Options, *, sets: str = "all", forecaster: str = "Ridge", part: str = "validation"):
    """Measure coverage.

    Args:
        options: Options of all benchmarks.
        sets: Names of records, joined by commas; all of them by default.
        forecaster: The forecaster.
        part: The part that is scored: validation (nothing is written among the results) or test.
    """
    names = list(RECORDS) if sets == "all" else sets.split(",")
    if options.quick:
        names, forecaster, part = ["us_flu"], "Ridge", "validation"
    if part not in ("validation", "test"):
        raise BenchmarkError(f"--part {part}: one of validation, test")
    if unknown := [name for name in names if name not in RECORDS]:
        raise BenchmarkError(f"no record {unknown[0]}; there are {', '.join(RECORDS)}")
    results = {}
    for name in names:
        results[name] = measured(task_of(RECORDS[name], options, part), forecaster, options, part)
        write(options.working("defaults") / f"coverage-{part}-{forecaster}.json", json.dumps(results, indent=1) + "\n")
    whole = sets == "all" and not options.quick
    return findings(results, forecaster, part, keep=part == "test" and whole)


def measured(task: Task, forecaster: str, options: Options, part: str) -> dict[str, Any]:
    """Return the scores of a record by way and mode, on the cases that all have.

    Args:
        task: Record and scored part.
        forecaster: The forecaster.
        options: Options of all benchmarks.
        part: The part that is scored.
    """
    home = options.working("defaults") / part / task.record.name / f"coverage-{store.package_digest(task)}"
    made: dict[str, list[Made]] = {}
    for way in WAYS:
        out = home / f"{forecaster}-{way}"
        checkpoint = out / "best.ckpt"
        if not checkpoint.exists():
            out.mkdir(parents=True, exist_ok=True)
            ours.fit(task, forecaster, 0, out, "--calibration", way)
        for mode in MODES:
            path = home / f"{forecaster}-{way}-{mode}.npz"
            made[f"{way}, {mode}"] = [store.once(path, partial(ours.backtest, task, checkpoint, mode))]
    cases, horizons = shared_cases(task.truth, made), task.record.horizons
    observed = np.isfinite(task.values)
    seen = np.stack([observed[task.start - lead : len(observed) - lead] for lead in horizons])
    return {name: scored(task.truth, one, cases, seen, horizons) for name, (one,) in made.items()}


def off(scores: dict[str, Any], key: str, level: str) -> list[float]:
    """Return coverage less level, in points, for each lead; NaN where a lead has no case of the group.

    Args:
        scores: Scores by lead.
        key: Name of the coverage among the scores.
        level: Level in percent.
    """
    return [100 * one[key][level] - float(level) for one in scores.values()]


def findings(results: dict[str, Any], forecaster: str, part: str, *, keep: bool) -> Findings:
    """Return tables, figures and missed bars.

    Args:
        results: Scores of each record by way and mode.
        forecaster: The forecaster.
        part: Part that is scored.
        keep: Whether this is a result to be written.
    """
    levels, rows, missed, summary = [f"{100 * level:g}" for level in INTERVALS], [], [], {}
    for name in (f"{way}, {mode}" for way in WAYS for mode in get_args(Mode) if mode in MODES):
        held = [scores[name] for scores in results.values()]
        overall = {level: float(np.mean([np.mean(off(one, "coverage", level)) for one in held])) for level in levels}
        ends = {
            end: {level: float(np.mean([off(one, "coverage", level)[place] for one in held])) for level in levels}
            for end, place in (("first lead", 0), ("last lead", -1))
        }
        groups = {
            group: {
                level: float(
                    np.mean(
                        [np.nanmean(off(one, f"coverage, {group}", level)) for one in held if many(one, group)]
                        or [np.nan]
                    )
                )
                for level in levels
            }
            for group in GROUPS
        }
        crps = float(np.exp(np.mean([np.mean([np.log(x["crps"]) for x in one.values()]) for one in held])))
        summary[name] = {"overall": overall, **ends, **groups, "crps": crps}
        worst = {key: max(map(abs, value.values())) for key, value in summary[name].items() if isinstance(value, dict)}
        missed += [f"{name}: {worst['overall']:.1f} points overall"] if worst["overall"] > OVERALL else []
        missed += [f"{name}: {v:.1f} points, {key}" for key, v in worst.items() if key != "overall" and v > GROUP]
        shown = [
            " / ".join(f"{value[level]:+.1f}" for level in levels) if np.isfinite(value["50"]) else "no cases"
            for value in (overall, *ends.values(), *groups.values())
        ]
        rows.append([name, *shown, f"{crps:.4g}"])
    head = [
        "way, intervals",
        "overall",
        "first lead",
        "last lead",
        *GROUPS,
        "CRPS",
    ]
    lines = [
        *table(head, rows),
        "",
        f"Coverage less level at {' / '.join(levels)} %, in points, the mean over records; in a missingness group, "
        f"over those with {FEWEST} cases of it.",
    ]
    return Findings(
        f"Coverage of {forecaster} on {len(results)} records, {part} part",
        lines,
        {"summary": summary, "records": results},
        "CRPS is the geometric mean over records and leads.",
        missed if part == "test" else [],
        keep=keep,
    )


def many(scores: dict[str, Any], group: str) -> bool:
    """Return True if a record has enough cases of a missingness group.

    Args:
        scores: Scores by lead.
        group: Name of the group.
    """
    return sum(one[f"n, {group}"] for one in scores.values()) >= FEWEST
