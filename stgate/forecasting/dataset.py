"""Assembly of a dataset of the forecast schema from batches of predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from stgate._version import __version__
from stgate.prediction.intervals import Calibration
from stgate.prediction.prediction import Prediction
from stgate.prediction.predictor import Predictor
from stgate.schema.forecast import PARTS


def assemble(
    model: Predictor, panel: xr.Dataset, predictions: Sequence[Prediction], quantiles: Sequence[float]
) -> xr.Dataset:
    """Put predictions, in any order, on the grid of their origins; NaN where a member lacks an origin.

    Args:
        model: The predictor that made the predictions.
        panel: The panel of the predictions, long enough to hold every valid time.
        predictions: One prediction for each batch.
        quantiles: Quantile levels of the predictions, ascending.

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
            f"{name}_{part}": (dims, stddev[..., i], {**attrs, "long_name": PARTS[part]})
            for part, stddev in parts.items()
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
        **times_of(model, panel, rows),
        "quantile": ("quantile", list(quantiles)),
    }
    result = xr.Dataset(variables, coords, {**attributes_of(model, "forecast", model.calibration), **_kept(panel)})
    return result if "member" in panel.dims else result.isel(member=0, drop=True)


def join(predictions: Sequence[Prediction]) -> dict[str, NDArray[Any]]:
    """Join batches of predictions into one array for each name."""
    parts = [cast(dict[str, Tensor], prediction) for prediction in predictions]
    return {name: torch.cat([part[name] for part in parts]).cpu().numpy() for name in parts[0]}


def times_of(model: Predictor, panel: xr.Dataset, rows: NDArray[np.int64]) -> dict[str, Any]:
    """Return the coordinates of time of forecasts: origins, lead times and valid times.

    Args:
        model: The predictor.
        panel: The panel, long enough to hold every valid time.
        rows: Rows of the origins.
    """
    spec, times = model.fitted_spec, panel["time"].values
    leads = np.arange(1, spec.horizon + 1)
    attrs = {"long_name": "time since the origin", "standard_name": "forecast_period"}
    if spec.time == "model":
        attrs["units"] = spec.time_units or "1"
    elif spec.months:  # no timedelta64 of nanoseconds is a month long
        attrs["units"] = "months"
    return {
        "init_time": ("init_time", times[rows], {"standard_name": "forecast_reference_time"}),
        "lead_time": ("lead_time", leads * (spec.months or spec.time_step), attrs),
        "valid_time": (("init_time", "lead_time"), times[rows[:, None] + leads], {"standard_name": "time"}),
    }


def _sigmas(model: Predictor, panel: xr.Dataset) -> dict[str, Any]:
    """Return the nodes' standard deviations in training, the unit of chaotic scores; none for other nodes."""
    if list(model.fitted_spec.nodes) != panel["node"].values.tolist():
        return {}
    scales = model.scaler.node_scale.cpu().numpy()
    attrs = {"long_name": "training standard deviation"}
    return {f"{name}_sigma": ("node", scales[:, i], attrs) for i, name in enumerate(model.fitted_spec.targets)}


def attributes_of(
    model: Predictor, what: Literal["forecast", "reconstruction"], calibration: Calibration | None = None
) -> dict[str, str]:
    """Return the attributes of a forecast or reconstruction: the forecaster that made it, and its calibration.

    Args:
        model: The predictor that made it.
        what: `forecast` or `reconstruction`.
        calibration: The calibration of its intervals; None if there is none.
    """
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
    names = ("boundary", "system", "lyapunov_exponent", "valid_ground_truth_time")
    return {name: panel.attrs[name] for name in names if name in panel.attrs}
