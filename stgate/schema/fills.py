"""Marks of missing values that were not masked: values by which files fill gaps, far from all others."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stgate.errors import PanelError, PanelWarning

NINES = tuple(float(f"{'9' * whole}.{'9' * part or '0'}") for whole in range(2, 7) for part in range(4))
SIZES = (
    *NINES,
    *(1e10, 1e15, 1e20, 1e30, 1e31, 1e33, 1e34, 1e35, 1e36),
    *(9.969209968386869e36, 3.4028234663852886e38, 1.7976931348623157e308),
    *(6999.0, 7777.0, 8888.0, 77777.0, 88888.0),
    *(32767.0, 32768.0, 65535.0, 2147483647.0, 2147483648.0, 9.223372036854775807e18, 1.8446744073709551615e19),
)
"""Sizes of values that mark missing ones: defaults of netCDF and GRIB, of climate models, stations and integers."""
FAR = 10.0
"""A mark lies farther from all other values than so many times their range."""
SURE = 1e15
"""From this size on a mark is refused; smaller ones are warned of."""
LARGE = 1e8
"""Values of at least `SURE` mark missing ones, whatever they are, if they are so many times larger than all others."""
MOST = 8
"""Largest number of different marks on one side; more are values."""
NOTABLE = (-999.0, 999.0)
"""From these sizes on marks count that are not so far from all others as others must be."""
MANY = 24
"""Number of other values from which on their range is known."""


def marks_of(values: NDArray[np.floating[Any]]) -> dict[float, int]:
    """Return the marks of missing values that seem to be among values, with their counts.

    Args:
        values: Values, any shape, NaN where missing.

    >>> marks_of(np.array([1.0, 2.0, -9999.0, 1e20, 3.0])), marks_of(np.array([1.0, 800.0, 999.0]))
    ({1e+20: 1, -9999.0: 1}, {})
    """
    largest = float(np.finfo(values.dtype).max)
    known = np.array(SIZES).clip(max=largest).astype(values.dtype)
    rest = values[np.isfinite(values)]
    taken: dict[float, int] = {}
    for end in (np.max, np.min):
        for _ in range(MOST):
            if not rest.size or not _may_mark(extreme := end(rest), known):
                break
            others = rest[rest != extreme]
            taken[float(str(extreme))] = rest.size - others.size
            rest = others
    return {mark: count for mark, count in taken.items() if _far(mark, rest)}


def _may_mark(value: np.floating[Any], known: NDArray[np.floating[Any]]) -> bool:
    """Tell if a value is a known mark; large ones may be written with few digits, or be others."""
    return abs(float(value)) >= SURE or bool(abs(value) in known)


def _far(mark: float, others: NDArray[np.floating[Any]]) -> bool:
    """Tell if a mark lies far from all other values; less far if it alone is negative, or if these are many."""
    if not others.size:
        return False
    low, high = float(others.min()), float(others.max())
    size, gap, width = max(abs(low), abs(high)), min(abs(mark - low), abs(mark - high)), max(high - low, 1e-6)
    if abs(mark) >= SURE and not np.isclose(abs(mark), SIZES, rtol=1e-4).any():
        return 0 < LARGE * size < gap
    if mark <= NOTABLE[0] and low >= 0:
        return True
    return gap > FAR * max(width, size) or (
        others.size >= MANY and abs(mark) >= NOTABLE[1] and gap > FAR * width and abs(mark) > 2 * size
    )


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
