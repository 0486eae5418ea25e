"""From batches of predictions to a dataset of the forecast schema."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from stgate._version import __version__
from stgate.prediction.intervals import Calibration
from stgate.prediction.predictor import Prediction, Predictor
from stgate.schema.forecast import PARTS


def assemble(
    model: Predictor, panel: xr.Dataset, predictions: Sequence[Prediction], quantiles: Sequence[float]
) -> xr.Dataset:
    """Put predictions, in any order, on the grid of their origins; an origin that a member lacks is missing there.

    Args:
        model: The forecaster that made them.
        panel: The panel they were made from, long enough to hold every valid time.
        predictions: One a batch.
        quantiles: Those of the predictions.

    Returns:
        A forecast, with `member` when the panel has it.
    """
    spec = model.fitted_spec
    panel = panel.drop_vars([name for name, coord in panel.coords.items() if not coord.dims])
    joined = join(predictions)
    members, origins = joined["origin"].T
    rows, columns = np.unique(origins, return_inverse=True)
    shape = (panel.sizes.get("member", 1), len(rows))

    def on_grid(key: str, missing: float, dtype: str) -> NDArray[Any]:
        values = np.full((*shape, *joined[key].shape[1:]), missing, dtype)
        values[members, columns] = joined[key]
        return values

    dims = ("member", "init_time", "lead_time", "node")
    values, mean, truth = (on_grid(key, np.nan, "float32") for key in ("quantiles", "mean", "truth"))
    parts = {part: on_grid(part, np.nan, "float32") for part in PARTS if part in joined}
    variables: dict[str, Any] = {}
    for i, name in enumerate(spec.targets):
        attrs = {"units": spec.units.get(name, "")}
        variables[name] = ((*dims, "quantile"), values[..., i, :], attrs)
        variables[f"{name}_mean"] = (dims, mean[..., i], attrs)
        variables[f"{name}_truth"] = (dims, truth[..., i], attrs)
        variables |= {
            f"{name}_{part}": (dims, spread[..., i], {**attrs, "long_name": PARTS[part]})
            for part, spread in parts.items()
        }
    since = on_grid("since", -1, "int32")
    coords: dict[Any, Any] = {
        "steps_since_observed": (
            ("member", "init_time", "node"),
            since,
            {"long_name": "steps since any target was observed, at the origin"},
        ),
        **{n: panel[n] for n in panel.coords if set(panel[n].dims) <= {"node", "member"}},
        **_sigmas(model, panel),
        **_times(model, panel, rows),
        "quantile": ("quantile", list(quantiles)),
    }
    result = xr.Dataset(variables, coords, {**attributes_of(model, "forecast", model.calibration), **_kept(panel)})
    return result if "member" in panel.dims else result.isel(member=0, drop=True)


def join(predictions: Sequence[Prediction]) -> dict[str, NDArray[Any]]:
    """Join the batches of a prediction into one array a name."""
    parts = [cast(dict[str, Tensor], prediction) for prediction in predictions]
    return {name: torch.cat([part[name] for part in parts]).cpu().numpy() for name in parts[0]}


def _times(model: Predictor, panel: xr.Dataset, rows: NDArray[np.int64]) -> dict[str, Any]:
    spec, times = model.fitted_spec, panel["time"].values
    leads = np.arange(1, spec.horizon + 1)
    attrs = {"long_name": "time since the origin", "standard_name": "forecast_period"}
    if spec.time == "model":
        attrs["units"] = spec.time_units or "1"
    return {
        "init_time": ("init_time", times[rows], {"standard_name": "forecast_reference_time"}),
        "lead_time": ("lead_time", leads * spec.time_step, attrs),
        "valid_time": (("init_time", "lead_time"), times[rows[:, None] + leads], {"standard_name": "time"}),
    }


def _sigmas(model: Predictor, panel: xr.Dataset) -> dict[str, Any]:
    """Each node's spread in the training data, what chaotic scores divide by; of a field at other places, none."""
    if list(model.fitted_spec.nodes) != panel["node"].values.tolist():
        return {}
    scales = model.scaler.node_scale.cpu().numpy()
    attrs = {"long_name": "training standard deviation"}
    return {f"{name}_sigma": ("node", scales[:, i], attrs) for i, name in enumerate(model.fitted_spec.targets)}


def attributes_of(model: Predictor, what: str, calibration: Calibration | None = None) -> dict[str, str]:
    """What a forecast or reconstruction says of the forecaster that made it, and of its calibration if it has any."""
    attrs = {
        "Conventions": "CF-1.11",
        "title": f"{model.name} {what} of {', '.join(model.fitted_spec.targets)}",
        "source": f"stgate {__version__}",
        "model": model.name,
        "inference": type(model.inference).__name__,
        "weights": model.fingerprint(),
        "calibration": "none" if calibration is None else calibration.method,
    }
    if model.seen is not None:
        attrs["trained_until"] = model.seen
    if calibration is not None:
        attrs["calibration_span"] = f"{calibration.start} to {calibration.end}"
        attrs["calibration_levels"] = ", ".join(f"{p:g}" for p in calibration.levels)
    return attrs


def _kept(panel: xr.Dataset) -> dict[str, Any]:
    told = ("boundary", "system", "lyapunov_exponent", "valid_ground_truth_time")
    return {key: panel.attrs[key] for key in told if key in panel.attrs}
