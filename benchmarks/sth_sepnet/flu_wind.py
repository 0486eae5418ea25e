"""Influenza in 49 states, and wind at 12 stations: python -m benchmarks run flu_wind [-- --validate].

The data sets are us_flu and irish_wind. Influenza: the first 50 % of the weeks train, the last 30 % are asked, 20 weeks
in, RMSE 3, 5, 10 and 15 weeks ahead; the files have no dates, so weeks are counted from an arbitrary first one. Wind:
1961 to 1970 train, 1971 to 1978 are asked, one day ahead. Rivals are those of ../real_data.py, on the same rows. With
`--validate`, what all was chosen on: the 20 % of the weeks between; 1968 to 1970, without these years in training.
Scores are means over seeds; those in the working folder are not made again.
"""

import re
from functools import partial

import numpy as np
import pandas as pd

import stgate
from benchmarks.fits import ALONE, adamw, fit
from benchmarks.options import Findings, Options
from benchmarks.registry import benchmark
from benchmarks.store import Store
from benchmarks.tables import table
from stgate.data import WindowData
from stgate.distributions import Normal
from stgate.io import read_tables
from stgate.models import STHSepNet
from stgate.panels.graph import Graph

LEADS = (3, 5, 10, 15)
AUTOREGRESSION = (209, 238, 295, 312)
WIND = {"VAR(1) of anomalies": (3.988, 3.113), "AR(1) of anomalies": (4.091, 3.213), "persistence": (4.668, 3.542)}


def influenza(folder, validate, seed, epochs):
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
    parts = {"hidden": 16, "width": 16, "dropout": 0.2}
    model = STHSepNet(**ALONE, **parts, likelihood=Normal(beta=1.0), optimizer=adamw(0.003, 0.01))
    fit(model, data, epochs, seed)
    model.eval()
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
    """Read 10d15'W, or 10d15'20.5"W."""
    whole, minutes, seconds = re.fullmatch(r"(\d+)d(\d+)'([\d.]*)\"?[NESW]", text).groups()
    return (-1 if text[-1] in "SW" else 1) * (int(whole) + int(minutes) / 60 + float(seconds or 0) / 3600)


def wind(folder, validate, seed, epochs):
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
    model = STHSepNet(**ALONE, **parts, likelihood=Normal(beta=0.5), optimizer=adamw(0.002, 0.3))
    fit(model, data, epochs, seed)
    model.eval()
    times = panel["time"].values
    before = times[np.flatnonzero(times >= np.datetime64(first)) - 1]
    made = stgate.backtest(model, panel, start=first, end=last, levels=[0.5])
    made = made.isel(lead_time=0).sel(init_time=before)
    y = panel["wind"].transpose("time", "node").values[times >= np.datetime64(first)]
    mean, median = made["wind_mean"], made["wind"].sel(quantile=0.5)
    mean, median = (x.transpose("init_time", "node").values for x in (mean, median))
    return {"rmse": float(((mean - y) ** 2).mean() ** 0.5), "mae": float(abs(median - y).mean())}


@benchmark(
    "flu_wind",
    claim="influenza 3 to 15 weeks ahead below persistence and AR(20); Irish wind a day ahead below VAR(1)",
    cost="half an hour; data us_flu, irish_wind",
    quick="one epoch of one seed",
    seeds=3,
    one_thread=True,
)
def run(options: Options, *, validate: bool = False):
    """Score both.

    Args:
        options: Options of all benchmarks.
        validate: The years that all was chosen on; nothing is written.
    """
    kept = Store(options.working("flu-wind") / f"flu_wind{'_validation' * validate}.json")
    seeds = options.seeds[:1] if options.quick else options.seeds
    for name, score, epochs in (("us_flu", influenza, 40), ("irish_wind", wind, 30)):
        folder, count = options.dataset(name), 1 if options.quick else epochs
        for seed in seeds:
            kept.once(name, str(seed), make=partial(score, folder, validate, seed, count))
    lines, missed = report(kept, validate)
    return Findings(
        "Influenza in 49 states, and wind at 12 stations",
        lines,
        dict(kept),
        "STH-SepNet: means over seeds.",
        missed,
        keep=not validate,
        seeds=seeds,
        reused=kept.reused(2 * len(seeds)),
    )


def report(kept, validate):
    """Return the tables, and the bars that are missed."""
    flu, wind = (list(kept[name].values()) for name in ("us_flu", "irish_wind"))
    ours = np.array([[s[str(lead)] for lead in LEADS] for s in flu]).mean(0)
    means = [float(np.mean([s[key] for s in wind])) for key in ("rmse", "mae")]
    rows = [[f"STH-SepNet ({len(flu)} seeds)", *(f"{v:.0f}" for v in ours[:, 0])]]
    rows.append(["persistence", *(f"{v:.0f}" for v in ours[:, 1])])
    winds = [[f"STH-SepNet ({len(wind)} seeds)", *(f"{m:.3f}" for m in means)]]
    if not validate:
        rows.append(["AR(20) ridge", *AUTOREGRESSION])
        winds += [[name, f"{rmse:.3f}", f"{mae:.3f}"] for name, (rmse, mae) in WIND.items()]
    lines = ["Influenza, RMSE, weeks ahead:", "", *table(["", *LEADS], rows)]
    lines += ["", "Wind, one day ahead, knots:", "", *table(["", "RMSE", "MAE"], winds)]
    if validate:
        return lines, []
    bars = np.minimum(ours[:, 1], AUTOREGRESSION)
    missed = [f"{lead} weeks ahead" for lead, own, bar in zip(LEADS, ours[:, 0], bars, strict=True) if own >= bar]
    return lines, missed + ["wind"] * any(a >= b for a, b in zip(means, WIND["VAR(1) of anomalies"], strict=True))
