"""Sums of the scores of a block of a forecast, by group, which add up to those of the whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stgate.errors import ForecastError
from stgate.evaluation.blocks import Block
from stgate.evaluation.plan import Plan
from stgate.metrics.crps_empirical import cells_of

Array = NDArray[np.float64]
Counts = NDArray[np.int64]
TILE = 2**13
"""Observations that are scored at once: their quantiles stay in the processor's cache."""


@dataclasses.dataclass(eq=False)
class Tally:
    """Sums of the entries of a plan over observations, by origin and group; one origin stands for all.

    Attributes:
        totals: Sums of the values, (entry, origin, group).
        surplus: Numbers of the values less `scored`, likewise: 0 unless a value is missing, or not an observation's.
        scored: Number of observations with a forecast, (origin, group).
        lost: Number of observations without one, likewise.
    """

    totals: Array
    surplus: Array
    scored: Counts
    lost: Counts

    @classmethod
    def none(cls, plan: Plan, origins: int = 1) -> Tally:
        """Return the sums of no observation.

        Args:
            plan: The plan of the evaluation.
            origins: Number of origins.
        """
        shape = (origins, plan.outputs)
        whole = (len(plan.entries), *shape)
        return cls(np.zeros(whole), np.zeros(whole), np.zeros(shape, "int64"), np.zeros(shape, "int64"))

    def __add__(self, other: Tally) -> Tally:
        """Add the sums of other observations."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Tally(*(mine + theirs for mine, theirs in pairs))

    def add(self, columns: Counts, totals: Sequence[Array], missing: Mapping[int, Array], counts: Counts) -> None:
        """Add sums of all entries but valid prediction times.

        Args:
            columns: Places of the sums, each of which is one origin's group, none twice.
            totals: Sums of each entry.
            missing: Numbers of missing values, of entries that have any.
            counts: Numbers of observations.
        """
        whole = self.totals.reshape(len(self.totals), -1)
        every = np.array_equal(columns, np.arange(whole.shape[1]))  # a slice is added faster
        whole[: len(totals), slice(None) if every else columns] += np.array(totals)
        for entry, numbers in missing.items():
            self.surplus[entry].reshape(-1)[columns] -= numbers
        self.scored.reshape(-1)[columns] += counts


@dataclasses.dataclass(eq=False)
class Sums:
    """Sums of the scores of blocks, which are added in the order of the blocks. They can be pickled.

    Attributes:
        whole: Sums over all origins.
        each: Sums of each origin, one part a block, where the plan keeps origins apart.
        seen: Number of scored observations that training saw.
    """

    whole: Tally
    each: list[Tally]
    seen: int = 0

    @classmethod
    def none(cls, plan: Plan) -> Sums:
        """Return the sums of no block, to which others are added.

        Args:
            plan: The plan of the evaluation.
        """
        return cls(Tally.none(plan), [])

    def __add__(self, other: Sums) -> Sums:
        """Add the sums of the blocks that follow."""
        return Sums(self.whole + other.whole, self.each + other.each, self.seen + other.seen)


@dataclasses.dataclass(eq=False)
class _Places:
    """Places of observations, (case,): their groups, their origins within the block, and two flags."""

    groups: Counts | None
    origins: Counts | None
    within: NDArray[np.bool_]
    seen: NDArray[np.bool_] | None

    def at(self, index: slice | NDArray[Any]) -> _Places:
        held: list[Any] = [None if a is None else a[index] for a in (self.groups, self.origins, self.seen)]
        return _Places(held[0], held[1], self.within[index], held[2])


def block_sums(block: Block, plan: Plan) -> Sums:
    """Score the observations of a block, and sum the scores by group.

    Args:
        block: Values of some origins.
        plan: The plan of the evaluation.

    Raises:
        ForecastError: Quantiles cross.
    """
    shape, count = block.truth.shape, block.truth.size
    sums = Sums(Tally.none(plan), [Tally.none(plan, shape[0])] if plan.apart else [])
    quantiles, mean, truth = block.quantiles.reshape(count, -1), block.mean.reshape(count), block.truth.reshape(count)
    places = _Places(
        _flat(_groups(block, plan), shape) if plan.apart or plan.outputs > 1 else None,
        _flat(np.arange(shape[0]).reshape(-1, *(1,) * (len(shape) - 1)), shape) if plan.apart else None,
        _flat(_rows(plan.within, block), shape),
        None if plan.seen is None else _flat(_rows(plan.seen, block), shape),
    )
    step = max(TILE, 8 * plan.outputs)
    with np.errstate(invalid="ignore", over="ignore"):  # of infinite bounds
        for tile in (slice(first, first + step) for first in range(0, count, step)):
            _add_tile(sums, plan, quantiles[tile], mean[tile], truth[tile], places.at(tile))
        if plan.sigma is not None:
            _add_valid_times(sums, plan, block)
    return sums


def _add_tile(
    sums: Sums,
    plan: Plan,
    quantiles: NDArray[np.floating],
    mean: NDArray[np.floating],
    truth: NDArray[np.floating],
    places: _Places,
) -> None:
    """Add the scores of some observations, (case,) with (case, quantile) quantiles, to sums."""
    known, made = ~np.isnan(truth), ~(np.isnan(quantiles[:, plan.middle]) | np.isnan(mean))
    # Only pairs of a forecast and a truth count, so that all scores of a table are over the same observations.
    scored, lost = known & made, known & ~made & places.within
    whole = bool(scored.all())
    if lost.any():
        _add_lost(sums, places.at(lost))
    if not whole:
        _check_order(plan, np.ascontiguousarray(quantiles[~scored].T))
    if not scored.any():
        return
    sums.seen += 0 if places.seen is None else int((scored & places.seen).sum())
    if (groups := places.groups) is not None and (np.diff(groups) < 0).any():
        order = np.argsort(groups.astype("uint16") if plan.outputs < 2**16 else groups, kind="stable")
        scored, whole = order[scored[order]], False
    if not whole:
        quantiles, mean, truth, places = quantiles[scored], mean[scored], truth[scored], places.at(scored)
    parts = _partitions(sums, places, len(truth))
    found: list[tuple[list[Array], dict[int, Array]]] = [([], {}) for _ in parts]
    for entry, values in enumerate(_entries(plan, quantiles, mean.astype("float64"), truth.astype("float64"))):
        for (totals, missing), (_, starts, *_) in zip(found, parts, strict=True):
            total = _total(values, starts)
            if np.isnan(total).any():  # a missing or infinite bound: its entry drops out with its weight
                there = ~np.isnan(values)
                total, missing[entry] = _total(np.where(there, values, 0.0), starts), _total(~there, starts)
            totals.append(total)
    for (totals, missing), (tally, _, columns, counts) in zip(found, parts, strict=True):
        tally.add(columns, totals, missing, counts)


def _partitions(sums: Sums, places: _Places, count: int) -> list[tuple[Tally, Counts, Counts, Counts]]:
    """Return what is summed, of observations in the order of their groups and then of their origins.

    Returns:
        The tally, the start of each of its parts, their columns and their lengths: of groups, and of each origin's.
    """
    zero = np.zeros(1, "int64")
    if places.groups is None:
        return [(sums.whole, zero, zero, np.array([count]))]
    outputs = sums.whole.scored.shape[1]
    starts = np.flatnonzero(np.diff(places.groups, prepend=-1))
    made = [(sums.whole, starts, places.groups[starts], np.diff(starts, append=count))]
    if places.origins is not None:
        columns = places.origins * outputs + places.groups
        starts = np.flatnonzero(np.diff(columns, prepend=-1))
        made.append((sums.each[0], starts, columns[starts], np.diff(starts, append=count)))
    return made


def _add_lost(sums: Sums, places: _Places) -> None:
    """Count observations without a forecast by group."""
    groups = np.zeros(len(places.within), "int64") if places.groups is None else places.groups
    np.add.at(sums.whole.lost[0], groups, 1)
    if places.origins is not None:
        np.add.at(sums.each[0].lost, (places.origins, groups), 1)


def _entries(plan: Plan, quantiles: NDArray[np.floating], mean: Array, truth: Array) -> Iterator[NDArray[Any]]:
    """Yield the values of each entry of the plan, (case,), in its order."""
    rows = np.ascontiguousarray(quantiles.T, dtype="float64")  # (quantile, case): each row stays in the cache
    _check_order(plan, rows)
    widths = [rows[high] - rows[low] for *_, low, high in plan.intervals]
    miss = np.subtract(truth, rows, out=rows)
    yield np.abs(miss[plan.middle])
    yield (truth - mean) ** 2
    losses, above, below = np.zeros(len(truth)), np.empty(len(truth)), np.empty(len(truth))
    for row, level, cell in zip(miss, plan.quantiles, 2 * cells_of(plan.quantiles), strict=True):
        np.multiply(row, cell * level, out=above)
        np.multiply(row, cell * (level - 1), out=below)
        losses += np.maximum(above, below, out=above)
    yield losses
    flaw, flawed = 0.0 * truth, np.isnan(losses.sum())
    for (_, level, low, high), width in zip(plan.intervals, widths, strict=True):
        gap = np.maximum(-miss[low], miss[high])
        yield np.where(np.isnan(gap), np.nan, gap <= 0) if flawed else gap <= 0
        yield width + flaw if flaw.any() else width  # an infinite truth
        np.maximum(gap, 0.0, out=gap)
        gap *= 2 / (1 - level)
        yield np.add(gap, width, out=gap)


def _total(values: NDArray[Any], starts: Counts) -> Array:
    """Sum values from each start to the next."""
    if len(starts) == 1:
        return np.array([values.sum(dtype="float64")])
    return np.asarray(np.add.reduceat(values, starts, dtype="float64"))


def _check_order(plan: Plan, rows: NDArray[np.floating]) -> None:
    """Refuse quantiles, (quantile, case), that cross."""
    crossed = np.less(rows[1:], rows[:-1])
    if crossed.any():
        raise ForecastError(
            f"`{plan.name}`: quantiles cross at {int(crossed.any(0).sum())} places or more; sort them along `quantile`"
        )


def _rows(values: NDArray[Any], block: Block) -> NDArray[Any]:
    """Return the rows of a block's origins, if there are any for each origin."""
    return values[block.start : block.start + len(block.truth)] if len(values) > 1 else values


def _flat(values: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    return np.broadcast_to(values, shape).reshape(-1)


def _groups(block: Block, plan: Plan) -> Counts:
    """Return the number of the group of each observation of a block, broadcast against its shape."""
    found = np.zeros((1,) * block.truth.ndim, "int64")
    for codes, labels in zip(plan.codes, plan.labels, strict=True):
        found = found * len(labels) + _rows(codes, block)
    return found


def _add_valid_times(sums: Sums, plan: Plan, block: Block) -> None:
    """Add the valid prediction time of each origin and trajectory, as `metrics.valid_prediction_time` defines it."""
    assert plan.sigma is not None
    lead, node = (plan.dims.index(dim) for dim in ("lead_time", "node"))
    apart = block.truth.astype("float64") - block.mean
    squares = (apart / np.where(plan.sigma > 0, plan.sigma, np.nan)) ** 2  # a node that never changed drops out
    there = ~np.isnan(squares)
    number = there.sum(node, keepdims=True)
    means = np.where(there, squares, 0.0).sum(node, keepdims=True) / np.where(number, number, np.nan)
    leads = np.asarray(plan.frame["lead_time"].values)
    errors = np.moveaxis(np.take(means, np.argsort(leads), lead), lead, -1) ** 0.5
    leads = np.sort(leads)
    missed, there = np.asarray(errors >= 0.5), np.asarray(~np.isnan(errors))
    reached, known = np.asarray(missed.any(-1)), there[..., 0]
    before = np.concatenate([[0.0], leads[:-1]])[missed.argmax(-1)]
    last = leads[len(leads) - 1 - there[..., ::-1].argmax(-1)]
    groups = np.broadcast_to(_groups(block, plan).squeeze(lead), known.shape)[known]
    origins = np.flatnonzero(known) // max(known[0].size, 1)
    for tally, rows in ((sums.whole, np.zeros_like(origins)), *((part, origins) for part in sums.each)):
        for entry, values in ((-2, np.where(reached, before, last)[known]), (-1, ~reached[known])):
            np.add.at(tally.totals[entry], (rows, groups), values)
            np.add.at(tally.surplus[entry], (rows, groups), 1.0)
        tally.surplus[-2:] -= tally.scored
