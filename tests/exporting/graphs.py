"""What tests of graphs repeat: windows of a panel as inputs, and a process without torch that runs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
import xarray as xr

import stgate

HERE = Path(__file__).parent
CHECKPOINTS = HERE.parent / "checkpoints"
LEVELS = (0.5, 0.8)
"""Levels that the kept checkpoints are calibrated for."""


def seconds(times) -> np.ndarray:
    return times.astype("datetime64[us]").astype("int64") / 1e6 if times.dtype.kind == "M" else times.astype("float64")


def inputs_of(spec, panel: xr.Dataset, rows, *, since=False, static=False) -> dict[str, np.ndarray]:
    """Windows that end in some rows of a panel, as the graph takes them."""
    values = np.stack([panel[name].transpose("time", "node").values for name in spec.channels], -1).astype("float32")
    windows = [slice(row - spec.window + 1, row + 1) for row in rows]
    made = {"past": np.stack([values[w] for w in windows]), "time": seconds(panel["time"].values)[rows]}
    if spec.future_covariates:
        first = len(spec.channels) - len(spec.future_covariates)
        made["future"] = np.stack([values[row + 1 : row + 1 + spec.horizon, :, first:] for row in rows])
    if since:
        targets = torch.from_numpy(values[None, ..., : len(spec.targets)])
        counted = stgate.data.windows.steps_since_observed(targets)[0].numpy()
        made["since"] = np.stack([counted[w.start - 1] for w in windows])
    if static:
        made["static"] = np.stack([panel[n].values for n in spec.static_covariates], -1).astype("float32")
    return made


def served(path: Path, given: dict[str, np.ndarray], folder: Path) -> dict[str, np.ndarray]:
    """Outputs of a graph, run by a process without torch."""
    np.savez(folder / "in.npz", **given)
    arguments = [HERE / "runner.py", path, folder / "in.npz", folder / "out.npz"]
    subprocess.run([sys.executable, *map(str, arguments)], check=True, timeout=120, capture_output=True)
    return dict(np.load(folder / "out.npz"))


def expected(model, panel: xr.Dataset, row: int, levels=LEVELS) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles and means of `stgate.forecast` from a row: (lead, node, target, quantile) and (lead, node, target)."""
    start = panel["time"].values[row + 1]
    made = stgate.forecast(model, panel, start=start, levels=levels).isel(init_time=0)
    targets = stgate.load(model).fitted_spec.targets if isinstance(model, Path) else model.fitted_spec.targets
    quantiles = np.stack([made[name].transpose("lead_time", "node", "quantile").values for name in targets], 2)
    return quantiles, np.stack([made[f"{name}_mean"].transpose("lead_time", "node").values for name in targets], -1)


def same_numbers(model, found: dict[str, np.ndarray], number: int, wanted) -> None:
    """Compare a window's outputs with the forecast, in units of the targets' standard deviation."""
    scale = model.scaler.target_scale.numpy()
    quantiles, mean = wanted
    np.testing.assert_allclose(
        found["quantiles"][number] / scale[:, None], quantiles / scale[:, None], rtol=0, atol=1e-4
    )
    np.testing.assert_allclose(found["mean"][number] / scale, mean / scale, rtol=0, atol=1e-4)
