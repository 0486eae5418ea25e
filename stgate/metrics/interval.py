"""Scores of prediction intervals."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from stgate.metrics.arrays import applied, check_level
from stgate.metrics.reduce import Groups, Values, Weights, average

BOUNDS = ("observation", "lower", "upper")
"""Names of the arguments, for messages."""


def coverage(
    observation: Values, lower: Values, upper: Values, *, by: Groups | None = None, weights: Weights = None
) -> Values:
    """Indicator of coverage: 1 where lower <= observation <= upper, else 0; NaN where one of the three is missing.

    A plain comparison would count a missing observation as a miss. The mean is the coverage: `by=()` averages over all.

    Args:
        observation: Truth, any shape.
        lower: Lower bound of the interval, broadcast against the truth.
        upper: Upper bound of the interval, broadcast against the truth.
        by: Dims (axes of an array) to keep; all others are averaged over. None returns one score a forecast.
        weights: Weights of the scores, not negative, broadcast against them; None weighs all equally.

    Returns:
        One value a forecast, or the share of observations covered, over `by`.

    >>> coverage(np.array([1.0, 5.0, np.nan]), np.zeros(3), np.full(3, 2.0))
    array([ 1.,  0., nan])
    """

    def inside(y: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
        # NaN in any of the three makes `gap` NaN, where a plain comparison would be false.
        gap = np.maximum(low - y, y - high)
        return np.where(np.isnan(gap), np.nan, gap <= 0)

    covered = applied(inside, observation, lower, upper, names=BOUNDS)
    return average(cast(Values, covered), by, weights)


def interval_width(
    observation: Values, lower: Values, upper: Values, *, by: Groups | None = None, weights: Weights = None
) -> Values:
    """Width of the interval where there is an observation, NaN elsewhere: for the observations that `coverage` counts.

    Args:
        observation: Truth, any shape; where it is missing the width is NaN.
        lower: Lower bound of the interval, broadcast against the truth.
        upper: Upper bound of the interval, broadcast against the truth.
        by: Dims (axes of an array) to keep; all others are averaged over. None returns one score a forecast.
        weights: Weights of the scores, not negative, broadcast against them; None weighs all equally.

    Returns:
        One width a forecast, or the mean width over `by`, in the target's units.

    >>> interval_width(np.array([1.0, np.nan]), np.zeros(2), np.full(2, 2.0))
    array([ 2., nan])
    """
    width = applied(lambda y, low, high: high - low + 0.0 * y, observation, lower, upper, names=BOUNDS)
    return average(cast(Values, width), by, weights)


def interval_score(
    observation: Values,
    lower: Values,
    upper: Values,
    *,
    level: float,
    by: Groups | None = None,
    weights: Weights = None,
) -> Values:
    """Interval (Winkler) score of a central interval: width plus 2 / (1 - level) times the miss.

    Args:
        observation: Truth, any shape.
        lower: The (1 - level) / 2 quantile.
        upper: The (1 + level) / 2 quantile.
        level: The interval's nominal coverage, in (0, 1).
        by: Dims (axes of an array) to keep; all others are averaged over. None returns one score a forecast.
        weights: Weights of the scores, not negative, broadcast against them; None weighs all equally.

    Returns:
        One score a forecast, or over `by`, in the target's units; smaller is better; NaN where the truth is missing.

    Raises:
        RequestError: The level is not between 0 and 1.

    References:
        Gneiting and Raftery (2007), Strictly proper scoring rules. doi:10.1198/016214506000001437

    >>> interval_score(np.array([3.0]), np.array([0.0]), np.array([2.0]), level=0.9)
    array([22.])
    """
    check_level(level, "level")
    penalty = 2 / (1 - level)

    def winkler(y: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(high - low + penalty * (np.maximum(low - y, 0) + np.maximum(y - high, 0)))

    score = applied(winkler, observation, lower, upper, names=BOUNDS)
    return average(cast(Values, score), by, weights)
