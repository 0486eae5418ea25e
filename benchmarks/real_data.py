"""The figures of the real data sets, through the readers, graphs and scores.

The data sets are those that the cards under datasets/ describe. Each line is ours beside the figure that was
given with the data. (Persistence on the Beijing data goes the whole road in tests/real; here it is one shift.)
"""

import numpy as np
import pandas as pd
import xarray as xr

import stgate
from benchmarks.options import Findings, Options
from benchmarks.registry import benchmark
from benchmarks.tables import table
from stgate.io import read_tables
from stgate.metrics import coverage, interval_score
from stgate.panels.geometry import Places

LINES = []


def score(forecast, truth):
    """MAE and RMSE over what both tell."""
    error = np.asarray(forecast, float) - np.asarray(truth, float)
    error = error[~np.isnan(error)]
    return float(np.abs(error).mean()), float(np.sqrt((error**2).mean()))


def told(name, ours, given, digits):
    """Print and keep a line: the same, if ours, rounded as the given figures are, are the given ones."""
    shown = [f"{value:.{d}f}" for value, d in zip(ours, digits, strict=True)]
    same = all(abs(float(s) - g) < 0.5 * 10.0**-d for s, g, d in zip(shown, given, digits, strict=True))
    LINES.append({"figure": name, "ours": " / ".join(shown), "given": " / ".join(map(str, given)), "same": same})
    print(f"{'same ' if same else 'OTHER'} {name}: {LINES[-1]['ours']} (given {LINES[-1]['given']})", flush=True)


def beijing(folder):
    panel = read_tables(
        folder / "PRSA_Data_*.csv.gz", time=["year", "month", "day", "hour"], node="station", drop=["No", "wd"]
    )
    y = panel["PM2.5"]
    test = y.sel(time=slice("2016-03-01", "2017-02-28"))
    given = {1: (10.2, 19.4), 3: (21.1, 38.4), 6: (31.8, 54.8), 12: (44.2, 72.3), 24: (58.2, 88.3)}
    for lead, figures in given.items():
        ours = score(y.shift(time=lead).sel(time=test["time"]), test)
        told(f"beijing_air, PM2.5, persistence {lead} h, MAE / RMSE", ours, figures, (1, 1))
    told(
        "beijing_air, missing PM2.5 / CO / O3, %",
        [100 * float(panel[n].isnull().mean()) for n in ("PM2.5", "CO", "O3")], (2.1, 4.9, 3.2), (1, 1, 1),
    )  # fmt: skip


def german(folder):
    panel = read_tables(folder / "pm10_daily.csv.gz", time=["date"], name="pm10", coords=folder / "stations.csv")
    y = panel["pm10"].astype("float64")
    test = y.sel(time=slice("2008", "2009"))
    ours = score(y.shift(time=1).sel(time=test["time"]), test)
    told("german_pm10, persistence, MAE / RMSE", ours, (4.99, 7.73), (2, 2))
    train = y.sel(time=slice(None, "2007"))
    seasons = harmonics(train["time"], 2)
    fitted = np.full(test.shape, np.nan)
    for node in range(y.sizes["node"]):
        seen = train[:, node].notnull().values
        if seen.any():
            weights = np.linalg.lstsq(seasons[seen], train.values[seen, node], rcond=None)[0]
            fitted[:, node] = harmonics(test["time"], 2) @ weights
    told("german_pm10, climatology (two harmonics a station), MAE / RMSE", score(fitted, test), (7.30, 9.78), (2, 2))
    distance = Places.of(panel).distances()
    weight = np.divide(1.0, distance**2, out=np.zeros_like(distance), where=distance > 0)
    seen = y.notnull().values
    near = seen @ weight
    inverse = np.divide(np.where(seen, y, 0) @ weight, near, out=np.full(y.shape, np.nan), where=near > 0)
    told("german_pm10, leave one station out, inverse distance squared", score(inverse, y), (4.49, 7.06), (2, 2))


def harmonics(time, count):
    """A constant, and sines and cosines of the year."""
    turn = 2 * np.pi * time.dt.dayofyear.values[:, None] * np.arange(1, count + 1) / 365.25
    return np.concatenate([np.ones((len(turn), 1)), np.cos(turn), np.sin(turn)], axis=1)


def los_loop(folder):
    panel = read_tables(folder / "los_speed.csv.gz", name="speed", start="2012-03-01", freq="5min")
    part = panel["speed"].values[-404:]
    given = {3: (5.543, 3.156), 6: (6.699, 3.632), 9: (7.628, 4.042), 12: (8.456, 4.433)}
    for steps, figures in given.items():
        rows = np.arange(404 - 12 - steps)  # the published windows leave the last one out
        ahead = part[rows[:, None] + 12 + np.arange(steps)]
        mae, rmse = score(np.broadcast_to(part[rows + 11][:, None], ahead.shape), ahead)
        told(f"los_loop, persistence {5 * steps} min, RMSE / MAE", (rmse, mae), figures, (3, 3))


def chickenpox(folder):
    panel = read_tables(folder / "hungary_chickenpox_raw.csv", time=["Date"], time_format="%d/%m/%Y", name="cases")
    cases = stgate.panels.select(panel, ["HEVES", "SZABOLCS", "VESZPREM", "ZALA"])["cases"].astype("float64")
    test, train = cases.sel(time="2014"), cases.sel(time=slice(None, "2013"))
    ours = score(cases.shift(time=52).sel(time="2014"), test)
    told("chickenpox, seasonal naive, MAE / RMSE", ours, (19.23, 29.32), (2, 2))
    weekly = train.groupby(train["time"].dt.isocalendar().week).mean()
    ours = score(weekly.sel(week=test["time"].dt.isocalendar().week), test)
    told("chickenpox, week-of-year climatology, MAE / RMSE", ours, (18.43, 24.86), (2, 2))
    truth = pd.read_csv(folder / "chickenpox.8.test.csv", index_col=0)["chickenpox"]
    given = {
        "map": (21.69, 25.67, 131.0, 0.981),
        "mle": (28.62, 32.72, 125.3, 0.981),
        "vi": (13.81, 20.57, 184.3, 0.760),
    }
    for how, figures in given.items():
        found = pd.read_csv(folder / f"bnf-{how}.chickenpox.8.pred.csv.gz", index_col=0).loc[truth.index]
        y, middle, low, high = (
            xr.DataArray(np.asarray(v, float), dims="case")
            for v in (truth, found["yhat_p50"], found["yhat_lower"], found["yhat_upper"])
        )
        width = float(interval_score(y, low, high, level=0.95, by=()))
        covered = float(coverage(y, low, high, by=()))
        name = f"chickenpox, BayesNF {how.upper()}, MAE / RMSE / interval score / coverage"
        told(name, (*score(middle, y), width, covered), figures, (2, 2, 1, 3))


def irish(folder):
    panel = read_tables(folder / "wind_knots.csv.gz", time=["date"], drop=["year", "month", "day"], name="wind")
    y = panel["wind"].astype("float64")
    test, train = y.sel(time=slice("1971", None)), y.sel(time=slice(None, "1970"))
    mae, rmse = score(y.shift(time=1).sel(time=test["time"]), test)
    told("irish_wind, persistence, RMSE / MAE", (rmse, mae), (4.668, 3.542), (3, 3))
    days = train.groupby("time.dayofyear").mean().rolling(dayofyear=31, center=True, min_periods=1).mean()
    usual = days.sel(dayofyear=y["time"].dt.dayofyear).values
    apart, first = y.values - usual, train.sizes["time"]
    slope = (apart[1:first] * apart[: first - 1]).sum(0) / (apart[: first - 1] ** 2).sum(0)
    matrix = np.linalg.lstsq(apart[: first - 1], apart[1:first], rcond=None)[0]
    before = apart[first - 1 : -1]
    for name, forecast, figures in (
        ("climatology (31 days around)", usual[first:], (4.826, 3.861)),
        ("AR(1) of its anomalies", usual[first:] + slope * before, (4.091, 3.213)),
        ("VAR(1) of its anomalies", usual[first:] + before @ matrix, (3.988, 3.113)),
    ):
        mae, rmse = score(forecast, test)
        told(f"irish_wind, {name}, RMSE / MAE", (rmse, mae), figures, (3, 3))


def pacific(folder):
    with np.load(folder / "sst_pacific.npz", allow_pickle=False) as arrays:
        sst, lat, lon = (arrays[n] for n in ("sst", "lat", "lon"))
        sst = np.where(arrays["land"], np.nan, sst)
    rows, columns = np.unique(lat), np.unique(lon)
    grid = np.full((len(sst), len(rows), len(columns)), np.nan)
    grid[:, np.searchsorted(rows, lat), np.searchsorted(columns, lon)] = sst
    lattice = xr.Dataset(
        {"sst": (("time", "lat", "lon"), grid)}, {"time": np.arange(len(sst), dtype=float), "lat": rows, "lon": columns}
    )
    y = stgate.from_lattice(lattice)["sst"].values
    for lead, figures in {1: (0.297, 0.396), 3: (0.472, 0.628), 6: (0.573, 0.785), 12: (0.615, 0.897)}.items():
        ours = score(y[-99 - lead : -lead], y[-99:])
        told(f"pacific_sst, persistence {lead} months, MAE / RMSE", ours, figures, (3, 3))
    ours = score(np.broadcast_to(y[:-99].mean(0), (99, y.shape[1])), y[-99:])
    told("pacific_sst, mean of each cell, MAE / RMSE", ours, (0.536, 0.729), (3, 3))


def flu(folder):
    given = {
        "region785": ((734, 982, 1297, 1531), (713, 957, 1414, 1749)),
        "state360": ((209, 238, 295, 312), (191, 245, 361, 429)),
    }
    for name, (ridge, naive) in given.items():
        panel = read_tables(folder / f"{name}.txt", name="cases", header=False, start="0", freq="1")
        y = panel["cases"].values.astype("float64")
        half, test = len(y) // 2, np.arange(int(0.7 * len(y)), len(y))
        low, high = y[:half].min(0), y[:half].max(0)
        u = (y - low) / (high - low)
        fitted, carried = [], []
        for lead in (3, 5, 10, 15):
            train = np.arange(20 + lead - 1, half)
            forecast = np.empty((len(test), y.shape[1]))
            for node in range(y.shape[1]):
                seen, wanted = (
                    np.stack([np.ones(len(t)), *(u[t - lead - lag, node] for lag in range(20))], axis=1)
                    for t in (train, test)
                )
                weights = np.linalg.solve(seen.T @ seen + 0.01 * np.eye(21), seen.T @ u[train, node])
                forecast[:, node] = wanted @ weights * (high - low)[node] + low[node]
            fitted.append(score(forecast, y[test])[1])
            carried.append(score(y[test - lead], y[test])[1])
        told(f"us_flu, {name}, AR(20) ridge, RMSE at 3 / 5 / 10 / 15 weeks", fitted, ridge, (0,) * 4)
        told(f"us_flu, {name}, persistence, RMSE at 3 / 5 / 10 / 15 weeks", carried, naive, (0,) * 4)


SETS = {
    "beijing_air": beijing,
    "german_pm10": german,
    "los_loop": los_loop,
    "chickenpox": chickenpox,
    "irish_wind": irish,
    "pacific_sst": pacific,
    "us_flu": flu,
}


@benchmark(
    "real_data",
    claim="readers, graphs and scores give the figures that came with the real data",
    cost="2 minutes; the data sets",
    quick="irish_wind alone",
)
def run(options: Options):
    LINES.clear()
    for name in ["irish_wind"] if options.quick else SETS:
        SETS[name](options.dataset(name))
    rows = ([x["figure"], x["ours"], x["given"], "same" if x["same"] else "other"] for x in LINES)
    print(f"{sum(x['same'] for x in LINES)} of {len(LINES)} the same")
    note = "ours beside the figures that came with the data."
    lines = table(["figure", "ours", "given", ""], rows)
    return Findings("Figures of the real data sets", lines, list(LINES), note)
