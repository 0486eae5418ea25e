"""Conformal intervals for forecasts that arrive over time, their truth with a delay."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from stgate.calibration.groups import EDGES, missing_groups
from stgate.calibration.recent import LOOKBACK, RecentScores
from stgate.errors import RequestError, StoreError, check_counts

SHORTER = 5
"""How many times shorter the second window of adaptive intervals is."""
LEAK = 0.004
"""Share by which an adapted level goes back to the nominal one with each truth: what a shift has taught is forgotten,
else intervals would be too wide for as long as they were too narrow."""
MEMORY = 0.98
"""Factor by which the losses that windows are chosen by fade with each truth."""
STATE = ("levels", "window", "rate", "edges", "minimum", "refresh", "initial", "scores", "groups", "issued")
ADAPTED = ("given", "missed", "losses", "count")


class OnlineConformal:
    """Rolling and adaptive conformal prediction, for each lead time and missingness group apart.

    The factors of a new forecast are conformal quantiles of the scores of the last `window` origins whose truth is
    known by then; see `RecentScores`.

    With a `rate` they adapt. The level that is asked for moves after each miss and each hit, for observed and
    unobserved nodes apart, so that coverage comes back to the nominal one whatever the data do. And there is a second
    window, a fifth as long: the two factors are averaged by how small their quantile losses were of late, so that
    after a shift scores from before it do not count for long. No interval is infinite.

    Calls go in order of time: `learn` what has become known, then `issue` a forecast.

    >>> online = OnlineConformal([0.5, 0.9], leads=1, cells=2)
    >>> median, spread = np.array([3.0, 5.0]), np.array([1.0, 2.0])      # of each node, by any forecaster
    >>> factors = online.issue(since=[0, 0])                             # (level, lead, cell)
    >>> lower, upper = median - factors[1, 0] * spread, median + factors[1, 0] * spread
    >>> truth = np.array([3.5, np.nan])                                  # a step later
    >>> online.learn(0, lead=0, scores=np.abs(truth - median) / spread)

    Args:
        levels: Nominal coverages, ascending.
        leads: Lead times of a forecast.
        cells: Nodes (times members) of a forecast.
        window: Origins whose scores count.
        rate: Step of the adaptation, γ, in units of 1 - level; 0 for plain rolling intervals.
        edges: Of the missingness groups; see `missing_groups`.
        minimum: Scores that a group needs; with fewer it takes those of all unobserved ones, then of all.
        refresh: Origins between two sorts of the scores.
        initial: (level, lead) factors while hardly anything is known; those of a normal distribution when None.

    Raises:
        RequestError: Levels that do not ascend within (0, 1), or another option out of range.

    References:
        Gibbs and Candès (2021), Adaptive conformal inference under distribution shift. NeurIPS.
        Gibbs and Candès (2024), Conformal inference for online prediction with arbitrary distribution shifts. JMLR 25.
    """

    def __init__(
        self,
        levels: Sequence[float],
        leads: int,
        cells: int,
        *,
        window: int = 500,
        rate: float = 0.0,
        edges: Sequence[int] = EDGES,
        minimum: int = 50,
        refresh: int = 12,
        initial: ArrayLike | None = None,
    ) -> None:
        self.levels = np.atleast_1d(np.asarray(levels, "float64"))
        inside = (self.levels > 0) & (self.levels < 1)
        if not inside.all() or (np.diff(self.levels) <= 0).any():
            raise RequestError(f"levels {self.levels.tolist()}: must ascend, between 0 and 1")
        check_counts(leads=(leads, 1), cells=(cells, 1), window=(window, 1), minimum=(minimum, 1), refresh=(refresh, 1))
        if not 0 <= rate < 1:
            raise RequestError(f"rate {rate}: 0 for rolling intervals, or a small step such as 0.07")
        self.window, self.rate, self.edges, self.minimum, self.refresh = window, rate, tuple(edges), minimum, refresh
        kept, groups, count = LOOKBACK * window, len(self.edges) + 1, len(self.levels)
        normal = np.repeat(ndtri((1 + self.levels) / 2)[:, None], leads, axis=1)
        self.initial = normal if initial is None else np.asarray(initial, "float64")
        self.scores = np.full((kept, leads, cells), np.nan, "float32")
        self.groups = np.zeros((kept, cells), "int8")
        self.issued = np.full(kept, -1)  # which origin each place of the ring holds
        lengths = (window, max(window // SHORTER, 1)) if rate > 0 else (window,)
        self.windows = [RecentScores(length, groups, cells, minimum) for length in lengths]
        sides = (count, leads, 2)  # observed at the origin, or not
        self.missed = np.broadcast_to(1 - self.levels[:, None, None], sides).copy()  # α of each
        self.losses = np.zeros((1 + len(lengths), *sides))  # of what was issued, and of what each window would have
        remembered = min(kept, leads + 1) if rate > 0 else 0
        self.given = np.full((remembered, 1 + len(lengths), count, leads, cells), np.nan, "float32")
        self.count = 0

    def issue(self, since: ArrayLike) -> NDArray[np.float64]:
        """The factors of the next forecast.

        Args:
            since: (cell,), steps since each was observed, at the origin.

        Returns:
            (level, lead, cell), finite, non-decreasing in the level.

        Raises:
            RequestError: Not one number of steps, at least 0, a cell.
        """
        since = np.asarray(since)
        if since.shape != self.groups.shape[1:] or not (since >= 0).all():
            raise RequestError(f"since: one number of steps, at least 0, for each of {self.groups.shape[1]} cells")
        if self.count % self.refresh == 0:
            newest = np.argsort(self.issued)[::-1][: (self.issued >= 0).sum()]
            for recent in self.windows:
                recent.sort(self.scores, self.groups, newest)
        group = missing_groups(since, self.edges)
        side = np.minimum(group, 1)
        wanted = 1 - self.missed[..., np.minimum(np.arange(len(self.edges) + 1), 1)]  # (level, lead, group)
        tables = [(recent.factors(self.levels, wanted, self.initial), recent.scale) for recent in self.windows]
        each = np.stack([table[..., group] * scale for table, scale in tables])  # (window, level, lead, cell)
        factors: NDArray[np.float64] = np.maximum.accumulate((each * self._weights()[..., side]).sum(0), axis=0)
        place = self.count % len(self.scores)
        self.scores[place], self.groups[place], self.issued[place] = np.nan, group, self.count
        if self.rate > 0:
            self.given[self.count % len(self.given)] = np.stack([factors, *each])
        self.count += 1
        return factors

    def learn(self, number: int, lead: int, scores: ArrayLike) -> None:
        """Take the scores of one lead of an earlier forecast, now that its truth is known.

        Args:
            number: Of the forecast, counted from 0 in the order of `issue`; one that is out of the window is ignored.
            lead: Index of the lead.
            scores: (cell,), |truth - median| / scale; NaN where the truth is missing.

        Raises:
            RequestError: A forecast that has not been issued, or scores that are none.
        """
        if not 0 <= number < self.count:
            raise RequestError(f"forecast {number}: not issued yet; issue comes before learn, {self.count} were")
        known = np.asarray(scores, "float64")
        if known.shape != self.groups.shape[1:] or (known < 0).any() or np.isinf(known).any():
            raise RequestError(
                f"scores: one finite number, at least 0, for each of {self.groups.shape[1]} cells, or NaN"
            )
        place = number % len(self.scores)
        if self.issued[place] != number:
            return
        self.scores[place, lead] = known
        if number < self.count - len(self.given):
            return
        given = self.given[number % len(self.given), :, :, lead]  # (window, level, cell)
        nominal = 1 - self.levels
        for side in (0, 1):
            chosen = ~np.isnan(known) & (np.minimum(self.groups[place], 1) == side)
            if chosen.any():
                over = known[chosen] - given[..., chosen]
                loss = np.maximum(self.levels[:, None] * over, -nominal[:, None] * over).mean(-1)  # (window, level)
                self.losses[:, :, lead, side] = MEMORY * self.losses[:, :, lead, side] + loss
                miss = (over[0] > 0).mean(-1)
                self.missed[:, lead, side] += self.rate * nominal * (nominal - miss)
        self.missed[:, lead] += LEAK * (nominal[:, None] - self.missed[:, lead])

    def _weights(self) -> NDArray[np.float64]:
        """Of each window: (window, level, lead, side)."""
        issued, each = self.losses[0], self.losses[1:]
        relative = each / np.where(issued > 0, issued, 1.0)
        odds = np.exp((relative.min(0) - relative) / (1 - MEMORY))
        weights: NDArray[np.float64] = odds / odds.sum(0)
        return weights

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the state as a small .npz, whole or not at all."""
        from stgate.io.store import atomic

        state = {name: np.asarray(getattr(self, name)) for name in (*STATE, *ADAPTED)}
        for i, recent in enumerate(self.windows):
            state[f"scale_{i}"] = recent.scale
            for group, (ordered, known) in enumerate(recent.ordered):
                state |= {f"ordered_{i}_{group}": ordered, f"known_{i}_{group}": known}
        with atomic(Path(path)) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **state)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> OnlineConformal:
        """The state that `save` wrote; nothing in it is run.

        Raises:
            StoreError: No such file, or not a state.
        """
        if not Path(path).is_file():
            raise StoreError(f"{path}: no such file")
        try:
            return cls._loaded(path)
        except (ValueError, KeyError, OSError, BadZipFile) as error:
            raise StoreError(f"{path}: not the state of an OnlineConformal; `save` writes one") from error

    @classmethod
    def _loaded(cls, path: str | os.PathLike[str]) -> OnlineConformal:
        with np.load(path, allow_pickle=False) as held:
            _, leads, cells = held["scores"].shape
            made = cls(
                held["levels"],
                leads,
                cells,
                window=int(held["window"]),
                rate=float(held["rate"]),
                edges=held["edges"].tolist(),
                minimum=int(held["minimum"]),
                refresh=int(held["refresh"]),
                initial=held["initial"],
            )
            for name in ("scores", "groups", "issued", *ADAPTED):
                setattr(made, name, held[name])
            made.count = int(held["count"])
            for i, recent in enumerate(made.windows):
                recent.scale = held[f"scale_{i}"]
                recent.ordered = [
                    (held[f"ordered_{i}_{g}"], held[f"known_{i}_{g}"]) for g in range(len(recent.ordered))
                ]
        return made
