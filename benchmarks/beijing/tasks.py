"""Parts of the record of Beijing that are hidden, what is asked, and its scores."""

import numpy as np
import xarray as xr

import stgate
from stgate.panels.missing import mask

LEVELS = (0.5, 0.8, 0.95)
QUANTILES = (0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975)
PATTERNS = {
    "random, random": "point",
    "random, block": "block",
    "clustered, random": "spatial_block",
    "clustered, block": "spatiotemporal_block",
}
"""In space, in time."""
WEATHER = ("TEMP", "PRES", "DEWP", "RAIN", "WSPM")
LEADS = {False: (1, 3, 7, 14), True: (1, 6, 12, 24, 72)}
"""Days of daily values, hours of hourly ones."""
CALIBRATION = "2015-03-01"


class Task:
    """A record of which a pattern hides a share, in training and later alike.

    Filled are the entries that were hidden before 2015-03-01; forecast is the year from 2016-03-01, of which all that
    was ever observed is scored. The year between calibrates forecasts. Further entries that are hidden by the same
    pattern, 10 or 20 % of those that are left, calibrate what is filled in.

    Args:
        panel: Hourly or daily.
        pattern: Of `stgate.panels.missing.mask`.
        rate: Share that is hidden.
        seed: Of what is hidden, and of fits.
        weather: Names of the weather variables that are known for the hour or day that is asked for.
        validate: Forecast the months from 2014-11-01 to 2015-02-28 instead and fill what is before: for choices.
    """

    def __init__(self, panel, pattern, rate, seed, weather=(), validate=False):
        self.hourly = float(np.diff(panel["time"].values[:2])[0] / np.timedelta64(1, "h")) == 1
        self.leads = LEADS[self.hourly]
        self.context = self.leads[-1] + 2
        self.split = (
            ("2014-05-01", "2014-05-01", "2014-11-01") if validate else (CALIBRATION, CALIBRATION, "2016-03-01")
        )
        self.span = ("2014-11-01", "2015-02-28") if validate else ("2016-03-01", "2017-02-28")
        self.every = 5 if self.hourly else 1  # origins fall on every hour of the day
        self.weather, self.seed = tuple(weather), seed
        faults = {"pattern": pattern, "length": (24, 168) if self.hourly else (3, 21)}
        self.whole = panel[["pm25", *weather]]
        self.masked, self.hidden = mask(self.whole, "pm25", rate=rate, seed=seed, **faults)
        self.seen, _ = mask(self.masked, "pm25", rate=max(0.1, 0.4 * rate), seed=1000 + seed, **faults)

    def empty(self):
        """Return what is asked, over (time, node) and (origin, lead, node), without an answer."""
        time, node = self.whole["time"].values, self.whole["node"].values
        step = time[1] - time[0]
        first, last = np.searchsorted(
            time, [np.datetime64(self.span[0]), np.datetime64(self.span[1]) + np.timedelta64(1, "D")]
        )
        leads = step * np.arange(1, self.leads[-1] + 1)
        rows = np.arange(first - 1 - self.every * (self.leads[-1] // self.every), last - 1, self.every)
        asked = {"time": time[self.context - 1 : np.searchsorted(time, np.datetime64(self.split[0]))]}
        ahead = {"init_time": time[rows], "lead_time": leads}
        made = []
        for dims in (asked, ahead):
            shape = (*map(len, dims.values()), len(node))
            values = {"pm25_mean": ((*dims, "node"), np.full(shape, np.nan))}
            values["pm25"] = ((*dims, "node", "quantile"), np.full((*shape, len(QUANTILES)), np.nan))
            made.append(xr.Dataset(values, {**dims, "node": node, "quantile": list(QUANTILES)}))
        return made[0], made[1].assign_coords(valid_time=made[1]["init_time"] + made[1]["lead_time"])

    def filled(self, made):
        """Score what was made for (time, node) where the pattern hid it."""
        made = made.sel(time=self.empty()[0]["time"])
        hidden = self.whole["pm25"].where(self.hidden).sel(time=made["time"])
        return scores(made.assign(pm25_truth=hidden.transpose("time", "node")))

    def forecast(self, made):
        """Score what was made for (origin, lead, node) by all that was ever observed."""
        made = made.isel(lead_time=[lead - 1 for lead in self.leads])
        there = self.whole["pm25"].reindex(time=np.unique(made["valid_time"]))
        inside = (made["valid_time"] >= np.datetime64(self.span[0])) & made["pm25_mean"].notnull()
        truth = there.sel(time=made["valid_time"]).drop_vars("time").where(inside)
        made = made.assign(pm25_truth=truth.transpose("init_time", "lead_time", "node"))
        return [scores(made.isel(lead_time=[i])) for i in range(len(self.leads))]


def scores(made):
    table = stgate.evaluate(made, levels=LEVELS)
    found = {"rmse": "rmse", "mae": "mae", "mis": "interval_score_95", "mpiw": "width_95", "crps": "crps"}
    kept = {key: float(table[name]) for key, name in found.items()}
    return kept | {"count": int(table["count"]), "picp": [float(table[f"coverage_{100 * q:g}"]) for q in LEVELS]}
