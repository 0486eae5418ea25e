"""Online conformal intervals for forecasts made one after another, whose truth arrives with a delay."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stgate._memory import free_memory, size_text
from stgate.calibration.groups import EDGES, check_edges, missing_groups
from stgate.calibration.recent import LOOKBACK, RecentScores
from stgate.errors import RequestError, StoreError, check_counts, check_number

SHORTER = 5
"""Ratio of the two windows of adaptive intervals."""
LEAK = 0.004
"""Share by which an adapted level returns to the nominal one with each truth. It forgets a shift that is over: without
it, intervals would stay too wide for as long as they were too narrow."""
MEMORY = 0.98
"""Decay, with each truth, of the losses by which the windows are weighted."""
FASTEST = 4.0
"""Effective number of cells up to which adaptation is faster: its step grows with the root of that number, since the
noise of a mean over cells falls with it."""
LARGEST = 1e25
"""Largest score: beyond it widths would not be finite in single precision."""
STATE = ("levels", "window", "rate", "edges", "minimum", "refresh", "initial", "scores", "groups", "issued")
ADAPTED = ("given", "missed", "losses", "count", "before", "noise")


class OnlineConformal:
    """Rolling and adaptive conformal prediction, separately for each lead time and missingness group.

    Half-widths of a new forecast's intervals are conformal quantiles of the scores of the last `window` origins whose
    truth is known. They are in units of the forecast's scale.

    With a `rate` they adapt. The level of the quantile rises after each miss and falls after each hit, separately for
    observed and unobserved nodes, so that coverage returns to the nominal level. The step grows with the root of the
    effective number of cells, up to twice: where the errors of all cells move together, a mean over cells is as noisy
    as a single one, and a larger step would follow noise. A second window is a fifth as long.
    The quantiles of both windows are averaged, with more weight on the smaller recent quantile loss, so that scores
    from before a shift soon count for little. No interval is infinite.

    Calls go in order of time: `update` with the scores that became known, then `predict`.

    >>> online = OnlineConformal([0.5, 0.9], leads=1, cells=2)
    >>> median, scale = np.array([3.0, 5.0]), np.array([1.0, 2.0])       # of each node, by any forecaster
    >>> widths = online.predict(since=[0, 0])                              # (level, lead, cell)
    >>> lower, upper = median - widths[1, 0] * scale, median + widths[1, 0] * scale
    >>> truth = np.array([3.5, np.nan])                                  # a step later
    >>> online.update(0, lead=0, scores=np.abs(truth - median) / scale)

    Args:
        levels: Nominal coverages, ascending in (0, 1).
        leads: Number of lead times of a forecast.
        cells: Number of nodes of a forecast, times its members.
        window: Number of origins whose scores count.
        rate: Step size γ of the adaptation for one effective cell, in units of 1 - level; 0 for plain rolling
            intervals.
        edges: First step of each missingness group after the first, in steps since a node was last observed: whole
            numbers that ascend from 1 on.
        minimum: Least number of scores of a group. A group with fewer takes the scores of all unobserved cells, then
            those of all cells.
        refresh: Number of origins between two sorts of the scores.
        initial: Half-widths to use while there are no scores, (level, lead): finite, at least 0, and none below that
            of a lower level. None takes those of a normal distribution.

    Raises:
        RequestError: The levels do not ascend within (0, 1), another option is out of range, or the scores of so many
            origins, leads and cells do not fit in memory.

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
        self.levels = np.atleast_1d(_numbers("levels", levels))
        inside = (self.levels > 0) & (self.levels < 1)
        if self.levels.ndim != 1 or not self.levels.size:
            raise RequestError("levels: give a list of at least one, such as [0.5, 0.9]")
        if not inside.all() or (np.diff(self.levels) <= 0).any():
            raise RequestError(f"levels {self.levels.tolist()}: must be increasing and between 0 and 1")
        check_counts(leads=(leads, 1), cells=(cells, 1), window=(window, 1), minimum=(minimum, 1), refresh=(refresh, 1))
        check_number("rate", rate)
        if not 0 <= rate < 1:
            raise RequestError(f"rate {rate}: must be 0 (rolling intervals) or a small step below 1, such as 0.07")
        self.edges = check_edges(edges)
        self.window, self.rate, self.minimum, self.refresh = window, rate, minimum, refresh
        kept, groups, count = LOOKBACK * window, len(self.edges) + 1, len(self.levels)
        lengths = (window, max(window // SHORTER, 1)) if rate > 0 else (window,)
        remembered = min(kept, leads + 1) if rate > 0 else 0
        each = leads * cells * 4
        _check_memory(kept * (each + cells + 8) + remembered * (1 + len(lengths)) * count * each, window, leads, cells)
        from scipy.special import ndtri  # takes a while to import

        normal = -ndtri((1 - self.levels) / 2)[:, None]
        self.initial = _half_widths(normal if initial is None else initial, (count, leads))
        self.scores = np.full((kept, leads, cells), np.nan, "float32")
        self.groups = np.zeros((kept, cells), "int8")
        self.issued = np.full(kept, -1)  # the origin that each place of the ring holds
        self.windows = [RecentScores(length, groups, cells, minimum) for length in lengths]
        sides = (count, leads, 2)  # observed at the origin, or not
        self.missed = np.broadcast_to(1 - self.levels[:, None, None], sides).copy()  # α of each
        self.losses = np.zeros((1 + len(lengths), *sides))  # of the intervals given, and of those of each window
        self.before = np.full(sides, np.nan)  # share of misses of the truth before
        self.noise = np.broadcast_to((self.levels * (1 - self.levels))[:, None, None], sides).copy()  # its variance
        self.given = np.full((remembered, 1 + len(lengths), count, leads, cells), np.nan, "float32")
        self.count = 0

    def predict(self, since: ArrayLike) -> NDArray[np.float64]:
        """Predict the half-widths of the next forecast's intervals, in units of its scale.

        Args:
            since: Steps since each cell was last observed, counted at the origin, (cell,); infinite where it never
                was.

        Returns:
            (level, lead, cell) half-widths, finite, non-decreasing in the level.

        Raises:
            RequestError: `since` is not one number of steps, at least 0, for each cell.
        """
        since = _numbers("since", since)
        if since.shape != self.groups.shape[1:] or not (since >= 0).all():
            raise RequestError(
                f"since: must hold one number of steps, at least 0, for each of {self.groups.shape[1]} cells"
            )
        if self.count % self.refresh == 0:
            newest = np.argsort(self.issued)[::-1][: (self.issued >= 0).sum()]
            for recent in self.windows:
                recent.sort(self.scores, self.groups, newest)
        group = missing_groups(since, self.edges)
        side = np.minimum(group, 1)
        wanted = 1 - self.missed[..., np.minimum(np.arange(len(self.edges) + 1), 1)]  # (level, lead, group)
        tables = [(recent.quantiles(self.levels, wanted, self.initial), recent.scale) for recent in self.windows]
        each = np.stack([table[..., group] * scale for table, scale in tables])  # (window, level, lead, cell)
        widths: NDArray[np.float64] = np.maximum.accumulate((each * self._weights()[..., side]).sum(0), axis=0)
        place = self.count % len(self.scores)
        self.scores[place], self.groups[place], self.issued[place] = np.nan, group, self.count
        if self.rate > 0:
            self.given[self.count % len(self.given)] = np.stack([widths, *each])
        self.count += 1
        return widths

    def update(self, number: int, lead: int, scores: ArrayLike) -> None:
        """Update with the scores of one lead of an earlier forecast, once its truth is known.

        Args:
            number: Number of the forecast, counted from 0 in the order of calls of `predict`. Forecasts that are out
                of the window are ignored.
            lead: Index of the lead time, counted from 0.
            scores: Conformity scores |truth - median| / scale, (cell,); NaN where the truth is missing, or was given
                by an earlier call.

        Raises:
            RequestError: The forecast has not been predicted yet, it has no such lead, a score is negative or infinite,
                or the score of a cell is known already.
        """
        check_counts(number=(number, 0), lead=(lead, 0))
        if lead >= self.scores.shape[1]:
            raise RequestError(f"lead {lead}: forecasts have {self.scores.shape[1]} leads, counted from 0")
        if not 0 <= number < self.count:
            raise RequestError(
                f"forecast {number}: not predicted yet; call predict before update ({self.count} predicted so far)"
            )
        known = _numbers("scores", scores)
        if known.shape != self.groups.shape[1:] or (known < 0).any() or (known > LARGEST).any():
            raise RequestError(
                f"scores: must hold one number from 0 to {LARGEST:g} for each of {self.groups.shape[1]} cells, or NaN"
            )
        place = number % len(self.scores)
        if self.issued[place] != number:
            return
        seen, new = self.scores[place, lead], ~np.isnan(known)
        if (~np.isnan(seen) & new).any():
            raise RequestError(f"forecast {number}, lead {lead}: scores of it are known already; give each truth once")
        seen[new] = known[new]
        if number < self.count - len(self.given):
            return
        given = self.given[number % len(self.given), :, :, lead]  # (window, level, cell)
        nominal = 1 - self.levels
        for side in (0, 1):
            chosen = new & (np.minimum(self.groups[place], 1) == side)
            if chosen.any():
                over = known[chosen] - given[..., chosen]
                loss = np.maximum(self.levels[:, None] * over, -nominal[:, None] * over).mean(-1)  # (window, level)
                self.losses[:, :, lead, side] = MEMORY * self.losses[:, :, lead, side] + loss
                miss = (over[0] > 0).mean(-1)
                self._measure(miss, lead, side)
                step = self.rate * np.sqrt(min(self.effective(lead, side), FASTEST))
                self.missed[:, lead, side] += step * nominal * (nominal - miss)
        self.missed[:, lead] += LEAK * (nominal[:, None] - self.missed[:, lead])

    def effective(self, lead: int, side: int = 0) -> float:
        """Return the effective number of cells: that of independent cells whose mean is as noisy, at least 1.

        Args:
            lead: Index of the lead time.
            side: 0 for cells observed at the origin, 1 for others.

        Raises:
            RequestError: There is no such lead or side.
        """
        check_counts(lead=(lead, 0), side=(side, 0))
        if lead >= self.scores.shape[1] or side > 1:
            raise RequestError(f"lead {lead}, side {side}: forecasts have {self.scores.shape[1]} leads and 2 sides")
        single = self.levels * (1 - self.levels)  # the variance of one cell
        return float(max(single.sum() / max(self.noise[:, lead, side].sum(), 1e-12), 1.0))

    def _measure(self, miss: NDArray[np.float64], lead: int, side: int) -> None:
        """Measure the noise of the share of misses by its changes: they hold little of a slow drift, or of one shift.

        Args:
            miss: Share of misses of each level.
            lead: Index of the lead time.
            side: 0 for cells observed at the origin, 1 for others.
        """
        change = (miss - self.before[:, lead, side]) ** 2 / 2
        if np.isfinite(change).all():
            self.noise[:, lead, side] = MEMORY * self.noise[:, lead, side] + (1 - MEMORY) * change
        self.before[:, lead, side] = miss

    def _weights(self) -> NDArray[np.float64]:
        """Weights of the windows, (window, level, lead, side)."""
        issued, each = self.losses[0], self.losses[1:]
        relative = each / np.where(issued > 1e-200, issued, 1.0)  # those of a state may be tiny
        odds = np.exp((relative.min(0) - relative) / (1 - MEMORY))
        weights: NDArray[np.float64] = odds / odds.sum(0)
        return weights

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the state as a small .npz, whole or not at all.

        Args:
            path: File to write; an existing one is replaced.

        Raises:
            StoreError: Its folder does not exist, or a folder has its name.
        """
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
        """Load a state that `save` wrote; no code in the file is run.

        Args:
            path: File that `save` wrote.

        Raises:
            StoreError: The file does not exist or holds no state.
        """
        from stgate.io.safe.archive import load_arrays
        from stgate.io.safe.reading import exists

        if not exists(path):
            raise StoreError(f"{path}: no such file")
        try:
            with warnings.catch_warnings(action="ignore"):  # of values that no state has
                return cls._restored(load_arrays(path))
        except Exception as error:  # whatever libraries raise for a broken file
            raise StoreError(f"{path}: not the state of an OnlineConformal; write one with its method save") from error

    @classmethod
    def _restored(cls, held: Mapping[str, NDArray[Any]]) -> OnlineConformal:
        """Return the state that arrays hold.

        Raises:
            StoreError: An array has another form than `save` writes, or values that no state has.
        """
        _, leads, cells = held["scores"].shape
        window = int(held["window"])
        _check("scores", held["scores"], np.empty((LOOKBACK * window, leads, cells), "float32"))  # before more is made
        made = cls(
            held["levels"].tolist(),
            leads,
            cells,
            window=window,
            rate=float(held["rate"]),
            edges=held["edges"].tolist(),
            minimum=int(held["minimum"]),
            refresh=int(held["refresh"]),
            initial=held["initial"],
        )
        for name in ("scores", "groups", "issued", *ADAPTED):
            if name in held:  # states of earlier versions lack some
                _check(name, held[name], np.asarray(getattr(made, name)))
                setattr(made, name, held[name])
        made.count = int(made.count)
        places = np.arange(len(made.issued))
        filled = made.issued >= 0
        kept = (made.issued[filled] % len(places) == places[filled]) & (made.issued[filled] < made.count)
        if not kept.all() or made.groups.min() < 0 or made.groups.max() > len(made.edges):
            raise StoreError("issued, groups: hold what no state has")
        for i, recent in enumerate(made.windows):
            _check(f"scale_{i}", held[f"scale_{i}"], recent.scale)
            recent.scale = held[f"scale_{i}"]
            recent.ordered = [_ordered(held, f"{i}_{group}", leads) for group in range(len(recent.ordered))]
        return made


def _numbers(name: str, value: ArrayLike) -> NDArray[np.float64]:
    """Return numbers as an array.

    Masked numbers are NaN.

    Raises:
        RequestError: The value is no number and no array of numbers.
    """
    given: NDArray[Any] | None = None
    with contextlib.suppress(TypeError, ValueError, RuntimeError):  # lists of unequal lengths; a tensor with gradients
        given = np.asanyarray(value)  # a masked array stays one
    if given is None or (given.size and given.dtype.kind not in "iuf"):
        raise RequestError(f"{name}: must hold numbers, not {' '.join(repr(value).split())[:60]}")
    return np.ma.filled(given.astype("float64"), np.nan)


def _half_widths(value: ArrayLike, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return the first half-widths, (level, lead)."""
    given = _numbers("initial", value)
    try:
        widths = np.broadcast_to(given, shape).copy()
    except ValueError as error:
        raise RequestError(f"initial: has the shape {given.shape}, not that of (level, lead), {shape}") from error
    if not ((widths >= 0) & (widths <= LARGEST)).all() or (np.diff(widths, axis=0) < 0).any():
        raise RequestError(
            f"initial: must hold numbers from 0 to {LARGEST:g}, for each level no lower than for the one before"
        )
    return widths


def _check_memory(needed: int, window: int, leads: int, cells: int) -> None:
    """Refuse scores that do not fit in memory."""
    room = free_memory()
    if room is not None and needed > 0.8 * room:
        raise RequestError(
            f"window {window}, leads {leads}, cells {cells}: take {size_text(needed)} and {size_text(room)} of memory "
            "are free; choose a shorter window"
        )


def _check(name: str, array: NDArray[Any], like: NDArray[Any]) -> None:
    """Refuse an array of a state that has another shape or kind than it should, or values that are negative.

    Raises:
        StoreError: The array does not fit.
    """
    signed = name in ("missed", "losses", "issued")  # an adapted level may pass 1; no forecast is number -1
    gaps = name in ("scores", "before", "given")
    if array.shape != like.shape or array.dtype != like.dtype:
        raise StoreError(f"{name}: {array.dtype} of the shape {array.shape}, not {like.dtype} of {like.shape}")
    if np.isinf(array).any() or (not gaps and np.isnan(array).any()) or (not signed and (array < 0).any()):
        raise StoreError(f"{name}: holds values that no state has")


def _ordered(held: Mapping[str, NDArray[Any]], key: str, leads: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the sorted scores of a group and their numbers, checked."""
    ordered, known = held[f"ordered_{key}"], held[f"known_{key}"]
    never = ordered.shape == (0, 0)  # nothing has been sorted yet
    _check(f"ordered_{key}", np.nan_to_num(ordered, posinf=-1), np.empty(ordered.shape, "float32"))
    _check(f"known_{key}", known, np.zeros(1 if never else leads, "int64"))
    if ordered.ndim != 2 or len(ordered) not in (0, leads) or known.max() > ordered.shape[1]:
        raise StoreError(f"ordered_{key}: has the shape {ordered.shape}")
    if any(np.isnan(row[:count]).any() for row, count in zip(ordered, known, strict=False)):
        raise StoreError(f"known_{key}: counts more scores than there are")
    return ordered, known
