"""Scores of quantile forecasts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stgate.errors import RequestError
from stgate.metrics.arrays import applied, check_level
from stgate.metrics.crps_empirical import levels_of_axis
from stgate.metrics.reduce import Groups, Values, Weights, average


def pinball(
    observation: Values, forecast: Values, quantile: float, *, by: Groups | None = None, weights: Weights = None
) -> Values:
    """Pinball (quantile) loss of one quantile: q (y - x) where y >= x, else (1 - q) (x - y).

    Args:
        observation: y, any shape; NaN gives NaN.
        forecast: x, the forecast of the q quantile.
        quantile: Level q of the quantile, between 0 and 1.
        by: Dims (axes of an array) to keep; all others are averaged over. None returns one score a forecast.
        weights: Weights of the scores, not negative, broadcast against them; None weighs all equally.

    Returns:
        One score a forecast, or over `by`, in the target's units.

    Raises:
        RequestError: The level is not between 0 and 1.

    References:
        Koenker and Bassett (1978), Regression quantiles. doi:10.2307/1913643

    >>> pinball(np.array([3.0, 0.0]), np.array([1.0, 1.0]), 0.9)
    array([1.8, 0.1])
    """
    check_level(quantile, "quantile")

    def loss(y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.maximum(quantile * (y - x), (quantile - 1) * (y - x)))

    return average(cast(Values, applied(loss, observation, forecast, same=True)), by, weights)


def weighted_interval_score(
    observation: Values,
    forecast: Values,
    quantiles: Sequence[float] | None = None,
    *,
    by: Groups | None = None,
    weights: Weights = None,
) -> Values:
    """Weighted interval score of a median m and K central intervals, (½|y - m| + Σ α_k/2 IS_k) / (K + ½).

    Args:
        observation: Truth, (...).
        forecast: Quantiles, (..., quantile), the last axis of an array, or a DataArray over `quantile`: the median and
            the two bounds of each central interval.
        quantiles: Levels of the last axis, ascending in (0, 1); not needed for a DataArray, which carries them.
        by: Dims (axes of an array) to keep; all others are averaged over. None returns one score a forecast.
        weights: Weights of the scores, not negative, broadcast against them; None weighs all equally.

    Returns:
        One score a forecast, or over `by`, in the target's units; it tends to the CRPS as K grows.

    Raises:
        RequestError: The median or one of the two bounds of an interval is missing.

    References:
        Bracher et al. (2021), Evaluating epidemic forecasts in an interval format. doi:10.1371/journal.pcbi.1008618
    """
    levels = levels_of_axis(forecast, quantiles)
    if len(levels) % 2 == 0 or not np.allclose(levels + levels[::-1], 1, atol=1e-6):
        raise RequestError(f"quantiles {levels.tolist()}: give the median and both bounds of each central interval")

    def score(y: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
        miss = y[..., None] - q  # Σ α/2 IS is twice the sum of the pinball losses of its bounds, halved
        return np.asarray(2 * np.maximum(levels * miss, (levels - 1) * miss).sum(-1) / len(levels))

    return average(cast(Values, applied(score, observation, forecast, core={1: "quantile"})), by, weights)


def reliability(
    observation: Values, forecast: Values, quantiles: Sequence[float] | None = None, *, weights: Weights = None
) -> Values:
    """Reliability curve: the share of observations at or below each quantile.

    Args:
        observation: Truth, (...); missing values drop out.
        forecast: Quantiles, (..., quantile), the last axis of an array, or a DataArray over `quantile`.
        quantiles: Levels of the last axis, ascending in (0, 1); not needed for a DataArray, which carries them.
        weights: Weights of the observations, not negative, of their shape; None weighs all equally.

    Returns:
        (quantile,) shares; those of a calibrated forecast equal the levels.
    """
    levels_of_axis(forecast, quantiles)

    def below(y: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
        known = ~(np.isnan(y)[..., None] | np.isnan(q))
        return np.where(known, y[..., None] <= q, np.nan)

    flags: Any = applied(below, observation, forecast, core={1: "quantile"}, kept="quantile")
    named = isinstance(flags, xr.DataArray)
    each = None if weights is None or named else np.asarray(weights)[..., None]
    shares: Values = average(flags, "quantile" if named else flags.ndim - 1, weights if named else each)
    return shares


def calibration_error(
    observation: Values, forecast: Values, quantiles: Sequence[float] | None = None, *, weights: Weights = None
) -> float:
    """Mean distance of the reliability curve from the diagonal, over the forecast's quantiles.

    Args:
        observation: Truth, (...); missing values drop out.
        forecast: Quantiles, (..., quantile), the last axis of an array, or a DataArray over `quantile`.
        quantiles: Levels of the last axis, ascending in (0, 1); not needed for a DataArray, which carries them.
        weights: Weights of the observations, not negative, of their shape; None weighs all equally.

    Returns:
        The distance, from 0 to 1; 0 is best.

    References:
        Kuleshov, Fenner, Ermon (2018), Accurate uncertainties for deep learning using calibrated regression. ICML.
    """
    levels = levels_of_axis(forecast, quantiles)
    curve = np.asarray(reliability(observation, forecast, quantiles, weights=weights))
    return float(np.abs(curve - levels).mean())
