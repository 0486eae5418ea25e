"""Influenza in 49 states, and wind at 12 stations: python benchmarks/sth_sepnet/flu_wind.py FOLDER [--validate].

FOLDER holds us_flu and irish_wind. Influenza: the first 50 % of the weeks train, the last 30 % are asked, 20 weeks in,
RMSE 3, 5, 10 and 15 weeks ahead; the files have no dates, so weeks are counted from an arbitrary first one. Wind: 1961
to 1970 train, 1971 to 1978 are asked, one day ahead. Rivals are those of ../real_data.py, on the same rows. With
`--validate`, what all was chosen on: the 20 % of the weeks between; 1968 to 1970, without these years in training.
Scores are means over seeds; those in DIR are not made again.
"""

import re

import numpy as np
import pandas as pd
from kept import Kept, asked, record
from tasks import adamw, fit

import stgate
from stgate.data import WindowData
from stgate.distributions import Normal
from stgate.io import read_tables
from stgate.models import STHSepNet
from stgate.panels.graph import Graph

LEADS = (3, 5, 10, 15)
AUTOREGRESSION = (209, 238, 295, 312)
WIND = {"VAR(1) of anomalies": (3.988, 3.113), "AR(1) of anomalies": (4.091, 3.213), "persistence": (4.668, 3.542)}


def influenza(folder, validate, seed):
    """RMSE at each lead."""
    panel = read_tables(folder / "state360.txt", name="cases", header=False, start="2010-01-03", freq="7D")
    edges = pd.read_csv(folder / "state-adj-49.txt", header=None).values
    panel = Graph.of_matrix(panel["node"].values.tolist(), edges).add_to(panel)
    data = WindowData(
        panel,
        targets="cases",
        window=20,
        horizon=15,
        calendar=["yearday"],
        split=(0.5, 0.2, 0, 0.3),
        batch_size=32,
        seed=seed,
    )
    model = STHSepNet(hidden=16, width=16, dropout=0.2, likelihood=Normal(beta=1.0), optimizer=adamw(0.003, 0.01))
    fit(model, data, 40, seed)
    rows = np.arange(int(0.7 * len(panel["time"])), len(panel["time"]))
    if validate:
        rows = np.arange(len(panel["time"]) // 2, rows[0])
    times = panel["time"].values
    made = stgate.backtest(model, panel, start=str(times[rows[0] - LEADS[-1]]), end=str(times[-1]), levels=[])
    y = panel["cases"].values.astype(float)
    found = {}
    for lead in LEADS:
        ahead = made["cases_mean"].isel(lead_time=lead - 1).sel(init_time=times[rows - lead])
        error = ahead.transpose("init_time", "node").values - y[rows]
        carried = y[rows - lead] - y[rows]
        found[str(lead)] = [float((e**2).mean() ** 0.5) for e in (error, carried)]
    return found


def degrees(text):
    """Of 10d15'W, or 10d15'20.5"W."""
    whole, minutes, seconds = re.fullmatch(r"(\d+)d(\d+)'([\d.]*)\"?[NESW]", text).groups()
    return (-1 if text[-1] in "SW" else 1) * (int(whole) + int(minutes) / 60 + float(seconds or 0) / 3600)


def wind(folder, validate, seed):
    """RMSE of the mean and MAE of the median."""
    panel = read_tables(folder / "wind_knots.csv.gz", time=["date"], drop=["year", "month", "day"], name="wind")
    at = pd.read_csv(folder / "stations.csv", index_col="Code").loc[panel["node"].values]
    panel = panel.assign_coords(lat=("node", at["Latitude"].map(degrees)), lon=("node", at["Longitude"].map(degrees)))
    first, last = ("1968-01-01", "1970-12-31") if validate else ("1971-01-01", "1978-12-31")
    panel = panel.sel(time=slice(None, last))
    cut = int((panel["time"] < np.datetime64(first)).sum()) / panel.sizes["time"]
    data = WindowData(
        panel,
        targets="wind",
        window=4,
        horizon=1,
        calendar=["yearday"],
        split=(cut, 0, 0, 1 - cut),
        batch_size=32,
        seed=seed,
    )
    parts = {"kernel": 2, "neighbours": 11, "embedding": 32, "backbone": None, "dropout": 0.3}
    model = STHSepNet(**parts, likelihood=Normal(beta=0.5), optimizer=adamw(0.002, 0.3))
    fit(model, data, 30, seed)
    times = panel["time"].values
    before = times[np.flatnonzero(times >= np.datetime64(first)) - 1]
    made = stgate.backtest(model, panel, start=first, end=last, levels=[0.5])
    made = made.isel(lead_time=0).sel(init_time=before)
    y = panel["wind"].transpose("time", "node").values[times >= np.datetime64(first)]
    mean, median = made["wind_mean"], made["wind"].sel(quantile=0.5)
    mean, median = (x.transpose("init_time", "node").values for x in (mean, median))
    return {"rmse": float(((mean - y) ** 2).mean() ** 0.5), "mae": float(abs(median - y).mean())}


def main():
    given = asked(__doc__, "flu-wind", seeds=3, validate=True)
    kept = Kept(given.work, f"flu_wind{'_validation' * given.validate}")
    for name, run in (("us_flu", influenza), ("irish_wind", wind)):
        for seed in range(given.seeds):
            kept.once(name, seed, lambda r=run, n=name, s=seed: r(given.folder / n, given.validate, s))
    raise SystemExit(int(report(kept, given.validate)))


def report(kept, validate):
    """Whether a bar is missed."""
    flu, wind = (list(kept[name].values()) for name in ("us_flu", "irish_wind"))
    ours = np.array([[s[str(lead)] for lead in LEADS] for s in flu]).mean(0)
    means = [float(np.mean([s[key] for s in wind])) for key in ("rmse", "mae")]
    lines = ["# Influenza in 49 states, and wind at 12 stations", ""]
    lines += ["`python benchmarks/sth_sepnet/flu_wind.py FOLDER`; STH-SepNet: means over seeds.", ""]
    lines += ["Influenza, RMSE, weeks ahead:", "", "| | " + " | ".join(map(str, LEADS)) + " |", "|---" * 5 + "|"]
    lines.append(f"| STH-SepNet ({len(flu)} seeds) | " + " | ".join(f"{v:.0f}" for v in ours[:, 0]) + " |")
    lines.append("| persistence | " + " | ".join(f"{v:.0f}" for v in ours[:, 1]) + " |")
    if not validate:
        lines.append("| AR(20) ridge | " + " | ".join(map(str, AUTOREGRESSION)) + " |")
    lines += ["", "Wind, one day ahead, knots:", "", "| | RMSE | MAE |", "|---|---|---|"]
    lines.append(f"| STH-SepNet ({len(wind)} seeds) | {means[0]:.3f} | {means[1]:.3f} |")
    if not validate:
        lines += [f"| {name} | {rmse:.3f} | {mae:.3f} |" for name, (rmse, mae) in WIND.items()]
    print("\n".join(lines))
    if validate:
        return False
    record("flu_wind", lines, kept)
    missed = ours[:, 0] >= np.minimum(ours[:, 1], AUTOREGRESSION)
    return missed.any() or any(a >= b for a, b in zip(means, WIND["VAR(1) of anomalies"], strict=True))


if __name__ == "__main__":
    main()
