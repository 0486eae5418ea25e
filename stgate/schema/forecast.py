"""The forecast, the package's output: its schema and its check.

A forecast is an `xarray.Dataset` over `init_time`, `lead_time`, `node` (and `member` when the panel has it). A target
`y` has `y` over `quantile`, `y_mean`, and `y_truth` where the verifying value is known. `lead_time` is a timedelta64, a
number in model time, or a whole number of months (attribute `units`) where the panel's steps are calendar months;
`valid_time` (init_time, lead_time) is the time itself.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from stgate.errors import ForecastError, RequestError
from stgate.schema.levels import as_levels as as_levels
from stgate.schema.levels import levels_of as levels_of
from stgate.schema.levels import quantiles_of as quantiles_of

PARTS = {
    "aleatoric": "standard deviation within the members: uncertainty that more data would not reduce",
    "epistemic": "standard deviation of the members' means: their disagreement",
}
"""Parts of the standard deviation of a forecast of several members, `<target>_<part>`, and their descriptions."""


def targets_of(forecast: xr.Dataset) -> list[str]:
    """Return the names of the forecast targets: the variables over `quantile`."""
    return [str(name) for name, variable in forecast.data_vars.items() if "quantile" in variable.dims]


def check_forecast(forecast: xr.Dataset) -> None:
    """Check a forecast against the schema; do nothing when it holds.

    Args:
        forecast: The dataset to check.

    Raises:
        ForecastError: The forecast breaks the schema; the message names the variable and the error.
    """
    check_layout(forecast)
    for name in targets_of(forecast):
        values = forecast[name].transpose(..., "quantile").values
        with np.errstate(invalid="ignore"):  # inf - inf: two infinite bounds do not cross
            crossed = np.diff(values, axis=-1) < 0
        if crossed.any():
            raise ForecastError(f"`{name}`: quantiles cross at {int(crossed.any(-1).sum())} places; sort them")


def check_layout(forecast: xr.Dataset) -> None:
    """Check the dimensions and coordinates of a forecast, but none of its values.

    Args:
        forecast: The dataset to check.

    Raises:
        ForecastError: The forecast breaks the schema; the message names the variable and the error.
    """
    if not isinstance(forecast, xr.Dataset):
        raise ForecastError(f"a forecast is an xarray.Dataset, got {type(forecast).__name__}")
    for dim in ("init_time", "lead_time", "node", "quantile"):
        if dim not in forecast.dims or dim not in forecast.coords:
            raise ForecastError(
                f"`{dim}`: not a dimension of this dataset; make a forecast of a panel with `stgate backtest`, "
                f"or keep the dimension when selecting one value, with isel({dim}=[0])"
            )
    if "valid_time" not in forecast.coords:
        raise ForecastError("`valid_time`: missing; a forecast carries valid_time(init_time, lead_time)")
    targets = targets_of(forecast)
    if not targets:
        raise ForecastError("the forecast has no variable over `quantile`")
    if not (np.diff(forecast["quantile"].values) > 0).all():
        raise ForecastError("`quantile`: not increasing; sort with forecast.sortby('quantile')")
    for name in targets:
        truth = f"{name}_truth"
        if truth in forecast and "quantile" in forecast[truth].dims:
            raise ForecastError(f"`{truth}`: the truth has no quantiles; drop the dimension")


def outline(forecast: xr.Dataset) -> xr.Dataset:
    """Replace the values of a forecast by zeros that take no memory; coordinates and attributes stay.

    Args:
        forecast: A forecast, whose values may lie in a store.

    Returns:
        The same dims, coordinates, types and attributes.
    """
    empty = {
        name: (variable.dims, np.broadcast_to(np.zeros((), variable.dtype), variable.shape), variable.attrs)
        for name, variable in forecast.data_vars.items()
    }
    return forecast.drop_vars(list(forecast.data_vars)).assign(empty)


def as_forecast(result: xr.Dataset) -> xr.Dataset:
    """Turn a reconstruction, over `time` and `node`, into a forecast of lead time zero; return a forecast unchanged."""
    if not isinstance(result, xr.Dataset) or "time" not in result.dims or "quantile" not in result.dims:
        return result
    none = np.timedelta64(0, "ns") if result["time"].dtype.kind == "M" else 0.0
    made = result.rename(time="init_time").expand_dims(lead_time=[none])
    return made.assign_coords(valid_time=made["init_time"] + made["lead_time"]).transpose(..., "quantile")


def interval(forecast: xr.Dataset, name: str, level: float) -> tuple[xr.DataArray, xr.DataArray]:
    """Return the lower and the upper bound of a central interval.

    Args:
        forecast: A forecast.
        name: The target's name.
        level: The interval's level, between 0 and 1.

    Returns:
        The two bounds, over the target's dims without `quantile`.

    Raises:
        RequestError: The forecast does not hold the interval's quantiles.
    """
    held = levels_of(forecast["quantile"].values.tolist())
    if not any(abs(level - have) < 1e-6 for have in held):
        raise RequestError(f"level {level:g}: not in this forecast, which holds {', '.join(f'{h:g}' for h in held)}")
    bounds = [
        forecast[name].sel(quantile=q, method="nearest", tolerance=1e-6) for q in ((1 - level) / 2, (1 + level) / 2)
    ]
    return bounds[0].drop_vars("quantile"), bounds[1].drop_vars("quantile")


def median(forecast: xr.Dataset, name: str) -> xr.DataArray:
    """Return the median, the 0.5 quantile.

    Args:
        forecast: A forecast.
        name: The target's name.

    Returns:
        The median, over the target's dims without `quantile`.

    Raises:
        ForecastError: The forecast does not hold the median.
    """
    if not np.isclose(forecast["quantile"].values, 0.5, atol=1e-6).any():
        raise ForecastError("`quantile`: the forecast holds no median, the quantile 0.5")
    return forecast[name].sel(quantile=0.5, method="nearest", tolerance=1e-6).drop_vars("quantile")


def in_months(leads: xr.DataArray) -> bool:
    """Return True if lead times count calendar months: whole numbers with the units `months`."""
    return leads.dtype.kind in "iu" and leads.attrs.get("units") == "months"


def lead_unit(leads: np.ndarray) -> tuple[str, np.timedelta64]:
    """Choose a unit for lead times: minutes up to two hours, days beyond five days, else hours.

    Args:
        leads: Lead times as timedelta64, shape (lead,).

    Returns:
        The unit's name and its length.
    """
    longest = np.max(leads)
    if longest <= np.timedelta64(2, "h") and np.min(leads) < np.timedelta64(1, "h"):
        return "minutes", np.timedelta64(1, "m")
    return ("days", np.timedelta64(1, "D")) if longest > np.timedelta64(5, "D") else ("hours", np.timedelta64(1, "h"))
