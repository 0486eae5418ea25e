"""Forecasts written to a zarr store block by block: here or on a cluster, and gone on with after a kill."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from stgate.data.history import BATCH, History, Progress
from stgate.errors import ClusterError, RequestError
from stgate.forecasting.online_intervals import OnlineIntervals
from stgate.forecasting.tally import Tally
from stgate.io.cluster import run_blocks
from stgate.io.safe.blocks import BlockStore, grown_of, note_of, write_note, write_rows
from stgate.prediction.evaluating import evaluation_mode
from stgate.prediction.loading import Model
from stgate.prediction.predictor import Predictor

BLOCK = 2**25
"""Most bytes in a block, unless a single row is larger."""
MOST = 8
"""Most batches in a block: as many are lost with a kill."""
AXES = ("init_time", "valid_time", "time")
"""Coordinates over the rows that are known in advance."""


class Plan(Protocol):
    """Forecasts of rows, any block of which can be made by itself."""

    verb: str
    dim: str

    @property
    def model(self) -> Predictor:
        """The predictor."""

    @property
    def history(self) -> History:
        """The panel."""

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Rows that are forecast."""

    @property
    def before(self) -> int:
        """Number of these that come before the first one asked for."""

    @property
    def members(self) -> int:
        """Number of members of the panel."""

    @property
    def row_bytes(self) -> int:
        """Number of bytes of one row of the result."""

    def identity(self) -> dict[str, Any]:
        """Return what determines the bytes of the result, by name."""

    def axis(self) -> dict[Any, Any]:
        """Return the coordinates over the rows that are known in advance."""

    def sample(self) -> xr.Dataset:
        """Return the result for a single row."""

    def forecast(self, first: int, stop: int) -> tuple[list[Any], Tally]:
        """Forecast some of the rows."""

    def numbers(self, predictions: Sequence[Any]) -> dict[str, NDArray[Any]]:
        """Return the numbers of predictions by row and member."""

    def dataset(self, predictions: Sequence[Any]) -> xr.Dataset:
        """Return the result for the rows of predictions."""

    def intervals(self) -> OnlineIntervals | None:
        """Return intervals that learn from row to row, before the first; None where they do not."""

    def instead(self, first: int, stop: int) -> tuple[Any, Any]:
        """Return errors that take the place of those of some rows, and where."""


@dataclasses.dataclass(frozen=True)
class Job:
    """Paths and options from which a worker makes a plan by itself.

    Attributes:
        make: Function that makes it.
        model: The checkpoint.
        panel: The panel.
        given: Options of `make`, but for the memory.
    """

    make: Callable[..., Plan]
    model: Model
    panel: xr.Dataset | str | os.PathLike[str]
    given: Mapping[str, Any]

    def by_path(self) -> Job:
        """Return the same with absolute paths.

        Raises:
            RequestError: Model or panel is not a path.
        """
        for name in ("model", "panel"):
            if not isinstance(getattr(self, name), str | os.PathLike):
                raise RequestError(f"dask: its workers open the {name} themselves; give its path")
        model, panel = (os.path.abspath(cast(str, path)) for path in (self.model, self.panel))
        return dataclasses.replace(self, model=model, panel=panel)


def to_store(
    plan: Plan,
    job: Job,
    out: str | os.PathLike[str],
    *,
    overwrite: bool,
    resume: bool,
    dask: str | None,
    history: str,
    progress: Progress | None,
) -> xr.Dataset:
    """Write a plan's result to a zarr store in blocks of rows.

    Args:
        plan: The plan.
        job: How a worker makes the same plan.
        out: The store.
        overwrite: Replace an existing store.
        resume: Continue a stopped run.
        dask: `local:N` or the address of a scheduler; None works here.
        history: Line for the attribute `history`.
        progress: A function called with the number of windows done and the total.

    Returns:
        The store, opened lazily.
    """
    size = block_of(plan.row_bytes)
    rows = len(plan.predicted) - plan.before
    identity = {**plan.identity(), "origins_in_a_block": size}
    if dask is not None:
        job = job.by_path()
    with (
        BlockStore(Path(out), identity, rows * plan.row_bytes, overwrite=overwrite, resume=resume) as store,
        contextlib.ExitStack() as stack,
    ):
        if store.whole:
            return store.opened()
        if not store.started():
            sample = plan.sample().assign_attrs(history=history)
            store.begin(sample, plan.axis(), plan.dim, rows, {plan.dim: size})
        run = Run(plan, store.partial, size)
        run.take(store.notes())
        todo = [number for number in range(run.count) if number not in run.ready]
        if dask is None:
            stack.enter_context(evaluation_mode(plan.model))  # one warning of all blocks
            work: Callable[[int], object] = run.work
        else:
            partial, memory = os.path.abspath(store.partial), plan.history.memory / 1e6
            work = functools.partial(_remote, job, memory, plan.identity(), partial, size)
        run.settle()
        for number in run_blocks(work, todo, dask):
            run.ready.add(number)
            run.settle()
            if progress:
                progress(run.done() * plan.members, len(plan.predicted) * plan.members)
        run.tally.warn(plan.model, stacklevel=4)
        return store.finish({})


def block_of(row_bytes: int) -> int:
    """Return the number of rows in a block: whole batches where they fit, else a power of two.

    Args:
        row_bytes: Number of bytes of one row.
    """
    fitting = max(BLOCK // row_bytes, 1)
    return BATCH * min(fitting // BATCH, MOST) if fitting >= BATCH else 1 << (fitting.bit_length() - 1)


class Run:
    """The blocks of a plan.

    Online intervals learn from origin to origin, so that blocks are forecast in any order, by anyone, and then given
    their intervals in order, here. The scores stay beside the store: what goes on learns from them again.

    Args:
        plan: The plan.
        partial: Folder in which the store grows.
        size: Number of rows in a block.
    """

    def __init__(self, plan: Plan, partial: Path, size: int) -> None:
        self.plan, self.partial, self.size = plan, partial, size
        self.count = -(-len(plan.predicted) // size)
        self.ready: set[int] = set()
        self.settled = 0
        self.online = plan.intervals()
        self.tally = Tally.of(plan.model, [])

    def take(self, notes: Mapping[int, Sequence[str]]) -> None:
        """Take the blocks that have been done before."""
        self.ready |= set(notes)

    def bounds(self, number: int) -> tuple[int, int]:
        """Return the first row of a block, and the one after its last."""
        return number * self.size, min((number + 1) * self.size, len(self.plan.predicted))

    def done(self) -> int:
        """Return the number of rows that are done."""
        return sum(stop - first for first, stop in map(self.bounds, self.ready))

    def work(self, number: int) -> None:
        """Forecast a block; write it, or for online intervals what they need of it."""
        predictions, tally = self.plan.forecast(*self.bounds(number))
        noted = tally.arrays()
        if self.online is None:
            self._write(self.plan.dataset(predictions), self.bounds(number)[0])
        else:
            noted |= self.plan.numbers(predictions)
        write_note(self.partial, number, noted)

    def settle(self) -> None:
        """Give intervals to the blocks whose turn has come."""
        while self.settled in self.ready:
            number = self.settled
            held = note_of(self.partial, number)
            self.tally += Tally.from_arrays(held)
            if self.online is not None:
                self._calibrate(self.online, number, held)
            self.settled += 1

    def _calibrate(self, online: OnlineIntervals, number: int, held: dict[str, NDArray[Any]]) -> None:
        first, stop = self.bounds(number)
        online.learn(held["score"], held["since"], *self.plan.instead(first, stop))
        if "quantiles" not in held:  # it was written before a kill
            return
        kept = stop - max(first, self.plan.before)
        if kept > 0:
            rows = {name: array[-kept:] for name, array in held.items() if not name.startswith("tally_")}
            made = self.plan.dataset([online.calibrated(rows, online.reach(kept))])
            self._write(made, max(first - self.plan.before, 0))
        learnt = ("score", "since", *(name for name in held if name.startswith("tally_")))
        write_note(self.partial, number, {name: held[name] for name in learnt})

    def _write(self, rows: xr.Dataset, first: int) -> None:
        write_rows(self.partial, rows, grown_of(rows, self.plan.dim, AXES), self.plan.dim, first)


_HELD: list[tuple[Any, Run]] = []
"""The run that this worker has begun last: it opens checkpoint and panel once."""


def _remote(job: Job, memory: float, identity: dict[str, Any], partial: str, size: int, number: int) -> None:
    """Forecast a block on a worker."""
    key = (job.make, str(job.model), str(job.panel), sorted(identity.items()), partial)
    if not _HELD or _HELD[0][0] != key:
        _HELD.clear()
        plan = job.make(job.model, job.panel, max_memory=memory, **job.given)
        for name, value in plan.identity().items():
            if identity[name] != value:
                raise ClusterError(
                    f"--dask: the worker on {socket.gethostname()} finds another {name} under the same path, {value}, "
                    f"not {identity[name]}; let all workers see the same files and packages"
                )
        _HELD.append((key, Run(plan, Path(partial), size)))
    with torch.no_grad():
        _HELD[0][1].work(number)
