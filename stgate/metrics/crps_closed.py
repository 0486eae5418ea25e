"""The continuous ranked probability score in closed form."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import beta, betaln, log_ndtr, ndtr, stdtr

from stgate.errors import RequestError
from stgate.metrics.arrays import applied
from stgate.metrics.reduce import Groups, Parameter, Values, Weights, average
from stgate.metrics.spreads import check_spread, density, standardised


def crps_normal(
    observation: Values,
    loc: Parameter,
    scale: Parameter,
    *,
    by: Groups | None = None,
    weights: Weights = None,
) -> Values:
    """CRPS of a normal distribution.

    σ (z (2Φ(z) - 1) + 2φ(z) - 1/√π), z = (y - μ) / σ

    Args:
        observation: y, any shape; NaN gives NaN.
        loc: μ, broadcast against y.
        scale: σ > 0, broadcast against y.
        by: Dims (axes of an array) to keep; all others are averaged over. None returns one score a forecast.
        weights: Weights of the scores, not negative, broadcast against them; None weighs all equally.

    Returns:
        One score a forecast, or over `by`, in the target's units.

    References:
        Gneiting et al. (2005), Calibrated probabilistic forecasting. doi:10.1175/MWR2904.1

    >>> crps_normal(np.array([0.0]), 0.0, 1.0).round(4)
    array([0.2337])
    """
    scores: Values = applied(_checked(normal), observation, loc, scale, names=NAMES)
    return average(scores, by, weights)


def normal(y: NDArray[np.float64], loc: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the CRPS of normal distributions; the absolute error where the scale is 0."""
    apart = y - loc
    z = standardised(apart, scale)
    return np.asarray(apart * (2 * ndtr(z) - 1) + scale * (2 * density(z) - 1 / np.sqrt(np.pi)))


def crps_student_t(
    observation: Values,
    df: Parameter,
    loc: Parameter,
    scale: Parameter,
    *,
    by: Groups | None = None,
    weights: Weights = None,
) -> Values:
    """CRPS of a Student t distribution with ν > 1 degrees of freedom.

    σ (z (2F(z) - 1) + 2 f(z) (ν + z²) / (ν - 1) - 2√ν / (ν - 1) B(½, ν - ½) / B(½, ν/2)²)

    Args:
        observation: y, any shape; NaN gives NaN.
        df: ν, broadcast against y; at 1 and below the score is infinite, and infinity is a normal distribution.
        loc: Location parameter, broadcast against y.
        scale: Scale parameter > 0, which is not the standard deviation.
        by: Dims (axes of an array) to keep; all others are averaged over. None returns one score a forecast.
        weights: Weights of the scores, not negative, broadcast against them; None weighs all equally.

    Returns:
        One score a forecast, or over `by`, in the target's units; smaller is better.

    References:
        Jordan, Krüger, Lerch (2019), Evaluating probabilistic forecasts with scoringRules. doi:10.18637/jss.v090.i12
    """
    scores: Values = applied(
        _checked(student_t), observation, df, loc, scale, names=("observation", "df", "loc", "scale")
    )
    return average(scores, by, weights)


def student_t(
    y: NDArray[np.float64], df: NDArray[np.float64], loc: NDArray[np.float64], scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Compute the CRPS of Student t distributions; the absolute error where the scale is 0."""
    apart = y - loc
    z = standardised(apart, scale)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # (ν + z²) f(z), without the square of a z that would overflow
        height = np.exp(-(df - 1) / 2 * np.log1p((z / np.sqrt(df)) ** 2)) * np.sqrt(df) / beta(0.5, df / 2)
        tails = 2 * np.sqrt(df) / (df - 1) * np.exp(betaln(0.5, df - 0.5) - 2 * betaln(0.5, df / 2))
        score = apart * (2 * stdtr(df, z) - 1) + scale * (2 * height / (df - 1) - tails)
    score = np.where(np.isposinf(df), normal(y, loc, scale), score)
    return np.where((df <= 1) & ~np.isnan(z), np.inf, score)


def crps_lognormal(
    observation: Values,
    loc: Parameter,
    scale: Parameter,
    *,
    by: Groups | None = None,
    weights: Weights = None,
) -> Values:
    """CRPS of a log-normal distribution, log y ~ N(μ, σ²).

    y (2Φ(z) - 1) - 2 exp(μ + σ²/2) (Φ(z - σ) + Φ(σ/√2) - 1), z = (log y - μ) / σ

    Args:
        observation: y, any shape; NaN gives NaN.
        loc: μ, mean of the logarithm, broadcast against y.
        scale: σ > 0, standard deviation of the logarithm, broadcast against y.
        by: Dims (axes of an array) to keep; all others are averaged over. None returns one score a forecast.
        weights: Weights of the scores, not negative, broadcast against them; None weighs all equally.

    Returns:
        One score a forecast, or over `by`, in the target's units; smaller is better.

    References:
        Baran and Lerch (2015), Log-normal distribution based ensemble model output statistics. doi:10.1002/qj.2521
    """
    scores: Values = applied(_checked(lognormal), observation, loc, scale, names=NAMES)
    return average(scores, by, weights)


def lognormal(y: NDArray[np.float64], loc: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the CRPS of log-normal distributions; |y - exp(μ)| where the scale is 0."""
    with np.errstate(divide="ignore", over="ignore"):
        z = standardised(np.log(np.maximum(y, 0)) - loc, scale)
        mean = loc + scale**2 / 2  # exp(mean) overflows where the product with a small probability does not
        rest = np.exp(mean + log_ndtr(z - scale)) - np.exp(mean + log_ndtr(-scale / np.sqrt(2)))
    return np.asarray(y * (2 * ndtr(z) - 1) - 2 * rest)


def crps_normal_mixture(
    observation: Values,
    loc: Parameter,
    scale: Parameter,
    probability: Parameter | None = None,
    *,
    dim: str = "component",
    by: Groups | None = None,
    weights: Weights = None,
) -> Values:
    """CRPS of a mixture of normal distributions.

    Σ w_i A(y - μ_i, σ_i²) - ½ Σ w_i w_j A(μ_i - μ_j, σ_i² + σ_j²), A(μ, σ²) = μ (2Φ(μ/σ) - 1) + 2σ φ(μ/σ)

    Args:
        observation: y, any shape; NaN gives NaN.
        loc: μ of each component, along the last axis of an array or `dim` of a DataArray.
        scale: σ > 0 of each component, along the same axis.
        probability: w of each component, along the same axis, adding up to 1; None weighs all equally.
        dim: Name of the dim of a DataArray that holds the components.
        by: Dims (axes of an array) to keep; all others are averaged over. None returns one score a forecast.
        weights: Weights of the scores, not negative, broadcast against them; None weighs all equally.

    Returns:
        One score a forecast, or over `by`, in the target's units; smaller is better.

    References:
        Grimit et al. (2006), The continuous ranked probability score for circular variables. doi:10.1256/qj.05.235
    """
    given = [observation, loc, scale] + ([] if probability is None else [probability])
    names = (*NAMES, "probability")[: len(given)]
    scores: Values = applied(_checked_mixture, *given, core={i: dim for i in range(1, len(given))}, names=names)
    return average(scores, by, weights)


def _mixture(
    y: NDArray[np.float64],
    loc: NDArray[np.float64],
    scale: NDArray[np.float64],
    probability: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    count = np.broadcast_shapes(loc.shape, scale.shape)[-1]
    loc, scale = (np.broadcast_to(x, (*x.shape[:-1], count)) for x in (loc, scale))
    w = np.full(count, 1 / count) if probability is None else probability
    to_truth = (w * _expected_absolute(y[..., None] - loc, scale)).sum(-1)
    between = 0.0
    for j in range(count):  # a pair at a time: all at once would take (component²) the room
        gap = _expected_absolute(loc - loc[..., j : j + 1], np.hypot(scale, scale[..., j : j + 1]))
        between = between + w[..., j] * (w * gap).sum(-1)
    return np.asarray(to_truth - 0.5 * between)


def _expected_absolute(loc: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute E|X| for X ~ N(loc, scale²)."""
    z = standardised(loc, scale)
    return np.asarray(loc * (2 * ndtr(z) - 1) + 2 * scale * density(z))


NAMES = ("observation", "loc", "scale")
"""Names of the arguments, for messages."""


def _checked(closed: Callable[..., NDArray[np.float64]]) -> Callable[..., NDArray[np.float64]]:
    """Refuse scales and degrees of freedom that are none before a closed form of (df,) loc and scale is computed."""

    def score(y: NDArray[np.float64], *parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        *others, scale = parameters
        check_spread(scale, y, *others)
        if len(others) > 1:
            check_spread(others[0], y, *others[1:], name="df")
        with np.errstate(invalid="ignore"):
            return _beyond_floats(closed(y, *parameters), y, *parameters)

    return score


def _beyond_floats(score: NDArray[np.float64], *given: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return infinity where a score is a difference of infinities, as of a spread that is or becomes infinite."""
    known = ~np.isnan(sum(np.nan_to_num(x, posinf=0.0, neginf=0.0, nan=np.nan) for x in given))
    return np.where(np.isnan(score) & known, np.inf, score)


def _checked_mixture(
    y: NDArray[np.float64], loc: NDArray[np.float64], scale: NDArray[np.float64], *more: NDArray[np.float64]
) -> NDArray[np.float64]:
    check_spread(scale, y[..., None], loc)
    for weight in more:
        check_spread(weight, y[..., None], loc, scale, name="probability")
        if (weight < 0).any() or (np.abs(weight.sum(-1) - 1) > 1e-6).any():
            raise RequestError("probability: must not be negative and add up to 1 over the components")
    with np.errstate(invalid="ignore"):
        return _beyond_floats(_mixture(y, loc, scale, *more), y, loc.sum(-1), scale.sum(-1))
