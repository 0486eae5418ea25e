"""Memory that a field takes to be fitted on a store of a million observed entries, of ten times fewer, and more.

Each size is written to zarr in pieces and fitted for an epoch in a process of its own, with and without context, at
`max_memory` 100 MB. Found are seconds and the peak memory above that of a process that has only imported all;
the bar is 200 MB.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.options import Findings, Options
from benchmarks.processes import call, peak_memory
from benchmarks.registry import benchmark
from benchmarks.tables import table

NODES, STEPS, BLOCK, LIMIT = 100, (2_000, 20_000, 200_000), 1_000, 200


def write(path, steps):
    """Write a panel of which half of the entries are missing, in pieces."""
    import xarray as xr

    rng = np.random.default_rng(0)
    where = {"lat": ("node", rng.uniform(46, 52, NODES)), "lon": ("node", rng.uniform(7, 15, NODES))}
    times = pd.date_range("2000-01-01", periods=steps, freq="h")
    for first in range(0, steps, BLOCK):
        angle = 2 * np.pi * np.arange(first, first + BLOCK)[:, None] / 24
        y = (20 + 5 * np.sin(angle) + rng.standard_normal((BLOCK, NODES))).astype("float32")
        y[rng.random(y.shape) < 0.5] = np.nan
        own = {"time": times[first : first + BLOCK], "node": [str(i) for i in range(NODES)], **where}
        piece = xr.Dataset({"y": (("time", "node"), y)}, own)
        piece.to_zarr(path, **({"append_dim": "time"} if first else {"mode": "w"}))


def fit_from_store(path, context):
    """Fit an epoch in this process; return its CPU seconds, the memory it added in MB and the loss."""
    import torch

    from benchmarks.fits import trainer
    from stgate.data import FieldData
    from stgate.inference import Ensemble
    from stgate.models import CGLUBNF

    torch.set_num_threads(1)
    before = peak_memory()
    data = FieldData(path, targets="y", context=context, split=(1.0, 0.0, 0.0, 0.0), batch_size=64, max_memory=100)
    model = CGLUBNF(kriging=False, width=32, inference=Ensemble(2, prior="logistic"))
    machine = trainer(max_epochs=1, limit_val_batches=0, accelerator="cpu")
    started = time.process_time()
    machine.fit(model, data)
    return {
        "peak MB": (peak_memory() - before) / 1024**2,
        "seconds": time.process_time() - started,
        "loss": float(machine.callback_metrics["train_loss"]),
    }


@benchmark(
    "field_memory",
    claim="a field is fitted on 10^5 to 10^7 observed entries of a zarr store below 200 MB at `max_memory` 100",
    cost="half an hour; 2 GB of disk",
    quick="10^5 entries alone",
    seeds=(0,),
    one_thread=True,
)
def run(options: Options):
    figures = {}
    with tempfile.TemporaryDirectory() as work:
        for steps in STEPS[: 1 if options.quick else None]:
            path = Path(work) / f"{steps}.zarr"
            write(path, steps)
            for context in (0, 3):
                figures[f"{steps * NODES // 2} {context}"] = call(fit_from_store, path, context)
    rows = (
        [f"{int(entries):,}", context, f"{found['seconds']:.0f}", f"{found['peak MB']:.0f}"]
        for (entries, context), found in ((key.split(), found) for key, found in figures.items())
    )
    lines = table(["observed entries", "context", "CPU s an epoch", "peak memory, MB"], rows)
    missed = [f"{key}: above {LIMIT} MB" for key, found in figures.items() if found["peak MB"] > LIMIT]
    return Findings("Memory of a fit from a store", lines, figures, missed=missed)
