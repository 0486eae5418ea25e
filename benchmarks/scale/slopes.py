"""What grows how: CPU seconds and peak memory of a training step and of a forecast, over sizes that are doubled twice.

A slope is that of the logarithm over the logarithm of the size: 1 is linear, 2 quadratic, 0 not at all. Each point is
a process of its own; its memory is that above a process that has imported all and made the data.
"""

import itertools
import math
import time

from benchmarks.options import Findings, Options
from benchmarks.processes import call, peak_memory
from benchmarks.registry import benchmark
from benchmarks.tables import table

BASE = {"nodes": 200, "window": 24, "horizon": 12, "members": 1, "rows": 2_000}
GROWN = {"nodes": (400, 800, 1600), "window": (48, 96, 192), "horizon": (12, 24, 48), "members": (2, 4, 8)}
GROWN |= {"rows": (8_000, 16_000, 32_000)}
FORECASTERS = ("GatedRNN", "GatedTransformer", "STHSepNet")
STEPS, WHAT = 4, ("step", "forecast", "prepared", "MB")


def panel(nodes, rows):
    import numpy as np
    import pandas as pd
    import xarray as xr

    rng = np.random.default_rng(0)
    y = rng.standard_normal((rows, nodes)).astype("float32") + np.sin(np.arange(rows) / 4)[:, None].astype("float32")
    y[rng.random(y.shape) < 0.1] = np.nan
    where = {"lat": ("node", rng.uniform(40, 50, nodes)), "lon": ("node", rng.uniform(5, 15, nodes))}
    times = pd.date_range("2020-01-01", periods=rows, freq="h")
    return xr.Dataset({"y": (("time", "node"), y)}, {"time": times, "node": [str(i) for i in range(nodes)], **where})


def measure(name, nodes, window, horizon, members, rows):
    """CPU seconds of a training step and of a forecast of a batch, and the memory that each adds, in MB."""
    import torch

    import stgate
    from benchmarks.fits import trainer
    from stgate.inference import Ensemble

    torch.set_num_threads(1)
    data = stgate.WindowData(panel(nodes, rows), targets="y", window=window, horizon=horizon, batch_size=16)
    options = {"inference": Ensemble(members)} if members > 1 else {}
    if rows == BASE["rows"]:  # else what is fitted before the network counts too
        options |= {"linear": False, "transforms": None}
    model = getattr(stgate, name)(**options)
    machine = trainer(max_epochs=1, limit_train_batches=1, limit_val_batches=0, accelerator="cpu")
    prepared = time.process_time()
    machine.fit(model, data)
    prepared = time.process_time() - prepared
    batch = next(iter(data.train_dataloader()))
    model.train()
    model.log = lambda *_, **__: None
    before, spent = peak_memory(), []
    for _ in range(STEPS):
        started = time.process_time()
        model.zero_grad()
        model.training_step(batch, 0).backward()
        spent.append(time.process_time() - started)
    peak = peak_memory()
    model.eval()
    forecasts = []
    with torch.no_grad():
        for _ in range(STEPS):
            started = time.process_time()
            model.predictor.predict(batch, (0.05, 0.5, 0.95))
            forecasts.append(time.process_time() - started)
    return {
        "step": min(spent),
        "forecast": min(forecasts),
        "prepared": prepared,
        "MB": peak / 1e6,
        "before": before / 1e6,
    }


def bare():
    """Memory of a process that has imported all, in MB."""
    import lightning  # noqa: F401
    import torch  # noqa: F401

    import stgate

    stgate.GatedRNN  # noqa: B018 (loads it)
    return peak_memory() / 1e6


@benchmark(
    "scale_slopes",
    claim="time and memory grow linearly in nodes, window, horizon, members and rows",
    cost="20 minutes",
    quick="one forecaster, nodes alone",
    one_thread=True,
)
def run(options: Options):
    figures, empty = {}, call(bare)
    names = FORECASTERS[:1] if options.quick else FORECASTERS
    grown = {"nodes": GROWN["nodes"]} if options.quick else GROWN
    for name, (key, sizes) in itertools.product(names, grown.items()):
        found = [call(measure, name, *(BASE | {key: size}).values()) for size in sizes]
        figures[f"{name} {key}"] = {
            "sizes": sizes,
            **{what: [round(one[what], 4) for one in found] for what in ("step", "forecast", "prepared")},
            "MB": [round(one["MB"] - empty) for one in found],
        }
        print(name, key, figures[f"{name} {key}"], flush=True)
    rows = [
        [*key.split(), *(f"{slope(one['sizes'], one[what]):.2f}" for what in WHAT), *ends(one)]
        for key, one in figures.items()
    ]
    head = ["forecaster", "of", "step", "forecast", "preparation", "memory", "from, to", "step, s", "memory, MB"]
    missed = [
        f"{row[0]} {row[1]}: {what} {row[i]}"
        for row in rows
        for i, what in ((2, "step"), (3, "forecast"), (4, "preparation"))
        if float(row[i]) > 1.3
    ]
    note = "Slopes of logarithms: 1 is linear. Batches of 16 windows; the other sizes are " + ", ".join(
        f"{key} {size}" for key, size in BASE.items()
    )
    note += ". Preparation is all of a fit before its second batch, of rows with transforms and the linear part."
    return Findings("What grows how", table(head, rows), figures, note, missed)


def slope(sizes, found):
    """Slope of the logarithm from the first to the last size."""
    low, high = max(found[0], 1e-9), max(found[-1], 1e-9)
    return math.log(high / low) / math.log(sizes[-1] / sizes[0])


def ends(one):
    first, last = one["sizes"][0], one["sizes"][-1]
    return [f"{first}, {last}", f"{one['step'][0]:.2f}, {one['step'][-1]:.2f}", f"{one['MB'][0]}, {one['MB'][-1]}"]
