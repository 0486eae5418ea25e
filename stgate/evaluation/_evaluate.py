"""Scores of a forecast against its truth. No torch."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import xarray as xr

from stgate.errors import ForecastError, RequestError
from stgate.evaluation.blocks import Source
from stgate.evaluation.plan import Plan, make_plan, target_of
from stgate.evaluation.sums import Sums, block_sums
from stgate.evaluation.tables import table
from stgate.evaluation.truth import lookup
from stgate.io.cluster import check_dask, map_blocks
from stgate.io.store import open_forecast_lazily
from stgate.schema.forecast import as_forecast, check_layout, outline

SHARES = 128
"""Largest number of shares of an evaluation on a cluster, about: each is sent to a worker."""


def evaluate(
    forecast: xr.Dataset | str | os.PathLike[str],
    *,
    by: str | Sequence[str] = (),
    target: str | None = None,
    truth: xr.DataArray | None = None,
    levels: Sequence[float] | None = None,
    bootstrap: int = 0,
    block: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    dask: str | None = None,
) -> xr.Dataset:
    """Score a forecast against its truth.

    Args:
        forecast: A forecast from `backtest` or `reconstruct`, or any dataset of the forecast schema with
            `<target>_truth`; or the path of one. It is read in blocks of origins, so a zarr store, or a dataset whose
            values are in a store or in dask, may be larger than memory.
        by: Groups with separate scores: `lead_time`, `node`, `init_time`, `member`, `observed` (the node is observed at
            the origin, or not), or the name of a node coordinate, whose values group the nodes. Empty: one score over
            all.
        target: The variable to score; None takes the only one.
        truth: Observed values over `time` and `node`, used in the place of the forecast's own truth. They may be
            observed after the forecast was made, or masked before the fit (`panel["pm25_hidden"]` of a panel from
            `stgate mask`). Values in another unit (attribute `units`) are converted to that of the forecast.
        levels: Levels of the intervals to score; None takes all that the forecast holds.
        bootstrap: Number of resamples of the origins, in blocks, from which each score gets an interval; 0 for none.
        block: Number of origins in a block; None takes as many as have overlapping leads, and at least the cube root of
            the number of origins.
        progress: A function called with the number of blocks done and the total.
        dask: `local:N`, for N processes of this machine, or the address of a dask scheduler, whose workers read the
            forecast themselves, by its path; the bits are those of one process. None scores in this process.

    Returns:
        Scores over the groups:

        * `count`, the number of scored observations, and `no_forecast`, the share of observations without a forecast,
          where there are any;
        * `mae` of the median, `rmse` of the mean, and `crps` from the quantiles;
        * `coverage_90`, `width_90` and `interval_score_90`, and the same for each other level;
        * for model time `vpt`, the valid prediction time, `vpt_lyapunov`, the same in Lyapunov times where the exponent
          is known, and `vpt_censored`, the share of valid prediction times that are lower bounds. Where `vpt` exceeds
          the panel's valid-ground-truth time, its attribute `comment` says so;
        * with `bootstrap`, `mae_low`, `mae_high` and so on, the bounds of a 95 % interval of each score.

        The attribute `in_training` is the share of observations no later than the end of training, where that is known
        and not 0; errors on new data are larger. Observations without a forecast, and forecasts without an observation,
        are not scored; a group without any is NaN.

    Raises:
        ForecastError: The forecast has no truth, nothing is observed, or quantiles cross.
        StoreError: The file cannot be read.
        RequestError: A target, group or level is unknown, the bootstrap's options are wrong, or the truth is in a unit
            that cannot be converted to that of the forecast.
    """
    if dask is not None:
        check_dask(dask)
        if not str(forecast).endswith(".zarr") or isinstance(forecast, xr.Dataset):
            raise RequestError("dask: its workers open the forecast themselves; give the path of a .zarr store")
    source, plan = prepare(forecast, by=by, target=target, truth=truth, levels=levels, bootstrap=bootstrap, block=block)
    return score(source, plan, progress, dask)


def score(
    source: Source, plan: Plan, progress: Callable[[int, int], None] | None = None, dask: str | None = None
) -> xr.Dataset:
    """Score what was prepared, block by block.

    Args:
        source: The values.
        plan: The plan of the evaluation.
        progress: A function called with the number of blocks done and the total.
        dask: A cluster; None scores in this process.

    Returns:
        The table, as for `evaluate`.

    Raises:
        ForecastError: Nothing is observed, or quantiles cross.
        StoreError: The values cannot be read.
    """
    sums, done = Sums.none(plan), 0
    for part in (
        (block_sums(part, plan) for part in source.blocks(plan)) if dask is None else _shared(source, plan, dask)
    ):
        sums, done = sums + part, done + 1
        if progress:
            progress(done, plan.blocks)
    return table(sums, plan)


def _shared(source: Source, plan: Plan, dask: str) -> Iterator[Sums]:
    """Yield the sums of all blocks in their order, as the workers of a cluster return them."""
    size = max(plan.blocks // SHARES, 1)
    early: dict[int, list[Sums]] = {}
    turn = 0
    for number, made in map_blocks(_Share(source, plan, size), range(-(-plan.blocks // size)), dask):
        early[number] = made
        while turn in early:  # floating-point sums depend on their order
            yield from early.pop(turn)
            turn += 1


@dataclasses.dataclass(frozen=True)
class _Share:
    """Successive blocks that one worker sums."""

    source: Source
    plan: Plan
    size: int

    def __call__(self, number: int) -> list[Sums]:
        first = number * self.size
        blocks = self.source.blocks(self.plan, first, min(first + self.size, self.plan.blocks))
        return [block_sums(part, self.plan) for part in blocks]


def prepare(
    forecast: xr.Dataset | str | os.PathLike[str],
    *,
    by: str | Sequence[str] = (),
    target: str | None = None,
    truth: xr.DataArray | None = None,
    levels: Sequence[float] | None = None,
    bootstrap: int = 0,
    block: int | None = None,
) -> tuple[Source, Plan]:
    """Prepare an evaluation: find its values and plan its blocks, which several processes may share.

    The sums of the blocks `block_sums(part, plan) for part in source.blocks(plan, first, end)`, added in their order to
    `Sums.none(plan)`, are those of `evaluate`, bit by bit, whoever computes which of them; `table(sums, plan)` is its
    result.

    Args:
        forecast: As for `evaluate`, like all others.
        by: Groups with separate scores.
        target: The variable to score.
        truth: Observed values.
        levels: Levels of the intervals to score.
        bootstrap: Number of resamples.
        block: Number of origins in a block of the bootstrap.

    Raises:
        ForecastError: The forecast has no truth.
        RequestError: An option is wrong.
        StoreError: The file cannot be read.
    """
    if isinstance(forecast, str | os.PathLike):
        forecast = open_forecast_lazily(forecast)
    bare = as_forecast(outline(forecast)) if isinstance(forecast, xr.Dataset) else forecast
    check_layout(bare)
    name = target_of(bare, target)
    found = None if truth is None else lookup(bare, name, truth)
    if found is not None:
        empty = np.broadcast_to(np.float64(0), [bare.sizes[dim] for dim in found.dims])
        bare = bare.assign({f"{name}_truth": (found.dims, empty, found.truth.attrs)})
    _check_scorable(bare, name)
    plan = make_plan(bare, name, by=by, levels=levels, bootstrap=bootstrap, block=block)
    return Source(forecast, found), plan


def _check_scorable(forecast: xr.Dataset, name: str) -> None:
    if f"{name}_truth" not in forecast:
        raise ForecastError(
            f"`{name}_truth`: the forecast carries no truth; use backtest, or give a panel with it (truth=, --truth)"
        )
    if f"{name}_mean" not in forecast:
        raise ForecastError(f"`{name}_mean`: missing; a forecast holds the mean beside its quantiles")
