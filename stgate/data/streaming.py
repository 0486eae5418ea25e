"""Panels larger than memory: a zarr store is read in blocks of rows, and windows are shuffled within a buffer."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from stgate._memory import size_text
from stgate.data.digest import add_rows
from stgate.data.scaling import Moments, Statistics
from stgate.data.windows import Clock, Series, Windows, hash_seed, static_values, steps_since_observed
from stgate.errors import PanelError, RequestError
from stgate.io.conventions import FLAGS, PackedLimits, beyond, declared_missing, valid_bounds
from stgate.schema.batch import Batch
from stgate.schema.fills import check_marks
from stgate.schema.panel import at
from stgate.schema.precision import Digits
from stgate.schema.spec import PanelSpec
from stgate.schema.steps import extended

SCAN = 2**22
"""Number of bytes read at once while the whole store is read."""


class StoredSeries:
    """A panel in a zarr store, read as tensors, some rows at a time.

    One pass over the store finds the scales, the observed entries and, at regular rows, the steps since each target was
    observed. Any block of rows then gives the same tensors as the panel in memory.

    Args:
        panel: A panel opened lazily, with the spec's nodes in the spec's order.
        spec: The spec, which names the variables to read.
        train: Row range `[start, stop)` of the training part.
        ahead: Number of rows of missing values after the end of the store.

    Attributes:
        observed: (member, time), True if any target is observed at any node.
        seen: (node, target), True if the target is ever observed at the node.
        digest: Digits that differ as soon as a value does, those of `digest_of`.

    Raises:
        PanelError: A value is infinite, marks a missing one, or has digits that float32 does not hold.
    """

    def __init__(self, panel: xr.Dataset, spec: PanelSpec, train: tuple[int, int] = (0, 0), ahead: int = 0) -> None:
        self.panel, self.spec = panel, spec
        for name in spec.channels:
            if FLAGS & set(panel[name].attrs):
                raise PanelError(f"`{name}`: holds flags, which are no numbers; leave it out")
        times: Any = panel["time"].values
        if ahead:
            times = extended(times, spec.time_step, ahead)
        self.members, self.times = panel.sizes.get("member", 1), len(times)
        self.clock = Clock.of(times, spec)
        self.static = static_values(panel, spec)
        chunk = max((_chunk(panel[name]) for name in spec.channels), default=1)
        fitting = max(SCAN // self.row_bytes, 1)
        self.stride = min(chunk * -(-64 // chunk), fitting)
        self.observed = torch.zeros((self.members, self.times), dtype=torch.bool)
        marks = -(-self.times // self.stride)
        self._before = torch.zeros((marks, self.members, len(spec.nodes), len(spec.targets)))
        self._scan(train)

    @functools.cached_property
    def ever(self) -> Tensor:
        """True for each node that ever observes a target, (node,)."""
        return self.seen.any(-1)

    @property
    def row_bytes(self) -> int:
        """Number of bytes of one row of all channels."""
        return 4 * self.members * len(self.spec.nodes) * len(self.spec.channels)

    @property
    def values(self) -> Tensor:
        """The values of the whole panel, which a store does not give: they may not fit into memory.

        Raises:
            PanelError: Always.
        """
        raise PanelError(
            f"the panel takes {size_text(self.row_bytes * self.times)} and is read from its store in blocks, but this "
            "forecaster needs all of it at once; give it more memory (max_memory), or a shorter panel"
        )

    def statistics(self) -> Statistics:
        """Compute the centres and scales of the training part.

        Raises:
            PanelError: A variable is never observed in it.
        """
        return Statistics.of_moments(*self._moments, self.static, self.spec)

    def read(self, start: int, stop: int, digits: Sequence[Digits] | None = None) -> Tensor:
        """Read the rows `[start, stop)`.

        Args:
            start: The first row.
            stop: The row after the last.
            digits: The digits of each channel, to which the values are added; None once the store has been checked.

        Returns:
            Values (member, time, node, channel), float32.
        """
        values = np.empty((self.members, stop - start, len(self.spec.nodes), len(self.spec.channels)), np.float32)
        held = self.panel.sizes["time"]
        values[:, max(held - start, 0) :] = np.nan
        import zarr  # takes a while to import

        with zarr.config.set({"async.concurrency": 1}):  # one chunk at a time: each in flight takes memory
            for first in range(start - start % self.stride, min(stop, held), self.stride):
                rows = slice(max(first, start), min(first + self.stride, stop, held))
                for i, name in enumerate(self.spec.channels):
                    part = self.panel[name].isel(time=rows).load()  # (member?, time, node)
                    piece = part.where(~declared_missing(part)).values
                    if (bounds := valid_bounds(self.panel[name])) is not None:
                        piece = np.where(beyond(piece, bounds), np.nan, piece)
                    if digits is not None:
                        self._limits[i].add(piece)
                        check_marks(name, piece)
                        digits[i].add(piece)
                    values[:, rows.start - start : rows.stop - start, :, i] = piece
        return torch.from_numpy(values)

    def rows(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Read the rows `[start, stop)`, and the steps since each target was observed.

        Args:
            start: The first row.
            stop: The row after the last.

        Returns:
            Values (member, time, node, channel), and steps since observed (member, time, node, target).
        """
        mark = start // self.stride
        first = mark * self.stride  # the steps since observed are known at this row
        values = self.read(first, stop)
        since = steps_since_observed(values[..., : len(self.spec.targets)], self._before[mark])
        return values[:, start - first :], since[:, start - first :]

    def blocks(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Yield row ranges that make up `[start, stop)`, aligned to the chunks of the store where possible."""
        rows = self.stride * max(SCAN // self.row_bytes // self.stride, 1)
        edges = range(start - start % rows, stop, rows)
        return ((max(first, start), min(first + rows, stop)) for first in edges)

    def _scan(self, train: tuple[int, int]) -> None:
        spec, targets = self.spec, len(self.spec.targets)
        self._moments = channels, nodes = Moments(), Moments()
        self.seen = torch.zeros((len(spec.nodes), targets), dtype=torch.bool)
        before, digits = self._before[0], [Digits() for _ in spec.channels]
        self._limits = [PackedLimits(self.panel[name]) for name in spec.channels]
        hashed = hashlib.blake2b(digest_size=8)
        for start, stop in self.blocks(0, self.times):
            values = self.read(start, stop, digits)
            add_rows(hashed, values)
            self._refuse_infinite(values, start)
            there = ~torch.isnan(values[..., :targets])
            self.observed[:, start:stop] = there.flatten(2).any(-1)
            self.seen |= there.flatten(0, 1).any(0)
            since = steps_since_observed(values[..., :targets], before)
            mark = start // self.stride
            ends = since[:, self.stride - 1 :: self.stride].transpose(0, 1)[: len(self._before) - mark - 1]
            self._before[mark + 1 : mark + 1 + len(ends)] = ends
            before = since[:, -1].clone()
            part = values[:, max(train[0] - start, 0) : max(train[1] - start, 0)]
            channels.add(part.flatten(0, 2))
            nodes.add(part[..., :targets].flatten(0, 1))
        self.digest = hashed.hexdigest()
        for name, held, limits in zip(spec.channels, digits, self._limits, strict=True):
            held.check(name)
            if marks := limits.marks():
                raise PanelError(
                    f"`{name}`: {marks[0]:g}, a limit of packed {limits.kind} far from all others, seems to mark "
                    "missing values; declare it as `_FillValue` in the store, or read the panel whole (max_memory)"
                )

    def _refuse_infinite(self, values: Tensor, start: int) -> None:
        infinite = torch.isinf(values)
        if infinite.any():
            member, row, node, channel = (int(i) for i in torch.nonzero(infinite)[0])
            when = at(self.panel["time"].values[start + row])
            where = f"member {member}, " if self.members > 1 else ""
            raise PanelError(
                f"`{self.spec.channels[channel]}`: infinite at {where}time {when}, node {self.spec.nodes[node]}; "
                "mark missing values with NaN"
            )


def mapped(series: StoredSeries, folder: str | os.PathLike[str]) -> Series:
    """Write the tensors of a store to files and map these into memory; only the parts in use are read.

    Args:
        series: The store.
        folder: Folder for `values.npy` and `since.npy`, which are overwritten.

    Returns:
        Tensors backed by the files.

    Raises:
        RequestError: The files cannot be written there.
    """
    place = Path(folder)
    shape = (series.members, series.times, len(series.spec.nodes))
    kinds = {"values": len(series.spec.channels), "since": len(series.spec.targets)}
    try:
        place.mkdir(parents=True, exist_ok=True)
        files = {
            name: np.lib.format.open_memmap(place / f"{name}.npy", "w+", np.float32, (*shape, count))
            for name, count in kinds.items()
        }
    except OSError as error:
        raise RequestError(f"memory_map {folder}: {error.strerror or error}; give a folder that is writable") from error
    for start, stop in series.blocks(0, series.times):
        for file, tensor in zip(files.values(), series.rows(start, stop), strict=True):
            file[:, start:stop] = tensor.numpy()
    values, since = (torch.from_numpy(file) for file in files.values())
    return Series(values, since, series.clock, series.static, series.ever)


class StoredWindows(Dataset[Batch]):
    """Batches of windows from a store, by (epoch, number of the batch).

    The origins are cut into blocks of rows. Each epoch puts the blocks in a new order and reads several at a time into
    a buffer; the windows of a buffer are shuffled, and the next buffer is read while this one is in use. Every window
    appears once an epoch. Its batch depends only on the seed and the epoch.

    Args:
        series: The store.
        origins: (origin, 2): member and row.
        batch_size: Number of windows in a batch.
        max_memory: Number of bytes that the buffers may take.
        seed: Seed of the shuffle; None keeps the origins in order.

    Raises:
        RequestError: The memory is too small for four windows.
    """

    def __init__(
        self, series: StoredSeries, origins: Tensor, *, batch_size: int, max_memory: float, seed: int | None = None
    ) -> None:
        self.series, self.origins, self.batch_size, self.seed = series, origins, batch_size, seed
        spec = series.spec
        halo = spec.window + max(spec.horizon, spec.ahead)
        # Two buffers, each of values and of steps since observed, and the block that is being read.
        row = series.row_bytes * (2 + 2 * len(spec.targets) / len(spec.channels) + 1)
        rows = int(max_memory / row)
        if rows < 4 * halo:
            raise RequestError(
                f"max_memory {size_text(max_memory)}: a window of {spec.window} and a horizon of {spec.horizon} of "
                f"this panel need {size_text(4 * halo * row)}; give at least that"
            )
        # Whole chunks of the store, at least two of them: each block also reads into its neighbours.
        whole = min((rows - halo) // series.stride, max(2, rows // series.stride // 4))
        self.block = whole * series.stride if whole > 0 else max(rows // 4 - halo, halo)
        self.together = max(rows // (self.block + halo), 1)
        order = torch.argsort(origins[:, 1], stable=True)
        edges = torch.arange(0, int(origins[:, 1].max()) + self.block + 1, self.block)
        cuts = torch.searchsorted(origins[order, 1].contiguous(), edges)
        self.blocks = [order[a:b] for a, b in pairwise(cuts.tolist()) if b > a]
        self._epoch: int | None = None
        self._read: dict[int, Future[tuple[Windows, Tensor, Tensor]]] = {}
        self._pool = ThreadPoolExecutor(1)
        # Two buffers that are filled in turn: new ones each time would fragment the memory.
        shape = (series.members, self.together * (self.block + halo), len(spec.nodes))
        self._room = [
            (torch.empty((*shape, len(spec.channels))), torch.empty((*shape, len(spec.targets)))) for _ in range(2)
        ]

    def __len__(self) -> int:
        return -(-len(self.origins) // self.batch_size)

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        epoch, number = key
        if epoch != self._epoch:
            self._begin(epoch)
        first = number * self.batch_size
        last = min(first + self.batch_size, len(self.origins))
        group = int(np.searchsorted(self._starts, first, "right")) - 1
        windows, _, _ = self._buffer(group)
        numbers = torch.empty(last - first, dtype=torch.int64)

        def pieces(place: int, group: int) -> Iterator[tuple[Windows, Tensor]]:
            while place < last:  # a batch may begin in one buffer and end in the next
                offset, end = int(self._starts[group]), min(last, int(self._starts[group + 1]))
                held, among, order = self._buffer(group)
                chosen = order[place - offset : end - offset]
                numbers[place - first : end - first] = among[chosen]
                yield held, chosen
                place, group = end, group + 1

        batch = windows.gather(pieces(first, group), last - first)
        return {**batch, "origin": self.origins[numbers]}

    def _begin(self, epoch: int) -> None:
        """Put the blocks in this epoch's order, in groups that are read together."""
        for reading in self._read.values():
            reading.result()  # it fills a buffer
        count = len(self.blocks)
        if self.seed is None:
            turn = list(range(count))
        else:
            generator = torch.Generator().manual_seed(hash_seed(self.seed, epoch))
            turn = torch.randperm(count, generator=generator).tolist()
        self._groups = [turn[i : i + self.together] for i in range(0, count, self.together)]
        sizes = [sum(len(self.blocks[b]) for b in group) for group in self._groups]
        self._starts: NDArray[np.int64] = np.concatenate([[0], np.cumsum(sizes)])
        self._epoch, self._read = epoch, {}

    def _buffer(self, group: int) -> tuple[Windows, Tensor, Tensor]:
        """Return a group's windows, their numbers among all, and their order; start to read the next group."""
        for number in [n for n in self._read if n not in (group, group + 1)]:
            del self._read[number]
        for number in (group, group + 1):
            if number < len(self._groups) and number not in self._read:
                self._read[number] = self._pool.submit(self._load, number)
        return self._read[group].result()

    def _load(self, group: int) -> tuple[Windows, Tensor, Tensor]:
        series, spec = self.series, self.series.spec
        blocks = [self.blocks[b] for b in self._groups[group]]
        numbers = torch.cat(blocks)
        local = self.origins[numbers].clone()  # the origins as rows of the buffer
        values, since = self._room[group % 2]
        place, done, where = 0, 0, []
        for block in blocks:
            origin = self.origins[block, 1]
            start, stop = int(origin.min()) - spec.window + 1, int(origin.max()) + max(spec.horizon, spec.ahead) + 1
            rows = slice(place, place + stop - start)
            values[:, rows], since[:, rows] = series.rows(start, stop)
            where.append(torch.arange(start, stop))
            local[done : done + len(block), 1] += place - start
            place, done = place + stop - start, done + len(block)
        row = torch.cat(where).clamp(max=series.times - 1)  # there are no values after the end
        part = Series(values, since, series.clock[row], series.static, series.ever)
        if self.seed is None:
            order = torch.arange(len(numbers))
        else:
            generator = torch.Generator().manual_seed(hash_seed(self.seed, self._epoch or 0, group + 1))
            order = torch.randperm(len(numbers), generator=generator)
        return Windows(part, spec, local), numbers, order


class BatchNumbers(Sampler[tuple[int, int]]):
    """(epoch, number) of each batch in turn; Lightning sets the epoch.

    Args:
        count: Number of batches in an epoch.
    """

    def __init__(self, count: int) -> None:
        self.count, self.epoch = count, 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; Lightning calls this before each one."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((self.epoch, number) for number in range(self.count))


def _chunk(variable: xr.DataArray) -> int:
    """Return the number of rows in a chunk of the store, or of a dask array."""
    if variable.chunks is not None:
        return max(variable.chunks[variable.dims.index("time")])
    chunks: Sequence[int] | None = variable.encoding.get("chunks")
    return 1 if chunks is None else int(chunks[variable.dims.index("time")])
