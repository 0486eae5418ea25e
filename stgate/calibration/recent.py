"""Conformity scores of the most recent origins, sorted within each missingness group."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stgate.calibration.conformal import rank

LOOKBACK = 4
"""Number of windows that a small group may look back, to gather as many scores as all cells have in one."""

STEEPEST = 20.0
"""Largest exponent of the growth beyond the largest score: without it a level such as 0.999999 has no finite width."""


class RecentScores:
    """Conformal quantiles of recent scores, in units of each cell's mean score: noisy cells get wider intervals.

    Args:
        window: Number of origins whose scores count.
        groups: Number of missingness groups; the first one holds the cells observed at the origin.
        cells: Number of nodes of a forecast, times its members.
        minimum: Least number of scores of a group. A group with fewer takes the scores of all unobserved cells, then
            those of all cells.
    """

    def __init__(self, window: int, groups: int, cells: int, minimum: int) -> None:
        self.window, self.minimum = window, minimum
        self.scale = np.ones(cells, "float32")
        none = np.empty((0, 0), "float32"), np.zeros(1, "int64")
        self.ordered: list[tuple[NDArray[np.float32], NDArray[np.int64]]] = [none] * groups

    def sort(self, scores: NDArray[np.float32], groups: NDArray[np.int8], newest: NDArray[np.int64]) -> None:
        """Sort the recent scores; a group that is too small takes the scores of a wider group.

        Args:
            scores: Conformity scores, (place, lead, cell), NaN where the truth is missing or not yet known.
            groups: Missingness groups, (place, cell).
            newest: Places of the origins in the first axis, from the newest to the oldest.
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

    def quantiles(self, levels: ArrayLike, wanted: NDArray[np.float64], initial: ArrayLike) -> NDArray[np.float64]:
        """Conformal quantiles in units of `scale`.

        Args:
            levels: Nominal levels, (level,).
            wanted: Levels of the quantiles after adaptation, (level, lead, group). Beyond the largest score a quantile
                grows exponentially with the missing part of the level.
            initial: Quantiles to use while there are no scores, (level, lead).

        Returns:
            (level, lead, group) quantiles, non-decreasing in the level.
        """
        table = np.empty(wanted.shape)
        tail = 1 - np.asarray(levels)[:, None]
        for group, (ordered, count) in enumerate(self.ordered):
            if count.min() < 1:
                table[..., group] = initial
                continue
            wished = rank(count, wanted[..., group])  # (level, lead)
            quantile = np.take_along_axis(ordered, np.minimum(wished, count).T - 1, axis=1).T
            lacking = np.maximum(wanted[..., group] - count / (count + 1), 0)
            table[..., group] = quantile * np.exp(np.where(wished > count, np.minimum(lacking / tail, STEEPEST), 0.0))
        return np.maximum.accumulate(table, axis=0)

    def _sorted(
        self, scores: NDArray[np.float32], newest: NDArray[np.int64], chosen: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Sort the newest scores of a group: (lead, observation), ascending and NaN last; also count them."""
        enough = self.window * scores.shape[2]
        origins = int(np.searchsorted(np.cumsum(chosen.sum(1)), enough)) + 1
        recent = scores[newest[:origins]] / self.scale
        mine = recent.transpose(0, 2, 1)[chosen[:origins]]  # (observation, lead)
        ordered: NDArray[np.float32] = np.sort(np.ascontiguousarray(mine.T), axis=1).astype("float32", copy=False)
        return ordered, (~np.isnan(ordered)).sum(1)

    def _measure(self, recent: NDArray[np.float32]) -> None:
        """Set the scale to each cell's mean score relative to the mean of all cells."""
        count = (~np.isnan(recent)).sum((0, 1))
        total = np.nansum(recent, axis=(0, 1), dtype="float64")
        overall = total.sum() / max(count.sum(), 1)
        few = 2 * recent.shape[1]  # the overall mean weighs as much as this many scores
        known = overall > 0
        self.scale = ((total / overall + few) / (count + few) if known else np.ones(len(count))).astype("float32")
