"""Parts of the German record that are held out, and scores of forecasts of them."""

import numpy as np

import stgate

LEVELS = (0.5, 0.8, 0.95)
QUANTILES = (0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975)
WHOLE = (1.0, 0.0, 0.0, 0.0)


class Task:
    """Parts of the record that are trained on, left out for calibration, and asked."""

    def __init__(self, panel, validate):
        names = sorted(panel["node"].values.tolist())
        test = names[::7]
        if validate:
            panel = panel.sel(time=slice(None, "2007-12-31"))
            test, names = [n for n in names if n not in test][3::7], [n for n in names if n not in test]
        self.panel = panel.sel(node=names)
        self.new = test
        self.known = [n for n in names if n not in test]
        self.year = 2006 if validate else 2008
        self.first = f"{self.year}-01-01"

    def truth(self, stations):
        """Return what is asked, (time, node): of the new stations, or of the last two years."""
        kept = self.panel["pm10"].transpose("time", "node")
        return kept.sel(node=self.new) if stations else kept.sel(time=slice(self.first, None))

    def train(self, stations, until=None):
        """Return what may be trained on: the other stations, or what lies before."""
        panel = self.panel.sel(node=self.known) if stations else self.panel.sel(time=slice(None, f"{until}-12-31"))
        return panel.isel(node=np.flatnonzero(panel["pm10"].notnull().any("time").values))


def predicted(made, like):
    """Return means and quantiles; NaN at the first times, which lack the context."""
    made = made.sel(node=like["node"]).reindex(time=like["time"])
    return made["pm10_mean"].values, made["pm10"].transpose("time", "node", "quantile").values


def forecasts_of(model, task, data):
    known = data.panel["node"].values
    stgate.calibrate(model.eval(), data, levels=LEVELS, conformity_score="distribution")
    panel = task.panel.sel(node=known)
    made = stgate.backtest(model, panel, start=task.first, end=f"{task.year + 1}-12-31", levels=LEVELS)
    return {
        lead: (
            made["pm10_mean"].isel(lead_time=lead - 1).values,
            made["pm10"].isel(lead_time=lead - 1).transpose("init_time", "node", "quantile").values,
            made["pm10_truth"].isel(lead_time=lead - 1).values,
        )
        for lead in (1, 3)
    }


def split_of(task):
    return (f"{task.year - 1}-01-01", f"{task.year - 1}-01-01", task.first)


def scores(truth, mean, quantiles):
    there = ~np.isnan(truth) & ~np.isnan(mean)
    y, centre, q = truth[there], mean[there], quantiles[there]
    levels = np.array(QUANTILES)
    miss = y[:, None] - q
    crps = 2 * np.maximum(levels * miss, (levels - 1) * miss).mean()
    low, high = q[:, 0], q[:, -1]
    wide = (high - low) + 40 * np.maximum(low - y, 0) + 40 * np.maximum(y - high, 0)
    inside = [float(((y >= q[:, i]) & (y <= q[:, -1 - i])).mean()) for i in (2, 1, 0)]
    found = {
        "n": int(there.sum()),
        "rmse": float(((y - centre) ** 2).mean() ** 0.5),
        "mae": float(abs(miss[:, 3]).mean()),
    }
    return found | {"crps": float(crps), "interval score": float(wide.mean()), "coverage": inside}
