"""The comparison of the field with its rivals on one record of Beijing, and its tables.

Intervals of the package's forecasters are calibrated, those of interpolation are quantiles of its errors, others are
their own. BayesNF gets the CPU time that CGLUBNF took. Scores in the working folder are not made again.
"""

import json

import numpy as np

from benchmarks.beijing.fields import bayesnf, field, recurrent
from benchmarks.beijing.rivals import boosting, interpolation, perceptrons, tabled
from benchmarks.beijing.tasks import LEADS, LEVELS, WEATHER
from benchmarks.options import Findings, Options
from benchmarks.store import Store
from benchmarks.tables import table
from stgate.io import read_tables

COLUMNS = {"rmse": "RMSE", "mae": "MAE", "crps": "CRPS", "mis": "MIS", "mpiw": "MPIW"}
VALIDATION_SEED = 99


def read(folder, hourly):
    columns = {"time": ["year", "month", "day", "hour"], "node": "station", "drop": ["No", "wd"]}
    files = sorted(folder.glob("PRSA_Data_*.csv*"))
    panel = read_tables(files, rename={"PM2.5": "pm25"}, coords=folder / "stations.csv", **columns)
    panel = panel[["pm25", *WEATHER]]
    if hourly:
        return panel
    day = panel.resample(time="1D")
    return day.mean().where(day.count() >= 12)


def store_of(options: Options, name, validate):
    return Store(options.working("beijing") / f"{name}{'_validation' * validate}.json")


def seeds_of(options: Options, validate):
    """Return the seeds of what is hidden and of the fits; the one of validation is not used else."""
    if validate:
        return (VALIDATION_SEED,)
    return options.seeds[:1] if options.quick else options.seeds


def compare(kept, group, task, quick=False):
    """Score the field and its rivals; without networks in a quick run."""

    def once(who, make):
        return kept.once(group, who, str(task.seed), make=make)

    if not quick:
        own = once("CGLUBNF", lambda: of_field(task))
        once("BayesNF", lambda: scored(task, bayesnf(task, own["seconds"])))
        once("gradient boosting", lambda: scored(task, tabled(task, boosting)))
        once("deep ensemble", lambda: scored(task, tabled(task, perceptrons)))
        once("GatedRNN", lambda: scored(task, (None, recurrent(task))))
    once("interpolation", lambda: scored(task, interpolation(task)))


def of_field(task, **parts):
    *made, seconds = field(task, **parts)
    return scored(task, made) | {"seconds": seconds}


def scored(task, made):
    filled, hindcast = made
    return {"filled": None if filled is None else task.filled(filled), "ahead": task.forecast(hindcast)}


def findings(kept, *, hourly, validate, seeds):
    """Return tables and figures; print where coverage is off, which is no bar."""
    lines, off = tables(kept, hourly)
    print("CGLUBNF's coverage is off by more than 3 points:", *(off or ["nowhere"]), sep="\n")
    return Findings(
        f"PM2.5 of Beijing{', hourly' if hourly else ', daily means'}",
        lines,
        dict(kept),
        keep=not validate,
        seeds=seeds,
        reused=kept.reused(sum(len(by_seed) for rows in kept.values() for by_seed in rows.values())),
        text=json.dumps(rounded(dict(kept))) + "\n",
    )


def tables(kept, hourly):
    """Return a table of each group and horizon, and where the coverage of the field is off."""
    lines, off = [], []
    for group, rows in kept.items():
        seeds = next(rows[who] for who in ("CGLUBNF", "all parts", *rows) if who in rows)
        for i, what in enumerate(("filled", *(f"{lead} {'h' if hourly else 'd'} ahead" for lead in LEADS[hourly]))):
            cells = []
            for who, by_seed in rows.items():
                found = [s["ahead"][i - 1] if i else s["filled"] for k, s in by_seed.items() if k in seeds]
                if not found or found[0] is None:
                    continue
                cover = np.mean([f["picp"] for f in found], 0)
                means = (f"{np.mean([f[key] for f in found]):.2f}" for key in COLUMNS)
                cells.append([who, *means, ", ".join(f"{100 * c:.1f}" for c in cover)])
                apart = abs(cover - LEVELS).max()
                if who == "CGLUBNF" and apart > 0.03:
                    off.append(f"{group}: {what}: coverage off by {100 * apart:.1f} points")
            lines += [f"## {group}: {what} (seeds: {len(seeds)})", ""]
            lines += [*table(["", *COLUMNS.values(), "PICP, 50, 80, 95 %"], cells), ""]
    return lines, off


def rounded(value):
    """Round all numbers to five digits."""
    if isinstance(value, dict):
        return {key: rounded(v) for key, v in value.items()}
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value
