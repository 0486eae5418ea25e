"""A panel as a fitted forecaster reads it: checked, with room for the leads ahead, in memory or in blocks."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from stgate._memory import memory_limit
from stgate.data.streaming import StoredSeries, StoredWindows
from stgate.data.windows import Series, Windows
from stgate.errors import ForecastError, RequestError
from stgate.io.readers import open_within
from stgate.schema.batch import Batch
from stgate.schema.panel import time_bounds
from stgate.schema.spec import PanelSpec

Progress = Callable[[int, int], None]
"""Called with the windows done and the windows in all."""
BATCH = 64
"""Origins that are forecast at once."""


@dataclasses.dataclass(frozen=True)
class History:
    """What was observed, and the times ahead.

    Attributes:
        frame: The panel's dimensions, coordinates and attributes; its time runs on for one horizon.
        steps: How many of its times the panel has.
        series: Its values, missing ahead.
        spec: That of the forecaster.
        memory: Bytes that the values may take.
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
            spec: That of the forecaster.
            max_memory: As in `WindowData`.
            regular: As in `PanelSpec.check`.

        Raises:
            PanelError: It does not fit the spec.
        """
        memory = memory_limit(max_memory)
        lazy = False
        if not isinstance(panel, xr.Dataset):
            panel, lazy = open_within(panel, spec.channels, spec.targets, memory)
        panel = spec.check(panel, values=not lazy, regular=regular)
        if spec.places:
            spec = dataclasses.replace(spec, nodes=tuple(panel["node"].values.tolist()))
        times = panel["time"].values
        ahead: Any = np.arange(1, spec.horizon + 1) * spec.time_step
        longer = np.concatenate(
            [times, times[-1] + ahead.astype("timedelta64[us]" if spec.time == "calendar" else float)]
        )
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
        """The row of the last observation of any target; None where there is none."""
        seen = torch.nonzero(self.series.observed.any(0))
        return int(seen[-1]) if len(seen) else None

    @property
    def times(self) -> NDArray[Any]:
        """The panel's times, and those ahead."""
        times: NDArray[Any] = self.frame["time"].values
        return times

    def row(self, when: str | float, name: str, *, last: bool = False) -> int:
        """The row of a time; a date without an hour means its first step, or its last when `last`.

        Args:
            when: The time.
            name: Of the option that says it, `start` or `end`.
            last: See above.

        Raises:
            RequestError: Not a time, or one that lies outside the panel.
        """
        spec, times = self.spec, self.frame.indexes["time"][: self.steps]
        span = f"the panel spans {times[0]} to {times[-1]}"
        name = {"start": "start (--from)", "end": "end (--to)"}[name]
        try:
            low, high = time_bounds(when, spec.time, spec.step)
        except ValueError as error:
            raise RequestError(f"{name} {when}: not a time ({error}); {span}") from error
        if high < times[0] or low > times[-1] + spec.time_step:
            raise RequestError(f"{name} {when}: outside the panel; {span}")
        return int(times.searchsorted(high, "right")) - 1 if last else int(times.searchsorted(low, "left"))

    def last_seen(self, until: str | None) -> int:
        """The last row that training or model choice has seen; -1 where it has seen none of this panel's."""
        if until is None:
            return -1
        return int(np.searchsorted(self.times[: self.steps], np.array(until).astype(self.times.dtype), "right")) - 1

    def check_future(self, origin: int) -> None:
        """Refuse a forecast whose future covariates lack altogether at some lead.

        Raises:
            ForecastError: Naming the covariate and the time.
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

    def batches(self, rows: NDArray[np.int64], progress: Progress | None = None) -> Iterator[Batch]:
        """Yield windows from every member at some origins, in batches.

        Args:
            rows: Rows of the origins.
            progress: Called after each batch with the windows done and the windows in all.
        """
        total, done = len(rows) * self.frame.sizes.get("member", 1), 0
        for batch in self._batches(rows):
            yield batch
            done += len(batch["origin"])
            if progress:
                progress(done, total)

    def _batches(self, rows: NDArray[np.int64]) -> Iterator[Batch]:
        members = self.frame.sizes.get("member", 1)
        origins = torch.cartesian_prod(torch.arange(members), torch.from_numpy(rows)).view(-1, 2)
        if isinstance(self.series, StoredSeries):
            stored = StoredWindows(self.series, origins, batch_size=BATCH, max_memory=self.memory)
            yield from (stored[0, number] for number in range(len(stored)))
        else:
            windows = Windows(self.series, self.spec, origins)
            yield from (windows[chosen] for chosen in torch.split(torch.arange(len(windows)), BATCH))
