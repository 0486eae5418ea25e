"""Coverage of intervals: overall, at each lead, where a node was not observed, and after a shift.

The data sets are those that the cards under datasets/ describe. Each (data set, forecaster, mask seed) is one
run, kept in results/calibration.json, so that a second call goes on where the first one stopped. Everything was chosen
on years before the test years, on other seeds of the synthetic panels. `--runs` chooses runs by how their
names begin: gaussian/Ridge. Rolling and adaptive intervals have bars.
"""

import contextlib
import itertools
import json
import warnings
from functools import partial

import lightning as L
import numpy as np
import pandas as pd

import stgate
from benchmarks.fits import ALONE, RAW, trainer
from benchmarks.options import Findings, Options
from benchmarks.registry import benchmark
from benchmarks.store import Store
from benchmarks.tables import table
from stgate.calibration import conformal_quantile
from stgate.distributions import Normal
from stgate.io import read_tables
from stgate.metrics import bootstrap, coverage, interval_score

LEVELS = [0.5, 0.8, 0.9, 0.95]
MODES = ("stored", "rolling", "adaptive")


def hidden(panel, name, seed, length):
    """The panel with 20 % of it lost in blocks, and the name."""
    return stgate.panels.missing.mask(panel, name, pattern="block", rate=0.2, length=length, seed=seed)[0], name


def beijing(folder, seed):
    files = sorted((folder / "beijing_air").glob("PRSA_Data_*.csv.gz"))
    options = {"variables": ["PM2.5"], "rename": {"PM2.5": "pm25"}}
    panel = read_tables(files, time=["year", "month", "day", "hour"], node="station", **options)
    return (*hidden(panel, "pm25", seed, (6, 72)), ["2014-11-01", "2015-03-01", "2016-03-01"], 24, 12)


def irish(folder, seed):
    drop = ["year", "month", "day"]
    panel = read_tables(folder / "irish_wind" / "wind_knots.csv.gz", time=["date"], drop=drop, name="wind")
    return (*hidden(panel, "wind", seed, (3, 30)), ["1968-01-01", "1969-01-01", "1972-01-01"], 14, 7)


def german(folder, seed):
    panel = read_tables(folder / "german_pm10" / "pm10_daily.csv.gz", time=["date"], name="pm10")
    early = panel["pm10"].sel(time=slice(None, "2004")).notnull().any("time")  # stations that training can see
    return panel.isel(node=np.flatnonzero(early)), "pm10", ["2005-01-01", "2006-01-01", "2008-01-01"], 14, 7


def synthetic(kind):
    """Forty nodes with a daily cycle and noise of a known kind, a tenth lost in blocks; two kinds shift at last.

    So many that a coverage is known to a point where a node was not observed: cases within an outage are much alike.
    """

    def make(folder, seed):
        rng = np.random.default_rng([seed, len(kind)])
        steps, nodes = 9000, 40
        noise = rng.standard_normal((steps, nodes))
        cycle = np.sin(2 * np.pi * np.arange(steps) / 24)[:, None]
        if kind == "skewed":
            noise = (rng.exponential(1, noise.shape) - 1) * 1.5
        elif kind == "heteroscedastic":
            noise *= np.exp(0.8 * np.roll(cycle, 6, 0)) * np.linspace(0.5, 2, nodes)
        elif kind == "autocorrelated":
            for t in range(1, steps):
                noise[t] = 0.9 * noise[t - 1] + 0.44 * noise[t]
        values = 10 + 3 * cycle + noise
        if kind == "noise_shift":  # which no input foretells
            values[7500:] += 5 * rng.standard_normal((1500, nodes))
        elif kind == "level_shift":
            values[7500:] += 3 * rng.standard_normal(nodes)  # each node's by an amount of its own
        times = pd.date_range("2020-01-01", periods=steps, freq="h")
        panel = stgate.to_panel(pd.DataFrame(values, times, [f"n{i:02d}" for i in range(nodes)]), name="y")
        panel, _ = stgate.panels.missing.mask(panel, "y", pattern="block", rate=0.1, length=(3, 24), seed=seed)
        return panel, "y", [str(times[k]) for k in (4500, 5000, 6500)], 24, 6

    return make


SHIFTS = ("noise_shift", "level_shift")
SETS = {
    **{kind: (synthetic(kind), 1) for kind in ("gaussian", "skewed", "heteroscedastic", "autocorrelated")},
    **{kind: (synthetic(kind), 1) for kind in SHIFTS},
    "beijing_air": (beijing, 5),
    "irish_wind": (irish, 5),
    "german_pm10": (german, 1),
}
NETWORK = {"node_embedding": 0, "hidden": 32, "imputation": "last", "likelihood": Normal()}
FORECASTERS = {
    "Ridge": (lambda: stgate.models.Ridge(**RAW, penalty=1e-3, imputation="last"), 1),
    "GatedRNN": (lambda: stgate.models.GatedRNN(**ALONE, **NETWORK), 4),
}


def plain_rolling(hindcast, name, window=500, refresh=24):
    """Interval scores of plain rolling split conformal: one pool a lead, of the last origins whose truth was known."""
    truth, middle = (hindcast[n].values for n in (f"{name}_truth", f"{name}_mean"))
    spread = (hindcast[name].sel(quantile=0.75) - hindcast[name].sel(quantile=0.25)).values
    spread = np.broadcast_to(np.nanmean(spread, axis=(0, 2), keepdims=True), truth.shape)  # of each lead, one
    scores = np.abs(truth - middle) / spread
    found = {level: [] for level in LEVELS}
    for start in range(window + truth.shape[1], len(truth), refresh):
        now = slice(start, start + refresh)
        known = np.stack([scores[start - window - h : start - h, h] for h in range(1, truth.shape[1])], 1)
        known = (
            np.concatenate([scores[start - window : start, :1], known], 1)
            .transpose(0, 2, 1)
            .reshape(-1, truth.shape[1])
        )
        for level in LEVELS:
            half = conformal_quantile(known, level)[None, :, None] * spread[now]
            found[level].append(interval_score(truth[now], middle[now] - half, middle[now] + half, level=level))
    return {level: np.concatenate(parts) for level, parts in found.items()}, window + truth.shape[1]


def judged(hindcast, name, plain, first):
    """Coverage less nominal, in points, overall with its bounds, over leads and by whether the node was observed."""
    truth = hindcast[f"{name}_truth"]
    seen = hindcast["steps_since_observed"] == 0
    found = {}
    for level in LEVELS:
        lower, upper = (
            hindcast[name].sel(quantile=q, method="nearest", drop=True) for q in ((1 - level) / 2, (1 + level) / 2)
        )
        hit = 100 * (coverage(truth, lower, upper) - level)
        low, high = bootstrap(hit, block=min(48, hit.sizes["init_time"] // 4))
        by_lead = hit.mean(["init_time", "node"])
        groups = {}
        for label, there in (("observed", seen), ("not observed", ~seen)):
            mine = hit.where(there)
            bounds = bootstrap(mine, block=min(48, hit.sizes["init_time"] // 4))
            groups[label] = [
                round(float(mine.mean()), 2),
                int(mine.notnull().sum()),
                *(round(float(b), 2) for b in bounds),
            ]
        score = interval_score(truth, lower, upper, level=level).values[first:]
        found[str(level)] = {
            "overall": round(float(hit.mean()), 2),
            "bounds": [round(float(low), 2), round(float(high), 2)],
            "leads": [round(float(by_lead.min()), 2), round(float(by_lead.max()), 2)],
            **groups,
            "score": round(float(np.nanmean(score) / np.nanmean(plain[level])), 4),
        }
    return found


def after_shift(hindcast, name, at):
    """Coverage less nominal, in points, over the 200 steps from 200 steps after a shift on."""
    part = hindcast.isel(init_time=slice(at + 200, at + 400))
    return {
        str(level): round(
            100 * float(coverage(part[f"{name}_truth"], *(
                part[name].sel(quantile=q, method="nearest", drop=True) for q in ((1 - level) / 2, (1 + level) / 2)
            )).mean() - level), 2)
        for level in LEVELS
    }  # fmt: skip


def judge(make, build, epochs, folder, seed):
    panel, name, split, window, horizon = make(folder, seed)
    data = stgate.data.WindowData(
        panel, targets=[name], window=window, horizon=horizon, split=split, every=2, seed=seed
    )
    L.seed_everything(seed, verbose=False)
    model = build()
    trainer(max_epochs=epochs, num_sanity_val_steps=0).fit(model, data)
    stgate.calibrate(model, data, levels=LEVELS)
    found, plain, first = {}, None, 0
    for mode in MODES:
        hindcast = stgate.backtest(model, panel, start=split[2], levels=LEVELS, calibration=mode)
        if plain is None:
            plain, first = plain_rolling(hindcast, name)
        found[mode] = judged(hindcast, name, plain, first)
        assert not bool(np.isinf(hindcast[name]).any()), "an infinite interval"
        if make in [SETS[kind][0] for kind in SHIFTS]:
            found[mode]["after the shift"] = after_shift(hindcast, name, 1000)
    return found


BARS = {"overall": 1.5, "lead": 3.0, "group": 3.0, "score": 1.02}


def worst(found):
    """The worst of a mode's run over levels, of each figure that has a bar."""
    figures = [v for k, v in found.items() if k != "after the shift"]
    groups = [g for f in figures for g in (f["observed"], f["not observed"]) if g[1] >= 2000]
    farthest = max(groups, key=lambda g: abs(g[0]), default=[0.0, 0, 0.0, 0.0])
    return {
        "overall": max(abs(f["overall"]) for f in figures),
        "lead": max(abs(x) for f in figures for x in f["leads"]),
        "group": abs(farthest[0]),
        "bounds": farthest[2:],
        "score": max(f["score"] for f in figures),
    }


NOTE = (
    "The worst of 50, 80, 90 and 95 % intervals: distance from nominal "
    "coverage in points, overall, at a lead time, in a group (observed at the origin or not) of at least 2,000 "
    "test cells; and the interval score over that of plain rolling split conformal. Bars: 1.5, 3, 3 and 1.02. "
    "Mean over mask seeds, and the worst; of the worst group also the 95 % bounds of a moving-block bootstrap."
)


def tables(results):
    rows = []
    for (name, kind), mode in itertools.product(itertools.product(SETS, FORECASTERS), MODES):
        if name in SHIFTS:
            continue
        runs = [worst(v[mode]) for k, v in results.items() if k.split("/")[:2] == [name, kind]]
        if runs:
            cells = [
                f"{np.mean([r[k] for r in runs]):.{d}f} ({max(r[k] for r in runs):.{d}f})"
                for k, d in (("overall", 1), ("lead", 1), ("group", 1), ("score", 3))
            ]
            low, high = max(runs, key=lambda r: r["group"])["bounds"]
            cells[2] = f"{cells[2][:-1]}: {low:.1f} to {high:.1f})"
            rows.append([name, kind, mode, *cells, len(runs)])
    lines = table(["data", "forecaster", "intervals", "overall", "lead", "group", "score", "seeds"], rows)
    lines += [
        "",
        "After a shift, of the noise or of each node's level, coverage less nominal in points over the 200 steps from "
        "200 steps on (50, 80, 90, 95 %). The bar of the adaptive ones is 2:",
        "",
    ]
    for key, found in results.items():
        kind, forecaster, _ = key.split("/")
        for mode in MODES if kind in SHIFTS else ():
            figures = ", ".join(f"{value:.1f}" for value in found[mode]["after the shift"].values())
            lines.append(f"* {kind.replace('_', ' ')}, {forecaster}, {mode}: {figures}")
    return lines


def text_of(results):
    """Format the figures, one run a line."""
    lines = ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in results.items())
    return f"{{\n{lines}\n}}\n"


def held_out(make, build, epochs, folder, seed):
    with contextlib.redirect_stderr(None), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return judge(make, build, epochs, folder, seed)


@benchmark(
    "calibration",
    claim="rolling and adaptive intervals cover: overall, by lead, where a node was not observed, and after a shift",
    cost="hours; data beijing_air, irish_wind, german_pm10",
    quick="one ridge on one synthetic panel",
    seeds=(0, 1, 2, 3, 4),
    one_thread=True,
)
def run(options: Options, *, runs: list[str] | None = None):
    """Make the runs that the results lack.

    Args:
        options: Options of all benchmarks.
        runs: Beginnings of the names DATA/FORECASTER/SEED of the runs to make, as gaussian/Ridge; all by default.
    """
    chosen = runs or (["gaussian/Ridge"] if options.quick else [""])
    results = Store(options.out / "calibration.json", text_of)
    for (name, (make, seeds)), (kind, (build, epochs)) in itertools.product(SETS.items(), FORECASTERS.items()):
        for seed in range(seeds):
            key = f"{name}/{kind}/{seed}"
            if any(key.startswith(c) for c in chosen):
                results.once(key, make=partial(held_out, make, build, epochs, options.data, seed))
    made = dict(results)
    lines, reused = tables(made), results.reused(len(made))
    used = tuple(sorted({int(key.rpartition("/")[2]) for key in made}))
    bars, text = missed(made), text_of(made)
    return Findings("Coverage of intervals", lines, made, NOTE, bars, seeds=used, reused=reused, text=text)


def missed(results):
    """Name the bars that rolling and adaptive intervals miss: means over mask seeds, and adaptive ones after shifts."""
    shifted = {key: v for key, v in results.items() if key.split("/")[0] in SHIFTS}
    found = [
        f"{key} after the shift"
        for key, v in shifted.items()
        if any(abs(x) > 2 for x in v["adaptive"]["after the shift"].values())
    ]
    runs = {}
    for key, v in results.items():
        if key not in shifted:
            for mode in MODES[1:]:
                runs.setdefault((*key.split("/")[:2], mode), []).append(worst(v[mode]))
    means = {(who, name): np.mean([run[name] for run in same]) for who, same in runs.items() for name in BARS}
    return found + [f"{'/'.join(who)}: {name}" for (who, name), mean in means.items() if not mean <= BARS[name]]
