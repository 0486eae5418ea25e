"""Weighted means over observed values, and their confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar, cast

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from stgate.errors import RequestError, check_counts
from stgate.metrics.arrays import as_floats, check_dims, check_labels, check_level, check_tables, fits_within
from stgate.metrics.resample import check_room, resampled_bounds

Values = TypeVar("Values", xr.DataArray, NDArray[np.floating])
Groups = str | int | Sequence[str] | Sequence[int]
"""Dims of a DataArray, or axes of an array, that a mean keeps."""

Parameter = ArrayLike | xr.DataArray
"""Parameter of a distribution; broadcast against the observations."""

Weights = ArrayLike | xr.DataArray | None
"""Weights, broadcast against the scores; None weighs all equally."""


def average(values: Values, by: Groups | None = (), weights: Weights = None) -> Values:
    """Mean of the values that are not NaN, in float64; NaN, never 0, where there is none.

    Args:
        values: Scores, one a forecast.
        by: Dims (axes of an array) to keep; all others are averaged over. None leaves the values as they are.
        weights: Weights, not negative, broadcast against the values; a missing value drops out with its weight.

    Returns:
        Means over `by`.

    Raises:
        RequestError: A dim does not exist, or a weight is negative or missing.

    >>> float(average(np.array([1.0, np.nan, 3.0])))
    2.0
    >>> average(np.array([[1.0, 3.0], [np.nan, 5.0]]), by=0, weights=np.array([3.0, 1.0]))
    array([1.5, 5. ])
    """
    if by is None:
        return values
    total, weight = sums(values, by, weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Any = total / weight  # 0 / 0 is NaN
    return cast(Values, mean)


def sums(values: Values, by: Groups, weights: Weights = None) -> tuple[Values, Values]:
    """Weighted sums of the values that are not NaN, and sums of their weights, over all dims but `by`.

    Args:
        values: Values, NaN where missing.
        by: Dims (axes of an array) to keep; all others are summed over.
        weights: Weights, not negative, broadcast against the values; None weighs all equally.

    Returns:
        The sums of weighted values and the sums of weights, both over `by`.

    Raises:
        RequestError: A dim does not exist, or a weight is negative or missing.
    """
    values = as_floats(values, "values")
    weights = _checked_weights(values, weights)
    if isinstance(values, xr.DataArray):
        kept = _kept_dims(values, by)
        dims = [d for d in values.dims if d not in kept]
        seen = values.notnull()
        weight = xr.where(seen, 1.0 if weights is None else weights, 0.0)  # type: ignore[no-untyped-call]
        total = (values.where(seen, 0.0) * weight).sum(dims)
        return total, weight.transpose(*values.dims, ...).sum(dims)
    array = np.asarray(values)
    there = ~np.isnan(array)
    axes = tuple(sorted(set(range(array.ndim)) - set(kept_axes(array.ndim, by))))
    each = np.where(there, 1.0 if weights is None else np.asarray(weights), 0.0)
    result: Any = np.asarray((np.where(there, array, 0.0) * each).sum(axes)), np.asarray(each.sum(axes))
    return cast(tuple[Values, Values], result)


def kept_axes(count: int, by: Groups) -> list[int]:
    """Return the numbers of the axes of an array that are kept, none of them negative.

    Args:
        count: Number of axes.
        by: The axes to keep.

    Raises:
        RequestError: There is no such axis.
    """
    kept: Any = list(by) if isinstance(by, list | tuple | range | set | frozenset | np.ndarray) else [by]
    for axis in kept:
        if not isinstance(axis, int | np.integer) or not -count <= axis < count:
            has = f"choose among 0 to {count - 1}" if count else "they have none, so leave it out"
            raise RequestError(f"by {axis!r}: not an axis of the values, which are an array; {has}")
    return [int(axis) % count for axis in kept]


def _kept_dims(values: xr.DataArray, by: Groups) -> list[Any]:
    kept: Any = list(by) if isinstance(by, list | tuple | set | frozenset | np.ndarray) else [by]
    for name in kept:
        if name not in values.dims:
            has = f"choose among {', '.join(map(str, values.dims))}" if values.dims else "they have none"
            raise RequestError(f"by {name!r}: not a dim of the values; {has}")
    return list(kept)


def _checked_weights(values: xr.DataArray | NDArray[np.floating], weights: Weights) -> Weights:
    """Return weights as floats that fit the values.

    Weights that would add dims to the values, and so repeat each of them, are refused, and those of other labels.
    """
    if weights is None:
        return None
    check_tables([values, weights], [[], []], ["values", "weights"])
    made: Any = as_floats(weights, "weights")
    if not bool(np.all((np.asarray(made) >= 0) & np.isfinite(made))):
        raise RequestError("weights: at least one is negative, missing or infinite; give zero to leave an entry out")
    if isinstance(made, xr.DataArray) and isinstance(values, xr.DataArray):
        more = [str(d) for d in made.dims if d not in values.dims]
        if more:
            raise RequestError(f"weights: have the dim {more[0]!r}, which the values lack; average over it first")
        check_labels([values, made], ["values", "weights"])
        return made
    if not fits_within(np.shape(made), own := np.shape(values)):
        raise RequestError(f"weights: have the shape {np.shape(made)}, the values {own}; give one weight a value")
    if isinstance(values, xr.DataArray):
        return xr.DataArray(np.broadcast_to(made, own), dims=values.dims)
    return cast(Weights, made)


def latitude_weights(latitude: xr.DataArray) -> xr.DataArray:
    """Cosine of the latitude, proportional to the area of a cell of a regular longitude-latitude lattice.

    Args:
        latitude: Latitude in degrees.

    Returns:
        Weights of the same shape, not negative.

    Raises:
        RequestError: A latitude lies beyond 90 degrees.

    >>> latitude_weights(xr.DataArray([0.0, 60.0], dims="node")).values.round(3)
    array([1. , 0.5])
    """
    degrees = as_floats(latitude, "latitude")
    if bool((abs(degrees) > 90).any()):
        raise RequestError("latitude: at least one lies beyond 90 degrees; correct it, or mark it as missing")
    cosine: xr.DataArray = np.cos(np.deg2rad(degrees)).clip(0)
    return cosine


def bootstrap(
    values: xr.DataArray,
    *,
    by: str | Sequence[str] = (),
    weights: Weights = None,
    dim: str = "init_time",
    block: int | None = None,
    level: float = 0.95,
    samples: int = 1000,
    seed: int = 0,
) -> tuple[xr.DataArray, xr.DataArray]:
    """Confidence interval of `average(values, by)`, by a moving-block bootstrap over origins.

    Scores of neighbouring origins are dependent. So whole blocks of them are drawn with replacement, which keeps the
    interval from being too narrow.

    Args:
        values: Scores over `dim` and others, origins in order.
        by: Dims to keep; all others are averaged over. `dim` cannot be among them.
        weights: Weights of the scores, not negative, broadcast against them; None weighs all equally.
        dim: Name of the dim from which blocks are drawn.
        block: Number of entries in a block, at least as many as are dependent. The cube root of the dim's length when
            None.
        level: Nominal coverage of the interval, in (0, 1).
        samples: Number of resamples.
        seed: Seed of the random draws.

    Returns:
        Lower and upper bounds, over `by`.

    Raises:
        RequestError: `dim` is missing or among `by`, a level is none, or a block is longer than the data.

    References:
        Künsch (1989), The jackknife and the bootstrap for general stationary observations. doi:10.1214/aos/1176347265
    """
    check_dims(values, [dim], "values")
    check_level(level, "level")
    check_counts(samples=(samples, 1), seed=(seed, 0))
    kept = _kept_dims(values, by)
    if dim in kept:
        raise RequestError(f"by {dim!r}: the bootstrap draws from this dim, so it cannot be kept; leave it out")
    count = values.sizes[dim]
    block = max(round(count ** (1 / 3)), 1) if block is None else block
    if not isinstance(block, int | np.integer) or not 1 <= block <= count:
        raise RequestError(
            f"block {block}: must be a whole number between 1 and {count}, the number of entries of {dim}"
        )
    check_room(samples, count, block, math.prod(values.sizes[name] for name in kept))
    total, weight = (x.transpose(dim, *kept) for x in sums(values, [dim, *kept], weights))
    template = total.isel({dim: 0}, drop=True)
    bounds = resampled_bounds(
        total.values.reshape(count, -1),
        weight.values.reshape(count, -1),
        block=block,
        samples=samples,
        seed=seed,
        level=level,
    )
    low, high = (template.copy(data=bound.reshape(template.shape)) for bound in bounds)
    return low, high
