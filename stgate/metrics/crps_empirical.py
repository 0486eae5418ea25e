"""Continuous ranked probability score (CRPS) of an ensemble, and from quantiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stgate.errors import RequestError
from stgate.metrics.arrays import applied, as_floats, check_dims, length
from stgate.metrics.reduce import Groups, Values, Weights, average

ROWS = 2**16
"""Entries that are sorted at once: they stay in the processor's cache."""


def crps(
    observation: Values,
    forecast: Values,
    *,
    fair: bool = True,
    dim: str = "sample",
    by: Groups | None = None,
    weights: Weights = None,
) -> Values:
    """CRPS of an ensemble: the distance of its distribution function from the step at the observation.

    mean_i |x_i - y| - ½ mean_ij |x_i - x_j|, in O(M log M). With `fair`, the second mean is over pairs of different
    members; on average this is the score of an infinite ensemble. With `fair=False` it is over all M² pairs; the score
    is then too high by 1/M of the members' mean difference, and favours ensembles that are too narrow.

    Args:
        observation: y, any shape; NaN gives NaN.
        forecast: Members, the last axis of an array or `dim` of a DataArray; a missing one gives NaN.
        fair: Average over pairs of different members, which needs at least two members.
        dim: Name of the dim of a DataArray that holds the members.
        by: Dims (axes of an array) to keep; all others are averaged over. None returns one score a forecast.
        weights: Weights of the scores, not negative, broadcast against them; None weighs all equally.

    Returns:
        One score a forecast, or over `by`, in the target's units; smaller is better.

    Raises:
        RequestError: A fair score is asked for with one member.

    References:
        Gneiting and Raftery (2007), Strictly proper scoring rules. doi:10.1198/016214506000001437
        Ferro (2014), Fair scores for ensemble forecasts. doi:10.1002/qj.2270

    >>> crps(np.array([0.0]), np.array([[-1.0, 1.0]])), crps(np.array([0.0]), np.array([[-1.0, 1.0]]), fair=False)
    (array([0.]), array([0.5]))
    """
    count = length(forecast, dim, -1)
    if fair and count < 2:
        raise RequestError("crps: a fair score needs at least two members; give more, or fair=False")
    scores: Values = applied(lambda y, x: _ensemble(y, x, fair), observation, forecast, core={1: dim})
    return average(scores, by, weights)


def _ensemble(observation: NDArray[np.float64], members: NDArray[np.float64], fair: bool) -> NDArray[np.float64]:
    shape, count = np.broadcast_shapes(observation.shape, members.shape[:-1]), members.shape[-1]
    truth = np.broadcast_to(observation, shape).reshape(-1, 1)
    flat = np.broadcast_to(members, (*shape, count)).reshape(-1, count)
    # Of sorted members, ½ mean |x_i - x_j| is a weighted sum.
    ranks = (2 * np.arange(1, count + 1) - count - 1) / (count * (count - 1 if fair else count))
    each = np.full(count, 1 / count)
    scores = np.empty(len(flat))
    rows = max(ROWS // count, 1)
    for first in range(0, len(flat), rows):
        part = slice(first, first + rows)
        apart = flat[part] - truth[part]
        apart.sort(axis=-1)
        dispersion = apart @ ranks
        np.abs(apart, out=apart)
        scores[part] = apart @ each - dispersion
    return scores.reshape(shape)


def crps_quantiles(
    observation: Values,
    forecast: Values,
    quantiles: Sequence[float] | None = None,
    *,
    by: Groups | None = None,
    weights: Weights = None,
) -> Values:
    """CRPS from quantiles: twice the pinball loss, integrated over the levels.

    Each quantile stands for the levels nearer to it than to the others, the outermost ones up to 0 and 1. With few
    quantiles this is coarse: compare it only between forecasts of the same quantiles.

    Args:
        observation: Truth, (...).
        forecast: Quantiles, (..., quantile), the last axis of an array, or a DataArray over `quantile`.
        quantiles: Levels of the last axis, ascending in (0, 1); not needed for a DataArray, which carries them.
        by: Dims (axes of an array) to keep; all others are averaged over. None returns one score a forecast.
        weights: Weights of the scores, not negative, broadcast against them; None weighs all equally.

    Returns:
        One score a forecast, in the target's units; NaN where the truth is missing.

    References:
        Laio and Tamea (2007), Verification tools for probabilistic forecasts. doi:10.5194/hess-11-1267-2007

    >>> crps_quantiles(np.array([1.0]), np.array([[0.0]]), [0.5])
    array([1.])
    """
    levels = levels_of_axis(forecast, quantiles)
    cells = 2 * cells_of(levels)

    def integrated(y: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
        miss = y[..., None] - q
        return np.asarray(np.maximum(levels * miss, (levels - 1) * miss) @ cells)

    return average(cast(Values, applied(integrated, observation, forecast, core={1: "quantile"})), by, weights)


def levels_of_axis(forecast: xr.DataArray | NDArray[Any], quantiles: Sequence[float] | None) -> NDArray[np.float64]:
    """Find the levels of a forecast's quantiles.

    Args:
        forecast: Quantiles, (..., quantile), an array or a DataArray.
        quantiles: Levels of the last axis of an array; a DataArray carries them.

    Returns:
        (quantile,) levels, ascending.

    Raises:
        RequestError: The levels of an array are missing, of another number, or not ascending between 0 and 1, or they
            are not those that a DataArray carries.
    """
    if isinstance(forecast, xr.DataArray):
        check_dims(forecast, ["quantile"], "forecast")
        levels = np.asarray(as_floats(forecast["quantile"].values, "forecast, its `quantile`"))
        if quantiles is not None and not same_levels(quantiles, levels):
            raise RequestError(
                f"quantiles: the forecast says that its levels are {levels.tolist()}; leave the argument out"
            )
    elif quantiles is None:
        raise RequestError(
            "quantiles: an array does not say which levels its last axis holds; give them, such as [0.1, 0.5, 0.9]"
        )
    else:
        levels = np.asarray(as_floats(quantiles, "quantiles"))
        if levels.shape != (count := length(forecast, "quantile", -1),):
            raise RequestError(f"quantiles: {levels.size} levels for a last axis of {count}; give one for each entry")
    if not ((levels > 0) & (levels < 1)).all() or not (np.diff(levels) > 0).all():
        raise RequestError(f"quantiles {levels.tolist()}: must be increasing and between 0 and 1")
    return levels


def same_levels(one: Sequence[float], other: NDArray[np.float64]) -> bool:
    """Tell if levels are the same but for the rounding of single precision."""
    given = np.asarray(as_floats(one, "quantiles"))
    return given.shape == other.shape and np.allclose(given, other, rtol=1e-6)


def cells_of(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the width of the part of [0, 1] that each level stands for.

    Args:
        levels: Levels, ascending.
    """
    edges = np.concatenate([[0.0], (levels[1:] + levels[:-1]) / 2, [1.0]])
    return np.diff(edges)
