"""Probability integral transform and rank histogram: positions of observations within their forecasts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stgate.errors import check_counts
from stgate.metrics.arrays import applied, length
from stgate.metrics.reduce import Values


def pit(observation: Values, forecast: Values, *, dim: str = "sample", seed: int = 0) -> Values:
    """Probability integral transform of an ensemble, uniform on [0, 1] if the ensemble is calibrated.

    The observation's rank among the members, at random within the rank's cell. Where it equals members, it takes the
    cell of one of them at random.

    Args:
        observation: y, any shape; NaN gives NaN.
        forecast: Members, the last axis of an array or `dim` of a DataArray; a missing one gives NaN.
        dim: Name of the dim of a DataArray that holds the members.
        seed: Seed of the random draws.

    Returns:
        One value a forecast.

    References:
        Czado, Gneiting, Held (2009), Predictive model assessment for count data. doi:10.1111/j.1541-0420.2009.01191.x
    """
    check_counts(seed=(seed, 0))
    rng = np.random.default_rng(seed)

    def transform(y: NDArray[np.float64], members: NDArray[np.float64]) -> NDArray[np.float64]:
        below, ties = _places(y, members)
        return np.asarray((below + rng.random(below.shape) * (ties + 1)) / (members.shape[-1] + 1))

    result: Values = applied(transform, observation, forecast, core={1: dim})
    return result


def rank_histogram(observation: Values, forecast: Values, *, dim: str = "sample", seed: int = 0) -> NDArray[np.int64]:
    """Rank histogram: counts of the observation's rank among the members; flat if the ensemble is calibrated.

    An observation that equals members takes one of their ranks at random.

    Args:
        observation: y, any shape; a missing one is not counted.
        forecast: Members, the last axis of an array or `dim` of a DataArray; forecasts that lack one are not counted.
        dim: Name of the dim of a DataArray that holds the members.
        seed: Seed of the random draws.

    Returns:
        (member + 1,) counts.

    References:
        Hamill (2001), Interpretation of rank histograms. doi:10.1175/1520-0493(2001)129<0550:IORHFV>2.0.CO;2
    """
    check_counts(seed=(seed, 0))
    rng = np.random.default_rng(seed)

    def rank(y: NDArray[np.float64], members: NDArray[np.float64]) -> NDArray[np.float64]:
        below, ties = _places(y, members)
        return np.asarray(below + np.floor(rng.random(below.shape) * (ties + 1)))

    ranks: Any = np.asarray(applied(rank, observation, forecast, core={1: dim}))
    count = length(forecast, dim, -1)
    return np.bincount(ranks[~np.isnan(ranks)].astype("int64"), minlength=count + 1)


def _places(y: NDArray[np.float64], members: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Count members below the observation and members equal to it; NaN where one of them is missing."""
    known = ~(np.isnan(y) | np.isnan(members).any(-1))
    below = np.where(known, (members < y[..., None]).sum(-1), np.nan)
    return below, np.where(known, (members == y[..., None]).sum(-1), np.nan)
