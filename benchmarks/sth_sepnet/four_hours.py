"""Speeds of Los Angeles, 48 steps in and 48 ahead, the paper's protocol, beside references of our own parts.

    python -m benchmarks run four_hours [--seeds 3] [--work FOLDER] [-- --validate]

The data are those of los_loop.py. The first 70 % train, the last 20 % are asked (inputs may lie before them), the tenth
between is what all is chosen on (`--validate`); RMSE of the mean and MAE of the median over all nodes and leads. All
networks are trained alike, on the same loss, for as many epochs; a plain GRU and the graph network, MTGNN-type, are the
package's with parts off. Scores in the working folder are not made again.
"""

from functools import partial

import numpy as np

import stgate
from benchmarks.fits import ALONE, adamw, cosine, fit
from benchmarks.options import Findings, Options
from benchmarks.registry import benchmark
from benchmarks.sth_sepnet.references import DAY, STID, DLinear
from benchmarks.sth_sepnet.tasks import Task
from benchmarks.store import Store
from benchmarks.tables import table
from stgate.data import WindowData
from stgate.distributions import Quantiles
from stgate.models import GatedRNN, STHSepNet

STEPS, EPOCHS, RATE = 48, 10, 0.003
CALENDAR = ["hour", "hour/2", "hour/3", "hour/4"]
NETWORKS = {
    "STH-SepNet": (STHSepNet, ALONE),
    "MTGNN-type (adaptive graph only)": (
        STHSepNet,
        {**ALONE, "graph": "adaptive", "order": 0, "backbone": None},
    ),
    "GRU": (GatedRNN, {**ALONE, "node_embedding": 0, "hidden": 32, "gate": "none"}),
    "STID": (STID, {}),
    "DLinear": (DLinear, {}),
}


class FourHours:
    """The record, its training part and the windows that are asked.

    Args:
        folder: Folder that holds los_speed.csv.gz and los_adj.csv.
        validate: Ask the tenth before the test part instead.
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
        """Score means and medians, (window, lead, node)."""
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

    def network(self, kind, options, seed, epochs):
        """Scores of a network."""
        parts = {"split": self.split, "calendar": CALENDAR, "seed": seed}
        data = WindowData(self.panel, targets="speed", window=STEPS, horizon=STEPS, batch_size=32, **parts)
        model = kind(
            **options,
            likelihood=Quantiles(levels=[0.5, 0.8, 0.95]),
            optimizer=adamw(RATE),
            lr_scheduler=cosine(epochs),
        )
        times = self.panel["time"].values
        fit(model, data, epochs, seed)
        model.eval()
        made = stgate.backtest(model, self.panel, start=str(times[self.rows[0] + 1]), levels=[0.5])
        made = made.sel(init_time=times[self.rows], quantile=0.5).transpose("init_time", "lead_time", "node")
        return self.scored(made["speed_mean"].values, made["speed"].values)


@benchmark(
    "four_hours",
    claim="48 steps in and 48 ahead: STH-SepNet below persistence, average, DLinear, GRU, STID; level with MTGNN-type",
    cost="hours; data los_loop",
    quick="one epoch of one seed of STH-SepNet and DLinear",
    seeds=3,
    one_thread=True,
)
def run(options: Options, *, validate: bool = False):
    """Score STH-SepNet and its rivals.

    Args:
        options: Options of all benchmarks.
        validate: The tenth before the test part, which all is chosen on; nothing is written.
    """
    kept = Store(options.working("four-hours") / f"four_hours{'_validation' * validate}.json")
    task = FourHours(options.dataset("los_loop"), validate)
    seeds, names, epochs = options.seeds, list(NETWORKS), EPOCHS
    if options.quick:
        seeds, names, epochs = seeds[:1], ["STH-SepNet", "DLinear"], 1
    kept.once("persistence", "0", make=task.persistence)
    kept.once("historical average", "0", make=task.average)
    for seed in seeds:
        for who in names:
            kept.once(who, str(seed), make=partial(task.network, *NETWORKS[who], seed, epochs))
    rows, means = [], {}
    for who, scores in kept.items():
        found = np.array([[s["rmse"], s["mae"]] for s in scores.values()])
        means[who] = found.mean(0)
        spread = found.std(0, ddof=1) if len(found) > 1 else (0.0, 0.0)
        cells = [f"{m:.2f}" + f" ± {s:.2f}" * (len(found) > 1) for m, s in zip(means[who], spread, strict=True)]
        rows.append([who, len(found), *cells])
    return Findings(
        "Speeds of Los Angeles, 48 steps in and 48 ahead",
        table(["", "seeds", "RMSE", "MAE"], rows),
        dict(kept),
        "± standard deviation over seeds",
        [f"{who} is as good" for who in means if who != "STH-SepNet" and (means["STH-SepNet"] >= means[who]).any()],
        keep=not validate,
        seeds=seeds,
        reused=kept.reused(2 + len(seeds) * len(names)),
    )
