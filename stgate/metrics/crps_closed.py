"""The continuous ranked probability score in closed form."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import beta, ndtr, stdtr
from scipy.stats import norm

from stgate.metrics.arrays import applied
from stgate.metrics.reduce import Groups, Parameter, Values, Weights, average


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
    scores: Values = applied(_normal, observation, loc, scale)
    return average(scores, by, weights)


def _normal(y: NDArray[np.float64], loc: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    z = (y - loc) / scale
    return np.asarray(scale * (z * (2 * ndtr(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi)))


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
        df: ν, broadcast against y; at 1 and below the score is infinite.
        loc: Location parameter, broadcast against y.
        scale: Scale parameter > 0, which is not the standard deviation.
        by: Dims (axes of an array) to keep; all others are averaged over. None returns one score a forecast.
        weights: Weights of the scores, not negative, broadcast against them; None weighs all equally.

    Returns:
        One score a forecast, or over `by`, in the target's units; smaller is better.

    References:
        Jordan, Krüger, Lerch (2019), Evaluating probabilistic forecasts with scoringRules. doi:10.18637/jss.v090.i12
    """
    scores: Values = applied(_student_t, observation, df, loc, scale)
    return average(scores, by, weights)


def _student_t(
    y: NDArray[np.float64], df: NDArray[np.float64], loc: NDArray[np.float64], scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    z = (y - loc) / scale
    with np.errstate(divide="ignore", invalid="ignore"):
        density = (1 + z**2 / df) ** (-(df + 1) / 2) / (np.sqrt(df) * beta(0.5, df / 2))
        tails = 2 * np.sqrt(df) / (df - 1) * beta(0.5, df - 0.5) / beta(0.5, df / 2) ** 2
        score = scale * (z * (2 * stdtr(df, z) - 1) + 2 * density * (df + z**2) / (df - 1) - tails)
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
    scores: Values = applied(_lognormal, observation, loc, scale)
    return average(scores, by, weights)


def _lognormal(y: NDArray[np.float64], loc: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore"):
        z = (np.log(np.maximum(y, 0)) - loc) / scale
    rest = ndtr(z - scale) + ndtr(scale / np.sqrt(2)) - 1
    return np.asarray(y * (2 * ndtr(z) - 1) - 2 * np.exp(loc + scale**2 / 2) * rest)


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
    scores: Values = applied(_mixture, *given, core={i: dim for i in range(1, len(given))})
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
    z = loc / scale
    return np.asarray(loc * (2 * ndtr(z) - 1) + 2 * scale * norm.pdf(z))
