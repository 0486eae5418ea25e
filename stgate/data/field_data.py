"""Panels as fields: each observed value is a sample of its own, with its time, its place and its covariates."""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from torch.utils.data import DataLoader

from stgate._configured import check_options
from stgate.data.counts import check_context
from stgate.data.streaming import StoredSeries, StoredWindows
from stgate.data.window_data import WindowData
from stgate.data.windows import Windows
from stgate.errors import PanelError, RequestError
from stgate.panels.split import Split, split_panel
from stgate.schema.batch import Batch
from stgate.schema.panel import check_panel, check_time
from stgate.schema.spec import PanelSpec, check_places

CONTEXT = 25
"""Number of steps of the context by default, the present one included."""
RELIEF = ("elevation", "altitude")
"""Names of the node coordinate that is a static covariate by default."""


class FieldData(WindowData):
    """Observed values of a panel at their times and places, for a field (`CGLUBNF`, `BayesNF`).

    A training batch holds several times at all nodes; only observed values enter the loss. The field knows a node by
    its coordinates, so a fitted field takes panels with other nodes. Times may be uneven when `context` is 0; the step
    of the panel is then their median distance, or their mean distance in model time.

    Args:
        panel: A panel, or the path of one; its nodes have `lat` and `lon`, or `x` and `y`.
        targets: Variables of the field.
        places: Node coordinates that give the position of a node. None takes `lat` and `lon`, or those of `x`, `y` and
            `z` that the panel has.
        context: Number of steps, the present one included, whose observations at a place and its neighbours the field
            sees; 0 for none: the field then sees coordinates and covariates only. None: 25, and at most a quarter of
            the training part; 0 for uneven times, and for a forecaster that sees coordinates only (`BayesNF`).
        ahead: Number of steps after an entry whose observations it sees too, when gaps are filled. None: one less than
            the context where that is None too, else 0.
        horizon: Forecast length in steps; smaller than `context` unless that is 0.
        covariates: Variables known at every time and place of a forecast, such as weather.
        static_covariates: Further node coordinates or node variables. None: `elevation` or `altitude`, if the panel has
            one of them at every node.
        split: Four fractions, or the three times at which validation, calibration and test start.
        batch_size: Number of times in a batch, of all processes of a fit together. None: a hundredth of the training
            part, from 1 to 64.
        eval_every: Stride between the origins of the validation and test parts, in steps.
        seed: Seed of the shuffle; with the epoch it determines every batch.
        num_workers: Number of loader processes; 0 is fastest for panels in memory.
        max_memory: Megabytes that the panel's tensors may take; half of the free memory when None. A larger .zarr store
            is read in blocks, and its windows are shuffled within a buffer.
        memory_map: A folder for memory-mapped files of the tensors of a larger store. The shuffle is then the same as
            in memory; the disk has to be fast.

    Raises:
        PanelError: The panel breaks the schema, lacks a variable, is too short, or its nodes have no coordinates.
        RequestError: An option is out of range.
    """

    def __init__(
        self,
        panel: str | os.PathLike[str] | xr.Dataset,
        *,
        targets: Sequence[str] | str,
        places: Sequence[str] | None = None,
        context: int | None = None,
        ahead: int | None = None,
        horizon: int = 1,
        covariates: Sequence[str] = (),
        static_covariates: Sequence[str] | None = None,
        split: Sequence[float | str] = (0.75, 0.1, 0.1, 0.05),
        batch_size: int | None = None,
        eval_every: int = 1,
        seed: int = 0,
        num_workers: int = 0,
        max_memory: float | None = None,
        memory_map: str | os.PathLike[str] | None = None,
    ) -> None:
        check_context(horizon=horizon, context=context, ahead=ahead)
        check_options(FieldData.__init__, locals())
        if context is not None and 0 < context <= horizon:
            raise RequestError(f"context {context}: must be 0 (no context) or above the horizon of {horizon}")
        if ahead and context == 0:
            raise RequestError(f"ahead {ahead}: a field without context sees nothing after an entry; leave it out")
        super().__init__(
            panel,
            targets=targets,
            window=max(context or 0, 1),
            horizon=horizon,
            future_covariates=covariates,
            static_covariates=static_covariates or (),
            calendar=(),
            split=split,
            batch_size=batch_size,
            eval_every=eval_every,
            seed=seed,
            num_workers=num_workers,
            max_memory=max_memory,
            memory_map=memory_map,
        )
        self.places = None if places is None else tuple(places)
        self.context_option, self.ahead_option, self.find_relief = context, ahead, static_covariates is None
        self.context, self.ahead = context or 0, ahead or 0
        self.sees_context = True

    def take_context(self, sees: bool) -> None:
        """Take no context unless it is asked for, for a forecaster that sees coordinates only.

        Args:
            sees: Whether the forecaster sees a context by default.
        """
        if self.context_option is None and sees != self.sees_context:
            self.sees_context, self._loaded = sees, None

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return the windows that end with each training step, shuffled by (seed, epoch)."""
        spec, series, (start, stop) = dataclasses.replace(self.spec, horizon=0), self.series, self.parts.train
        first = max(start, spec.window - 1)
        member, row = torch.nonzero(series.observed[:, first:stop], as_tuple=True)
        origins = torch.stack([member, row + first], 1)
        if len(origins) == 0:
            raise PanelError(f"`{self.targets[0]}`: never observed in the training part; change the split")
        if not isinstance(series, StoredSeries):
            return self._loader(Windows(series, spec, origins), seed=self.seed)
        stored = copy.copy(series)
        stored.spec = spec
        windows = StoredWindows(stored, origins, batch_size=self.batch_size, max_memory=self._memory(), seed=self.seed)
        return self._loader(windows)

    @property
    def regular(self) -> bool:
        """True if the panel's times must be evenly spaced: a field with context needs it."""
        return self.context > 0

    def _check(self, panel: xr.Dataset, *, values: bool) -> None:
        check_panel(panel, values=values, regular=False)
        if self.context_option is None:
            self._choose_context(panel)
        try:
            check_time(panel, regular=self.regular)
        except PanelError as error:
            raise PanelError(f"{error}; or set context to 0, which allows uneven times") from error

    def _choose_context(self, panel: xr.Dataset) -> None:
        """Choose the context: none for uneven times, and for a forecaster that sees coordinates only."""
        try:
            check_time(panel, regular=True)
            even = panel.sizes["time"] > 1
        except PanelError:
            even = False
        longest = split_panel(panel, self.split).train[1] // 4
        context = min(CONTEXT, longest) if even and self.sees_context else 0
        self.context = context if context > self.horizon else 0
        self.ahead = (self.context - 1 if self.ahead_option is None else self.ahead_option) if self.context else 0
        self.window = max(self.context, 1)

    def _choose_batch(self, panel: xr.Dataset, split: Split) -> None:
        if self.batch_option is None:
            self.batch_size = min(max((split.train[1] - split.train[0]) // 100, 1), 64)

    def _make_spec(self, panel: xr.Dataset, split: Split) -> PanelSpec:
        if self.find_relief:
            self.static_covariates = tuple(name for name in RELIEF if _everywhere(panel, name))[:1]
        spec = super()._make_spec(panel, split)
        places = self._places(panel)
        check_places(panel, places)
        static = (*places, *(name for name in self.static_covariates if name not in places or not self.find_relief))
        turned = self.meridian(panel, static)
        units = {**spec.units, **self.units(panel, static)}
        return dataclasses.replace(
            spec, places=places, static_covariates=static, units=units, ahead=self.ahead, meridian=turned
        )

    def _places(self, panel: xr.Dataset) -> tuple[str, ...]:
        on_node = [str(n) for n, c in panel.coords.items() if c.dims == ("node",) and c.dtype.kind in "fiu"]
        if self.places is not None:
            lacking = [name for name in self.places if name not in on_node]
            if lacking:
                raise PanelError(f"`{lacking[0]}`: not a numeric coordinate of the nodes; they have {on_node}")
            return self.places
        if {"lat", "lon"} <= set(on_node):
            return ("lat", "lon")
        axes = tuple(name for name in ("x", "y", "z") if name in on_node)
        if not axes:
            raise PanelError("`node`: has no coordinates; assign lat and lon (degrees), or x and y, to the nodes")
        return axes


def _everywhere(panel: xr.Dataset, name: str) -> bool:
    """Return True if a panel has a numeric value of this name at every node."""
    if name not in panel or panel[name].dims != ("node",) or panel[name].dtype.kind not in "fiu":
        return False
    return bool(np.isfinite(np.asarray(panel[name].values, np.float64)).all())
