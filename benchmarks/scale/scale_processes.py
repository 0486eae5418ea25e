"""Throughput of a fit by one process and by two, of one thread each, with the same batches.

Runs of one and of two take turns. The steps of an epoch are timed from the fourth on. On a machine that does other work
too the clock says little, so the CPU seconds of all processes together are given beside it: what sharing costs.

As a module, `python -m benchmarks.scale.scale_processes JSON`, it is one of the processes.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from typing import Any

from benchmarks.options import Findings, Options
from benchmarks.registry import ONE_THREAD, ROOT, BenchmarkError, benchmark
from benchmarks.tables import table

WARM_UP = 3
"""Steps that are not timed."""


def fit_steps(nodes: int, steps: int, batch: int) -> dict[str, float]:
    """Fit GatedRNN for an epoch; return windows a second, and CPU seconds of all processes a window."""
    import lightning as L
    import numpy as np
    import pandas as pd
    import torch
    import xarray as xr

    from benchmarks.fits import ALONE, trainer
    from stgate.data import WindowData
    from stgate.models import GatedRNN

    class Clock(L.Callback):
        def on_train_batch_start(self, trainer: L.Trainer, model: Any, given: Any, number: int) -> None:
            if number == WARM_UP:
                self.begun = time.perf_counter(), time.process_time()

        def on_train_end(self, trainer: L.Trainer, model: Any) -> None:
            self.ended = time.perf_counter(), time.process_time()

    torch.set_num_threads(1)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    rows = (steps + WARM_UP) * batch + 23
    values = np.random.default_rng(0).standard_normal((rows, nodes), dtype="float32")
    panel = xr.Dataset({"y": (("time", "node"), values)}, {"time": pd.date_range("2000", periods=rows, freq="h")})
    panel = panel.assign_coords(node=np.arange(nodes))
    data = WindowData(panel, targets="y", window=12, horizon=12, batch_size=batch, split=(1.0, 0.0, 0.0, 0.0))
    model, clock = GatedRNN(hidden=32, node_embedding=0, **ALONE), Clock()
    many = {"devices": processes, "strategy": "ddp" if processes > 1 else "auto", "accelerator": "cpu"}
    machine = trainer(max_epochs=1, limit_val_batches=0, callbacks=[clock], **many)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        machine.fit(model, datamodule=data)
    wall, cpu = (after - before for before, after in zip(clock.begun, clock.ended, strict=True))
    windows = batch * steps
    return {
        "windows a second": windows / wall,
        "cpu": machine.strategy.reduce(torch.tensor(cpu), reduce_op="sum").item() / windows,
    }


def measure(processes: int, *given: int) -> dict[str, float]:
    """Fit by some processes, each in a fresh interpreter."""
    start = ("torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m") if processes > 1 else ()
    words = [sys.executable, "-W", "ignore", "-m", *start, "benchmarks.scale.scale_processes", json.dumps(given)]
    done = subprocess.run(words, check=False, capture_output=True, text=True, cwd=ROOT, env=os.environ | ONE_THREAD)
    if done.returncode:
        raise BenchmarkError(f"{processes} processes failed: {(done.stderr.splitlines() or ['-'])[-1]}")
    return json.loads(next(line for line in reversed(done.stdout.splitlines()) if line.startswith("{")))


@benchmark(
    "scale_processes",
    claim="Two processes on two free cores fit at least 1.6 times as fast as one, and take at most 1.15 of its CPU",
    cost="5 minutes on 2 free cores",
    quick="few steps on 50 nodes, once",
)
def run(options: Options):
    given, rounds = ((50, 8, 32), 1) if options.quick else ((207, 60, 64), 3)
    found: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    for _ in range(rounds):
        for processes, runs in found.items():
            runs.append(measure(processes, *given))
    speed = {n: statistics.median(r["windows a second"] for r in runs) for n, runs in found.items()}
    cpu = {n: statistics.median(r["cpu"] for r in runs) for n, runs in found.items()}
    figures = {
        "windows a second": {str(n): round(v, 1) for n, v in speed.items()},
        "cpu milliseconds a window": {str(n): round(1000 * v, 3) for n, v in cpu.items()},
        "speed-up": round(speed[2] / speed[1], 3),
        "cpu ratio": round(cpu[2] / cpu[1], 3),
    }
    rows = [[str(n), f"{speed[n]:.0f}", f"{1000 * cpu[n]:.2f}", f"{speed[n] / speed[1]:.2f}"] for n in found]
    lines = table(["processes", "windows a second", "CPU ms a window", "speed-up"], rows)
    return Findings("Fits by several processes", lines, figures)


if __name__ == "__main__":
    outcome = fit_steps(*json.loads(sys.argv[1]))
    if os.environ.get("RANK", "0") == "0":
        print(json.dumps(outcome))
