"""Baselines under the same interface: what every forecaster is measured against."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.distributions import Distribution, Normal

from stgate.data.window_data import WindowData
from stgate.data.windows import Batch
from stgate.errors import RequestError
from stgate.models.forecaster import Forecaster
from stgate.panels.calendar import CELLS, calendar_groups, cell_keys
from stgate.schema.spec import PanelSpec


class Baseline(Forecaster):
    """A forecaster that is fitted in closed form: no optimizer, one pass at most."""

    def __init__(self, fill: str = "zero") -> None:
        super().__init__(fill=fill)
        self.automatic_optimization = False

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """None at all: there is nothing to descend."""
        return []

    def on_fit_start(self) -> None:
        """Fit from the training part at once, and stop after the first epoch."""
        super().on_fit_start()
        data = getattr(self.trainer, "datamodule", None)
        assert isinstance(data, WindowData)  # `setup` has made sure
        self.fit_series(data)

    def fit_series(self, data: WindowData) -> None:
        """Fit from the training rows of the data module's series."""

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Windows have nothing to add, unless a subclass says otherwise."""

    def on_train_epoch_end(self) -> None:
        """One pass is all it takes."""
        self.trainer.should_stop = True


class Persistence(Baseline):
    """The value at the origin, for all leads; its spread is that of past changes over as many steps.

    Args:
        carry: Where the value at the origin is missing, carry the last one of the window forward; otherwise the
            forecast is missing there too.
    """

    def __init__(self, carry: bool = False) -> None:
        super().__init__()
        self.carry = carry

    def build(self, spec: PanelSpec) -> nn.Module:
        """A table of spreads: (lead, target)."""
        return Table({"spread": torch.ones(spec.horizon, len(spec.targets))})

    def fit_series(self, data: WindowData) -> None:
        """The spread of changes over 1, 2, … steps in the training part."""
        start, stop = data.parts.train
        values = data.series.values[:, start:stop, :, : len(data.spec.targets)]
        spreads = []
        for lead in range(1, data.spec.horizon + 1):
            change = values[:, lead:] - values[:, :-lead]
            spreads.append(change.square().flatten(0, 2).nanmean(0).sqrt())
        self.built.get_buffer("spread").copy_(torch.stack(spreads).nan_to_num(1.0).clamp(min=1e-6))

    def forward(self, batch: Batch) -> Distribution:
        """See `Forecaster`; NaN where there is no value to persist."""
        spread = self.built.get_buffer("spread")
        targets = spread.shape[-1]
        past = batch["past"][..., :targets]
        last = past[:, -1]
        if self.carry:
            inputs = self.scaler(batch)
            seen = inputs.mask[..., :targets].amax(1) > 0
            carried = inputs.last * self.scaler.target_scale + self.scaler.target_center
            last = torch.where(torch.isnan(last), torch.where(seen, carried, torch.nan), last)
        location = last.unsqueeze(1).expand(-1, spread.shape[0], -1, -1)
        return Normal(location, spread[:, None].expand_as(location), validate_args=False)


class Climatology(Baseline):
    """The median of the training part by cell of the calendar, node by node.

    Args:
        keys: Calendar keys whose combinations are the cells: `month`, `hour`, `weekday`. None takes month and hour for
            steps below a day, month for longer ones, and no cells (the overall median) for model time.
    """

    def __init__(self, keys: Sequence[str] | None = None) -> None:
        super().__init__()
        self.keys = None if keys is None else tuple(keys)
        calendar_groups(np.zeros(0, "datetime64[s]"), self.keys or ())  # an unknown key is refused now

    def build(self, spec: PanelSpec) -> nn.Module:
        """Tables of medians and spreads: (cell, node, target)."""
        if self.keys and spec.time == "model":
            raise RequestError(f"keys {list(self.keys)}: the panel has model time, which has no calendar")
        cells = int(np.prod([CELLS[key] for key in self._keys(spec)]))
        shape = (cells, len(spec.nodes), len(spec.targets))
        return Table({"median": torch.zeros(shape), "spread": torch.ones(shape)})

    def _keys(self, spec: PanelSpec) -> tuple[str, ...]:
        return cell_keys(spec.step, spec.time) if self.keys is None else self.keys

    def fit_series(self, data: WindowData) -> None:
        """Medians of the observed training values; a cell never observed takes the node's overall median."""
        start, stop = data.parts.train
        values = data.series.values[:, start:stop, :, : len(data.spec.targets)]
        cells = self._cells(data.series.clock.time[start:stop])
        median, spread = self.built.get_buffer("median"), self.built.get_buffer("spread")
        everything = values.flatten(0, 1)  # (time, node, target)
        overall = _nanmedian(everything)
        overall_spread = (everything - overall).square().nanmean(0).sqrt()
        for cell in range(median.shape[0]):
            chosen = values[:, cells == cell].flatten(0, 1)
            if len(chosen) == 0:
                middle, width = overall, overall_spread
            else:
                middle = _nanmedian(chosen)
                middle = torch.where(torch.isnan(middle), overall, middle)
                width = (chosen - middle).square().nanmean(0).sqrt()
            median[cell] = middle
            spread[cell] = torch.where(width > 0, width, overall_spread).clamp(min=1e-6)

    def _cells(self, time: Tensor) -> Tensor:
        seconds = time.long() if self.fitted_spec.time == "calendar" else torch.zeros_like(time, dtype=torch.int64)
        times = seconds.cpu().numpy().astype("datetime64[s]")
        groups = calendar_groups(times.reshape(-1), self._keys(self.fitted_spec)).reshape(times.shape)
        return torch.from_numpy(groups).to(time.device)

    def forward(self, batch: Batch) -> Distribution:
        """See `Forecaster`."""
        cells = self._cells(batch["time"][:, -self.fitted_spec.horizon :])
        median, spread = self.built.get_buffer("median"), self.built.get_buffer("spread")
        return Normal(median[cells], spread[cells], validate_args=False)


def _nanmedian(values: Tensor) -> Tensor:
    """Median along the first axis, NaN left out; torch's own takes the lower of two middle values."""
    ordered = values.sort(0).values  # NaN sorts last
    count = (~torch.isnan(values)).sum(0, keepdim=True)
    low, high = (ordered.gather(0, ((count - k) // 2).clamp(min=0)) for k in (1, 0))
    return torch.where(count > 0, (low + high.clamp(max=torch.inf)) / 2, torch.nan)[0]


class Ridge(Baseline):
    """Ridge regression on the window, one set of weights for all nodes, one column a lead: the linear rival.

    It reads what `GatedRNN` reads: the standardised window with masks, steps since observed, the mean over nodes, the
    calendar and the known future. Solved exactly in float64 from sums over one epoch; a lead's missing targets drop out
    of its sums.

    Args:
        penalty: Added to the diagonal of the features' mean cross-product; features have about unit variance.
        fill: See `Forecaster`.
    """

    def __init__(self, penalty: float = 1e-3, fill: str = "zero") -> None:
        super().__init__(fill)
        if penalty <= 0:
            raise RequestError(f"penalty {penalty:g}: must be above zero")
        self.penalty = penalty
        self._sums: dict[str, Tensor] = {}

    def build(self, spec: PanelSpec) -> nn.Module:
        """Weights (feature, lead, target) and spreads (lead, target)."""
        targets, calendar = len(spec.targets), 2 * len(spec.calendar)
        inputs = spec.window * (2 * len(spec.channels) + targets)
        size = (
            1
            + inputs
            + targets
            + calendar * 2
            + len(spec.static_covariates)
            + 2 * len(spec.future_covariates) * spec.horizon
        )
        shape = (spec.horizon, targets)
        return Table({"weight": torch.zeros(size, *shape), "spread": torch.ones(shape)})

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Add the batch to the normal equations of each lead and target."""
        features = self._features(batch).flatten(0, 1).double()  # (case, feature)
        target = ((batch["target"] - self.scaler.target_center) / self.scaler.target_scale).double()
        target = target.transpose(1, 2).flatten(0, 1).flatten(1)  # (case, lead * target)
        seen = ~torch.isnan(target)
        filled = torch.where(seen, target, 0.0)
        columns, size = target.shape[1], features.shape[1]
        if not self._sums:
            zeros = {"gram": (size, size), "missing": (columns, size, size), "cross": (size, columns)}
            self._sums = {k: features.new_zeros(v) for k, v in zeros.items()}
            self._sums |= {"square": features.new_zeros(columns), "count": features.new_zeros(columns)}
        self._sums["gram"] += features.T @ features
        for column in torch.nonzero(~seen.all(0)).flatten().tolist():
            rows = features[~seen[:, column]]
            self._sums["missing"][column] += rows.T @ rows
        self._sums["cross"] += features.T @ filled
        self._sums["square"] += filled.square().sum(0)
        self._sums["count"] += seen.sum(0)

    def on_validation_start(self) -> None:
        """Solve: validation comes before the epoch's end."""
        self._solve()

    def on_train_epoch_end(self) -> None:
        """Solve, where there was no validation, and stop."""
        self._solve()
        self._sums = {}
        super().on_train_epoch_end()

    def _solve(self) -> None:
        if not self._sums:
            return
        weights, spreads = [], []
        for column in range(len(self._sums["count"])):
            count = self._sums["count"][column].clamp(min=1)
            gram = (self._sums["gram"] - self._sums["missing"][column]) / count
            cross = self._sums["cross"][:, column] / count
            damped = gram + self.penalty * torch.eye(len(gram), dtype=gram.dtype)
            weight = torch.linalg.solve(damped, cross)
            error = self._sums["square"][column] / count - 2 * weight @ cross + weight @ gram @ weight
            weights.append(weight)
            spreads.append(error.clamp(min=1e-12).sqrt())
        weight, spread = self.built.get_buffer("weight"), self.built.get_buffer("spread")
        weight.copy_(torch.stack(weights, -1).view_as(weight))
        spread.copy_(torch.stack(spreads).view_as(spread) * self.scaler.target_scale)

    def _features(self, batch: Batch) -> Tensor:
        """(batch, node, feature)."""
        inputs = self.scaler(batch)
        size, _, nodes, _ = inputs.values.shape
        targets = inputs.since.shape[-1]
        target, seen = inputs.values[..., :targets], inputs.mask[..., :targets]
        mean = (target * seen).sum(2) / seen.sum(2).clamp(min=1)  # (batch, window, target)
        calendar = torch.cat([inputs.calendar[:, -1], inputs.future_calendar[:, -1]], -1)
        shared = torch.cat([mean.flatten(1), calendar, mean.new_ones(size, 1)], -1)
        own = [inputs.values, inputs.mask, inputs.future]
        columns = [x.transpose(1, 2).flatten(2) for x in own] + [inputs.since[:, -1]]
        columns += [shared[:, None].expand(-1, nodes, -1), inputs.static.expand(size, -1, -1)]
        return torch.cat(columns, -1)

    def forward(self, batch: Batch) -> Distribution:
        """See `Forecaster`."""
        weight = self.built.get_buffer("weight")
        location = torch.einsum("bnf,flt->blnt", self._features(batch), weight)
        location = location * self.scaler.target_scale + self.scaler.target_center
        spread = self.built.get_buffer("spread")
        return Normal(location, spread[:, None].expand_as(location), validate_args=False)


class Table(nn.Module):
    """Named buffers: what a closed-form forecaster has learned."""

    def __init__(self, buffers: dict[str, Tensor]) -> None:
        super().__init__()
        for name, value in buffers.items():
            self.register_buffer(name, value)
