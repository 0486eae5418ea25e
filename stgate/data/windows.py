"""Windows over a panel held as tensors: one gather makes a whole batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, MutableMapping
from typing import Any, cast

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from torch.utils.weak import WeakIdKeyDictionary

from stgate.errors import PanelError
from stgate.panels.calendar import calendar_features, calendar_groups, cell_keys
from stgate.schema.batch import SHARED, Batch
from stgate.schema.fills import check_marks
from stgate.schema.longitudes import around, is_longitude
from stgate.schema.precision import check_precision, check_static
from stgate.schema.spec import PanelSpec


@dataclasses.dataclass(frozen=True)
class Clock:
    """Times of a panel, with their calendar features and cells.

    Attributes:
        calendar: (time, feature), sines and cosines; no features for model time.
        cell: (time,), the number of the calendar cell, such as (month, hour), of each step.
        time: (time,), float64: calendar times in seconds since 1970, or model times.
    """

    calendar: Tensor
    cell: Tensor
    time: Tensor

    @classmethod
    def of(cls, times: NDArray[Any], spec: PanelSpec, dtype: torch.dtype = torch.float32) -> Clock:
        """Build the clock of some times.

        Args:
            times: (time,), calendar or model times.
            spec: The spec, which names the calendar features.
            dtype: Type of the calendar features.
        """
        if spec.time == "model":
            nothing = torch.zeros(len(times), dtype=torch.int64)
            return cls(torch.zeros((len(times), 0), dtype=dtype), nothing, torch.tensor(times, dtype=torch.float64))
        calendar = torch.from_numpy(calendar_features(times, spec.calendar)).to(dtype)
        cell = torch.from_numpy(calendar_groups(times, cell_keys(spec.time_step)))
        return cls(calendar, cell, torch.from_numpy(times.astype("datetime64[us]").astype("int64") / 1e6))

    def __getitem__(self, rows: Tensor | slice) -> Clock:
        return Clock(self.calendar[rows], self.cell[rows], self.time[rows])


@dataclasses.dataclass(frozen=True)
class Series:
    """A panel as tensors, in raw units with NaN where missing.

    Attributes:
        values: (member, time, node, channel), channels in the order of `PanelSpec.channels`.
        since: (member, time, node, target), steps since the target was last observed, 0 if it is observed now.
        clock: The times, with their calendar features and cells.
        static: (node, static), the static covariates.
        ever: (node,), True if the node observes any target at any time of the panel.
    """

    values: Tensor
    since: Tensor
    clock: Clock
    static: Tensor
    ever: Tensor

    @property
    def observed(self) -> Tensor:
        """True for each step at which any node observes a target, (member, time)."""
        targets = self.values[..., : self.since.shape[-1]]
        return ~torch.isnan(targets).flatten(2).all(-1)

    @classmethod
    def of(cls, panel: xr.Dataset, spec: PanelSpec, *, dtype: torch.dtype = torch.float32) -> Series:
        """Build the tensors of a panel that fits the spec.

        Args:
            panel: A checked panel.
            spec: The spec, which names the channels.
            dtype: Type of the values.
        """
        dims = ("member", "time", "node")
        columns = []
        for name in spec.channels:
            array = panel[name]
            if "member" not in array.dims:  # the same for every member
                array = array.expand_dims(member=panel.sizes.get("member", 1))
            columns.append(array.transpose(*dims).values)
            check_marks(name, columns[-1])
            check_precision(name, columns[-1])
        values = torch.from_numpy(np.stack(columns, axis=-1)).to(dtype)
        since = steps_since_observed(values[..., : len(spec.targets)])
        clock = Clock.of(panel["time"].values, spec, dtype)
        ever = (~torch.isnan(values[..., : len(spec.targets)])).any(-1).flatten(0, 1).any(0)
        return cls(values, since, clock, static_values(panel, spec, dtype), ever)

    def read(self, start: int, stop: int) -> Tensor:
        """Return the rows `[start, stop)`: (member, time, node, channel)."""
        return self.values[:, start:stop]

    def blocks(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Yield row ranges that make up `[start, stop)`, each small enough for little memory."""
        rows = max(PIECE // max(self.values[:, :1].numel(), 1), 1)
        return ((first, min(first + rows, stop)) for first in range(start, stop, rows))


def static_values(panel: xr.Dataset, spec: PanelSpec, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the static covariates of a panel, (node, static)."""
    static = [torch.from_numpy(_static_column(panel[name], spec)) for name in spec.static_covariates]
    return torch.stack(static, -1).to(dtype) if static else torch.zeros((len(spec.nodes), 0), dtype=dtype)


def _static_column(array: xr.DataArray, spec: PanelSpec) -> NDArray[np.float64]:
    """Return a static covariate; longitudes as the training stations count them."""
    values = np.asarray(array.values, "float64")
    check_marks(str(array.name), values)
    check_static(str(array.name), values)
    if spec.meridian is None or not is_longitude(array.name, array.attrs):
        return values
    return around(array.values, spec.meridian)


def steps_since_observed(values: Tensor, before: Tensor | None = None) -> Tensor:
    """Count the steps since each entry was last observed; from the first row on if it never was.

    Args:
        values: (member, time, node, target), NaN where missing.
        before: (member, node, target), steps since observed at the row before the first; None if there is no such row.

    Returns:
        (member, time, node, target), 0 where observed.
    """
    since = torch.empty_like(values)
    width = max(values[:, :1].numel(), 1)
    last = torch.zeros_like(values[:, 0]) if before is None else before.to(values.dtype)
    for first in range(0, values.shape[1], max(PIECE // width, 1)):
        piece = slice(first, first + max(PIECE // width, 1))
        since[:, piece] = _since(values[:, piece], last)
        last = since[:, piece][:, -1]
    return since


_on_devices: MutableMapping[Tensor, dict[torch.device, Tensor]] = WeakIdKeyDictionary()
PIECE = 2**18
"""Number of entries that are processed at once; with intermediate results they take about 5 MB."""


def _since(values: Tensor, before: Tensor) -> Tensor:
    rows = torch.arange(values.shape[1], dtype=values.dtype).view(1, -1, 1, 1)
    seen = torch.where(torch.isnan(values), -1.0 - before[:, None], rows)
    return rows - torch.cummax(seen, dim=1).values


class Windows(Dataset[Batch]):
    """Windows of a series, by origin (member, row of the last input step).

    Windows overlap in memory: each is one contiguous piece of the flattened panel, and a batch copies these.

    Args:
        series: The panel as tensors.
        spec: Window, horizon and channels.
        origins: (origin, 2): member and row.
    """

    def __init__(self, series: Series, spec: PanelSpec, origins: Tensor) -> None:
        self.series, self.spec, self.origins = series, spec, origins
        _, self.times, self.nodes, self.channels = series.values.shape
        self.length, self.padded = spec.window + spec.horizon, self.times + spec.ahead
        self._values = _stretches(series.values.flatten(0, 1), self.length)
        self._since = _stretches(series.since.flatten(0, 1), spec.window)
        self._calendar = _stretches(series.clock.calendar, self.length)
        self._cell = _stretches(series.clock.cell[:, None], self.length)
        self._time = _stretches(series.clock.time[:, None], self.length)
        targets = series.values[..., : len(spec.targets)]
        missing = targets.new_full((len(targets), spec.ahead, *targets.shape[2:]), torch.nan)
        seen = torch.cat([targets, missing], 1).flatten(0, 1) if spec.ahead else targets[:0]
        self._after = _stretches(seen, spec.ahead)

    def __len__(self) -> int:
        return self.origins.shape[0]

    def __getitem__(self, indices: int | Tensor) -> Batch:
        """Return the batch of these windows, (batch,), in one gather; an int gives a batch of one."""
        chosen = torch.as_tensor(indices).reshape(-1)
        return self.gather([(self, chosen)], len(chosen))

    def gather(self, pieces: Iterable[tuple[Windows, Tensor]], count: int) -> Batch:
        """Gather a batch from several series of this spec; each piece is copied before the next one is made.

        Args:
            pieces: Windows of a series, and the indices of those to take.
            count: Number of windows in the batch.
        """
        window, ahead = self.spec.window, self.spec.horizon
        stretches = (self._values, self._since, self._calendar, self._cell, self._time)
        values, since, calendar, cell, time = rooms = [_room(s, count) for s in stretches]
        after = _room(self._after, count)
        origins = _room(self.origins, count)
        done = 0
        for windows, chosen in pieces:
            part = slice(done, done + len(chosen))
            origin = torch.index_select(windows.origins, 0, chosen, out=origins[part])
            member, row = origin.unbind(1)
            first = row - (window - 1)
            flat = torch.add(first, member, alpha=windows.times)
            sources = (windows._values, windows._since, windows._calendar, windows._cell, windows._time)
            for room, source, start in zip(rooms, sources, (flat, flat, first, first, first), strict=True):
                torch.index_select(source, 0, start, out=room[part])
            if self.spec.ahead:
                torch.index_select(windows._after, 0, torch.add(row + 1, member, alpha=windows.padded), out=after[part])
            done = part.stop
        shape = (count, window + ahead, self.nodes, self.channels)
        past, future = values.view(shape).split_with_sizes([window, ahead], 1)
        past_calendar, future_calendar = calendar.view(*shape[:2], -1).split_with_sizes([window, ahead], 1)
        targets, covariates = len(self.spec.targets), len(self.spec.future_covariates)
        batch: Batch = {
            "past": past,
            "since": since.view(count, window, self.nodes, targets),
            "past_calendar": past_calendar,
            "past_cell": cell.narrow(1, 0, window),
            "future": future.narrow(3, self.channels - covariates, covariates),
            "future_calendar": future_calendar,
            "future_cell": cell.narrow(1, window, ahead),
            "time": time,
            "static": self.series.static,
            "ever": self.series.ever,
            "target": future.narrow(3, 0, targets),
            "origin": origins,
        }
        if self.spec.ahead:
            batch["after"] = after.view(count, self.spec.ahead, self.nodes, targets)
        return batch


def _room(rows: Tensor, count: int) -> Tensor:
    """Allocate `count` rows like these by numpy: torch's aligned blocks would not fit where one was freed."""
    return torch.from_numpy(np.empty((count, *rows.shape[1:]), rows[:0].numpy().dtype))


def _stretches(rows: Tensor, length: int) -> Tensor:
    """Return all runs of `length` rows as an overlapping view, (start, length * row)."""
    rows = rows.contiguous().flatten(1)
    count, width = rows.shape
    if width == 0:
        return rows.new_empty((count, 0))
    return torch.as_strided(rows, (max(count - length + 1, 0), length * width), (width, 1))


def part_origins(observed: Tensor, spec: PanelSpec, part: tuple[int, int], *, every: int = 1, name: str = "") -> Tensor:
    """Return the origins whose leads all lie in a part and observe a target; inputs may precede the part.

    Args:
        observed: (member, time), True if any target is observed.
        spec: Window and horizon.
        part: Row range `[start, stop)`.
        every: Stride between origins.
        name: Name of the part, for the message.

    Returns:
        (origin, 2): member and row.

    Raises:
        PanelError: The part is too short for one window.
    """
    first = max(part[0], spec.window) - 1
    rows = torch.arange(first, max(part[1] - spec.horizon, first), every)
    if len(rows) == 0:
        need = spec.horizon + (spec.window if part[0] < spec.window else 0)
        raise PanelError(
            f"`time`: the {name} part has {part[1] - part[0]} steps, a window of {spec.window} and a horizon of "
            f"{spec.horizon} need {need}; give more data, a larger share, or a shorter window"
        )
    counts = torch.cat([torch.zeros(len(observed), 1, dtype=torch.int64), observed.cumsum(1)], 1)
    any_target = counts[:, rows + spec.horizon + 1] > counts[:, rows + 1]
    member, column = torch.nonzero(any_target, as_tuple=True)
    return torch.stack([member, rows[column]], 1)


class EpochBatches(Sampler[Tensor]):
    """Indices of the windows of each batch; the shuffle depends only on seed and epoch, so a resumed run repeats it.

    Args:
        size: Number of windows.
        batch_size: Number of windows in a batch; the last batch may be smaller.
        seed: Seed of the shuffle; None keeps the windows in order.
    """

    def __init__(self, size: int, batch_size: int, seed: int | None = None) -> None:
        self.size, self.batch_size, self.seed, self.epoch = size, batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; Lightning calls this before each one."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.size // self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        # A generator: a resumed run makes the iterator before it sets the epoch.
        if self.seed is None:
            order = torch.arange(self.size)
        else:
            generator = torch.Generator().manual_seed(hash_seed(self.seed, self.epoch))
            order = torch.randperm(self.size, generator=generator)
        yield from torch.split(order, self.batch_size)


class StreamBatches(EpochBatches):
    """Batches that each continue in time where the one before ended, so that a state can be carried along.

    Each member is cut into segments of equal length, enough for all members together to fill a batch; the remainder at
    a member's end is left out. A batch holds the next window of each of its segments.

    Args:
        size: Number of windows, ordered by member, then by time.
        members: Number of members of the panel.
        batch_size: Number of segments that run side by side.
        seed: Seed of the order of the segments.
    """

    def __init__(self, size: int, members: int, batch_size: int, seed: int) -> None:
        super().__init__(size, batch_size, seed)
        each = size // members  # members have equally many, unless windows lack all targets
        self.length = max(each // -(-batch_size // members), 1)
        rows = torch.arange(each * members).view(members, each)
        self.stretches = rows[:, : each - each % self.length].reshape(-1, self.length)

    def __len__(self) -> int:
        return -(-len(self.stretches) // self.batch_size) * self.length

    def __iter__(self) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(hash_seed(self.seed or 0, self.epoch))
        order = torch.randperm(len(self.stretches), generator=generator)
        for side_by_side in torch.split(order, self.batch_size):
            yield from self.stretches[side_by_side].unbind(1)


def share_of(batch: Batch, rank: int, count: int) -> Batch:
    """Return the windows of a batch that one of several processes takes: none where they are fewer than processes.

    Args:
        batch: Windows.
        rank: Number of the process.
        count: Number of processes.
    """
    windows = len(batch["origin"])
    first, last = (-(-number * windows // count) for number in (rank, rank + 1))
    tensors: dict[str, Any] = dict(batch)
    return cast(Batch, {n: t if n in SHARED else t[first:last] for n, t in tensors.items()})


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Move every tensor of a batch to a device; what all windows of a panel share is moved once."""
    moved = {
        name: value
        if not isinstance(value, Tensor)
        else _moved(value, device)
        if name in SHARED
        else value.to(device, non_blocking=True)
        for name, value in batch.items()
    }
    return cast(Batch, moved)


def _moved(value: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device: the same object each time, so that what is made of it is found again."""
    if value.device == device:
        return value
    known = _on_devices.get(value, {})
    if device not in known:
        with torch.inference_mode(False):  # validation may move it first, and training refuses tensors of inference
            known[device] = value.to(device, non_blocking=True)
        _on_devices[value] = known
    return known[device]


def hash_seed(*parts: int) -> int:
    """Return one 63-bit seed made from several integers."""
    return int(np.random.SeedSequence([p % 2**64 for p in parts]).generate_state(1, np.uint64)[0] >> 1)
