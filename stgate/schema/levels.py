"""Levels of central intervals, and the quantiles that bound them. Commands check them first: it imports no numpy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from stgate.errors import RequestError, check_number


def as_levels(levels: Any) -> list[float]:  # noqa: ANN401 (anything)
    """Return levels as a list, ascending, each once.

    Args:
        levels: One level or several.

    Raises:
        RequestError: One is no number.

    >>> as_levels((0.9, 0.5, 0.9)), as_levels(0.9)
    ([0.5, 0.9], [0.9])
    """
    given = [levels] if isinstance(levels, str) or not isinstance(levels, Iterable) else list(levels)
    for level in given:
        check_number("level", level)
    return sorted({float(level) for level in given})


def quantiles_of(levels: Sequence[float] | float) -> list[float]:
    """Return the quantiles that bound the central intervals of some levels, with the median, rounded to 6 decimals.

    Args:
        levels: One level or several, each between 0 and 1: 0.9 is the interval from the 5 % to the 95 % quantile.

    Returns:
        Quantiles, ascending.

    Raises:
        RequestError: A level is not between 0 and 1.

    >>> quantiles_of([0.5, 0.9])
    [0.05, 0.25, 0.5, 0.75, 0.95]
    """
    levels = as_levels(levels)
    for level in levels:
        if not 1e-6 <= level <= 1 - 2e-6:
            raise RequestError(f"level {level:g}: must lie between 0 and 1, such as 0.9")
    return sorted({round(q, 6) for level in levels for q in ((1 - level) / 2, (1 + level) / 2)} | {0.5})


def levels_of(quantiles: Sequence[float]) -> list[float]:
    """Return the levels of the central intervals whose two bounds are among the quantiles, ascending.

    >>> levels_of([0.05, 0.25, 0.5, 0.75, 0.95])
    [0.5, 0.9]
    """
    have = {round(float(q), 6) for q in quantiles}
    return sorted(round(2 * q - 1, 6) for q in have if q > 0.5 and round(1 - q, 6) in have)
