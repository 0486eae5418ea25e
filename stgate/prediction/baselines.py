"""Predictors of the baselines: tables that are fitted in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Normal

from stgate._configured import check_options
from stgate.distributions.civil import cells_of
from stgate.distributions.transforms import Auto, Transform
from stgate.errors import RequestError
from stgate.nn.imputation import ImputationName
from stgate.nn.linear import LinearTable
from stgate.panels.calendar import CELLS, CellKey, calendar_groups, cell_keys
from stgate.prediction.predictor import NeighbourMeans, Predictor
from stgate.schema.batch import Batch
from stgate.schema.spec import PanelSpec


class BaselinePredictor(Predictor):
    """A predictor that is fitted in closed form; its forecast is missing if the observations it needs are missing."""

    always_forecasts: ClassVar[bool] = False

    def table(self, name: str) -> Tensor:
        """Return a fitted table by its name."""
        return self.built.get_buffer(name)


class PersistencePredictor(BaselinePredictor):
    """The value at the origin, for all leads.

    Args:
        carry: Carry the last observed value of the window forward if the value at the origin is missing.
    """

    def __init__(self, *, carry: bool = False) -> None:
        super().__init__()
        check_options(PersistencePredictor.__init__, locals())
        self.carry = carry

    def build(self, spec: PanelSpec) -> nn.Module:
        """Build a table of standard deviations: (lead, target)."""
        return Table({"spread": torch.ones(spec.horizon, len(spec.targets))})

    def forecast(self, batch: Batch) -> Distribution:
        """Forecast an encoded batch; NaN without a value at the origin."""
        stddev = self.table("spread")
        targets = stddev.shape[-1]
        past = batch["past"][..., :targets]
        last = past[:, -1]
        if self.carry:
            inputs = self.inputs_of(batch)
            seen = inputs.mask[..., :targets].amax(1) > 0
            carried = inputs.last * self.scaler.target_scale + self.scaler.target_center
            last = torch.where(torch.isnan(last), torch.where(seen, carried, torch.nan), last)
        location = last.unsqueeze(1).expand(-1, stddev.shape[0], -1, -1)
        return Normal(location, stddev[:, None].expand_as(location), validate_args=False)


class ClimatologyPredictor(BaselinePredictor):
    """The median of the training part by cell of the calendar, node by node.

    Args:
        keys: Calendar keys whose combinations are the cells: `month`, `hour`, `weekday`; None takes month and hour for
            steps below a day, month for longer ones, and no cells for whole years and for model time.

    Raises:
        RequestError: A key is unknown.
    """

    def __init__(self, *, keys: Sequence[CellKey] | None = None) -> None:
        super().__init__()
        check_options(ClimatologyPredictor.__init__, locals())
        self.keys = None if keys is None else tuple(keys)
        calendar_groups(np.zeros(0, "datetime64[s]"), self.keys or ())  # an unknown key is refused now

    def build(self, spec: PanelSpec) -> nn.Module:
        """Build tables of medians and standard deviations: (cell, node, target)."""
        if self.keys and spec.time == "model":
            raise RequestError(f"keys {list(self.keys)}: the panel has model time, which has no calendar")
        cells = int(np.prod([CELLS[key] for key in self._keys(spec)]))
        shape = (cells, len(spec.nodes), len(spec.targets))
        return Table({"median": torch.zeros(shape), "spread": torch.ones(shape)})

    def _keys(self, spec: PanelSpec) -> tuple[CellKey, ...]:
        return cell_keys(spec.time_step) if self.keys is None else self.keys

    def cells(self, time: Tensor) -> Tensor:
        """Return the calendar cell of each time, of the shape of `time`."""
        calendar = self.fitted_spec.time == "calendar"
        return cells_of(time, self._keys(self.fitted_spec) if calendar else ())

    def forecast(self, batch: Batch) -> Distribution:
        """Forecast an encoded batch."""
        cells = self.cells(batch["time"][:, -self.fitted_spec.horizon :])
        median, stddev = self.table("median"), self.table("spread")
        return Normal(median[cells], stddev[cells], validate_args=False)


class RidgePredictor(BaselinePredictor):
    """Ridge regression on the standardised window, one set of weights for all nodes, one column a lead.

    Args:
        penalty: Number added to the diagonal of the features' mean cross-product; features have about unit variance.
            None chooses one for each lead by blocked cross-validation in time.
        imputation: Imputation of missing inputs: `zero`, `last` or `climatology`.
        transforms: Transforms of the targets, in the order in which they are applied; the network forecasts the
            transformed targets, and every output is in the targets' own units. `auto` chooses them from the training
            part, None is for none.
        node_statistics: Give the network each node's training mean and standard deviation as static inputs; not in
            rollouts.
        neighbour_means: Give the network the mean of each node's neighbours as channels: `auto` (if the panel has edges
            or coordinates; not in rollouts), `graph` (they are required) or `none`.

    Raises:
        RequestError: The penalty is not above zero.
    """

    def __init__(
        self,
        *,
        penalty: float | None = None,
        imputation: ImputationName = "zero",
        transforms: Sequence[Transform] | Auto | None = "auto",
        node_statistics: bool = True,
        neighbour_means: NeighbourMeans = "auto",
    ) -> None:
        super().__init__(
            imputation=imputation,
            transforms=transforms,
            node_statistics=node_statistics,
            neighbour_means=neighbour_means,
        )
        check_options(RidgePredictor.__init__, locals())
        if penalty is not None and penalty <= 0:
            raise RequestError(f"penalty {penalty:g}: must be above zero")
        self.penalty = penalty

    def build(self, spec: PanelSpec) -> nn.Module:
        """Build a `stgate.nn.linear.LinearTable`."""
        return LinearTable(spec)

    def forecast(self, batch: Batch) -> Distribution:
        """Forecast an encoded batch."""
        location, stddev = self.built(self.inputs_of(batch))
        center, scale = self.scaler.target_center, self.scaler.target_scale
        return Normal(location * scale + center, stddev * scale, validate_args=False)


class Table(nn.Module):
    """Named buffers, fitted in closed form.

    Args:
        buffers: Tensors by name.
    """

    def __init__(self, buffers: dict[str, Tensor]) -> None:
        super().__init__()
        for name, value in buffers.items():
            self.register_buffer(name, value)
