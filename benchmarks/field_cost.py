"""What an epoch of a Bayesian neural field costs, beside the package `bayesnf` on the same core.

    python benchmarks/field_cost.py PYTHON

PYTHON is the interpreter of an environment with the package, see bayesnf.py. Sixteen members, maximum a posteriori,
width 256, depth 2, 10,000 rows, full batch: CPU seconds an epoch and member once all is compiled, from the difference
of a longer fit and a shorter one; the share of the rate that a large float32 product reaches in the same process; and
peak memory. Both take turns on one core. Exits 1 where ours takes more than the package, of either.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

RESULTS = Path(__file__).parent / "results"
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

    from stgate.data import FieldData
    from stgate.inference import Ensemble
    from stgate.models import BayesNF

    torch.set_num_threads(1)
    times, lat, lon, y = data()
    where = {"lat": ("node", lat), "lon": ("node", lon)}
    panel = xr.Dataset({"y": (("time", "node"), y)}, {"time": times, "node": [str(i) for i in range(NODES)], **where})
    names = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    quiet = dict.fromkeys(names, False)

    def fit(epochs):
        module = FieldData(panel, targets="y", split=(1.0, 0.0, 0.0, 0.0), batch_size=TIMES)
        model = BayesNF(
            width=WIDTH,
            seasons={str(period): count for period, count in PERIODS.items()},
            inference=Ensemble(MEMBERS, prior="logistic"),
            optimizer=lambda weights: torch.optim.Adam(weights, lr=0.005),
        )
        L.seed_everything(0, verbose=False)
        L.Trainer(max_epochs=epochs, limit_val_batches=0, accelerator="cpu", **quiet).fit(model, module)

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


def child(which):
    fit, rate = {"ours": ours, "theirs": theirs}[which]()
    spent = []
    for epochs in (1, SHORT, LONG):
        started = time.process_time()
        fit(epochs)
        spent.append(time.process_time() - started)
    each = (spent[2] - spent[1]) / (LONG - SHORT) / MEMBERS
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": each, "fit of one epoch": spent[0], "peak MB": peak, "rate": rate()}))


def turn(python, which):
    core = {min(os.sched_getaffinity(0))}
    made = subprocess.run(  # -P: the file bayesnf.py beside this one is not the package
        [python, "-P", "-W", "ignore", __file__, "--child", which],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: os.sched_setaffinity(0, core),
    )
    return json.loads(made.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", nargs="?", type=Path)
    parser.add_argument("--child", choices=["ours", "theirs"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        return child(given.child)
    turns = [{"ours": turn(sys.executable, "ours"), "theirs": turn(given.python, "theirs")} for _ in range(TURNS)]
    middle = {
        who: {key: float(np.median([t[who][key] for t in turns])) for key in turns[0][who]}
        for who in ("ours", "theirs")
    }
    own, other = middle["ours"], middle["theirs"]
    ratio = float(np.median([t["ours"]["seconds"] / t["theirs"]["seconds"] for t in turns]))
    share = {who: PRODUCTS / middle[who]["seconds"] / own["rate"] for who in middle}
    lines = [
        "| | BayesNF of this package | `bayesnf` |",
        "|---|---|---|",
        f"| CPU ms an epoch and member | {1e3 * own['seconds']:.0f} | {1e3 * other['seconds']:.0f} |",
        f"| its products' share of the rate of one large product | {share['ours']:.0%} | {share['theirs']:.0%} |",
        f"| CPU seconds of a first fit of an epoch | {own['fit of one epoch']:.1f} | {other['fit of one epoch']:.1f} |",
        f"| peak memory, MB | {own['peak MB']:.0f} | {other['peak MB']:.0f} |",
    ]
    told = f"`python benchmarks/field_cost.py PYTHON`; ratio {ratio:.2f}, the median of {TURNS} turns on one core."
    text = ["# Cost of a Bayesian neural field", "", told, "", *lines]
    print("\n".join(lines), f"\nratio {ratio:.2f}")
    (RESULTS / "field_cost.md").write_text("\n".join(text) + "\n")
    (RESULTS / "field_cost.json").write_text(json.dumps({"ratio": ratio, **middle}, indent=1) + "\n")
    raise SystemExit(int(ratio > 1 or own["peak MB"] > other["peak MB"]))


if __name__ == "__main__":
    main()
