"""Speeds at 207 sensors of Los Angeles, 12 steps of 5 minutes in, 12 ahead, by T-GCN's protocol.

    python benchmarks/sth_sepnet/los_loop.py FOLDER [--validate] [--work DIR] [--seeds 3]

FOLDER holds los_speed.csv.gz and los_adj.csv (see datasets/los_loop/card.yaml). Errors are means over all steps up to
the horizon, RMSE of the mean and MAE of the median. With `--validate`, what all is chosen on: the last tenth of the
training part. Scores in DIR are not made again.
"""

import numpy as np
from kept import Kept, asked, record
from rivals import persistence, ridge
from tasks import STEPS, WINDOW, Task, adamw, cosine, fit, of_model

from stgate.data import WindowData
from stgate.distributions import Quantiles
from stgate.models import STHSepNet

TGCN = {15: (5.126, 3.180), 30: (6.060, 3.747), 45: (6.707, 4.116), 60: (7.268, 4.602)}
"""RMSE and MAE as recalled from Zhao et al. (2019), T-GCN."""
PUBLISHED = {(m, key): value for m, both in TGCN.items() for key, value in zip(("rmse", "mae"), both, strict=True)}
EPOCHS = 10


def sepnet(task, seed, **options):
    data = WindowData(
        task.panel,
        targets="speed",
        window=WINDOW,
        horizon=STEPS[-1],
        calendar=["hour"],
        split=task.split,
        batch_size=32,
        seed=seed,
    )
    likelihood = Quantiles(levels=[0.5, 0.8, 0.95])
    model = STHSepNet(**options, likelihood=likelihood, optimizer=adamw(0.003), lr_scheduler=cosine(EPOCHS))
    return of_model(task, fit(model, data, EPOCHS, seed))


def main():
    given = asked(__doc__, "traffic", seeds=3, validate=True)
    kept = Kept(given.work, f"los_loop{'_validation' * given.validate}")
    task = Task(given.folder, given.validate)
    kept.once("persistence", 0, lambda: task.scored(persistence(task)))
    kept.once("ridge", 0, lambda: task.scored(ridge(task)))
    for seed in range(given.seeds):
        kept.once("STH-SepNet", seed, lambda seed=seed: task.scored(sepnet(task, seed)))
    lines = report(kept, given.validate)
    if given.validate:
        return
    heading = ["# Speeds of Los Angeles, T-GCN's protocol", "", "`python benchmarks/sth_sepnet/los_loop.py FOLDER`", ""]
    heading += ["RMSE / MAE, miles an hour, means over all steps up to the horizon; STH-SepNet: means over seeds.", ""]
    record("los_loop", [*heading, *lines], kept)
    own, *rivals = (mean(kept[who]) for who in ("STH-SepNet", "persistence", "ridge"))
    raise SystemExit(int(any(own[m, key] >= min(r[m, key] for r in [*rivals, PUBLISHED]) for m, key in own)))


def mean(seeds):
    """Over seeds, by minutes and score."""
    return {(m, key): np.mean([s[str(m)][key] for s in seeds.values()]) for m in TGCN for key in ("rmse", "mae")}


def report(kept, validate):
    lines = ["| | " + " | ".join(f"{m} min" for m in TGCN) + " |", "|---" * (1 + len(TGCN)) + "|"]
    if not validate:
        lines.append("| T-GCN (recalled) | " + " | ".join(f"{r:.2f} / {a:.2f}" for r, a in TGCN.values()) + " |")
    for who, seeds in kept.items():
        found = mean(seeds)
        cells = [f"{found[m, 'rmse']:.3f} / {found[m, 'mae']:.3f}" for m in TGCN]
        lines.append(f"| {who} (seeds: {len(seeds)}) | {' | '.join(cells)} |")
    print("\n".join(lines), flush=True)
    return lines


if __name__ == "__main__":
    main()
