"""The scores of the last so many origins, sorted for each missingness group."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stgate.calibration.conformal import rank

LOOKBACK = 4
"""Windows that a group to which few cases belong may look back, for as many as all cells have in one."""


class RecentScores:
    """Conformal quantiles of recent scores, in units of each cell's mean score: a noisy one has wider intervals.

    Args:
        window: Origins whose scores count.
        groups: Missingness groups, of which the first is of what was observed.
        cells: Nodes (times members) of a forecast.
        minimum: Scores that a group needs; with fewer it takes those of all unobserved ones, then of all.
    """

    def __init__(self, window: int, groups: int, cells: int, minimum: int) -> None:
        self.window, self.minimum = window, minimum
        self.scale = np.ones(cells, "float32")
        none = np.empty((0, 0), "float32"), np.zeros(1, "int64")
        self.ordered: list[tuple[NDArray[np.float32], NDArray[np.int64]]] = [none] * groups

    def sort(self, scores: NDArray[np.float32], groups: NDArray[np.int8], newest: NDArray[np.int64]) -> None:
        """Sort what is recent; a group that is too small takes the scores of a wider one.

        Args:
            scores: (place, lead, cell), NaN where the truth is missing or not yet known.
            groups: (place, cell).
            newest: Places, from the newest origin to the oldest.
        """
        newest = newest[: LOOKBACK * self.window]
        group = groups[newest]
        self._measure(scores[newest[: self.window]])
        everyone = self._sorted(scores, newest, np.ones(group.shape, bool))
        unobserved = self._sorted(scores, newest, group > 0)
        for number in range(len(self.ordered)):
            mine = self._sorted(scores, newest, group == number)
            chain = [mine, unobserved, everyone] if number else [mine, everyone]
            self.ordered[number] = next((o for o in chain if o[1].min() >= self.minimum), everyone)

    def factors(self, levels: ArrayLike, wanted: NDArray[np.float64], initial: ArrayLike) -> NDArray[np.float64]:
        """Quantiles, in units of `scale`: (level, lead, group).

        Args:
            levels: Nominal levels.
            wanted: (level, lead, group), the levels of the quantiles. Beyond the largest score a factor grows
                exponentially with the level that lacks.
            initial: (level, lead), where hardly anything is known.
        """
        table = np.empty(wanted.shape)
        tail = 1 - np.asarray(levels)[:, None]
        for group, (ordered, count) in enumerate(self.ordered):
            if count.min() < 1:
                table[..., group] = initial
                continue
            wished = rank(count, wanted[..., group])  # (level, lead)
            factor = np.take_along_axis(ordered, np.minimum(wished, count).T - 1, axis=1).T
            lacking = np.maximum(wanted[..., group] - count / (count + 1), 0)
            table[..., group] = factor * np.exp(np.where(wished > count, lacking / tail, 0.0))
        return np.maximum.accumulate(table, axis=0)

    def _sorted(
        self, scores: NDArray[np.float32], newest: NDArray[np.int64], chosen: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The newest scores of a group, (lead, case), ascending and NaN last, and how many there are at each lead."""
        enough = self.window * scores.shape[2]
        origins = int(np.searchsorted(np.cumsum(chosen.sum(1)), enough)) + 1
        recent = scores[newest[:origins]] / self.scale
        mine = recent.transpose(0, 2, 1)[chosen[:origins]]  # (case, lead)
        ordered: NDArray[np.float32] = np.sort(np.ascontiguousarray(mine.T), axis=1).astype("float32", copy=False)
        return ordered, (~np.isnan(ordered)).sum(1)

    def _measure(self, recent: NDArray[np.float32]) -> None:
        """Set the scale to the mean score of each cell against that of all."""
        count = (~np.isnan(recent)).sum((0, 1))
        total = np.nansum(recent, axis=(0, 1), dtype="float64")
        overall = total.sum() / max(count.sum(), 1)
        few = 2 * recent.shape[1]  # as much trust in the mean of all as in so many scores
        known = overall > 0
        self.scale = ((total / overall + few) / (count + few) if known else np.ones(len(count))).astype("float32")
