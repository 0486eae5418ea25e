"""Logarithmic score: minus the logarithm of the density at the observation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import logsumexp

from stgate.metrics.arrays import applied
from stgate.metrics.reduce import Groups, Parameter, Values, Weights, average
from stgate.metrics.spreads import check_spread


def log_score_normal(
    observation: Values,
    loc: Parameter,
    scale: Parameter,
    *,
    by: Groups | None = None,
    weights: Weights = None,
) -> Values:
    """Logarithmic score of a normal distribution, -log φ((y - μ) / σ) + log σ.

    Args:
        observation: y, any shape; NaN gives NaN.
        loc: μ, broadcast against y.
        scale: σ > 0, broadcast against y.
        by: Dims (axes of an array) to keep; all others are averaged over. None returns one score a forecast.
        weights: Weights of the scores, not negative, broadcast against them; None weighs all equally.

    Returns:
        One score a forecast, or over `by`, in nats; smaller is better. It changes with the target's units.

    References:
        Good (1952), Rational decisions. doi:10.1111/j.2517-6161.1952.tb00104.x

    >>> log_score_normal(np.array([0.0]), 0.0, 1.0).round(4)
    array([0.9189])
    """

    def log_density(*given: NDArray[np.float64]) -> NDArray[np.float64]:
        y, location, width = given
        check_spread(width, y, location)
        return _or_limit(stats.norm.logpdf(y, location, width), y - location, width)

    scores: Values = _negative(log_density, observation, loc, scale)
    return average(scores, by, weights)


def log_score_student_t(
    observation: Values,
    df: Parameter,
    loc: Parameter,
    scale: Parameter,
    *,
    by: Groups | None = None,
    weights: Weights = None,
) -> Values:
    """Logarithmic score of a Student t distribution.

    Args:
        observation: y, any shape; NaN gives NaN.
        df: Degrees of freedom > 0, broadcast against y.
        loc: Location parameter, broadcast against y.
        scale: Scale parameter > 0, which is not the standard deviation.
        by: Dims (axes of an array) to keep; all others are averaged over. None returns one score a forecast.
        weights: Weights of the scores, not negative, broadcast against them; None weighs all equally.

    Returns:
        One score a forecast, or over `by`, in nats; smaller is better.
    """

    def log_density(*given: NDArray[np.float64]) -> NDArray[np.float64]:
        y, freedom, location, width = given
        check_spread(width, y, freedom, location)
        check_spread(freedom, y, location, width, name="df")
        made = _or_limit(stats.t.logpdf(y, freedom, location, width), y - location, width)
        return np.where((freedom == 0) & ~np.isnan(y - location + width), -np.inf, made)  # spread out without bound

    scores: Values = _negative(log_density, observation, df, loc, scale, names=("observation", "df", "loc", "scale"))
    return average(scores, by, weights)


def log_score_lognormal(
    observation: Values,
    loc: Parameter,
    scale: Parameter,
    *,
    by: Groups | None = None,
    weights: Weights = None,
) -> Values:
    """Logarithmic score of a log-normal distribution, log y ~ N(loc, scale²); infinite where y <= 0.

    Args:
        observation: y, any shape; NaN gives NaN.
        loc: Mean of the logarithm, broadcast against y.
        scale: Standard deviation > 0 of the logarithm, broadcast against y.
        by: Dims (axes of an array) to keep; all others are averaged over. None returns one score a forecast.
        weights: Weights of the scores, not negative, broadcast against them; None weighs all equally.

    Returns:
        One score a forecast, or over `by`, in nats; smaller is better.
    """

    def log_density(*given: NDArray[np.float64]) -> NDArray[np.float64]:
        y, location, width = given
        check_spread(width, y, location)
        made = stats.lognorm.logpdf(y, width, scale=np.exp(location))
        return _or_limit(made, np.log(np.maximum(y, 0)) - location, width)

    scores: Values = _negative(log_density, observation, loc, scale)
    return average(scores, by, weights)


def log_score_normal_mixture(
    observation: Values,
    loc: Parameter,
    scale: Parameter,
    *,
    dim: str = "component",
    by: Groups | None = None,
    weights: Weights = None,
) -> Values:
    """Logarithmic score of an equal-weight mixture of normal distributions.

    Args:
        observation: y, any shape; NaN gives NaN.
        loc: μ of each component, along the last axis of an array or `dim` of a DataArray.
        scale: σ > 0 of each component, along the same axis.
        dim: Name of the dim of a DataArray that holds the components.
        by: Dims (axes of an array) to keep; all others are averaged over. None returns one score a forecast.
        weights: Weights of the scores, not negative, broadcast against them; None weighs all equally.

    Returns:
        One score a forecast, or over `by`, in nats; smaller is better.
    """

    def log_density(*given: NDArray[np.float64]) -> NDArray[np.float64]:
        y, location, width = given
        y = y[..., None]
        check_spread(width, y, location)
        each = _or_limit(stats.norm.logpdf(y, location, width), y - location, width)
        return np.asarray(logsumexp(each, axis=-1) - np.log(each.shape[-1]))

    scores: Values = _negative(log_density, observation, loc, scale, core={1: dim, 2: dim})
    return average(scores, by, weights)


def _or_limit(
    log_density: float | NDArray[np.float64], apart: NDArray[np.float64], scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return log densities; where the scale is 0 their limit, infinite at the location and minus infinity elsewhere."""
    limit = np.where(np.isnan(apart), np.nan, np.where(apart == 0, np.inf, -np.inf))
    return np.where(scale == 0, limit, log_density)


def _negative(
    log_density: Callable[..., Any],
    *given: Any,  # noqa: ANN401
    core: dict[int, str] | None = None,
    names: Sequence[str] = ("observation", "loc", "scale"),
) -> Any:  # noqa: ANN401
    def score(*arrays: NDArray[np.float64]) -> NDArray[np.float64]:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(-log_density(*arrays))

    return applied(score, *given, core=core, names=names)
