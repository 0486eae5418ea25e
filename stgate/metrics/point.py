"""Errors of point forecasts."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stgate.errors import RequestError, check_counts, check_number
from stgate.metrics.arrays import applied, as_floats, length
from stgate.metrics.reduce import Groups, Values, Weights, average, kept_axes


def absolute_error(observation: Values, forecast: Values) -> Values:
    """Absolute error |observation - forecast|, elementwise; NaN where either is missing.

    Args:
        observation: Truth, any shape.
        forecast: Forecast of the same shape.

    Returns:
        Errors of the same shape, in the target's units.

    >>> absolute_error(np.array([1.0, np.nan]), np.array([3.0, 1.0]))
    array([ 2., nan])
    """
    made: Values = applied(lambda y, x: np.abs(y - x), observation, forecast, same=True)
    return made


def squared_error(observation: Values, forecast: Values) -> Values:
    """Squared error (observation - forecast)², elementwise; NaN where either is missing.

    Args:
        observation: Truth, any shape.
        forecast: Forecast of the same shape.

    Returns:
        Errors of the same shape, in the target's units squared.
    """
    made: Values = applied(lambda y, x: (y - x) ** 2, observation, forecast, same=True)
    return made


def mae(observation: Values, forecast: Values, *, by: Groups = (), weights: Weights = None) -> Values:
    """Mean absolute error over pairs in which neither value is missing.

    Args:
        observation: Truth, any shape.
        forecast: Forecast of the same shape; the median has the smallest expected error.
        by: Dims (axes of an array) to keep; all others are averaged over.
        weights: Weights of the errors, such as `latitude_weights`, broadcast against them; None weighs all equally.

    Returns:
        Mean errors over `by`, in the target's units.

    >>> float(mae(np.array([1.0, np.nan, 3.0]), np.zeros(3)))
    2.0
    """
    return average(absolute_error(observation, forecast), by, weights)


def rmse(observation: Values, forecast: Values, *, by: Groups = (), weights: Weights = None) -> Values:
    """Root mean squared error over pairs in which neither value is missing.

    Args:
        observation: Truth, any shape.
        forecast: Forecast of the same shape; the mean has the smallest expected squared error.
        by: Dims (axes of an array) to keep; all others are averaged over.
        weights: Weights of the scores, not negative, broadcast against them; None weighs all equally.

    Returns:
        Errors over `by`, in the target's units.
    """
    return average(squared_error(observation, forecast), by, weights) ** 0.5


def bias(observation: Values, forecast: Values, *, by: Groups = (), weights: Weights = None) -> Values:
    """Mean of forecast - observation, above zero where the forecast is too high.

    Args:
        observation: Truth, any shape.
        forecast: Forecast of the same shape.
        by: Dims (axes of an array) to keep; all others are averaged over.
        weights: Weights of the scores, not negative, broadcast against them; None weighs all equally.

    Returns:
        Mean differences over `by`, in the target's units.
    """
    return average(cast(Values, applied(lambda y, x: x - y, observation, forecast, same=True)), by, weights)


def mape(
    observation: Values, forecast: Values, *, zero: float = 0.0, by: Groups = (), weights: Weights = None
) -> Values:
    """Mean absolute percentage error |error| / |observation|, as a share; observations near zero are left out.

    Args:
        observation: Truth, any shape.
        forecast: Forecast of the same shape.
        zero: Observations with |y| at or below this drop out, as their relative error is not defined.
        by: Dims (axes of an array) to keep; all others are averaged over.
        weights: Weights of the scores, not negative, broadcast against them; None weighs all equally.

    Returns:
        Shares over `by`: 0.1 is ten percent.

    Raises:
        RequestError: `zero` is no number of at least 0.

    >>> float(mape(np.array([0.0, 2.0, 4.0]), np.array([5.0, 1.0, 4.0])))
    0.25
    """
    check_number("zero", zero)
    if zero < 0:
        raise RequestError(f"zero {zero}: must be at least 0; a smaller observation has no relative error")

    def share(y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
        size = np.where(np.abs(y) > zero, np.abs(y), np.nan)
        return np.asarray(np.abs(y - x) / size)

    return average(cast(Values, applied(share, observation, forecast, same=True)), by, weights)


def mase(observation: Values, forecast: Values, scale: Values, *, by: Groups = (), weights: Weights = None) -> Values:
    """Mean absolute scaled error: in units of the seasonal naive forecast's error on the training data.

    Args:
        observation: Truth, any shape.
        forecast: Forecast of the same shape.
        scale: Mean absolute error of the naive forecast, from `naive_scale`; broadcast against the others. A node
            whose scale is zero drops out.
        by: Dims (axes of an array) to keep; all others are averaged over.
        weights: Weights of the scores, not negative, broadcast against them; None weighs all equally.

    Returns:
        Errors over `by`: below 1 where the forecast is better than the naive one was.

    References:
        Hyndman and Koehler (2006), Another look at measures of forecast accuracy.
        doi:10.1016/j.ijforecast.2006.03.001
    """

    def scaled(y: NDArray[np.float64], x: NDArray[np.float64], unit: NDArray[np.float64]) -> NDArray[np.float64]:
        if (unit < 0).any():
            raise RequestError("scale: negative; give the mean absolute error of a naive forecast, as naive_scale does")
        return np.asarray(np.abs(y - x) / np.where(unit > 0, unit, np.nan))

    names = ("observation", "forecast", "scale")
    return average(cast(Values, applied(scaled, observation, forecast, scale, names=names)), by, weights)


def naive_scale(history: Values, *, season: int = 1) -> Values:
    """Mean absolute error of the seasonal naive forecast, by which `mase` divides.

    Args:
        history: Training data over `time`, which is the first axis of an array, and any others.
        season: Number of steps in a season; 1 for the plain naive forecast.

    Returns:
        The history's shape without time; NaN where no two values a season apart were observed.

    Raises:
        RequestError: The season is no whole number of at least 1.

    >>> float(naive_scale(np.array([1.0, 2.0, 4.0, 7.0])))
    2.0
    """
    check_counts(season=(season, 1))
    history = as_floats(history, "history")
    length(history, "time", -max(np.ndim(history), 1), "history")
    if isinstance(history, xr.DataArray):
        change = abs(history - history.shift(time=season))
        return average(change, [str(d) for d in change.dims if d != "time"])
    return average(abs(history[season:] - history[:-season]), list(range(1, history.ndim)))


def r2(observation: Values, forecast: Values, *, by: Groups = (), weights: Weights = None) -> Values:
    """Coefficient of determination: 1 - mean squared error / variance of the observations.

    Args:
        observation: Truth, any shape.
        forecast: Forecast of the same shape.
        by: Dims (axes of an array) to keep; all others are averaged over.
        weights: Weights of the scores, not negative, broadcast against them; None weighs all equally.

    Returns:
        Coefficients over `by`: 1 is perfect, 0 is the mean of the observations; NaN where they do not vary.

    >>> float(r2(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 2.0])))
    0.5
    """
    error: Any = squared_error(observation, forecast)
    scored: Any = applied(lambda y, e: y + 0.0 * e, observation, error)  # NaN where no pair
    mean: Any = average(scored, by, weights)
    rounding = (16 * np.finfo("float64").eps * abs(mean)) ** 2  # the mean of equal values is not theirs to the last bit
    if not isinstance(scored, xr.DataArray):
        axes = sorted(set(range(np.ndim(scored))) - set(kept_axes(np.ndim(scored), by)))
        mean = np.expand_dims(mean, axes)
    variance: Any = average((scored - mean) ** 2, by, weights)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: Any = average(error, by, weights) / variance
    return cast(
        Values,
        1
        - (
            ratio.where(variance > rounding)
            if isinstance(ratio, xr.DataArray)
            else np.where(variance > rounding, ratio, np.nan)
        ),
    )


def skill_score(score: Values, reference: Values) -> Values:
    """Skill score 1 - score / reference, for scores whose best value is 0.

    Args:
        score: Score of the forecast, any shape.
        reference: Score of the reference forecast, broadcast against the other.

    Returns:
        1 is perfect, 0 is as good as the reference, below zero is worse.

    >>> skill_score(np.array(0.5), np.array(2.0))
    array(0.75)
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        skill: Any = applied(lambda own, other: 1 - own / other, score, reference, names=("score", "reference"))
    return cast(Values, skill)
