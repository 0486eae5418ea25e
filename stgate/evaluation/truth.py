"""Truth of forecasts, taken from a panel at their valid times."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from stgate.errors import RequestError
from stgate.schema.panel import at
from stgate.schema.units import check_unit, conversion


@dataclasses.dataclass(frozen=True, eq=False)
class Lookup:
    """Observed values and their places in a forecast; the values may lie in a store.

    Attributes:
        truth: Observed values over `time` and `node`, and over `member` where it has that dim, without coordinates.
        rows: Row of each valid time, (init_time, lead_time); -1 where there is none.
        places: Number of each node or member of the forecast among those of the truth, by dim; -1 where there is none.
        factors: Slope and offset to the unit of the forecast.
    """

    truth: xr.DataArray
    rows: NDArray[np.int64]
    places: dict[str, NDArray[np.int64]]
    factors: tuple[float, float]

    @property
    def dims(self) -> tuple[str, ...]:
        """Dims of what is read."""
        return (*(dim for dim in self.places if dim == "member"), "init_time", "lead_time", "node")

    def read(self, origins: slice) -> NDArray[np.floating]:
        """Read the observed values of some origins, over `dims`; NaN where unknown.

        Args:
            origins: The origins, by their numbers.
        """
        rows = self.rows[origins]
        known = rows[rows >= 0]
        first, end = (int(known.min()), int(known.max()) + 1) if known.size else (0, 1)
        order = (*self.dims[:-3], "time", "node")
        values = self.truth.variable.isel(time=slice(first, end)).transpose(*order).values
        values = values if values.dtype.kind == "f" else values.astype("float64")
        for axis, index in ((-2, np.where(rows >= 0, rows - first, -1)), *self._axes()):
            if index.ndim > 1 or not np.array_equal(index, np.arange(values.shape[axis])):
                missing = np.expand_dims(index < 0, tuple(range(index.ndim, index.ndim - axis - 1)))
                values = np.where(missing, np.nan, np.take(values, np.maximum(index, 0), axis)).astype(values.dtype)
        slope, offset = self.factors
        return values if self.factors == (1.0, 0.0) else values.astype("float64") * slope + offset

    def _axes(self) -> list[tuple[int, NDArray[np.int64]]]:
        """Return the axes that are looked up after that of time, counted from the last."""
        return [({"node": -1, "member": -4}[dim], index) for dim, index in self.places.items()]


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
    found = lookup(forecast, name, truth)
    return forecast.assign({f"{name}_truth": (found.dims, found.read(slice(None)), found.truth.attrs)})


def lookup(forecast: xr.Dataset, name: str, truth: xr.DataArray) -> Lookup:
    """Find the places of observed values in a forecast; no value is read.

    Args:
        forecast: A forecast.
        name: The target's name.
        truth: Observed values, as `with_truth` takes them.

    Raises:
        RequestError: The truth does not fit the forecast, as for `with_truth`.
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
    wanted = str(forecast[name].attrs.get("units", "")) if name in forecast else ""
    factors = conversion(truth, wanted, f"truth `{name}`")
    valid = forecast["valid_time"]
    if truth["time"].dtype.kind != valid.dtype.kind:
        kinds = ["calendar" if dtype.kind == "M" else "model" for dtype in (valid.dtype, truth["time"].dtype)]
        raise RequestError(f"truth: the forecast has {kinds[0]} time, the truth has {kinds[1]} time")
    if valid.dtype.kind != "M":
        check_unit(truth["time"], _time_unit(forecast), "truth `time`")
    rows = _rows(truth.get_index("time"), valid)
    labels = {dim: forecast.get_index(dim) if dim in forecast.dims else pd.Index([]) for dim in ("node", "member")}
    places = {dim: truth.get_index(dim).get_indexer(index) for dim, index in labels.items() if dim in truth.dims}
    for dim in truth.dims:
        if not ((rows if dim == "time" else places[str(dim)]) >= 0).any():
            raise RequestError(f"truth: no {dim} in common with the forecast; give the truth of the same panel")
    attrs = truth.attrs if not wanted or not truth.attrs.get("units") else truth.attrs | {"units": wanted}
    return Lookup(truth.drop_vars(list(truth.coords)).assign_attrs(attrs), rows, places, factors)


def _rows(times: pd.Index[Any], valid: xr.DataArray) -> NDArray[np.int64]:
    """Return the row of each valid time, (init_time, lead_time), -1 where there is none."""
    order = np.argsort(times, kind="stable")
    held, asked = times[order], pd.Index(valid.values.ravel())
    if valid.dtype.kind == "f":  # model times are sums of steps, which round differently
        apart = float(np.diff(np.unique(held), prepend=held[0] - 1.0)[-1])
        found = held.get_indexer(asked, method="nearest", tolerance=1e-3 * apart)
    else:
        found = held.get_indexer(asked)
    rows = xr.Variable(valid.dims, np.where(found >= 0, order[found], -1).reshape(valid.shape))
    return np.asarray(rows.transpose("init_time", "lead_time").values)


def _time_unit(forecast: xr.Dataset) -> str:
    """Return the unit of model time of a forecast; empty if it is not known."""
    held = (str(forecast[name].attrs.get("units", "")) for name in ("init_time", "lead_time"))
    return next((unit for unit in held if unit and unit != "1"), "")
