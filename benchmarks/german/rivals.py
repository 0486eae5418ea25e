"""Rivals of the fields."""

import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingRegressor
from sklearn.linear_model import Ridge

import stgate
from benchmarks.fits import adam, fit
from benchmarks.german.tasks import LEVELS, QUANTILES, WHOLE, forecasts_of, predicted, split_of
from stgate.data import FieldData, WindowData
from stgate.inference import Ensemble
from stgate.models import BayesNF, Persistence
from stgate.panels.geometry import Places

PACKAGE = """
import sys, time
import jax
import numpy as np
import pandas as pd
from bayesnf.spatiotemporal import BayesianNeuralFieldMAP

train, asked = (pd.read_csv(path, parse_dates=["time"]) for path in sys.argv[1:3])
budget = float(sys.argv[3])

def fitted(epochs):
    model = BayesianNeuralFieldMAP(
        width=512, depth=2, freq="D", seasonality_periods=["W", "M", "Y"], num_seasonal_harmonics=[3, 10, 10],
        feature_cols=["time", "lat", "lon"], target_col="y", observation_model="NORMAL", timetype="index",
        standardize=["lat", "lon"],
    )
    started = time.monotonic()
    options = {"ensemble_size": 8, "learning_rate": 0.005, "batch_size": 3800}
    model.fit(train, seed=jax.random.PRNGKey(0), num_epochs=epochs, **options)
    jax.block_until_ready(model.losses_)
    return model, time.monotonic() - started

first, later = fitted(1)[1], fitted(6)[1]
model, _ = fitted(max(int(5 * (budget - first) / max(later - first, 0.5)), 1))
quantiles = [float(q) for q in sys.argv[5].split(",")]
means, found = model.predict(asked, quantiles=quantiles, approximate_quantiles=True)
np.savez(sys.argv[4], mean=np.asarray(means).reshape(-1, len(asked)).mean(0), quantiles=np.stack(found, -1))
"""


def bayesnf_ours(task, stations, budget):
    train = task.train(stations, task.year - 1)

    def fitted(epochs):
        model = BayesNF(
            width=512,
            seasons={"week": 3, "month": 10, "year": 10},
            inference=Ensemble(8, prior="logistic"),
            optimizer=adam(0.005),
        )
        return model, fit(model, FieldData(train, targets="pm10", split=WHOLE, batch_size=128), epochs).wall

    model, _ = fitted(max(int(budget / fitted(1)[1]), 1))
    like = task.truth(stations)
    asked = task.panel.sel(node=like["node"])
    return predicted(stgate.reconstruct(model, asked, levels=LEVELS, start=str(like["time"].values[0])), like)


def bayesnf_package(task, stations, budget, python):
    frames = []
    for array in (task.train(stations, task.year - 1)["pm10"].transpose("time", "node"), task.truth(stations)):
        t, n = np.nonzero(array.notnull().values)
        where = {name: array[name].values[n] for name in ("lat", "lon")}
        frames.append(pd.DataFrame({"time": array["time"].values[t], **where, "y": array.values[t, n]}))
    like = task.truth(stations)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for frame, name in zip(frames, ("train", "asked"), strict=True):
            frame.to_csv(work / f"{name}.csv", index=False)
        (work / "fit.py").write_text(PACKAGE)
        arguments = ["fit.py", "train.csv", "asked.csv", str(budget), "made.npz", ",".join(map(str, QUANTILES))]
        subprocess.run([python, *arguments], check=True, cwd=work)
        made = np.load(work / "made.npz")
        mean, quantiles = made["mean"], made["quantiles"]
    t, n = np.nonzero(like.notnull().values)
    whole, bounds = np.full(like.shape, np.nan), np.full((*like.shape, len(QUANTILES)), np.nan)
    whole[t, n], bounds[t, n] = mean, quantiles
    return whole, bounds


def harmonics(time, count=2):
    turn = 2 * np.pi * time.dt.dayofyear.values[:, None] * np.arange(1, count + 1) / 365.25
    return np.concatenate([np.ones((len(turn), 1)), np.cos(turn), np.sin(turn)], axis=1)


def climatology(task, stations):
    """Two harmonics of the year of each station, of all together at a new one; quantiles of what is left."""
    train, like = task.train(stations, task.year - 1)["pm10"].transpose("time", "node"), task.truth(stations)
    design, asked = harmonics(train["time"]), harmonics(like["time"])
    t, n = np.nonzero(train.notnull().values)
    mean, bounds = np.empty(like.shape), np.empty((*like.shape, len(QUANTILES)))
    for i, name in enumerate(like["node"].values):
        own = t[n == list(train["node"].values).index(name)] if name in train["node"].values else t[:0]
        own = (own, np.full(len(own), list(train["node"].values).index(name))) if len(own) > 30 else (t, n)
        weights = np.linalg.lstsq(design[own[0]], train.values[own], rcond=None)[0]
        mean[:, i] = asked @ weights
        bounds[:, i] = mean[:, i, None] + np.quantile(train.values[own] - design[own[0]] @ weights, QUANTILES)
    return mean, bounds


def boosting(task, stations, kind):
    """Quantile gradient boosting on day, place, day of the year and of the week; `trees` as in BayesNF's benchmark."""

    def rows(array):
        t, n = np.nonzero(array.notnull().values)
        when = array["time"]
        day = (when.values - np.datetime64("1998-01-01")) / np.timedelta64(1, "D")
        columns = (day, when.dt.dayofyear.values, when.dt.dayofweek.values)
        return np.column_stack([*(c[t] for c in columns), array["lat"].values[n], array["lon"].values[n]]), (t, n)

    train, like = task.train(stations, task.year - 1)["pm10"].transpose("time", "node"), task.truth(stations)
    (x, own), (asked, there) = rows(train), rows(like)
    y = train.values[own]
    mean, bounds = np.full(like.shape, np.nan), np.full((*like.shape, len(QUANTILES)), np.nan)
    shared = {"learning_rate": 0.05, "random_state": 0}
    trees = {"n_estimators": 100, "max_depth": 4, "min_samples_leaf": 9, "min_samples_split": 9}
    for i, q in enumerate((None, *QUANTILES)):
        if kind == "trees":
            loss = {"loss": "squared_error"} if q is None else {"loss": "quantile", "alpha": q}
            model = GradientBoostingRegressor(**loss, **trees, **shared)
        else:
            loss = {"loss": "squared_error"} if q is None else {"loss": "quantile", "quantile": q}
            model = HistGradientBoostingRegressor(**loss, max_iter=500, **shared)
        made = model.fit(x, y).predict(asked)
        if q is None:
            mean[there] = made
        else:
            bounds[(*there, np.full(len(made), i - 1))] = made
    return mean, np.sort(bounds, -1)


def inverse_distance(task):
    """From the other stations' same day, by the inverse square of the distance; quantiles of its errors at these."""
    y = task.panel["pm10"].transpose("time", "node")
    distance = Places.of(task.panel).distances()
    source = np.isin(y["node"].values, task.known)
    weight = np.divide(1.0, distance**2, out=np.zeros_like(distance), where=distance > 0)[source]
    seen = y.notnull().values[:, source]
    near = seen @ weight
    total = np.where(seen, y.values[:, source], 0) @ weight
    made = np.divide(total, near, out=np.full(y.shape, np.nan), where=near > 0)
    left = (y.values - made)[:, source]
    asked = np.isin(y["node"].values, task.new)
    mean = made[:, asked]
    return mean, mean[..., None] + np.quantile(left[~np.isnan(left)], QUANTILES)


def persistence(task):
    panel = task.panel.sel(node=task.train(False, task.year - 2)["node"])
    data = WindowData(panel, targets="pm10", window=8, horizon=3, split=split_of(task))
    model = Persistence()
    fit(model, data, 1, clip=None)
    return forecasts_of(model, task, data)


def ridge(task, lags=3, near=8):
    """On lags here and at the nearest stations, what is missing being the station's mean, and two harmonics."""
    y = task.panel["pm10"].transpose("time", "node").sel(node=task.train(False, task.year - 2)["node"])
    values, train = y.values, (y["time"] < np.datetime64(task.first)).values
    means = np.nanmean(values[train], 0)
    filled = np.where(np.isnan(values), means, values)
    order = np.argsort(Places.of(task.panel.sel(node=y["node"])).distances(), axis=1)[:, : near + 1]
    made = {}
    for lead in (1, 3):
        mean = np.full(values.shape, np.nan)
        bounds = np.full((*values.shape, len(QUANTILES)), np.nan)
        for i in range(values.shape[1]):
            past = [np.roll(filled[:, order[i]], lead + lag, 0) for lag in range(lags)]
            there = np.roll(~np.isnan(values[:, [i]]), lead, 0)
            x = np.hstack([*past, there, harmonics(y["time"])[:, 1:]])
            own = train & ~np.isnan(values[:, i])
            own[: lead + lags] = False
            if own.sum() < 100:
                continue
            model = Ridge(alpha=10.0).fit(x[own], values[own, i])
            mean[:, i] = model.predict(x)
            bounds[:, i] = mean[:, i, None] + np.quantile(values[own, i] - mean[own, i], QUANTILES)
        made[lead] = mean[~train], bounds[~train], values[~train]
    return made
