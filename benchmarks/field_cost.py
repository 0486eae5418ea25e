"""Cost of an epoch of a Bayesian neural field, beside the package `bayesnf` on the same core.

    python -m benchmarks run field_cost -- --python PYTHON

PYTHON is the interpreter of an environment with the package, see bayesnf.py. Sixteen members, maximum a posteriori,
width 256, depth 2, 10,000 rows, full batch: CPU seconds an epoch and member once all is compiled, from the difference
of a longer fit and a shorter one; the share of the rate that a large float32 product reaches in the same process; and
peak memory. Both take turns on one core. The bar is that ours takes no more of either.
"""

import os
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.options import Findings, Options
from benchmarks.processes import call, peak_memory
from benchmarks.registry import ONE_THREAD, BenchmarkError, benchmark
from benchmarks.tables import table

TIMES = NODES = 100
MEMBERS, WIDTH, SHORT, LONG, TURNS = 16, 256, 2, 34, 3
PERIODS = {7.0: 3, 30.4375: 10}
FEATURES = 3 + 3 * 10 + 2 * sum(PERIODS.values())
PRODUCTS = 3 * 2 * TIMES * NODES * (FEATURES * WIDTH + WIDTH * WIDTH + WIDTH)
"""Floating-point operations of the products of an epoch and member, forward and backward, as the package does them."""


def data():
    rng = np.random.default_rng(0)
    times = pd.date_range("2020-01-01", periods=TIMES)
    lat, lon = rng.uniform(46, 48, NODES), rng.uniform(17, 22, NODES)
    y = 20 + 5 * np.sin(np.arange(TIMES) / 20)[:, None] + rng.standard_normal((TIMES, NODES))
    return times, lat, lon, y


def ours():
    import lightning as L
    import torch
    import xarray as xr

    from benchmarks.fits import trainer
    from stgate.data import FieldData
    from stgate.inference import Ensemble
    from stgate.models import BayesNF

    torch.set_num_threads(1)
    times, lat, lon, y = data()
    where = {"lat": ("node", lat), "lon": ("node", lon)}
    panel = xr.Dataset({"y": (("time", "node"), y)}, {"time": times, "node": [str(i) for i in range(NODES)], **where})

    def fit(epochs):
        module = FieldData(panel, targets="y", split=(1.0, 0.0, 0.0, 0.0), batch_size=TIMES)
        model = BayesNF(
            width=WIDTH,
            seasons={str(period): count for period, count in PERIODS.items()},
            inference=Ensemble(MEMBERS, prior="logistic"),
            optimizer=lambda weights: torch.optim.Adam(weights, lr=0.005),
        )
        L.seed_everything(0, verbose=False)
        trainer(max_epochs=epochs, limit_val_batches=0, accelerator="cpu").fit(model, module)

    def rate():
        a = torch.randn(2048, 2048)
        a @ a
        started = time.process_time()
        for _ in range(5):
            a @ a
        return 5 * 2 * 2048**3 / (time.process_time() - started)

    return fit, rate


def theirs():
    import jax
    from bayesnf.spatiotemporal import BayesianNeuralFieldMAP

    times, lat, lon, y = data()
    where = {"lat": np.tile(lat, TIMES), "lon": np.tile(lon, TIMES)}
    frame = pd.DataFrame({"datetime": np.repeat(times, NODES), **where, "y": y.ravel()})

    def fit(epochs):
        model = BayesianNeuralFieldMAP(
            width=WIDTH,
            depth=2,
            freq="D",
            seasonality_periods=list(PERIODS),
            num_seasonal_harmonics=list(PERIODS.values()),
            feature_cols=["datetime", "lat", "lon"],
            target_col="y",
            observation_model="NORMAL",
            timetype="index",
            standardize=["lat", "lon"],
        )
        key = jax.random.PRNGKey(0)
        model.fit(frame, seed=key, ensemble_size=MEMBERS, num_epochs=epochs, learning_rate=0.005)
        jax.block_until_ready(model.losses_)

    return fit, lambda: float("nan")


def measure(which, longer):
    """Seconds, memory and rate of one contender, in this process."""
    fit, rate = {"ours": ours, "theirs": theirs}[which]()
    spent = []
    for epochs in (1, SHORT, longer):
        started = time.process_time()
        fit(epochs)
        spent.append(time.process_time() - started)
    each = (spent[2] - spent[1]) / (longer - SHORT) / MEMBERS
    return {"seconds": each, "fit of one epoch": spent[0], "peak MB": peak_memory() / 1024**2, "rate": rate()}


def turn(python, which, longer):
    return call(measure, which, longer, python=python, environment=ONE_THREAD, core=min(os.sched_getaffinity(0)))


@benchmark(
    "field_cost",
    claim="sixteen members of BayesNF cost an epoch at most the CPU time of the package bayesnf, and less memory",
    cost="half an hour; PYTHON, an interpreter with the package bayesnf",
    quick="one turn of fewer epochs",
    seeds=(0,),
)
def run(options: Options, *, python: Path | None = None):
    """Time both in turns.

    Args:
        options: Options of all benchmarks.
        python: Interpreter of an environment with the package bayesnf.
    """
    if python is None:
        raise BenchmarkError("field_cost needs -- --python PYTHON, an interpreter with the package bayesnf")
    count, longer = (1, 2 * SHORT) if options.quick else (TURNS, LONG)
    contenders = {"ours": Path(sys.executable), "theirs": python.absolute()}
    turns = [{who: turn(where, who, longer) for who, where in contenders.items()} for _ in range(count)]
    middle = {who: {key: float(np.median([t[who][key] for t in turns])) for key in turns[0][who]} for who in contenders}
    own, other = middle["ours"], middle["theirs"]
    ratio = float(np.median([t["ours"]["seconds"] / t["theirs"]["seconds"] for t in turns]))
    share = {who: PRODUCTS / middle[who]["seconds"] / own["rate"] for who in middle}
    rows = [
        ["CPU ms an epoch and member", *(f"{1e3 * f['seconds']:.0f}" for f in (own, other))],
        ["its products' share of the rate of one large product", *(f"{share[w]:.0%}" for w in ("ours", "theirs"))],
        ["CPU seconds of a first fit of an epoch", *(f"{f['fit of one epoch']:.1f}" for f in (own, other))],
        ["peak memory, MB", *(f"{f['peak MB']:.0f}" for f in (own, other))],
    ]
    lines = table(["", "BayesNF of this package", "`bayesnf`"], rows)
    missed = ["more CPU time than the package"] if ratio > 1 else []
    missed += ["more memory than the package"] if own["peak MB"] > other["peak MB"] else []
    note = f"ratio {ratio:.2f}, the median of {count} turns on one core."
    return Findings("Cost of a Bayesian neural field", lines, {"ratio": ratio, **middle}, note, missed)
