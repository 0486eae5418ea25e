"""Rivals of the field: interpolation, boosting and an ensemble of perceptrons."""

import numpy as np
import torch
from scipy.special import ndtri
from sklearn.ensemble import HistGradientBoostingRegressor
from torch import nn

from benchmarks.beijing.tasks import QUANTILES


def interpolation(task):
    """Linear in time at each station; forecasts carry the last value on. Quantiles of their errors, by lead."""
    filled, hindcast = task.empty()
    rough = task.seen["pm25"].interpolate_na("time").bfill("time").ffill("time")
    before = slice(None, filled["time"].values[-1])
    left = (task.masked["pm25"].where(task.seen["pm25"].isnull()) - rough).sel(time=before).values
    mean = task.masked["pm25"].interpolate_na("time").bfill("time").ffill("time").sel(time=filled["time"])
    mean = mean.transpose("time", "node").values
    made = _like(filled, mean, mean[..., None] + _spread(left))
    last = task.masked["pm25"].ffill("time").transpose("time", "node")
    origins, steps = last.sel(time=hindcast["init_time"]).values, hindcast.sizes["lead_time"]
    year = task.masked["pm25"].transpose("time", "node").sel(time=slice(task.split[1], task.split[2]))
    past = last.sel(time=year["time"]).values
    errors = [_spread(year.values[lead:] - past[:-lead]) for lead in range(1, steps + 1)]
    shape = (len(origins), steps, origins.shape[-1])
    mean = np.broadcast_to(origins[:, None], shape)
    return made, _like(hindcast, mean, mean[..., None] + np.stack(errors)[:, None])


def _spread(errors):
    return np.nanquantile(errors, QUANTILES)


def _mean(values):
    """Return the mean of what is there, NaN where nothing is."""
    there = ~np.isnan(values)
    return np.divide(np.nansum(values, 1), there.sum(1), out=np.full(len(values), np.nan), where=there.any(1))


def _like(made, mean, quantiles):
    """A dataset like another with these means and quantiles."""
    dims = made["pm25_mean"].dims
    bounds = np.maximum(quantiles, 0)
    return made.assign(pm25_mean=(dims, mean), pm25=((*dims, "quantile"), bounds))


class Table:
    """Rows of what is known for a value some steps after an origin: lead, time, place, weather, what was observed.

    Observed: the last values of all stations up to the origin and how long ago each was, those of the station itself
    on their own. Where nothing lies ahead (lead 0) the origin is the time that is asked for, and the station's own last
    value is the one before.
    """

    LAGS = 2

    def __init__(self, task, panel):
        y = panel["pm25"].transpose("time", "node")
        self.values = np.log1p(y.values)
        self.time, self.step = y["time"].values, y["time"].values[1] - y["time"].values[0]
        since, last = np.full(y.shape[1], np.nan), np.full(y.shape[1], np.nan)
        self.last, self.since = np.empty((len(y) + 1, 2, y.shape[1])), np.empty((len(y) + 1, y.shape[1]))
        self.last[0], self.since[0] = np.nan, np.nan
        before = last.copy()
        for t, row in enumerate(self.values):
            there = ~np.isnan(row)
            before, last = np.where(there, last, before), np.where(there, row, last)
            since = np.where(there, 0, since + 1)
            self.last[t + 1], self.since[t + 1] = (last, before), since
        place = np.column_stack([panel["lat"].values, panel["lon"].values])
        self.place = (place - place.mean(0)) / place.std(0)
        weather = [panel[name].transpose("time", "node").values for name in task.weather]
        self.weather = np.stack([(w - np.nanmean(w)) / np.nanstd(w) for w in weather], -1) if weather else None

    def rows(self, t, n, lead):
        """Return the inputs of the values at (t, n), their origins being `lead` steps before."""
        days = (self.time[t] - self.time[0]) / np.timedelta64(1, "D")
        turns = [days / 365.25, days / 7, days]
        when = [f(2 * np.pi * turn) for turn in turns for f in (np.cos, np.sin)]
        origin = t - lead
        now, last, since = self.values[origin], self.last[origin + 1], self.since[origin + 1]
        own = np.where(lead == 0, origin, origin + 1)  # row of the station's own last values
        lasts, ago = self.last[own, :, n], self.since[own, n] + (lead == 0)
        now = np.where((lead == 0)[:, None] & (np.arange(now.shape[1]) == n[:, None]), np.nan, now)
        others = np.where(np.arange(now.shape[1]) == n[:, None], np.nan, last[:, 0])
        columns = [lead, *when, *self.place[n].T, *now.T, _mean(now), *lasts.T, ago]
        columns += [_mean(np.where(since < 3, others, np.nan))]
        columns += list(self.weather[t, n].T) if self.weather is not None else []
        return np.column_stack(columns)


def tabled(task, learner):
    """A learner of log(1 + y) from rows whose leads are drawn at random, asked for what is filled and forecast."""
    rng = np.random.default_rng(task.seed)
    table = Table(task, task.seen)
    t, n = np.nonzero(~np.isnan(table.values) & (table.time < np.datetime64(task.split[0]))[:, None])
    t, n = (np.tile(index, 1 if task.hourly else 4) for index in (t, n))
    lead = rng.choice([0, 0, *task.leads], len(t))
    t, n, lead = (index[t >= lead] for index in (t, n, lead))
    ask = learner(table.rows(t, n, lead), table.values[t, n], task.seed)
    table = Table(task, task.masked)

    def asked(times, lead):
        t = np.minimum((times - table.time[0]) // table.step + lead, len(table.time) - 1)
        t, n = (index.ravel() for index in np.meshgrid(t, np.arange(len(table.place)), indexing="ij"))
        mean, quantiles = ask(table.rows(t, n, np.full(len(t), lead)))
        return mean.reshape(len(times), -1), quantiles.reshape(len(times), -1, len(QUANTILES))

    filled, hindcast = task.empty()
    mean, quantiles = (np.full(hindcast[name].shape, np.nan) for name in ("pm25_mean", "pm25"))
    for lead in task.leads:
        mean[:, lead - 1], quantiles[:, lead - 1] = asked(hindcast["init_time"].values, lead)
    return _like(filled, *asked(filled["time"].values, 0)), _like(hindcast, mean, quantiles)


def boosting(x, y, seed):
    """Gradient boosting of the mean and of each quantile."""
    options = {"max_iter": 200, "learning_rate": 0.05, "random_state": seed}
    mean = HistGradientBoostingRegressor(**options).fit(x, np.expm1(y))
    at = [HistGradientBoostingRegressor(loss="quantile", quantile=q, **options).fit(x, y) for q in QUANTILES]
    return lambda rows: (mean.predict(rows), np.expm1(np.sort(np.stack([m.predict(rows) for m in at], -1), -1)))


def perceptrons(x, y, seed, members=5, epochs=30):
    """A deep ensemble (Lakshminarayanan et al. 2017): normal heads on log(1 + y), moments matched."""
    centre, scale, level, spread = np.nanmean(x, 0), np.nanstd(x, 0) + 1e-9, y.mean(), y.std()

    def given(rows):
        z = (rows - centre) / scale
        return torch.from_numpy(np.concatenate([np.nan_to_num(z), np.isnan(z)], 1)).float()

    inputs, target = given(x), torch.from_numpy((y - level) / spread).float()
    torch.manual_seed(seed)
    networks = []
    for _ in range(members):
        net = nn.Sequential(
            nn.Linear(inputs.shape[1], 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 2)
        )
        optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=1e-2)
        for _ in range(epochs):
            for rows in torch.randperm(len(target)).split(512):
                mean, width = net(inputs[rows]).unbind(-1)
                width = torch.nn.functional.softplus(width) + 1e-3
                loss = -torch.distributions.Normal(mean, width).log_prob(target[rows]).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        networks.append(net)

    @torch.no_grad()
    def ask(rows):
        rows = given(rows)
        made = torch.stack([net(rows) for net in networks]).double()
        mean, variance = made[..., 0], (torch.nn.functional.softplus(made[..., 1]) + 1e-3) ** 2
        centre = mean.mean(0)
        variance = (variance + mean**2).mean(0) - centre**2
        m, s = (level + spread * centre).numpy(), (spread * variance.sqrt()).numpy()
        return np.exp(m + s**2 / 2) - 1, np.expm1(m[:, None] + s[:, None] * ndtri(QUANTILES))

    return ask
