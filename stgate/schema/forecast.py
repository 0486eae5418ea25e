"""The forecast, what comes out: its schema and its check.

A forecast is an `xarray.Dataset` over `init_time`, `lead_time`, `node` (and `member` when the panel has it). A target
`y` has `y` over `quantile`, `y_mean`, and `y_truth` where the verifying value is known.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from stgate.errors import ForecastError, RequestError

PARTS = {
    "aleatoric": "standard deviation within the members: what more data would not take away",
    "epistemic": "standard deviation of the members' means: what they disagree about",
}
"""Parts of the spread of a forecast of several members, `<target>_<part>`, and what they are."""


def quantiles_of(levels: Sequence[float] | float) -> list[float]:
    """The quantiles that bound central intervals of these levels, with the median, rounded to 6 decimals.

    >>> quantiles_of([0.5, 0.9])
    [0.05, 0.25, 0.5, 0.75, 0.95]

    Raises:
        RequestError: A level is not between 0 and 1.
    """
    levels = [levels] if isinstance(levels, int | float) else levels
    for level in levels:
        if not 1e-6 <= level <= 1 - 2e-6:
            raise RequestError(f"level {level:g}: a central interval's level lies between 0 and 1, such as 0.9")
    return sorted({round(q, 6) for level in levels for q in ((1 - level) / 2, (1 + level) / 2)} | {0.5})


def levels_of(quantiles: Sequence[float]) -> list[float]:
    """The central levels whose two bounds are both among the quantiles, ascending.

    >>> levels_of([0.05, 0.25, 0.5, 0.75, 0.95])
    [0.5, 0.9]
    """
    have = {round(float(q), 6) for q in quantiles}
    return sorted(round(2 * q - 1, 6) for q in have if q > 0.5 and round(1 - q, 6) in have)


def targets_of(forecast: xr.Dataset) -> list[str]:
    """Names of the forecast quantities: the variables over `quantile`."""
    return [str(name) for name, variable in forecast.data_vars.items() if "quantile" in variable.dims]


def check_forecast(forecast: xr.Dataset) -> None:
    """Check a forecast against the schema; silent when it holds.

    Raises:
        ForecastError: With one line that names the variable and what is wrong.
    """
    if not isinstance(forecast, xr.Dataset):
        raise ForecastError(f"a forecast is an xarray.Dataset, got {type(forecast).__name__}")
    for dim in ("init_time", "lead_time", "node", "quantile"):
        if dim not in forecast.dims or dim not in forecast.coords:
            raise ForecastError(
                f"`{dim}`: not among the forecast's dimensions; is this a panel (see `stgate backtest`), or was it "
                f"selected without a list (isel({dim}=[0]) keeps it)?"
            )
    if "valid_time" not in forecast.coords:
        raise ForecastError("`valid_time`: missing; a forecast carries valid_time(init_time, lead_time)")
    targets = targets_of(forecast)
    if not targets:
        raise ForecastError("the forecast has no variable over `quantile`")
    if not (np.diff(forecast["quantile"].values) > 0).all():
        raise ForecastError("`quantile`: not increasing; sort with forecast.sortby('quantile')")
    for name in targets:
        values = forecast[name].transpose(..., "quantile").values
        with np.errstate(invalid="ignore"):  # inf - inf: two infinite bounds do not cross
            crossed = np.diff(values, axis=-1) < 0
        if crossed.any():
            raise ForecastError(f"`{name}`: quantiles cross at {int(crossed.any(-1).sum())} places; sort them")
        truth = f"{name}_truth"
        if truth in forecast and "quantile" in forecast[truth].dims:
            raise ForecastError(f"`{truth}`: the truth has no quantiles; drop the dimension")


def as_forecast(result: xr.Dataset) -> xr.Dataset:
    """A reconstruction, over `time` and `node`, as a forecast of lead zero; a forecast as it is."""
    if not isinstance(result, xr.Dataset) or "time" not in result.dims or "quantile" not in result.dims:
        return result
    none = np.timedelta64(0, "ns") if result["time"].dtype.kind == "M" else 0.0
    made = result.rename(time="init_time").expand_dims(lead_time=[none])
    return made.assign_coords(valid_time=made["init_time"] + made["lead_time"]).transpose(..., "quantile")


def interval(forecast: xr.Dataset, name: str, level: float) -> tuple[xr.DataArray, xr.DataArray]:
    """Lower and upper bound of the central interval of `level`.

    Raises:
        RequestError: The forecast does not hold these quantiles.
    """
    held = levels_of(forecast["quantile"].values.tolist())
    if not any(abs(level - have) < 1e-6 for have in held):
        raise RequestError(f"level {level:g}: not in this forecast, which holds {', '.join(f'{h:g}' for h in held)}")
    bounds = [
        forecast[name].sel(quantile=q, method="nearest", tolerance=1e-6) for q in ((1 - level) / 2, (1 + level) / 2)
    ]
    return bounds[0].drop_vars("quantile"), bounds[1].drop_vars("quantile")


def median(forecast: xr.Dataset, name: str) -> xr.DataArray:
    """The 0.5 quantile.

    Raises:
        ForecastError: The forecast does not hold it.
    """
    if not np.isclose(forecast["quantile"].values, 0.5, atol=1e-6).any():
        raise ForecastError("`quantile`: the forecast holds no median, the quantile 0.5")
    return forecast[name].sel(quantile=0.5, method="nearest", tolerance=1e-6).drop_vars("quantile")


def lead_unit(leads: np.ndarray) -> tuple[str, np.timedelta64]:
    """The unit in which people read lead times (timedelta64): minutes up to two hours, days beyond five, else hours."""
    longest = np.max(leads)
    if longest <= np.timedelta64(2, "h") and np.min(leads) < np.timedelta64(1, "h"):
        return "minutes", np.timedelta64(1, "m")
    return ("days", np.timedelta64(1, "D")) if longest > np.timedelta64(5, "D") else ("hours", np.timedelta64(1, "h"))
