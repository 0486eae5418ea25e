"""Groups of cases whose intervals are calibrated apart, and what a group too small for it takes instead."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stgate.calibration.conformal import conformal_quantile, needed, split_conformal

EDGES = (1, 2, 3, 5, 9, 17, 33)
"""Steps since a node was last observed, at the origin, from which on a further group begins."""


def missing_groups(since: ArrayLike, edges: Sequence[int] = EDGES) -> NDArray[np.int64]:
    """The group of each node by how long ago it was last observed: 0 where it is observed at the origin.

    Args:
        since: Steps since observed, any shape.
        edges: From which step on a further group begins.

    >>> missing_groups([0, 1, 3, 4, 500]).tolist()
    [0, 1, 3, 3, 7]
    """
    return np.searchsorted(np.asarray(edges), np.asarray(since), side="right")


def missing_names(edges: Sequence[int] = EDGES) -> list[str]:
    """What the groups of `missing_groups` are called.

    >>> missing_names((1, 2, 4))[1:]
    ['observed 1 step before', 'observed 2 to 3 steps before', 'observed 4 steps or longer before']
    """
    names = ["observed at the origin"] if edges else ["all"]
    for first, after in zip(edges, [*edges, None][1:], strict=True):
        if after is None:
            names.append(f"observed {first} steps or longer before")
        elif after == first + 1:
            names.append(f"observed {first} step{'s' * (first > 1)} before")
        else:
            names.append(f"observed {first} to {after - 1} steps before")
    return names


def grouped_conformal(
    scores: ArrayLike, group: ArrayLike, chain: Sequence[ArrayLike], levels: Sequence[float], minimum: int = 50
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Conformal quantiles group by group (Mondrian); a group that is too small takes those of a wider one.

    Args:
        scores: (level, case, ...), NaN where the truth is missing; all further axes apart from one another. The first
            axis has one entry where the scores are those of every level.
        group: (case,), the narrow group that each case is in.
        chain: Ever wider groups: each (narrow group,), which wider group a narrow one lies in. All cases together are
            the widest, and need not be given.
        levels: Ascending.
        minimum: Cases that a group needs to stand by itself, beside what its level needs.

    Returns:
        Factors (narrow group, level, ...), infinite where even all cases are too few, and non-decreasing in the level
        where all levels share their scores: where each has its own it is their intervals that are nested, not these;
        and where each comes from, (narrow group, level, ...): 0 from itself, k from the k-th of the chain, len(chain) +
        1 from all cases.

    References:
        Vovk, Lindsay, Nouretdinov, Gammerman (2003), Mondrian confidence machine.

    >>> factors, source = grouped_conformal([[1.0, 2.0, 3.0, 4.0, 9.0]], [0, 0, 0, 0, 1], [], [0.5], minimum=3)
    >>> factors.ravel().tolist(), source.ravel().tolist()
    ([3.0, 3.0], [0, 1])
    """
    narrow = np.asarray(group)
    given: NDArray[np.float64] = np.asarray(scores, "float64")
    count = len(np.asarray(chain[0])) if chain else int(narrow.max()) + 1
    kinds = [np.arange(count), *(np.asarray(wider) for wider in chain)]
    least = np.array([max(minimum, needed(level)) for level in levels]).reshape(-1, *[1] * (given.ndim - 2))
    everything = _quantiles(given, levels)
    factors = np.repeat(everything[None], count, axis=0)
    source = np.full(factors.shape, len(kinds), "int64")
    for kind in range(len(kinds) - 1, -1, -1):  # from wide to narrow: the narrowest that is large enough stays
        of_case = kinds[kind][narrow]
        for wider in np.unique(of_case):
            chosen, inside = of_case == wider, kinds[kind] == wider
            mine = given if chosen.all() else given[:, chosen]
            enough = (~np.isnan(mine)).sum(1) >= least  # (level, ...)
            if enough.any():
                quantiles = everything if chosen.all() else _quantiles(mine, levels)
                factors[inside] = np.where(enough, quantiles, factors[inside])
                source[inside] = np.where(enough, kind, source[inside])
    return np.maximum.accumulate(factors, axis=1) if len(given) == 1 else factors, source


def _quantiles(scores: NDArray[np.float64], levels: Sequence[float]) -> NDArray[np.float64]:
    """(level, ...), of scores (level or 1, case, ...)."""
    if len(scores) == 1:
        return split_conformal(scores[0], levels)
    return np.stack([conformal_quantile(own, level) for own, level in zip(scores, levels, strict=True)])
