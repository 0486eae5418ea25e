"""Speeds at 207 sensors of Los Angeles, 12 steps of 5 minutes in, 12 ahead, by T-GCN's protocol.

    python benchmarks/sth_sepnet/los_loop.py FOLDER [--validate] [--work DIR] [--seeds 3]

FOLDER holds los_speed.csv.gz and los_adj.csv (see datasets/los_loop/card.yaml). Errors are means over all steps up to
the horizon, RMSE of the mean and MAE of the median. With `--validate`, what all is chosen on: the last tenth of the
training part. Scores in DIR are not made again.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from rivals import persistence, ridge
from tasks import STEPS, WINDOW, Task, adamw, fit, of_model

from stgate.data import WindowData
from stgate.models import STHSepNet
from stgate.nn import Quantiles

TGCN = {15: (5.126, 3.180), 30: (6.060, 3.747), 45: (6.707, 4.116), 60: (7.268, 4.602)}
"""RMSE and MAE as recalled from Zhao et al. (2019), T-GCN."""


def sepnet(task, seed):
    data = WindowData(
        task.panel,
        "speed",
        window=WINDOW,
        horizon=STEPS[-1],
        calendar=["hour"],
        split=task.split,
        batch_size=32,
        seed=seed,
    )
    model = STHSepNet(likelihood=Quantiles(levels=[0.5, 0.8, 0.95]), optimizer=adamw(0.003))
    return of_model(task, fit(model, data, 10, seed))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--validate", action="store_true")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "stgate-traffic")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.work.mkdir(parents=True, exist_ok=True)
    store = given.work / f"los_loop{'_validation' * given.validate}.json"
    kept = json.loads(store.read_text()) if store.exists() else {}
    task = Task(given.folder, given.validate)

    def once(who, seed, make):
        rows = kept.setdefault(who, {})
        if str(seed) not in rows:
            rows[str(seed)] = {str(m): s for m, s in task.scored(make()).items()}
            store.write_text(json.dumps(kept, indent=1))

    once("persistence", 0, lambda: persistence(task))
    once("ridge", 0, lambda: ridge(task))
    report(kept, given.validate)
    for seed in range(given.seeds):
        once("STH-SepNet", seed, lambda seed=seed: sepnet(task, seed))
        report(kept, given.validate)


def report(kept, validate):
    lines = ["| | " + " | ".join(f"{m} min" for m in TGCN) + " |", "|---" * (1 + len(TGCN)) + "|"]
    if not validate:
        lines.append("| T-GCN (recalled) | " + " | ".join(f"{r:.2f} / {a:.2f}" for r, a in TGCN.values()) + " |")
    for who, seeds in kept.items():
        cells = [
            " / ".join(f"{np.mean([s[str(m)][key] for s in seeds.values()]):.3f}" for key in ("rmse", "mae"))
            for m in TGCN
        ]
        lines.append(f"| {who} (seeds: {len(seeds)}) | {' | '.join(cells)} |")
    print("\n".join(lines), flush=True)


if __name__ == "__main__":
    main()
