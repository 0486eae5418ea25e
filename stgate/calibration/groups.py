"""Mondrian groups of observations, calibrated separately; a group that is too small falls back to a wider one."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stgate.calibration.conformal import conformal_quantile, needed, split_conformal
from stgate.errors import RequestError, check_counts

EDGES = (1, 2, 3, 5, 9, 17, 33)
"""First steps of the missingness groups: steps since a node was last observed, counted at the origin."""

MOST_EDGES = 100
"""Largest number of edges: the group of each cell is kept in one byte."""


def check_edges(edges: object) -> tuple[int, ...]:
    """Refuse edges of missingness groups that are no ascending whole numbers from 1 on.

    Args:
        edges: First step of each further group.

    Returns:
        The edges as plain numbers.

    Raises:
        RequestError: The edges are no sequence, do not ascend, or are more than 100.

    >>> check_edges([1, 2, 4])
    (1, 2, 4)
    """
    if isinstance(edges, str) or not isinstance(edges, Iterable):
        raise RequestError(f"edges {edges!r}: must be whole numbers of steps that ascend from 1 on, such as (1, 3, 9)")
    given = tuple(edges)
    for edge in given:
        check_counts(edges=(edge, 1))
    if any(after <= first for first, after in itertools.pairwise(given)):
        raise RequestError(f"edges {list(given)}: must ascend; sort them and give each once")
    if len(given) > MOST_EDGES:
        raise RequestError(f"edges: {len(given)} are too many; give at most {MOST_EDGES}")
    return tuple(int(edge) for edge in given)


def missing_groups(since: ArrayLike, edges: Sequence[int] = EDGES) -> NDArray[np.int64]:
    """Missingness group of each node, by the steps since it was last observed; 0 if it is observed at the origin.

    Args:
        since: Steps since last observed, any shape.
        edges: First step of each further group, ascending.

    Returns:
        Numbers of groups, of the same shape.

    >>> missing_groups([0, 1, 3, 4, 500]).tolist()
    [0, 1, 3, 3, 7]
    """
    return np.searchsorted(np.asarray(edges), np.asarray(since), side="right")


def missing_names(edges: Sequence[int] = EDGES) -> list[str]:
    """Names of the groups of `missing_groups`.

    Args:
        edges: First step of each further group, ascending.

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
    """Conformal quantiles of Mondrian groups; a group that is too small takes those of a wider group.

    Args:
        scores: Conformity scores, (level, observation, ...), NaN where the truth is missing. The first axis has one
            entry if all levels share the scores. Entries of further axes are calibrated separately.
        group: (observation,), number of each observation's group.
        chain: Wider groups to fall back to, from narrow to wide. Each entry, (group,), gives the wider group that
            holds a group. All observations together are the widest group and are not listed.
        levels: Levels of the central intervals, ascending in (0, 1).
        minimum: Least number of observations that a group needs to use its own quantiles. It also needs as many as a
            finite quantile of the level takes.

    Returns:
        quantiles: (group, level, ...), infinite if all observations together are too few. They are non-decreasing
            in the level only if all levels share their scores.
        source: (group, level, ...), the group that was used: 0 for the group itself, k for the k-th wider group,
            len(chain) + 1 for all observations.

    References:
        Vovk, Lindsay, Nouretdinov, Gammerman (2003), Mondrian confidence machine.

    >>> quantiles, source = grouped_conformal([[1.0, 2.0, 3.0, 4.0, 9.0]], [0, 0, 0, 0, 1], [], [0.5], minimum=3)
    >>> quantiles.ravel().tolist(), source.ravel().tolist()
    ([3.0, 3.0], [0, 1])
    """
    narrow = np.asarray(group)
    given: NDArray[np.float64] = np.asarray(scores, "float64")
    count = len(np.asarray(chain[0])) if chain else int(narrow.max()) + 1
    kinds = [np.arange(count), *(np.asarray(wider) for wider in chain)]
    least = np.array([max(minimum, needed(level)) for level in levels]).reshape(-1, *[1] * (given.ndim - 2))
    overall = _quantiles(given, levels)
    quantiles = np.repeat(overall[None], count, axis=0)
    source = np.full(quantiles.shape, len(kinds), "int64")
    for kind in range(len(kinds) - 1, -1, -1):  # from wide to narrow: the narrowest that is large enough stays
        of_observation = kinds[kind][narrow]
        for wider in np.unique(of_observation):
            chosen, inside = of_observation == wider, kinds[kind] == wider
            mine = given if chosen.all() else given[:, chosen]
            enough = (~np.isnan(mine)).sum(1) >= least  # (level, ...)
            if enough.any():
                own = overall if chosen.all() else _quantiles(mine, levels)
                quantiles[inside] = np.where(enough, own, quantiles[inside])
                source[inside] = np.where(enough, kind, source[inside])
    return np.maximum.accumulate(quantiles, axis=1) if len(given) == 1 else quantiles, source


def _quantiles(scores: NDArray[np.float64], levels: Sequence[float]) -> NDArray[np.float64]:
    """Conformal quantiles, (level, ...), of scores (level or 1, observation, ...)."""
    if len(scores) == 1:
        return split_conformal(scores[0], levels)
    return np.stack([conformal_quantile(own, level) for own, level in zip(scores, levels, strict=True)])
