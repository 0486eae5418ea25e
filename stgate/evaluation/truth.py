"""Truth of forecasts, taken from a panel at their valid times."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from stgate.errors import RequestError
from stgate.schema.panel import at
from stgate.schema.units import check_unit, in_units


def with_truth(forecast: xr.Dataset, name: str, truth: xr.DataArray) -> xr.Dataset:
    """Add observed values to a forecast as its truth, in the place of any truth that it has.

    Args:
        forecast: A forecast.
        name: The target's name.
        truth: Observed values over `time` and `node`, and over `member` where the forecast's members are different
            trajectories; NaN where unknown.

    Returns:
        The forecast with `<target>_truth`: the observed values at its valid times and nodes, in the unit of the
        forecast.

    Raises:
        RequestError: `truth` has other dims, another kind of time, a time or node twice, or units that cannot be
            converted, or no time or node in common with the forecast.
    """
    if not isinstance(truth, xr.DataArray) or not {"time", "node"} <= set(truth.dims) <= {"time", "node", "member"}:
        got = tuple(truth.dims) if isinstance(truth, xr.DataArray) else type(truth).__name__
        raise RequestError(f"truth: must be a variable of a panel, over time and node; got {got}")
    for axis in ("time", "node"):
        if (index := truth.get_index(axis)).has_duplicates:
            raise RequestError(
                f"truth: the {axis} {at(index[index.duplicated()][0])} appears twice; keep one with "
                f"truth.drop_duplicates({axis!r})"
            )
    truth = in_units(truth, str(forecast[name].attrs.get("units", "")) if name in forecast else "", f"truth `{name}`")
    valid = forecast["valid_time"]
    if truth["time"].dtype.kind != valid.dtype.kind:
        kinds = ["calendar" if dtype.kind == "M" else "model" for dtype in (valid.dtype, truth["time"].dtype)]
        raise RequestError(f"truth: the forecast has {kinds[0]} time, the truth has {kinds[1]} time")
    if valid.dtype.kind != "M":
        check_unit(truth["time"], _time_unit(forecast), "truth `time`")
    truth = truth.drop_vars([key for key in truth.coords if key not in truth.dims]).sortby("time")
    times, asked = truth.get_index("time"), pd.Index(valid.values.ravel())
    if valid.dtype.kind == "f":  # model times are sums of steps, which round differently
        apart = float(np.diff(np.unique(times), prepend=times[0] - 1.0)[-1])
        rows = times.get_indexer(asked, method="nearest", tolerance=1e-3 * apart)
    else:
        rows = times.get_indexer(asked)
    for dim in truth.dims:
        held = rows >= 0 if dim == "time" else np.isin(truth[dim], forecast[dim] if dim in forecast.dims else [])
        if not held.any():
            raise RequestError(f"truth: no {dim} in common with the forecast; give the truth of the same panel")
    truth = truth.reindex({dim: forecast[dim] for dim in truth.dims if dim != "time"})
    places = xr.DataArray(rows.reshape(valid.shape), dims=valid.dims)
    found = truth.isel(time=places).drop_vars("time").where(places >= 0)
    return forecast.assign({f"{name}_truth": found.assign_attrs(truth.attrs)})


def _time_unit(forecast: xr.Dataset) -> str:
    """Return the unit of model time of a forecast; empty if it is not known."""
    held = (str(forecast[name].attrs.get("units", "")) for name in ("init_time", "lead_time"))
    return next((unit for unit in held if unit and unit != "1"), "")
