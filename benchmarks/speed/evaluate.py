"""`stgate.evaluate` beside one blocked pass over numpy arrays, and its memory as the forecast grows in a zarr store."""

import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import xarray as xr

import stgate
from benchmarks.options import Findings, Options
from benchmarks.processes import call, peak_memory
from benchmarks.registry import benchmark
from benchmarks.tables import table
from benchmarks.timing import cpu_times

LEADS, NODES = 20, 100
QUANTILES = np.round(np.arange(1, 20) / 20, 6)
ORIGINS, QUICK = 1000, 100
GROWTH = (1, 4, 16)
TWICE, FLAT, LEAST = 2.0, 1.25, 80
RUNS = {
    "all": {},
    "by lead_time": {"by": "lead_time"},
    "by node": {"by": "node"},
    "by region": {"by": "region"},
    "by node and lead_time": {"by": ["node", "lead_time"]},
    "by init_time": {"by": "init_time"},
    "bootstrap 1000": {"bootstrap": 1000},
}
"""Evaluations that are timed."""
BOUND = ("all", "by lead_time")
"""Those that may take twice the blocked pass; the others say what they take."""


def arrays(origins, seed=0):
    """Truth, mean and quantiles of 2,000 observations an origin, as float32; a tenth of the truth is missing."""
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal((origins, LEADS, NODES)).astype("float32")
    middle = (0.5 * rng.standard_normal(truth.shape)).astype("float32")
    quantiles = middle[..., None] + np.sort(rng.standard_normal(19)).astype("float32")
    truth[rng.random(truth.shape) < 0.1] = np.nan
    return truth, middle, quantiles


def dataset(origins, first=0):
    """A hindcast of these arrays."""
    truth, middle, quantiles = arrays(origins, first)
    dims = ("init_time", "lead_time", "node")
    init = np.datetime64("2000-01-01", "ns") + (first + np.arange(origins)) * np.timedelta64(1, "D")
    lead = np.arange(1, LEADS + 1) * np.timedelta64(3600 * 10**9, "ns")
    return xr.Dataset(
        {"y": ((*dims, "quantile"), quantiles), "y_mean": (dims, middle), "y_truth": (dims, truth)},
        {
            "init_time": init,
            "lead_time": lead,
            "node": np.arange(NODES),
            "region": ("node", np.arange(NODES) % 7),
            "quantile": QUANTILES,
            "valid_time": (dims[:2], init[:, None] + lead),
        },
    )


def blocked(truth, mean, quantiles, rows=2**13):
    """All scores of `evaluate` by one plain pass over numpy arrays: MAE, RMSE, CRPS and three scores of each level."""
    levels, total, count = QUANTILES[:, None], np.zeros(30), 0
    edges = np.concatenate([[0.0], (QUANTILES[1:] + QUANTILES[:-1]) / 2, [1.0]])
    cells = 2 * np.diff(edges)[:, None]
    truth, mean, quantiles = truth.reshape(-1), mean.reshape(-1), quantiles.reshape(-1, len(QUANTILES))
    for first in range(0, len(truth), rows):
        part = slice(first, first + rows)
        seen = ~np.isnan(truth[part])
        y, middle = truth[part][seen].astype("float64"), mean[part][seen].astype("float64")
        q = np.ascontiguousarray(quantiles[part][seen].T, dtype="float64")
        miss = y - q
        sums = [
            np.abs(miss[9]).sum(),
            ((y - middle) ** 2).sum(),
            np.maximum(cells * levels * miss, cells * (levels - 1) * miss).sum(),
        ]
        for k in range(8, -1, -1):
            low, high = q[k], q[18 - k]
            width = high - low
            outside = np.maximum(low - y, 0) + np.maximum(y - high, 0)
            sums += [((low <= y) & (y <= high)).sum(), width.sum(), (width + outside / QUANTILES[k]).sum()]
        total += sums
        count += seen.sum()
    means = total / count
    means[1] **= 0.5
    return means


def ratios(origins, rounds):
    """CPU seconds of the pass and of each evaluation, in turns; the least ratio of each; the largest difference."""
    given = arrays(origins)
    hindcast = dataset(origins)
    contenders = {"numpy": lambda: blocked(*given)}
    contenders |= {name: lambda o=options: stgate.evaluate(hindcast, **o) for name, options in RUNS.items()}
    spent = cpu_times(contenders, rounds)
    scores = stgate.evaluate(hindcast)
    ours = np.array([float(scores[name]) for name in scores if name != "count"])
    apart = float(np.abs(ours / blocked(*given) - 1).max())
    seconds = {name: round(min(each), 3) for name, each in spent.items()}
    each = {n: [mine / numpy for mine, numpy in zip(spent[n], spent["numpy"], strict=True)] for n in RUNS}
    return seconds, {name: round(float(np.median(r)), 2) for name, r in each.items()}, apart


def write(path, origins, at_once=100):
    """Write a hindcast to zarr, some origins at a time."""
    for first in range(0, origins, at_once):
        part = dataset(min(at_once, origins - first), first)
        kinds = {"mode": "w"} if first == 0 else {"append_dim": "init_time"}
        chunks = {n: {"chunks": (20, *part[n].shape[1:])} for n in part.data_vars} if first == 0 else None
        part.to_zarr(path, consolidated=False, zarr_format=3, encoding=chunks, **kinds)


def memory_of(path, options):
    """Peak memory above that of the imports and of a small evaluation, and CPU seconds; in a process of its own."""
    stgate.evaluate(dataset(5), **{k: v for k, v in options.items() if k == "by"})
    before, started = peak_memory(), time.process_time()
    try:
        scores = stgate.evaluate(path, **options)
    except stgate.errors.StgateError:  # before paths were taken
        scores = stgate.evaluate(stgate.open_forecast(path), **options)
    return [peak_memory() - before, time.process_time() - started, int(scores["count"].sum())]


def memory(folder, origins, growth=GROWTH):
    """Peak memory in MB and CPU seconds of evaluations of ever larger stores, by name."""
    found = {}
    for times in growth:
        path = folder / f"{times}.zarr"
        write(path, origins * times)
        for name in ("all", "by node", "bootstrap 1000"):
            peak, seconds, count = call(memory_of, path, RUNS[name])
            found.setdefault(name, {})[times] = {"MB": round(peak / 1e6), "s": round(seconds, 2), "observed": count}
            print(f"{name}, {times}x: {found[name][times]}", flush=True)
        shutil.rmtree(path)
    return found


@benchmark(
    "speed_evaluate",
    claim="evaluate takes at most twice one blocked pass over numpy, and no more memory for 16 times the observations",
    cost="3 minutes, 3 GB of disk",
    quick="a tenth of the observations, two rounds, 4 times as many at most",
    one_thread=True,
)
def run(options: Options):
    origins, rounds = (QUICK, 2) if options.quick else (ORIGINS, 5)
    seconds, ratio, apart = ratios(origins, rounds)
    with tempfile.TemporaryDirectory() as work:
        peaks = memory(Path(work), origins, GROWTH[:2] if options.quick else GROWTH)
    lines = table(
        ["evaluation", "CPU s", "of the blocked pass"],
        ([name, f"{spent:.3f}", f"{ratio.get(name, 1):.2f}"] for name, spent in seconds.items()),
    )
    lines += ["", "Peak memory above that of the imports, MB (CPU s), of a zarr store:", ""]
    sizes = list(peaks["all"])
    lines += table(
        ["evaluation", *(f"{times}x" for times in sizes)],
        ([name, *(f"{p['MB']} ({p['s']})" for p in each.values())] for name, each in peaks.items()),
    )
    missed = [f"{name}: {ratio[name]} of the blocked pass" for name in BOUND if ratio[name] > TWICE]
    missed += [f"other numbers than the pass: {apart:.1e}"] if apart > 1e-6 else []
    first, last = (peaks["all"][times]["MB"] for times in (sizes[0], sizes[-1]))
    missed += [f"memory grows from {first} to {last} MB"] if last > FLAT * max(first, LEAST) else []
    figures = {"CPU seconds": seconds, "ratio": ratio, "apart": apart, "memory": peaks}
    note = f"{origins * LEADS * NODES:,} observations x {len(QUANTILES)} quantiles, float32, a tenth missing."
    return Findings("Evaluation", lines, figures, note, missed)
