"""Exported graphs beside the forecasters that they were made of: differences, CPU time, file size.

Each forecaster of `bits` is fitted on a small panel and exported as ONNX. The difference is the largest one of any
quantile or mean of `windows` windows, in standard deviations of the target in training. CPU time is that of one call
with all of these windows, one thread, the median of rounds in turns.
"""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch

import stgate
from benchmarks.bits import LEVELS, fit, small_panel
from benchmarks.options import Findings, Options
from benchmarks.registry import benchmark
from benchmarks.tables import table
from benchmarks.timing import cpu_times
from stgate.data.history import History
from stgate.prediction.evaluating import evaluation_mode
from stgate.schema.forecast import quantiles_of

NAMES = ("persistence", "climatology", "ridge", "gated_rnn", "gated_transformer", "sth_sepnet")
QUICK = ("persistence", "ridge")
FIGURES = ("torch", "onnxruntime", "ratio", "export", "size")
BAR = 1e-4
"""Largest difference, in standard deviations."""


@benchmark(
    "export",
    claim="onnxruntime gives the quantiles of `stgate.forecast` to 1e-4 of a standard deviation",
    cost="5 minutes",
    quick="two forecasters",
)
def run(options: Options, *, only: list[str] | None = None, windows: int = 64):
    """Export forecasters, and run their graphs.

    Args:
        options: Options of all benchmarks.
        only: Names of the forecasters; those of NAMES when None.
        windows: Number of windows in a call.
    """
    panel, figures = small_panel(), {}
    for name in only or (QUICK if options.quick else NAMES):
        model = fit(name, panel).predictor.eval()
        figures[name] = compared(model, panel, windows, rounds=3 if options.quick else 15)
    heads = ["forecaster", "largest difference", "torch, ms", "onnxruntime, ms", "ratio", "export, s", "file, kB"]
    rows = [[f"`{name}`", f"{f['difference']:.1e}", *(f"{f[k]:.1f}" for k in FIGURES)] for name, f in figures.items()]
    missed = [f"{name}: {f['difference']:.1e} above {BAR:g}" for name, f in figures.items() if f["difference"] > BAR]
    return Findings("Exported graphs", table(heads, rows), figures, missed=missed)


def compared(model, panel, windows, rounds):
    """Figures of a forecaster: its graph and itself on the same windows."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        path = stgate.export(model, Path(folder) / "model.onnx", levels=LEVELS, panel=panel)
        spent, size = time.process_time() - started, path.stat().st_size / 1e3
        threads = ort.SessionOptions()
        threads.intra_op_num_threads, threads.log_severity_level = 1, 3
        session = ort.InferenceSession(str(path), threads)
    history = History.of(panel, model.fitted_spec, None)
    rows = np.linspace(model.fitted_spec.window, history.steps - 1, windows).astype(int)
    batch, quantiles = next(iter(history.batches(rows))), quantiles_of(LEVELS)
    window = model.fitted_spec.window
    given = {"past": batch["past"].numpy(), "time": batch["time"][:, window - 1].numpy()}
    given["since"] = history.series.since[0, rows[: len(given["past"])] - window].numpy()

    def by_torch():
        with evaluation_mode(model):
            return model.predict(batch, quantiles)

    def by_runtime():
        return session.run(["quantiles", "mean"], given)

    wanted, found, scale = by_torch(), by_runtime(), model.scaler.target_scale.numpy()
    apart = [
        np.nanmax(np.abs(found[0] - wanted["quantiles"].numpy()) / scale[:, None]),
        np.nanmax(np.abs(found[1] - wanted["mean"].numpy()) / scale),
    ]
    torch.set_num_threads(1)
    times = cpu_times({"torch": by_torch, "onnxruntime": by_runtime}, rounds)
    made = {name: 1e3 * statistics.median(seconds) for name, seconds in times.items()}
    ratio = made["onnxruntime"] / made["torch"]
    return {"difference": float(max(apart)), **made, "ratio": ratio, "export": spent, "size": size}
