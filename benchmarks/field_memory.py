"""Memory that a field takes to be fitted on a store of a million observed entries, of ten times fewer, and more.

    python benchmarks/field_memory.py

Each size is written to zarr in pieces and fitted for an epoch in a process of its own, with and without context, at
`max_memory` 100 MB. Prints seconds and the peak memory above that of a process that has only imported all; exits 1
where it is above 200 MB.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

RESULTS = Path(__file__).parent / "results"
NODES, STEPS, BLOCK, LIMIT = 100, (2_000, 20_000, 200_000), 1_000, 200


def write(path, steps):
    """Half of the entries are missing."""
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


def child(path, context):
    import lightning as L
    import torch

    from stgate.data import FieldData
    from stgate.inference import Ensemble
    from stgate.models import CGLUBNF

    torch.set_num_threads(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = {"peak MB": 0.0, "seconds": 0.0, "loss": float("nan")}
    if path:
        split = (1.0, 0.0, 0.0, 0.0)
        data = FieldData(path, targets="y", context=context, split=split, batch_size=64, max_memory=100)
        model = CGLUBNF(width=32, inference=Ensemble(2, prior="logistic"))
        names = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
        trainer = L.Trainer(max_epochs=1, limit_val_batches=0, accelerator="cpu", **dict.fromkeys(names, False))
        started = time.process_time()
        trainer.fit(model, data)
        result["seconds"] = time.process_time() - started
        result["loss"] = float(trainer.callback_metrics["train_loss"])
    result["peak MB"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(json.dumps(result))


def measured(path, context):
    command = [sys.executable, "-W", "ignore", __file__, "--child", str(path), "--context", str(context)]
    made = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return json.loads(made.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--context", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        return child(given.child, given.context)
    rows, result = ["| observed entries | context | CPU s an epoch | peak memory, MB |", "|---|---|---|---|"], {}
    with tempfile.TemporaryDirectory() as work:
        for steps in STEPS:
            path = Path(work) / f"{steps}.zarr"
            write(path, steps)
            for context in (0, 3):
                found = measured(path, context)
                result[f"{steps * NODES // 2} {context}"] = found
                figures = f"{found['seconds']:.0f} | {found['peak MB']:.0f}"
                rows.append(f"| {steps * NODES // 2:,} | {context} | {figures} |")
    print("\n".join(rows))
    heading = ["# Memory of a fit from a store", "", "`python benchmarks/field_memory.py`", ""]
    (RESULTS / "field_memory.md").write_text("\n".join([*heading, *rows, ""]))
    (RESULTS / "field_memory.json").write_text(json.dumps(result, indent=1) + "\n")
    raise SystemExit(int(any(found["peak MB"] > LIMIT for found in result.values())))


if __name__ == "__main__":
    main()
