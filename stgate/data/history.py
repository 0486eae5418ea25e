"""A panel for a fitted forecaster: checked, extended by the horizon, in memory or read in blocks."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from stgate._memory import memory_limit
from stgate.data.digest import digest_of
from stgate.data.streaming import StoredSeries, StoredWindows
from stgate.data.windows import Series, Windows
from stgate.errors import ForecastError, RequestError
from stgate.io.readers import open_within
from stgate.schema.batch import Batch
from stgate.schema.panel import time_bounds
from stgate.schema.spec import PanelSpec
from stgate.schema.steps import extended
from stgate.schema.words import OPTIONS, check_time

Progress = Callable[[int, int], None]
"""A function of the number of windows done and the number of windows in total."""
BATCH = 64
"""Number of windows in a batch."""


@dataclasses.dataclass(frozen=True)
class History:
    """The observations of a panel, and the times of one horizon after its end.

    Attributes:
        frame: The panel's dimensions, coordinates and attributes; its time axis is one horizon longer.
        steps: Number of times in the panel itself.
        series: The panel's values; NaN after its end.
        spec: The forecaster's spec; of a field, with the panel's own nodes.
        memory: Number of bytes that the values may take.
    """

    frame: xr.Dataset
    steps: int
    series: Series | StoredSeries
    spec: PanelSpec
    memory: float

    @classmethod
    def of(
        cls,
        panel: xr.Dataset | str | os.PathLike[str],
        spec: PanelSpec,
        max_memory: float | None,
        *,
        regular: bool = True,
    ) -> History:
        """Open and check a panel.

        Args:
            panel: A panel, or the path of one.
            spec: The forecaster's spec.
            max_memory: Megabytes that the panel's tensors may take; half of the free memory when None.
            regular: Require evenly spaced times.

        Raises:
            PanelError: It does not fit the spec.
        """
        memory = memory_limit(max_memory)
        panel, lazy = open_within(panel, spec.channels, spec.targets, memory)
        panel = spec.check(panel, values=not lazy, regular=regular)
        if spec.places:
            spec = dataclasses.replace(spec, nodes=tuple(panel["node"].values.tolist()))
        times = panel["time"].values
        longer = extended(times, spec.time_step, spec.horizon)
        inner = [name for name, coord in panel.coords.items() if not coord.dims or "time" in coord.dims]
        frame = panel.drop_vars([*panel.data_vars, *inner]).assign_coords(time=("time", longer, panel["time"].attrs))
        if "member" in panel.dims:  # a dimension without labels is there only as long as a variable has it
            frame = frame.assign(number=("member", np.arange(panel.sizes["member"])))
        series: Series | StoredSeries = (
            StoredSeries(panel, spec, ahead=spec.horizon) if lazy else Series.of(panel.reindex(time=longer), spec)
        )
        return cls(frame, len(times), series, spec, memory)

    @property
    def last(self) -> int | None:
        """The row of the last observation of any target; None if there is none."""
        seen = torch.nonzero(self.series.observed.any(0))
        return int(seen[-1]) if len(seen) else None

    @property
    def times(self) -> NDArray[Any]:
        """The panel's times and those of one horizon after its end, (time,)."""
        times: NDArray[Any] = self.frame["time"].values
        return times

    def row(self, when: str | float, name: Literal["start", "end"], *, last: bool = False) -> int:
        """Find the row of a time; a date without an hour means its first step, or its last.

        Args:
            when: The time.
            name: Name of the option that gives the time, for the message.
            last: Take the last step of a date, not the first.

        Raises:
            RequestError: This is not a time, or the time lies outside the panel.
        """
        spec, times = self.spec, self.frame.indexes["time"][: self.steps]
        span = f"the panel spans {times[0]} to {times[-1]}"
        option = OPTIONS[name]
        check_time(name, when)
        try:
            low, high = time_bounds(when, spec.time, spec.step)
        except ValueError as error:
            raise RequestError(f"{option} {when}: not a time ({error}); {span}") from error
        if high < times[0] or low > self.times[self.steps]:
            raise RequestError(f"{option} {when}: outside the panel; {span}")
        return int(times.searchsorted(high, "right")) - 1 if last else int(times.searchsorted(low, "left"))

    def last_seen(self, until: str | None) -> int:
        """Return the last row that training or model choice has used; -1 if they used no row of this panel."""
        if until is None:
            return -1
        return int(np.searchsorted(self.times[: self.steps], np.array(until).astype(self.times.dtype), "right")) - 1

    def check_future(self, origin: int) -> None:
        """Refuse a forecast if a future covariate is missing at all nodes at some lead.

        Args:
            origin: The row of the origin.

        Raises:
            ForecastError: A future covariate is missing; the message names it and the time.
        """
        first = len(self.spec.channels) - len(self.spec.future_covariates)
        values = self.series.read(origin + 1, origin + 1 + self.spec.horizon)[..., first:]
        known = (~torch.isnan(values)).any(2).any(0)  # (lead, future covariate)
        for name, there in zip(self.spec.future_covariates, known.T, strict=True):
            if not there.all():
                when = self.times[origin + 1 + int(there.int().argmin())]
                raise ForecastError(
                    f"`{name}`: a future covariate, missing at {when}; append rows that hold it up to the horizon"
                )

    def digest(self) -> str:
        """Return digits that differ as soon as a value, a time, a node or a coordinate of the panel does."""
        hashed = hashlib.blake2b(digest_of(self.series).encode(), digest_size=6)
        for name in sorted(self.frame.coords, key=str):
            values = self.series.clock.time.numpy() if name == "time" else np.asarray(self.frame[name].values)
            hashed.update(f"{name} {values.shape}".encode())  # of types that depend on how the panel was opened
            plain = values.dtype.kind in "biuf"
            hashed.update(values.astype("float64").tobytes() if plain else repr([*map(str, values.flat)]).encode())
        return hashed.hexdigest()

    def batches(
        self, rows: NDArray[np.int64], progress: Progress | None = None, *, part: tuple[int, int] | None = None
    ) -> Iterator[Batch]:
        """Yield the windows of all members at some origins, in batches.

        Args:
            rows: Rows of the origins, (origin,).
            progress: A function called after each batch with the number of windows done and the total.
            part: First of the rows and the one after the last whose windows are wanted; None for all. The batches are
                those of all rows, so that a forecast has the same bits; they may hold windows of other rows too.
        """
        total, done = len(rows) * self.frame.sizes.get("member", 1), 0
        for batch in self._batches(rows, part or (0, len(rows))):
            yield batch
            done += len(batch["origin"])
            if progress:
                progress(done, total)

    def _batches(self, rows: NDArray[np.int64], part: tuple[int, int]) -> Iterator[Batch]:
        members = self.frame.sizes.get("member", 1)
        origins = torch.cartesian_prod(torch.arange(members), torch.from_numpy(rows)).view(-1, 2)
        if part != (0, len(rows)):
            first, stop = (torch.arange(members) * len(rows) + edge for edge in part)
            wanted = [
                torch.arange(int(a) // BATCH, (int(b) - 1) // BATCH + 1) for a, b in zip(first, stop, strict=True)
            ]
            batches = torch.split(torch.arange(len(origins)), BATCH)
            numbers = sorted(set(torch.cat(wanted).tolist()))
            origins = origins[torch.cat([batches[number] for number in numbers])]
        if isinstance(self.series, StoredSeries):
            stored = StoredWindows(self.series, origins, batch_size=BATCH, max_memory=self.memory)
            yield from (stored[0, number] for number in range(len(stored)))
        else:
            windows = Windows(self.series, self.spec, origins)
            yield from (windows[chosen] for chosen in torch.split(torch.arange(len(windows)), BATCH))
