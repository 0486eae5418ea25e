"""Conformal intervals for forecasts that arrive over time, their truth with a delay."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stgate.calibration.conformal import rank
from stgate.calibration.groups import EDGES, missing_groups


class OnlineConformal:
    """Rolling and adaptive conformal prediction, for each lead time and missingness group apart.

    The factors of a new forecast are conformal quantiles of the scores of the last `window` origins whose truth is
    known by then, in units of the mean score of each node: a noisy one has wider intervals. With a `rate`, the level
    that is asked for moves after each miss and each hit, so that the long-run coverage is the nominal one whatever the
    data do; beyond the largest score a factor grows exponentially with the level that lacks, so that no interval is
    infinite.

    Calls go in order of time: `learn` what has become known, then `issue` a forecast.

    Args:
        levels: Nominal coverages, ascending.
        leads: Lead times of a forecast.
        cells: Nodes (times members) of a forecast.
        window: Origins whose scores count. A group to which few cases belong looks further back, up to `longest`, for
            as many as all cells have in `window` origins.
        longest: Origins that are kept; four windows when None.
        rate: Step of the adaptation, γ, in units of 1 - level; 0 for plain rolling intervals.
        edges: Of the missingness groups; see `missing_groups`.
        minimum: Scores that a group needs; with fewer it takes those of all unobserved ones, then of all.
        refresh: Origins between two sorts of the window.
        initial: (level, lead) factors while hardly anything is known.

    References:
        Gibbs and Candès (2021), Adaptive conformal inference under distribution shift. NeurIPS.
        Angelopoulos, Candès, Tibshirani (2023), Conformal PID control for time series prediction. NeurIPS.
    """

    def __init__(
        self,
        levels: Sequence[float],
        leads: int,
        cells: int,
        *,
        window: int = 500,
        longest: int | None = None,
        rate: float = 0.0,
        edges: Sequence[int] = EDGES,
        minimum: int = 50,
        refresh: int = 12,
        initial: ArrayLike | None = None,
    ) -> None:
        self.levels = np.asarray(levels, "float64")
        self.window, self.rate, self.edges, self.minimum, self.refresh = window, rate, tuple(edges), minimum, refresh
        self.longest = 4 * window if longest is None else longest
        groups = len(self.edges) + 1
        self.initial = np.ones((len(self.levels), leads)) if initial is None else np.asarray(initial, "float64")
        self.scores = np.full((self.longest, leads, cells), np.nan, "float32")
        self.groups = np.zeros((self.longest, cells), "int8")
        self.issued = np.full(self.longest, -1)  # which origin each place of the ring holds
        self.used = np.full((min(self.longest, leads + 1), len(self.levels), leads, cells), np.nan, "float32")
        shape = (len(self.levels), leads, groups)
        self.missed = np.broadcast_to(1 - self.levels[:, None, None], shape).copy()  # α of each
        self.count = 0
        self._sort()

    def issue(self, since: ArrayLike) -> NDArray[np.float64]:
        """The factors of the next forecast.

        Args:
            since: (cell,), steps since each was observed, at the origin.

        Returns:
            (level, lead, cell), finite, non-decreasing in the level.
        """
        if self.count % self.refresh == 0:
            self._sort()
        group = missing_groups(since, self.edges)
        table = np.maximum.accumulate(self._table(), axis=0)  # (level, lead, group)
        factors: NDArray[np.float64] = (table[..., group] * self.scale).astype("float64")
        place = self.count % self.longest
        self.scores[place], self.groups[place], self.issued[place] = np.nan, group, self.count
        self.used[self.count % len(self.used)] = factors
        self.count += 1
        return factors

    def learn(self, number: int, lead: int, scores: ArrayLike) -> None:
        """Take the scores of one lead of an earlier forecast, now that its truth is known.

        Args:
            number: Of the forecast, counted from 0 in the order of `issue`; one that is out of the window is ignored.
            lead: Index of the lead.
            scores: (cell,), |truth - median| / scale; NaN where the truth is missing.
        """
        place = number % self.longest
        if self.issued[place] != number:
            return
        known = np.asarray(scores, "float64")
        self.scores[place, lead] = known
        if self.rate == 0 or number < self.count - len(self.used):
            return
        miss = known > self.used[number % len(self.used), :, lead]  # (level, cell)
        there = ~np.isnan(known)
        for group in np.unique(self.groups[place][there]):
            chosen = there & (self.groups[place] == group)
            nominal = 1 - self.levels
            self.missed[:, lead, group] += self.rate * nominal * (nominal - miss[:, chosen].mean(1))

    def _sort(self) -> None:
        """Sort the window's scores of each group; a group that is too small takes those of a wider one."""
        held = self.issued >= 0
        newest = np.argsort(self.issued)[::-1][: held.sum()]  # places, from the newest origin to the oldest
        groups = self.groups[newest]
        self.scale = self._scale(newest[: self.window])
        wider = [self._sorted(newest, np.ones(groups.shape, bool)), self._sorted(newest, groups > 0)]
        self._ordered = []
        for group in range(len(self.edges) + 1):
            mine = self._sorted(newest, groups == group)
            chain = [mine, *([wider[1]] if group else []), wider[0]]
            self._ordered.append(next((o for o in chain if o[1].min() >= self.minimum), wider[0]))

    def _sorted(
        self, newest: NDArray[np.int64], chosen: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The newest scores of a group, (lead, case), ascending and NaN last, and how many there are at each lead."""
        enough = self.window * self.scores.shape[2]
        origins = int(np.searchsorted(np.cumsum(chosen.sum(1)), enough)) + 1
        scores = self.scores[newest[:origins]] / self.scale
        mine = scores.transpose(0, 2, 1)[chosen[:origins]]  # (case, lead)
        ordered: NDArray[np.float32] = np.sort(np.ascontiguousarray(mine.T), axis=1).astype("float32", copy=False)
        return ordered, (~np.isnan(ordered)).sum(1)

    def _scale(self, newest: NDArray[np.int64]) -> NDArray[np.float32]:
        """Mean score of each cell against that of all, (cell,): a noisy node has wider intervals."""
        recent = self.scores[newest]
        count = (~np.isnan(recent)).sum((0, 1))
        total = np.nansum(recent, axis=(0, 1), dtype="float64")
        overall = total.sum() / max(count.sum(), 1)
        if not overall > 0:
            return np.ones(len(count), "float32")
        few = 5 * self.scores.shape[1]  # as much trust as in so many scores
        scale: NDArray[np.float32] = ((total / overall + few) / (count + few)).astype("float32")
        return scale

    def _table(self) -> NDArray[np.float64]:
        """(level, lead, group)."""
        table = np.empty(self.missed.shape)
        nominal = self.levels[:, None]
        for group, (ordered, count) in enumerate(self._ordered):
            if count.min() < 1:
                table[..., group] = self.initial
                continue
            wanted = 1 - self.missed[..., group]  # (level, lead)
            wished = rank(count, wanted)
            held = np.minimum(wished, count)
            factor = np.take_along_axis(ordered, held.T - 1, axis=1).T
            lacking = np.maximum(wanted - count / (count + 1), 0)
            table[..., group] = factor * np.exp(np.where(wished > count, lacking / (1 - nominal), 0.0))
        return table

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the state as a small .npz, whole or not at all."""
        from stgate.store import atomic

        with atomic(Path(path)) as temporary, temporary.open("wb") as file:
            state: dict[str, Any] = self._state()
            np.savez_compressed(file, **state)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> OnlineConformal:
        """The state that `save` wrote; nothing in it is run."""
        with np.load(path, allow_pickle=False) as held:
            longest, leads, cells = held["scores"].shape
            made = cls(
                held["levels"],
                leads,
                cells,
                window=int(held["window"]),
                longest=longest,
                rate=float(held["rate"]),
                edges=held["edges"].tolist(),
                minimum=int(held["minimum"]),
                refresh=int(held["refresh"]),
                initial=held["initial"],
            )
            for name in ("scores", "groups", "issued", "used", "missed", "scale"):
                setattr(made, name, held[name])
            made.count = int(held["count"])
            made._ordered = [(held[f"ordered_{g}"], held[f"known_{g}"]) for g in range(len(made.edges) + 1)]
        return made

    def _state(self) -> dict[str, NDArray[np.generic]]:
        names = (
            "levels",
            "window",
            "rate",
            "edges",
            "minimum",
            "refresh",
            "initial",
            "scores",
            "groups",
            "issued",
            "used",
        )
        state = {name: np.asarray(getattr(self, name)) for name in (*names, "missed", "scale", "count")}
        for group, (ordered, known) in enumerate(self._ordered):
            state |= {f"ordered_{group}": ordered, f"known_{group}": known}
        return state
