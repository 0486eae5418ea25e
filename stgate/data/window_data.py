"""Lightning data modules: a panel, cut chronologically, served as batches."""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Sequence
from typing import Any, Literal, Self, get_args

import lightning as L
import torch
import xarray as xr
from torch import Tensor
from torch.utils.data import DataLoader

from stgate._configured import check_options
from stgate._memory import memory_limit
from stgate.data.climatology import cell_means
from stgate.data.counts import check_windows
from stgate.data.scaling import Statistics
from stgate.data.streaming import BatchNumbers, StoredSeries, StoredWindows, mapped
from stgate.data.windows import EpochBatches, Series, StreamBatches, Windows, part_origins, share_of, to_device
from stgate.errors import PanelError, RequestError
from stgate.io.lattice import lattice_shape
from stgate.io.readers import open_within
from stgate.panels.calendar import default_keys
from stgate.panels.split import Split, split_panel
from stgate.schema.batch import Batch, noted
from stgate.schema.forecast import PARTS
from stgate.schema.longitudes import is_longitude, meridian_of
from stgate.schema.panel import check_panel, check_seen, check_targets, time_kind, time_step
from stgate.schema.spec import PanelSpec
from stgate.schema.steps import months_of, step_length
from stgate.schema.units import other_units, units_of

Part = Literal["train", "validation", "calibration", "test"]
"""Parts of the split."""
SERIES, MOST_WINDOWS, FEWEST_WINDOWS = 16_384, 64, 4
"""Series (a window of a node) that a batch holds at most by default; most and fewest windows of a batch."""


class WindowData(L.LightningDataModule):
    """Windows of a panel: `window` input steps and `horizon` leads, for training, validation, calibration and test.

    A window belongs to the part that holds all its leads; its inputs may precede the part. Scales are fitted on
    observed values of the training part. Everything is loaded on demand, so properties work before `setup`.

    Args:
        panel: A panel, or the path of one.
        targets: Variables to forecast.
        window: Input length in steps.
        horizon: Forecast length in steps.
        train_horizon: Number of leads in a training window; the horizon when None. A rollout is trained on its first
            leads and needs no more.
        past_covariates: Variables known up to the origin.
        future_covariates: Variables known over the horizon too.
        static_covariates: Node coordinates or node variables.
        calendar: Calendar features: `hour`, `weekday`, `yearday`, `month`, and harmonics of them (`hour/2` is the half
            day), which can follow sharp peaks such as rush hours. None takes those that the step resolves and of which
            the training part holds a whole period: of the first three, and for steps of months `month`.
        split: Four fractions, or the three times at which validation, calibration and test start.
        batch_size: Number of windows in a batch, of all processes of a fit together; each window holds all nodes. None:
            64, fewer where there are more than 256 nodes, and 4 at the least.
        every: Stride between training origins, in steps.
        eval_every: Stride between the origins of the validation and test parts, in steps. Calibration uses all origins:
            with every 24th hourly origin it would see one hour of the day only.
        streams: Let each training batch continue in time where the one before ended, so that a rollout can carry its
            state along (`RollOut(stateful=True)`). The stride of the origins is then the window. For panels in memory.
        seed: Seed of the shuffle; with the epoch it determines every batch.
        num_workers: Number of loader processes; 0 is fastest for panels in memory.
        max_memory: Megabytes that the panel's tensors may take; half of the free memory when None. A larger .zarr store
            is read in blocks, and its windows are shuffled within a buffer.
        memory_map: A folder for memory-mapped files of the tensors of a larger store. The shuffle is then the same as
            in memory; the disk has to be fast.

    Raises:
        PanelError: The panel breaks the schema, lacks a variable, or is too short.
        RequestError: An option is out of range.
    """

    def __init__(
        self,
        panel: str | os.PathLike[str] | xr.Dataset,
        *,
        targets: Sequence[str] | str,
        window: int = 24,
        horizon: int = 24,
        train_horizon: int | None = None,
        past_covariates: Sequence[str] = (),
        future_covariates: Sequence[str] = (),
        static_covariates: Sequence[str] = (),
        calendar: Sequence[str] | None = None,
        split: Sequence[float | str] = (0.6, 0.1, 0.15, 0.15),
        batch_size: int | None = None,
        every: int = 1,
        eval_every: int = 1,
        streams: bool = False,
        seed: int = 0,
        num_workers: int = 0,
        max_memory: float | None = None,
        memory_map: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__()
        check_windows(
            window=window,
            horizon=horizon,
            train_horizon=train_horizon,
            batch_size=batch_size,
            every=every,
            eval_every=eval_every,
            num_workers=num_workers,
            seed=seed,
        )
        check_options(WindowData.__init__, locals())
        self.targets = (targets,) if isinstance(targets, str) else tuple(targets)
        self.past_covariates, self.future_covariates = tuple(past_covariates), tuple(future_covariates)
        self.static_covariates = tuple(static_covariates)
        for name in self.targets:
            base, _, part = name.rpartition("_")
            if base in self.targets and part in (*PARTS, "mean", "truth"):
                raise RequestError(
                    f"`{name}`: a forecast of `{base}` has a variable of this name, its {part}; "
                    "rename the target or leave it out"
                )
        if not self.targets:
            raise RequestError("targets: none are given; name at least one variable")
        roles = self.targets + self.past_covariates + self.future_covariates
        if len(set(roles)) < len(roles):
            twice = next(r for r in roles if roles.count(r) > 1)
            if self.targets.count(twice) > 1:
                raise RequestError(f"`{twice}`: given twice among the targets; give it once")
            raise RequestError(
                f"`{twice}`: given in two of targets, past_covariates, future_covariates; give it one role"
            )
        self.train_horizon = horizon if train_horizon is None else min(train_horizon, horizon)
        self.window, self.horizon, self.calendar, self.split = window, horizon, calendar, tuple(split)
        if streams and every not in (1, window):
            raise RequestError(f"every {every}: with streams the stride is the window of {window}; leave every out")
        self.every, self.eval_every = window if streams else every, eval_every
        self.batch_option, self.batch_size = batch_size, batch_size or MOST_WINDOWS
        self.streams = streams
        self.seed, self.num_workers = seed, num_workers
        memory_limit(max_memory)  # refused now if it is out of range
        self.max_memory, self.memory_map = max_memory, memory_map
        self._given = panel
        self._loaded: tuple[xr.Dataset, PanelSpec, Series | StoredSeries, Split] | None = None
        self._follows: PanelSpec | None = None
        self.processes = (0, 1)  # the number of this one, and how many share each training batch

    def follow(self, spec: PanelSpec) -> None:
        """Take the units of the data of a fit and count longitudes as they did: the same places have the same values.

        Args:
            spec: Spec of a fitted forecaster.
        """
        self._follows = spec
        if self._loaded is not None:
            own = self._loaded[1]
            if own.meridian != spec.meridian or other_units(own.units, spec.units):
                self._loaded = None

    def setup(self, stage: str | None = None) -> None:
        """Load the panel and check that each part of the split holds a window."""
        self._load()
        for part in get_args(Part):
            rows = getattr(self.parts, part)
            if rows[1] > rows[0]:
                self._windows(part)

    @property
    def panel(self) -> xr.Dataset:
        """The checked panel."""
        return self._load()[0]

    @property
    def spec(self) -> PanelSpec:
        """The spec of the panel: targets, nodes, step, window, horizon and covariates."""
        return self._load()[1]

    @property
    def series(self) -> Series | StoredSeries:
        """The panel as tensors, in memory or read in blocks."""
        return self._load()[2]

    @property
    def parts(self) -> Split:
        """The row ranges of the split."""
        return self._load()[3]

    def with_parts(self, parts: Split, panel: xr.Dataset | None = None) -> Self:
        """Return a copy of this data module that is cut elsewhere, with the same calendar features.

        Args:
            parts: Row ranges of the split.
            panel: A panel with the times and nodes of this one, such as one with hidden values; None for the same.
        """
        other, held = copy.copy(self), self.panel if panel is None else panel
        other.calendar = self.spec.calendar  # else a longer training part could have more of them
        spec = other._make_spec(held, parts)
        series = self.series
        if isinstance(series, StoredSeries):
            if panel is not None:
                raise RequestError("panel: too large for memory, so no values can be hidden; raise max_memory")
            series = StoredSeries(held, spec, parts.train)
            series = series if self.memory_map is None else mapped(series, self.memory_map)
        elif panel is not None or spec != self.spec:
            series = Series.of(held, spec)
        other._loaded = held, spec, series, parts
        return other

    def statistics(self) -> Statistics:
        """Compute the centres and scales of the training part."""
        series = self.series
        if isinstance(series, StoredSeries):
            return series.statistics()
        return Statistics.of(series, self.spec, self.parts.train)

    def cell_means(self) -> Tensor:
        """Compute the mean of the training part in each calendar cell, (cell, node, channel)."""
        return cell_means(self.series, self.spec, self.parts.train)

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Take this process's share of a training batch, and note what the forecaster has to know of it on the host."""
        rank, count = self.processes
        if count > 1 and self.trainer is not None and self.trainer.training:
            batch = share_of(batch, rank, count)
        # Workers and pinning copy what the windows of a panel share.
        shared: Batch = {**batch, "static": self.series.static, "ever": self.series.ever}
        return noted(getattr(self.trainer and self.trainer.lightning_module, "predictor", None), shared)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move a batch to a device; the host does not wait for it."""
        return to_device(batch, device)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return the training part, shuffled by (seed, epoch)."""
        windows = self._windows("train")
        if not self.streams:
            return self._loader(windows, seed=self.seed)
        if not isinstance(windows, Windows):
            raise RequestError(
                "streams: not possible while the panel is read in blocks; raise max_memory, or leave streams out"
            )
        members = self.panel.sizes.get("member", 1)
        sampler = StreamBatches(len(windows), members, self.batch_size, self.seed)
        return DataLoader(windows, batch_size=None, sampler=sampler, pin_memory=self._pins)

    def val_dataloader(self) -> DataLoader[Batch] | list[Any]:
        """Return the validation part, in order; an empty list if the split has none."""
        return self.part_dataloader("validation")

    def test_dataloader(self) -> DataLoader[Batch] | list[Any]:
        """Return the test part, in order; an empty list if the split has none."""
        return self.part_dataloader("test")

    def predict_dataloader(self) -> DataLoader[Batch] | list[Any]:
        """Return the test part, in order; an empty list if the split has none."""
        return self.part_dataloader("test")

    def part_dataloader(self, part: Part) -> DataLoader[Batch] | list[Any]:
        """Return a whole part of the split, in order.

        Args:
            part: `train`, `validation`, `calibration` or `test`.

        Returns:
            A loader; an empty list if the split has no such part.
        """
        start, stop = getattr(self.parts, part)
        return self._loader(self._windows(part)) if stop > start else []

    def _loader(self, windows: Windows | StoredWindows, seed: int | None = None) -> DataLoader[Batch]:
        # The sampler gives the indices of a whole batch and the windows gather it: there is nothing to collate.
        if isinstance(windows, StoredWindows):  # they have a reading thread of their own
            return DataLoader(windows, batch_size=None, sampler=BatchNumbers(len(windows)), pin_memory=self._pins)
        return DataLoader(
            windows,
            batch_size=None,
            sampler=EpochBatches(len(windows), self.batch_size, seed),
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=self._pins,
        )

    @property
    def _pins(self) -> bool:
        """True if batches go to a GPU, which reads pinned memory while the host goes on."""
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"

    def _windows(self, part: Part) -> Windows | StoredWindows:
        every = {"train": self.every, "calibration": 1}.get(part, self.eval_every)
        spec, series = self.spec, self.series
        if part == "train":
            spec = dataclasses.replace(spec, horizon=self.train_horizon)
        origins = part_origins(series.observed, spec, getattr(self.parts, part), every=every, name=part)
        if len(origins) == 0:
            raise PanelError(f"`{self.targets[0]}`: never observed in any window of the {part} part; change the split")
        if isinstance(series, StoredSeries):
            seed = self.seed if part == "train" else None
            series = copy.copy(series)
            series.spec = spec
            return StoredWindows(series, origins, batch_size=self.batch_size, max_memory=self._memory(), seed=seed)
        return Windows(series, spec, origins)

    @property
    def regular(self) -> bool:
        """True if the panel's times must be evenly spaced."""
        return True

    def _check(self, panel: xr.Dataset, *, values: bool) -> None:
        """Check the panel against the schema."""
        check_panel(panel, values=values, regular=self.regular)

    def _memory(self) -> float:
        """Return the number of bytes that the tensors may take."""
        return memory_limit(self.max_memory)

    def _load(self) -> tuple[xr.Dataset, PanelSpec, Series | StoredSeries, Split]:
        if self._loaded is None:
            channels = (*self.targets, *self.past_covariates, *self.future_covariates)
            panel, lazy = open_within(self._given, channels, self.targets, self._memory())
            self._check(panel, values=not lazy)
            check_targets(panel, self.targets, values=not lazy)
            if self._follows is not None:
                panel = self._follows.in_units(panel, values=not lazy)
            split = split_panel(panel, self.split)
            spec = self._make_spec(panel, split)
            panel = spec.check(panel, values=not lazy, regular=self.regular)
            series: Series | StoredSeries
            if lazy:
                series = StoredSeries(panel, spec, split.train)
                for seen, name in zip(series.seen.T, spec.targets, strict=True):
                    check_seen(name, panel["node"].values, seen.numpy())
                series = series if self.memory_map is None else mapped(series, self.memory_map)
            else:
                series = Series.of(panel, spec)
            self._loaded = panel, spec, series, split
        return self._loaded

    def _choose_batch(self, panel: xr.Dataset, split: Split) -> None:
        """Choose the number of windows in a batch, unless it is given."""
        if self.batch_option is None:
            self.batch_size = max(min(SERIES // panel.sizes["node"], MOST_WINDOWS), FEWEST_WINDOWS)

    def _make_spec(self, panel: xr.Dataset, split: Split) -> PanelSpec:
        self._choose_batch(panel, split)
        if self.calendar and time_kind(panel) == "model":
            raise RequestError(f"calendar {list(self.calendar)}: the panel has model time, which has no calendar")
        if panel.sizes["time"] < self.window + self.train_horizon:
            raise PanelError(
                f"`time`: the panel has {panel.sizes['time']} steps, a window of {self.window} and a horizon of "
                f"{self.train_horizon} need {self.window + self.train_horizon}; give more data or a shorter window"
            )
        covariates = (*self.past_covariates, *self.future_covariates)
        return PanelSpec(
            targets=self.targets,
            nodes=tuple(panel["node"].values.tolist()),
            step=step_length(time_step(panel)),
            time=time_kind(panel),
            window=self.window,
            horizon=self.horizon,
            past_covariates=self.past_covariates,
            future_covariates=self.future_covariates,
            static_covariates=self.static_covariates,
            calendar=default_keys(panel, split.train[1]) if self.calendar is None else tuple(self.calendar),
            units=self.units(panel, (*self.targets, *covariates, *self.static_covariates)),
            boundary="periodic" if panel.attrs.get("boundary") == "periodic" else "open",
            time_units=str(panel["time"].attrs.get("units", "")) if time_kind(panel) == "model" else "",
            lattice=lattice_shape(panel),
            months=months_of(time_step(panel)),
            meridian=self.meridian(panel, self.static_covariates),
        )

    def units(self, panel: xr.Dataset, names: Sequence[str]) -> dict[str, str]:
        """Return the units of variables by name, as far as the panel, or the fit that is followed, has them.

        Args:
            panel: The panel.
            names: Names of the variables.
        """
        return units_of(panel, names) if self._follows is None else dict(self._follows.units)

    def meridian(self, panel: xr.Dataset, names: Sequence[str]) -> float | None:
        """Return the meridian around which longitudes among some static covariates are counted; None without any.

        Args:
            panel: The panel.
            names: Names of the static covariates.
        """
        if self._follows is not None:
            return self._follows.meridian
        turning = [name for name in names if name in panel and is_longitude(name, panel[name].attrs)]
        return meridian_of(panel[turning[0]].values) if turning else None
