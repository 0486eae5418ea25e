"""Speeds of Los Angeles, 48 steps in and 48 ahead, the paper's protocol, beside references of our own parts.

    python benchmarks/sth_sepnet/four_hours.py FOLDER [--validate] [--work DIR] [--seeds 3]

FOLDER is that of los_loop.py. The first 70 % train, the last 20 % are asked (inputs may lie before them), the tenth
between is what all is chosen on (`--validate`); RMSE of the mean and MAE of the median over all nodes and leads. All
networks are trained alike, on the same loss, for as many epochs; a plain GRU and the graph network, MTGNN-type, are the
package's with parts off. Scores in DIR are not made again.
"""

import numpy as np
from kept import Kept, asked, record
from references import DAY, STID, DLinear
from tasks import Task, adamw, cosine, fit

import stgate
from stgate.data import WindowData
from stgate.distributions import Quantiles
from stgate.models import GatedRNN, STHSepNet

STEPS, EPOCHS, RATE = 48, 10, 0.003
CALENDAR = ["hour", "hour/2", "hour/3", "hour/4"]
NETWORKS = {
    "STH-SepNet": (STHSepNet, {}),
    "MTGNN-type (adaptive graph only)": (STHSepNet, {"graph": "adaptive", "order": 0, "backbone": None}),
    "GRU": (GatedRNN, {"hidden": 32, "gate": "none"}),
    "STID": (STID, {}),
    "DLinear": (DLinear, {}),
}


class FourHours:
    """What is asked.

    Args:
        folder: See above.
        validate: Whether of the tenth before the test part.
    """

    def __init__(self, folder, validate):
        panel = Task(folder, False).panel
        count = panel.sizes["time"]
        self.train, first, end = int(0.7 * count), int(0.8 * count), count
        if validate:
            first, end = self.train, first
        self.panel = panel.isel(time=slice(0, end))
        self.split = (self.train / end, first / end - self.train / end, 0, 1 - first / end)
        self.speed = self.panel["speed"].transpose("time", "node").values
        self.rows = np.arange(first - 1, end - STEPS)  # the last rows of windows

    def scored(self, mean, median):
        """Of (window, lead, node)."""
        truth = self.speed[self.rows[:, None] + 1 + np.arange(STEPS)]
        return {"rmse": float(((mean - truth) ** 2).mean() ** 0.5), "mae": float(abs(median - truth).mean())}

    def persistence(self):
        """Scores of the last value."""
        made = np.repeat(self.speed[self.rows][:, None], STEPS, 1)
        return self.scored(made, made)

    def average(self):
        """Scores of the mean at that time of day in the training part."""
        day = np.arange(len(self.speed)) % DAY
        usual = np.stack([self.speed[: self.train][day[: self.train] == d].mean(0) for d in range(DAY)])
        made = usual[(self.rows[:, None] + 1 + np.arange(STEPS)) % DAY]
        return self.scored(made, made)

    def network(self, kind, options, seed):
        """Scores of a network."""
        parts = {"split": self.split, "calendar": CALENDAR, "seed": seed}
        data = WindowData(self.panel, targets="speed", window=STEPS, horizon=STEPS, batch_size=32, **parts)
        model = kind(
            **options,
            likelihood=Quantiles(levels=[0.5, 0.8, 0.95]),
            optimizer=adamw(RATE),
            lr_scheduler=cosine(EPOCHS),
        )
        times = self.panel["time"].values
        fit(model, data, EPOCHS, seed)
        made = stgate.backtest(model, self.panel, start=str(times[self.rows[0] + 1]), levels=[0.5])
        made = made.sel(init_time=times[self.rows], quantile=0.5).transpose("init_time", "lead_time", "node")
        return self.scored(made["speed_mean"].values, made["speed"].values)


def main():
    given = asked(__doc__, "four-hours", seeds=3, validate=True)
    kept = Kept(given.work, f"four_hours{'_validation' * given.validate}")
    task = FourHours(given.folder, given.validate)
    kept.once("persistence", 0, task.persistence)
    kept.once("historical average", 0, task.average)
    for seed in range(given.seeds):
        for who, what in NETWORKS.items():
            kept.once(who, seed, lambda what=what, seed=seed: task.network(*what, seed))
    lines = ["| | seeds | RMSE | MAE |", "|---|---|---|---|"]
    means = {}
    for who, seeds in kept.items():
        found = np.array([[s["rmse"], s["mae"]] for s in seeds.values()])
        means[who] = found.mean(0)
        spread = found.std(0, ddof=1) if len(found) > 1 else (0.0, 0.0)
        cells = [f"{m:.2f}" + f" ± {s:.2f}" * (len(found) > 1) for m, s in zip(means[who], spread, strict=True)]
        lines.append(f"| {who} | {len(found)} | {' | '.join(cells)} |")
    print("\n".join(lines))
    if not given.validate:
        told = ["# Speeds of Los Angeles, 48 steps in and 48 ahead", ""]
        told += ["`python benchmarks/sth_sepnet/four_hours.py FOLDER`; ± standard deviation over seeds", ""]
        record("four_hours", [*told, *lines], kept)
    rivals = [m for who, m in means.items() if who != "STH-SepNet"]
    raise SystemExit(int(any((means["STH-SepNet"] >= rival).any() for rival in rivals)))


if __name__ == "__main__":
    main()
