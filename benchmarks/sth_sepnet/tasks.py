"""Speeds of Los Angeles as T-GCN's protocol cuts them, and how forecasts of them are scored."""

import numpy as np
import pandas as pd

import stgate
from stgate.io import read_tables
from stgate.panels.graph import Graph

WINDOW = 12
STEPS = (3, 6, 9, 12)
"""15, 30, 45 and 60 minutes."""


class Task:
    """The first 80 % train; test windows lie in the rest, inputs too.

    Args:
        folder: Folder that holds los_speed.csv.gz and los_adj.csv.
        validate: Train on nine tenths of the training part and ask the last one instead: for choices.
    """

    def __init__(self, folder, validate):
        panel = read_tables(folder / "los_speed.csv.gz", name="speed", start="2012-03-01", freq="5min")
        self.adjacency = pd.read_csv(folder / "los_adj.csv", header=None).values
        panel = Graph.of_matrix(panel["node"].values.tolist(), self.adjacency).add_to(panel)
        cut = int(0.8 * panel.sizes["time"])
        if validate:
            panel, cut = panel.isel(time=slice(0, cut)), int(0.9 * cut)
        self.panel, self.cut = panel, cut
        self.speed = panel["speed"].transpose("time", "node").values.astype(np.float64)
        self.test = len(self.speed) - cut
        self.split = (cut / len(self.speed), 0.0, 0.0, 1 - cut / len(self.speed))

    def rows(self, steps):
        """Last rows of the windows that are asked so many steps; T-GCN's leave out the last one."""
        return self.cut + np.arange(self.test - WINDOW - steps) + WINDOW - 1

    def truth(self, rows, steps):
        """(window, step, node)."""
        return self.speed[rows[:, None] + 1 + np.arange(steps)]

    def scored(self, forecast):
        """RMSE and MAE over all steps up to each horizon.

        Args:
            forecast: Function from rows (window) to means and medians, (window, 12, node) each.
        """
        mean, median = forecast(self.rows(1))
        found = {}
        for steps in STEPS:
            count = len(self.rows(steps))
            truth = self.truth(self.rows(steps), steps)
            rmse = float(((mean[:count, :steps] - truth) ** 2).mean() ** 0.5)
            found[str(5 * steps)] = {"rmse": rmse, "mae": float(abs(median[:count, :steps] - truth).mean())}
        return found


def of_model(task, model):
    """Means and medians of a forecaster from given rows."""

    def forecast(rows):
        times = task.panel["time"].values
        made = stgate.backtest(
            model, task.panel, start=str(times[rows[0] + 1]), end=str(times[rows[-1] + 1]), levels=[0.5]
        )
        made = made.sel(init_time=times[rows])
        median = made["speed"].sel(quantile=0.5)
        return tuple(x.transpose("init_time", "lead_time", "node").values for x in (made["speed_mean"], median))

    return forecast
