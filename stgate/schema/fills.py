"""Marks of missing values that were not masked: values by which files fill gaps, far from all others."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stgate.errors import PanelError, PanelWarning

SIZES = (
    *(1e15, 1e20, 1e30, 1e34, 1e35, 1e36, 9.969209968386869e36, 3.4028234663852886e38, 1.7976931348623157e308),
    *(99.9, 999.0, 999.9, 9999.0, 9999.9, 99999.0, 999999.0, 32767.0, 32768.0, 65535.0, 2147483647.0, 2147483648.0),
    *(9.223372036854775807e18, 1.8446744073709551615e19),
)
"""Sizes of values that mark missing ones: defaults of netCDF and GRIB, of climate models, stations and integers."""
FAR = 10.0
"""A mark lies farther from all other values than so many times their range."""
SURE = 1e15
"""From this size on a mark is refused; smaller ones are warned of."""


def marks_of(values: NDArray[np.floating[Any]]) -> dict[float, int]:
    """Return the marks of missing values that seem to be among values, with their counts.

    Args:
        values: Values, any shape, NaN where missing.

    >>> marks_of(np.array([1.0, 2.0, -9999.0, 1e20, 3.0])), marks_of(np.array([1.0, 800.0, 999.0]))
    ({1e+20: 1, -9999.0: 1}, {})
    """
    found: dict[float, int] = {}
    known = np.array(SIZES).clip(max=float(np.finfo(values.dtype).max)).astype(values.dtype)
    rest = values[np.isfinite(values)]
    for ends in (np.max, np.min, np.max, np.min):
        if not rest.size or np.abs(extreme := ends(rest)) not in known:
            continue
        others = rest[rest != extreme]
        if not others.size:
            continue
        low, high = float(others.min()), float(others.max())
        gap = min(abs(float(extreme) - low), abs(float(extreme) - high))
        if gap > FAR * max(high - low, abs(low), abs(high), 1e-6):
            found[float(str(extreme))] = rest.size - others.size
            rest = others
    return found


def check_marks(name: str, values: NDArray[np.floating[Any]]) -> None:
    """Refuse, or for smaller ones warn of, values of a panel that seem to mark missing ones.

    Args:
        name: The variable's name.
        values: Its values, NaN where missing.

    Raises:
        PanelError: There is one of at least 1e15; the message says how to make it missing.
    """
    for mark, count in marks_of(values).items():
        code = f"panel.assign({{{name!r}: panel[{name!r}].where(panel[{name!r}] != {mark!r})}})"
        message = (
            f"`{name}`: {mark:.10g} at {count:,} entries, far from all others, seems to mark missing values; make them "
            f"missing (a table: --missing {mark:.10g}) with {code}"
        )
        if abs(mark) >= SURE:
            raise PanelError(message)
        warnings.warn(message, PanelWarning, stacklevel=3)
