"""Windows over a panel held as tensors: a batch is one gather, not one Python call a sample."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from stgate.data.calendar import calendar_features
from stgate.errors import PanelError
from stgate.spec import PanelSpec

Batch = dict[str, Tensor]
"""A batch of windows, in raw units with NaN where missing:

`past` (batch, window, node, channel), `since` (batch, window, node, target), `past_calendar` (batch, window, feature),
`future` (batch, lead, node, future covariate), `future_calendar` (batch, lead, feature), `static` (node, static),
`target` (batch, lead, node, target), `origin` (batch, 2): the member and the row of the last input step.
"""


@dataclasses.dataclass(frozen=True)
class Series:
    """A panel as tensors, in raw units with NaN where missing.

    Attributes:
        values: (member, time, node, channel), channels as in `PanelSpec.channels`.
        since: (member, time, node, target), steps since the target was last observed, 0 when it is observed now.
        calendar: (time, feature).
        seconds: (time,), calendar times in seconds since 1970 (model time: zeros), for climatologies.
        static: (node, static).
    """

    values: Tensor
    since: Tensor
    calendar: Tensor
    seconds: Tensor
    static: Tensor

    @property
    def observed(self) -> Tensor:
        """(member, time), whether any target is observed at any node."""
        targets = self.values[..., : self.since.shape[-1]]
        return ~torch.isnan(targets).flatten(2).all(-1)

    @classmethod
    def of(cls, panel: xr.Dataset, spec: PanelSpec, *, dtype: torch.dtype = torch.float32) -> Series:
        """The tensors of a panel that fits the spec."""
        dims = ("member", "time", "node")
        columns = []
        for name in spec.channels:
            array = panel[name]
            if "member" not in array.dims:  # the same for every member
                array = array.expand_dims(member=panel.sizes.get("member", 1))
            columns.append(array.transpose(*dims).values)
        values = torch.from_numpy(np.stack(columns, axis=-1)).to(dtype)
        since = steps_since_observed(values[..., : len(spec.targets)])
        return cls(values, since, *time_features(panel["time"].values, spec, dtype), static_values(panel, spec, dtype))


def time_features(times: NDArray[Any], spec: PanelSpec, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """The calendar (time, feature) and the seconds since 1970 (time,) of times; empty and zero for model time."""
    if spec.time == "model":
        return torch.zeros((len(times), 0), dtype=dtype), torch.zeros(len(times), dtype=torch.int64)
    calendar = torch.from_numpy(calendar_features(times, spec.calendar)).to(dtype)
    return calendar, torch.from_numpy(times.astype("datetime64[s]").astype("int64"))


def static_values(panel: xr.Dataset, spec: PanelSpec, dtype: torch.dtype = torch.float32) -> Tensor:
    """The static covariates, (node, static)."""
    static = [torch.from_numpy(np.asarray(panel[name].values, "float64")) for name in spec.static_covariates]
    return torch.stack(static, -1).to(dtype) if static else torch.zeros((len(spec.nodes), 0), dtype=dtype)


def steps_since_observed(values: Tensor, before: Tensor | None = None) -> Tensor:
    """Steps since each entry was last observed; counted from the first row where it never was.

    Args:
        values: (member, time, node, target), NaN where missing.
        before: (member, node, target), the same at the row before the first, if there is one.

    Returns:
        The shape of `values`: 0 where observed.
    """
    rows = torch.arange(values.shape[1], dtype=values.dtype).view(1, -1, 1, 1)
    last = -1.0 - (0.0 if before is None else before.to(values.dtype)[:, None])
    seen = torch.where(torch.isnan(values), torch.full_like(rows, -torch.inf), rows)
    return rows - torch.maximum(torch.cummax(seen, dim=1).values, torch.as_tensor(last, dtype=values.dtype))


class Windows(Dataset[Batch]):
    """Windows of a series, by origin (member, row of the last input step)."""

    def __init__(self, series: Series, spec: PanelSpec, origins: Tensor) -> None:
        self.series, self.spec, self.origins = series, spec, origins
        members, times, nodes, channels = series.values.shape
        self._rows = series.values.reshape(members * times, nodes * channels)
        self._since = series.since.reshape(members * times, -1)
        self._shape = (times, nodes, channels)

    def __len__(self) -> int:
        return self.origins.shape[0]

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """A batch in one gather; the loader calls this with all of a batch's indices."""
        spec = self.spec
        times, nodes, channels = self._shape
        origins = self.origins[torch.as_tensor(indices)]
        back = torch.arange(1 - spec.window, 1)
        ahead = torch.arange(1, spec.horizon + 1)
        rows = origins[:, 1, None] + torch.cat([back, ahead])  # (batch, window + lead), within a member
        flat = (rows + origins[:, :1] * times).reshape(-1)
        block = self._rows.index_select(0, flat).view(len(origins), -1, nodes, channels)
        since = self._since.index_select(0, flat).view(len(origins), -1, nodes, len(spec.targets))
        calendar = self.series.calendar[rows]
        first_future = channels - len(spec.future_covariates)
        return {
            "past": block[:, : spec.window],
            "since": since[:, : spec.window],
            "past_calendar": calendar[:, : spec.window],
            "future": block[:, spec.window :, :, first_future:],
            "future_calendar": calendar[:, spec.window :],
            "future_seconds": self.series.seconds[rows[:, spec.window :]],
            "static": self.series.static,
            "target": block[:, spec.window :, :, : len(spec.targets)],
            "origin": origins,
        }


def part_origins(observed: Tensor, spec: PanelSpec, part: tuple[int, int], *, every: int = 1, name: str = "") -> Tensor:
    """Origins whose every lead falls within a part and some observe a target; inputs may precede the part.

    Args:
        observed: (member, time), whether any target is observed.
        spec: Window and horizon.
        part: Row range `[start, stop)`.
        every: Stride between origins.
        name: The part's name, for the message.

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


class EpochShuffle(Sampler[int]):
    """A shuffle that depends on the seed and the epoch alone, so that a resumed run sees the same batches."""

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed, self.epoch = size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(hash_seed(self.seed, self.epoch))
        return iter(torch.randperm(self.size, generator=generator).tolist())


def hash_seed(*parts: int) -> int:
    """One 63-bit seed from several integers."""
    return int(np.random.SeedSequence([p % 2**64 for p in parts]).generate_state(1, np.uint64)[0] >> 1)
