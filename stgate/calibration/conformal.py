"""Split conformal prediction on scaled residuals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stgate.errors import RequestError


def rank(count: ArrayLike, level: ArrayLike) -> NDArray[np.int64]:
    """Rank of the order statistic that covers a new score with probability `level`: ceil((count + 1) level).

    Args:
        count: Number of scores, any shape.
        level: Coverage wanted, in (0, 1), broadcast against the counts.

    Returns:
        Ranks, counted from 1; above `count` where there are too few scores.

    >>> rank([99, 9], [0.9, 0.95]).tolist()
    [90, 10]
    """
    exact = np.round((np.asarray(count) + 1) * np.asarray(level), 9)  # 100 * 0.07 is 7.000000000000001 in floats
    ranks: NDArray[np.int64] = np.maximum(np.ceil(exact), 1).astype("int64")
    return ranks


def needed(level: float) -> int:
    """Number of scores that a finite conformal quantile needs: the least n with ceil((n + 1) level) <= n.

    Args:
        level: Coverage wanted, in (0, 1).

    >>> needed(0.9), needed(0.95)
    (9, 19)
    """
    return math.ceil(round(level / (1 - level), 9))


def conformal_quantile(scores: ArrayLike, level: float, axis: int = 0) -> NDArray[np.float64]:
    """Finite-sample conformal quantile of conformity scores.

    The quantile is the ceil((n + 1) level)-th smallest of the n scores that are not NaN. If the next score is
    exchangeable with them, it is at most this quantile with probability at least `level`.

    Args:
        scores: Conformity scores of any shape; NaN is left out.
        level: Coverage wanted, in (0, 1).
        axis: Axis along which the quantile is taken.

    Returns:
        Quantiles of the scores' shape without `axis`; infinite where there are too few scores.

    Raises:
        RequestError: The level is not between 0 and 1.

    References:
        Vovk, Gammerman, Shafer (2005), Algorithmic learning in a random world.
        Lei et al. (2018), Distribution-free predictive inference for regression. doi:10.1080/01621459.2017.1307116

    >>> conformal_quantile([3.0, 1.0, 2.0, 4.0], 0.6)
    array(3.)
    >>> conformal_quantile([3.0, 1.0, 2.0, 4.0], 0.9)
    array(inf)
    """
    return np.asarray(_quantiles(scores, [level], axis)[0])


def split_conformal(scores: ArrayLike, levels: Sequence[float]) -> NDArray[np.float64]:
    """Half-widths of central intervals in units of the forecast's scale, by split conformal prediction.

    Args:
        scores: Conformity scores |truth - median| / scale, (observation, ...), NaN where the truth is missing.
        levels: Levels of the central intervals, ascending in (0, 1).

    Returns:
        (level, ...) half-widths, non-decreasing in the level; infinite where there are too few observations.

    Raises:
        RequestError: A level is not between 0 and 1.
    """
    return _quantiles(scores, levels, 0)


def _quantiles(scores: ArrayLike, levels: Sequence[float], axis: int) -> NDArray[np.float64]:
    """Conformal quantiles of several levels from one sort: (level, ...)."""
    for level in levels:
        if not 0 < level < 1:
            raise RequestError(f"level {level}: must lie between 0 and 1, such as 0.9")
    ordered = np.sort(np.moveaxis(np.asarray(scores, "float64"), axis, 0), axis=0)  # NaN sorts last
    counts = (~np.isnan(ordered)).sum(0)
    padded = np.concatenate([ordered, np.full((1, *ordered.shape[1:]), np.inf)])
    picked = []
    for level in levels:
        ranks = rank(counts, level)
        value = np.take_along_axis(padded, np.minimum(ranks - 1, len(ordered))[None], axis=0)[0]
        picked.append(np.where(ranks > counts, np.inf, value))
    return np.stack(picked)
