"""A record of world size: fits, a backtest and its scores, each in a process of its own whose memory is watched.

The panel has the shape of the largest public air-quality record (AirQualityBench: 3,720 stations, 43,824 hours, six
pollutants, a third missing; 3.9 GB as float32). `stgate simulate sensor-network` streams it to zarr. Each forecaster
is fitted for an epoch on a subsample of the windows; the time of a whole epoch follows from its windows a second.
"""

import json
import shutil
import sys
import time
from pathlib import Path

from benchmarks.options import Findings, Options
from benchmarks.processes import call, peak_memory, watch
from benchmarks.registry import benchmark
from benchmarks.tables import table

SIZES = {"stations": 3720, "hours": 43_824}
QUICK = {"stations": 60, "hours": 4_000}
POLLUTANTS = ("pm25", "pm10", "no2", "o3", "so2", "co")
FORECASTERS = ("GatedRNN", "STHSepNet")
EVERY, MEMORY, LIMIT = 240, 700, 3.0
"""Hours from one training window to the next; megabytes of tensors; the bar in GB."""
SPEED_UP = Path(__file__).parents[1] / "results" / "scale_processes.json"


def simulate(out, sizes):
    """Stream the panel to zarr; return what it took."""
    words = [sys.executable, "-m", "stgate", "simulate", "sensor-network", "--stations", str(sizes["stations"])]
    words += ["--pollutants", "6", "--missing", "0.3333", "--kept", "measured", "--workers", "1"]
    return watch([*words, "--duration", str(sizes["hours"] - 1), "--out", str(out), "--resume"])


def fit(store, name, checkpoint, every):
    """Fit an epoch on a part of the windows, in this process; return sizes, seconds and peak memory."""
    import lightning as L
    import torch

    import stgate
    from benchmarks.fits import trainer

    torch.set_num_threads(1)

    class Clock(L.Callback):
        """The CPU seconds of the training batches alone."""

        seconds = 0.0

        def on_train_batch_start(self, *given):
            self.started = time.process_time()

        def on_train_batch_end(self, *given):
            self.seconds += time.process_time() - self.started

    started = time.process_time()
    options = {"targets": POLLUTANTS, "window": 24, "horizon": 24, "split": (0.7, 0.02, 0.08, 0.2)}
    data = stgate.WindowData(store, **options, every=every, eval_every=every, max_memory=MEMORY)
    model, clock = getattr(stgate, name)(), Clock()
    machine = trainer(max_epochs=1, accelerator="cpu", callbacks=[clock])
    machine.fit(model, data)
    model.save(checkpoint)
    windows = len(data.train_dataloader()) * data.batch_size
    whole = data.parts.train[1] - data.parts.train[0] - 47
    return {
        "peak GB": peak_memory() / 1e9,
        "seconds": time.process_time() - started,
        "training seconds": clock.seconds,
        "windows": windows,
        "windows a second": windows / clock.seconds,
        "hours of a whole epoch": whole / (windows / clock.seconds) / 3600,
        "val_crps": float(machine.callback_metrics["val_crps"]),
    }


@benchmark(
    "scale_world",
    claim="a record of 3,720 stations x 43,824 hours x 6 pollutants is fitted, forecast and scored below 3 GB",
    cost="an hour; 5 GB of disk",
    quick="60 stations, 4,000 hours",
    one_thread=True,
)
def run(options: Options, *, store: Path | None = None):
    """Run the whole road.

    Args:
        options: Options of every benchmark.
        store: Panel that an earlier run has simulated.
    """
    sizes, faster = QUICK if options.quick else SIZES, json.loads(SPEED_UP.read_text())["speed-up"]
    folder = options.working("scale_world")
    panel, figures = store or folder / "world.zarr", {}
    if not panel.exists():
        figures["simulate"] = spent(simulate(panel, sizes))
        print(f"simulate: {figures['simulate']}", flush=True)
    for name in FORECASTERS:
        figures[name] = call(fit, panel, name, folder / f"{name}.ckpt", 24 if options.quick else EVERY)
        print(f"{name}: {figures[name]}", flush=True)
    figures["disk, GB"] = sum(f.stat().st_size for f in panel.rglob("*") if f.is_file()) / 1e9
    hindcast, month = (
        folder / "hindcast.zarr",
        ("2020-05-01", "2020-05-31") if options.quick else ("2024-11-01", "2024-11-30"),
    )
    if hindcast.exists():
        shutil.rmtree(hindcast)
    stgate = [sys.executable, "-m", "stgate"]
    words = [
        *stgate,
        "backtest",
        str(panel),
        "--checkpoint",
        str(folder / "GatedRNN.ckpt"),
        "--max-memory",
        str(MEMORY),
    ]
    words += ["--from", month[0], "--to", month[1], "--every", "24", "--out", str(hindcast)]
    figures["backtest"] = spent(watch(words))
    print(f"backtest: {figures['backtest']}", flush=True)
    figures["evaluate"] = spent(watch([*stgate, "evaluate", str(hindcast), "--target", "pm25", "--by", "lead_time"]))
    lines = table(
        ["work", "peak memory, GB", "CPU s", "windows a second", "hours of a whole epoch, one core", "two processes"],
        [
            [
                name,
                f"{found['peak GB']:.2f}",
                f"{found['seconds']:.0f}",
                f"{found['windows a second']:.2f}" if "windows a second" in found else "",
                f"{found['hours of a whole epoch']:.1f}" if "windows a second" in found else "",
                f"{found['hours of a whole epoch'] / faster:.1f}" if "windows a second" in found else "",
            ]
            for name, found in figures.items()
            if isinstance(found, dict)
        ],
    )
    missed = [
        f"{n}: {f['peak GB']:.2f} GB" for n, f in figures.items() if isinstance(f, dict) and f["peak GB"] >= LIMIT
    ]
    note = (
        f"{sizes['stations']:,} stations x {sizes['hours']:,} hours x 6 pollutants, a third missing in gaps. Window "
        f"and horizon are 24; `max_memory` is {MEMORY} MB. Defaults otherwise. An epoch on every {EVERY}th window. "
        f"Hours of two processes follow from their speed-up of {faster} on a smaller panel (scale_processes)."
    )
    return Findings("A record of world size", lines, figures, note, missed)


def spent(found):
    return {"peak GB": found["peak"] / 1e9, "seconds": found["cpu"]}
