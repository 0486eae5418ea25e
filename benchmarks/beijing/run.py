"""PM2.5 of twelve stations of Beijing, of which four patterns hide 10 % and 50 %: gaps and forecasts by one fit.

    python benchmarks/beijing/run.py FOLDER [--hourly] [--ablation] [--validate] [--work DIR] [--seeds 3]

FOLDER holds the station files PRSA_Data_*.csv.gz and stations.csv. Daily means of the days with 12 hours or more:
faults last 3 to 21 days, forecasts go 1, 3, 7 and 14 days ahead. With `--hourly`: a block in space and time hides
30 %, faults last 24 to 168 hours, forecasts go 1, 6, 12, 24 and 72 hours ahead, without and with the weather of the
hour that is forecast (perfect weather: what no forecaster has), one seed. With `--ablation`: the field with one of its
parts off each time, blocks in space and time, daily, 50 %. With `--validate`, what all was chosen on: forecasts of
November 2014 to February 2015, filled is what lies before May, one seed that is not used else.

Intervals of the package's forecasters are calibrated, those of interpolation are quantiles of its errors, others are
their own. BayesNF gets the CPU time that CGLUBNF took. Scores that are in DIR are not made again.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from fields import bayesnf, field, recurrent
from rivals import boosting, interpolation, perceptrons, tabled
from tasks import LEADS, LEVELS, PATTERNS, WEATHER, Task

from stgate.io import read_tables

RESULTS = Path(__file__).parents[1] / "results"
OFF = {
    "all parts": {},
    "no graph": {"graph": 0},
    "no gate": {"gate": False},
    "residual not gated": {"residual": "additive"},
    "no residual": {"residual": "none"},
    "activation fixed": {"activation": "fixed"},
}
COLUMNS = {"rmse": "RMSE", "mae": "MAE", "crps": "CRPS", "mis": "MIS", "mpiw": "MPIW"}


def read(folder, hourly):
    columns = {"time": ["year", "month", "day", "hour"], "node": "station", "drop": ["No", "wd"]}
    files = sorted(folder.glob("PRSA_Data_*.csv*"))
    panel = read_tables(files, rename={"PM2.5": "pm25"}, coords=folder / "stations.csv", **columns)
    panel = panel[["pm25", *WEATHER]]
    if hourly:
        return panel
    day = panel.resample(time="1D")
    return day.mean().where(day.count() >= 12)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--hourly", action="store_true")
    parser.add_argument("--ablation", action="store_true")
    parser.add_argument("--validate", action="store_true")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "stgate-beijing")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.work.mkdir(parents=True, exist_ok=True)
    name = "beijing" + "_hourly" * given.hourly + "_ablation" * given.ablation
    store = given.work / f"{name}{'_validation' * given.validate}.json"
    kept = json.loads(store.read_text()) if store.exists() else {}
    panel = read(given.folder, given.hourly)

    def once(group, who, seed, make):
        rows = kept.setdefault(group, {}).setdefault(who, {})
        if str(seed) not in rows:
            rows[str(seed)] = make()
            store.write_text(json.dumps(kept, indent=1))
            print(group, who, seed, json.dumps(rows[str(seed)]), flush=True)
        return rows[str(seed)]

    seeds = [99] if given.validate else range(1 if given.hourly else given.seeds)
    if given.hourly:
        groups = {
            f"30 %, clustered, block, {'perfect' if w else 'no'} weather": ("clustered, block", 0.3, w)
            for w in ((), WEATHER)
        }
    elif given.ablation:
        groups = {"50 %, clustered, block": ("clustered, block", 0.5, ())}
    else:
        groups = {f"{100 * rate:g} %, {p}": (p, rate, ()) for rate in (0.1, 0.5) for p in PATTERNS}
    for seed in seeds:
        for group, (pattern, rate, weather) in groups.items():
            task = Task(panel, PATTERNS[pattern], rate, seed, weather, given.validate)
            if given.ablation:
                for who, off in OFF.items():
                    once(group, who, seed, lambda task=task, off=off: of_field(task, **off))
            else:
                compare(task, lambda who, make, group=group, seed=seed: once(group, who, seed, make))
    report(kept, name, given)


def compare(task, once):
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


def report(kept, name, given):
    leads = LEADS[given.hourly]
    lines, missed = [], []
    for group, rows in kept.items():
        for i, what in enumerate(("filled", *(f"{lead} {'h' if given.hourly else 'd'} ahead" for lead in leads))):
            seeds = rows["CGLUBNF"] if "CGLUBNF" in rows else rows["all parts"]
            lines += [
                f"## {group}: {what} (seeds: {len(seeds)})",
                "",
                "| | " + " | ".join(COLUMNS.values()) + " | PICP, 50, 80, 95 % |",
            ]
            lines.append("|---" * (len(COLUMNS) + 2) + "|")
            for who, by_seed in rows.items():
                found = [s["ahead"][i - 1] if i else s["filled"] for k, s in by_seed.items() if k in seeds]
                if not found or found[0] is None:
                    continue
                cells = [f"{np.mean([f[key] for f in found]):.2f}" for key in COLUMNS]
                cover = np.mean([f["picp"] for f in found], 0)
                lines.append(f"| {who} | {' | '.join(cells)} | {', '.join(f'{100 * c:.1f}' for c in cover)} |")
                off = abs(cover - LEVELS).max()
                if who == "CGLUBNF" and off > 0.03:
                    missed.append(f"{group}: {what}: coverage off by {100 * off:.1f} points")
            lines.append("")
    print("\n".join([*lines, "CGLUBNF's coverage is off by more than 3 points:", *(missed or ["nowhere"])]))
    if not given.validate:
        options = " --hourly" * given.hourly + " --ablation" * given.ablation
        head = [f"# PM2.5 of Beijing{', hourly' if given.hourly else ', daily means'}", ""]
        head += [f"`python benchmarks/beijing/run.py FOLDER{options}`", ""]
        (RESULTS / f"{name}.md").write_text("\n".join([*head, *lines]))
        (RESULTS / f"{name}.json").write_text(json.dumps(rounded(kept)) + "\n")


def rounded(value):
    """To five digits, all numbers in it."""
    if isinstance(value, dict):
        return {key: rounded(v) for key, v in value.items()}
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
