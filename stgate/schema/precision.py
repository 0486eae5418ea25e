"""Precision: values whose digits float32 does not hold. Forecasters compute in float32."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stgate.errors import PanelError

SHARE = 0.01
"""Share of a typical change from row to row that rounding to float32 may reach."""
MOST = 2**22
"""Number of values of which a typical change is the median."""


def fits_float32(values: NDArray[np.floating], *, integers: bool = False) -> bool:
    """Tell if float32 holds values: integers exactly, others as written, or to a hundredth of a typical change.

    Args:
        values: Values, (…, time, node), NaN where missing.
        integers: Whether they were integers where they come from.

    >>> fits_float32(np.array([[0.1], [0.3]])), fits_float32(np.array([[1e8 + 0.1], [1e8 + 0.3]]))
    (True, False)
    """
    worst = rounding(values)
    if worst == 0 or integers:
        return worst == 0
    whole = (np.isnan(values) | (values == np.floor(values))).all()
    return (not whole and not worst > SHARE * typical_change(values)) or _as_written(values)


def _as_written(values: NDArray[np.floating]) -> bool:
    """Tell if values are the shortest decimals of their float32, as 101325.12 is: float32 holds all of their digits."""
    seen = values[np.isfinite(values)]
    return bool((seen.astype("float32").astype(str).astype("float64") == seen).all())


def rounding(values: NDArray[np.floating]) -> float:
    """Return the largest error of rounding to float32; infinite where a value is too large for it."""
    if values.dtype == np.float32 or not values.size:
        return 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        lost = np.abs(values - values.astype("float32"))
    lost = np.where(np.isnan(values) | np.isinf(values), 0.0, lost)
    return float(lost.max())


def typical_change(values: NDArray[np.floating]) -> float:
    """Return the median size of the changes from row to row that are not zero; NaN if there is none."""
    rows = max(MOST // max(values[..., :1, :].size, 1), 2)
    change = np.abs(np.diff(values[..., :rows, :], axis=-2))
    change = change[change > 0]
    return float(np.median(change)) if change.size else float("nan")


def check_precision(name: str, values: NDArray[np.floating]) -> None:
    """Refuse a variable whose digits float32 does not hold.

    Args:
        name: The variable's name.
        values: Its values, (…, time, node).

    Raises:
        PanelError: Float32 does not hold them; the message says what to forecast instead.
    """
    if values.dtype == np.float32 or (worst := rounding(values)) == 0:
        return
    change = typical_change(values)
    if not worst > SHARE * change or _as_written(values):
        return
    middle = float(np.nanmedian(values))
    if abs(middle) < 1e-30 or abs(middle) > 1e30:
        fix = f"change its units: panel[{name!r}] / {abs(middle):.0e}"
    else:
        fix = f"forecast panel[{name!r}] - {middle:.6g}, or its changes, panel[{name!r}].diff('time')"
    raise PanelError(
        f"`{name}`: values near {middle:.4g} change by {change:.2g} from step to step, which float32, in which "
        f"forecasters compute, rounds by up to {worst:.2g}; {fix}"
    )


def narrowed(values: NDArray[np.float64], *, integers: bool = False) -> NDArray[np.floating]:
    """Return values in float32 where it holds them (see `fits_float32`), else in float64."""
    return values.astype("float32") if fits_float32(values, integers=integers) else values
