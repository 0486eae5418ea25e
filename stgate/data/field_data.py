"""Panels as fields: every observation is a case of its own, known by its time, its place and its covariates."""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Sequence

import torch
import xarray as xr
from torch.utils.data import DataLoader

from stgate.data.streaming import StoredSeries, StoredWindows
from stgate.data.window_data import WindowData
from stgate.data.windows import Windows
from stgate.errors import PanelError, RequestError
from stgate.panels.split import Split
from stgate.schema.batch import Batch
from stgate.schema.panel import check_panel, check_time
from stgate.schema.spec import PanelSpec, check_places


class FieldData(WindowData):
    """Observed values of a panel at their times and places, for a field (`CGLUBNF`, `BayesNF`).

    A training batch holds the values of some times at all nodes, of which only the observed ones are cases. Nodes are
    known by their coordinates, so that the fitted field takes panels with other nodes. Without context times may be
    uneven: a step, where one is meant, is their median distance, or their mean one in model time.

    Args:
        panel: A panel, or the path of one; its nodes have `lat` and `lon`, or `x` and `y`.
        targets: Variables of the field.
        places: Node coordinates that say where a node is; None takes `lat` and `lon`, or those of `x`, `y`, `z` that
            there are.
        context: Steps, the present one among them, over which the field sees what was observed at a place and near by;
            0 for none: then it knows coordinates and covariates only.
        horizon: Steps that forecasts go ahead; where the field sees what was observed, fewer than `context`.
        covariates: Variables known at the time and place that are asked for, such as weather.
        static_covariates: Further node coordinates or node variables.
        split: As in `WindowData`.
        batch_size: Times in a batch.
        eval_every: As in `WindowData`.
        seed: As in `WindowData`.
        num_workers: As in `WindowData`.
        max_memory: As in `WindowData`.
        memory_map: As in `WindowData`.

    Raises:
        PanelError: As `WindowData`; or the nodes have no coordinates.
        RequestError: An option is out of range.
    """

    def __init__(
        self,
        panel: str | os.PathLike[str] | xr.Dataset,
        *,
        targets: Sequence[str] | str,
        places: Sequence[str] | None = None,
        context: int = 0,
        horizon: int = 1,
        covariates: Sequence[str] = (),
        static_covariates: Sequence[str] = (),
        split: Sequence[float | str] = (0.6, 0.1, 0.15, 0.15),
        batch_size: int = 64,
        eval_every: int = 1,
        seed: int = 0,
        num_workers: int = 0,
        max_memory: float | None = None,
        memory_map: str | os.PathLike[str] | None = None,
    ) -> None:
        if context < 0 or 0 < context <= horizon:
            raise RequestError(f"context {context}: 0 for none, or more than the horizon of {horizon}")
        super().__init__(
            panel,
            targets=targets,
            window=max(context, 1),
            horizon=horizon,
            future_covariates=covariates,
            static_covariates=static_covariates,
            calendar=(),
            split=split,
            batch_size=batch_size,
            eval_every=eval_every,
            seed=seed,
            num_workers=num_workers,
            max_memory=max_memory,
            memory_map=memory_map,
        )
        self.places, self.context = None if places is None else tuple(places), context

    def train_dataloader(self) -> DataLoader[Batch]:
        """Windows that end with the step whose values are cases, shuffled by (seed, epoch)."""
        spec, series, (start, stop) = dataclasses.replace(self.spec, horizon=0), self.series, self.parts.train
        first = max(start, spec.window - 1)
        member, row = torch.nonzero(series.observed[:, first:stop], as_tuple=True)
        origins = torch.stack([member, row + first], 1)
        if len(origins) == 0:
            raise PanelError(f"`{self.targets[0]}`: the train part observes no target; split elsewhere")
        if not isinstance(series, StoredSeries):
            return self._loader(Windows(series, spec, origins), seed=self.seed)
        stored = copy.copy(series)
        stored.spec = spec
        windows = StoredWindows(stored, origins, batch_size=self.batch_size, max_memory=self._memory(), seed=self.seed)
        return self._loader(windows)

    @property
    def regular(self) -> bool:
        """Whether the panel's times must be evenly spaced: where the field sees what was observed before."""
        return self.context > 0

    def _check(self, panel: xr.Dataset, *, values: bool) -> None:
        check_panel(panel, values=values, regular=False)
        try:
            check_time(panel, regular=self.regular)
        except PanelError as error:
            raise PanelError(f"{error}; or let the field see no context (0), then times may be uneven") from error

    def _make_spec(self, panel: xr.Dataset, split: Split) -> PanelSpec:
        spec = super()._make_spec(panel, split)
        places = self._places(panel)
        check_places(panel, places)
        return dataclasses.replace(spec, places=places, static_covariates=(*places, *self.static_covariates))

    def _places(self, panel: xr.Dataset) -> tuple[str, ...]:
        on_node = [str(n) for n, c in panel.coords.items() if c.dims == ("node",) and c.dtype.kind in "fiu"]
        if self.places is not None:
            lacking = [name for name in self.places if name not in on_node]
            if lacking:
                raise PanelError(f"`{lacking[0]}`: no coordinate of the nodes that is a number; they have {on_node}")
            return self.places
        if {"lat", "lon"} <= set(on_node):
            return ("lat", "lon")
        axes = tuple(name for name in ("x", "y", "z") if name in on_node)
        if not axes:
            raise PanelError("`node`: has no coordinates; assign lat and lon (degrees), or x and y, to the nodes")
        return axes
