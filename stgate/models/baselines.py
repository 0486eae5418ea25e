"""Baselines with the interface of all forecasters, to measure these against."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from stgate.data.window_data import WindowData
from stgate.distributions.transforms import Auto, Transform
from stgate.models.closed_form.regression import fit_linear, fit_spread
from stgate.models.forecaster import Forecaster
from stgate.models.training.adoption import check_data, check_leads
from stgate.nn.imputation import ImputationName
from stgate.nn.linear import LinearTable
from stgate.panels.calendar import CellKey
from stgate.prediction.baselines import (
    ClimatologyPredictor,
    PersistencePredictor,
    RidgePredictor,
)
from stgate.prediction.predictor import NeighbourMeans, Predictor
from stgate.schema.batch import Batch
from stgate.schema.spec import PanelSpec


class Baseline(Forecaster):
    """A forecaster that is fitted in closed form: no optimizer, one pass at most.

    Args:
        predictor: The torch module that forecasts.
    """

    predictor: Predictor

    @abstractmethod
    def __init__(self, predictor: Predictor) -> None:
        super().__init__(predictor=predictor)
        self.automatic_optimization = False

    def build(self, spec: PanelSpec) -> nn.Module:
        """Build the tables that are fitted."""
        return self.predictor.build(spec)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return no optimizer: the fit is in closed form."""
        return []

    def on_fit_start(self) -> None:
        """Fit from the whole training part at once, on the CPU, where the data are."""
        super().on_fit_start()
        device = self.predictor.device
        self.predictor.cpu()
        self.fit_series(check_data(self, getattr(self.trainer, "datamodule", None)))
        self.predictor.to(device)

    def fit_series(self, data: WindowData) -> None:
        """Fit from the training rows of the data module's series."""

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Do nothing: most baselines do not use windows."""

    def on_train_epoch_end(self) -> None:
        """Stop after the first epoch: one pass is enough."""
        self.trainer.should_stop = True


class Persistence(Baseline):
    """The value at the origin, for all leads; the standard deviation at a lead is that of past changes over that lead.

    Args:
        carry: Carry the last observed value of the window forward if the value at the origin is missing. Without it the
            forecast is missing there too.
    """

    predictor: PersistencePredictor

    def __init__(self, *, carry: bool = False) -> None:
        super().__init__(PersistencePredictor(carry=carry))

    def fit_series(self, data: WindowData) -> None:
        """Fit the standard deviation of changes over 1, 2, … steps in the training part."""
        start, stop = data.parts.train
        values = data.series.values[:, start:stop, :, : len(data.spec.targets)]
        stddevs = []
        for lead in range(1, data.spec.horizon + 1):
            change = values[:, lead:] - values[:, :-lead]
            stddevs.append(change.square().flatten(0, 2).nanmean(0).sqrt())
        self.predictor.table("spread").copy_(torch.stack(stddevs).nan_to_num(1.0).maximum(_least(self.predictor)))


class Climatology(Baseline):
    """The median of the training part by cell of the calendar, node by node.

    Args:
        keys: Calendar keys whose combinations are the cells: `month`, `hour`, `weekday`. None takes month and hour for
            steps below a day, month for longer ones, and no cells (the overall median) for model time.
    """

    predictor: ClimatologyPredictor

    def __init__(self, *, keys: Sequence[CellKey] | None = None) -> None:
        super().__init__(ClimatologyPredictor(keys=keys))

    def fit_series(self, data: WindowData) -> None:
        """Fit medians of the observed training values; a cell never observed takes the node's overall median."""
        start, stop = data.parts.train
        values = data.series.values[:, start:stop, :, : len(data.spec.targets)]
        cells = self.predictor.cells(data.series.clock.time[start:stop])
        median, stddev = self.predictor.table("median"), self.predictor.table("spread")
        everything = values.flatten(0, 1)  # (time, node, target)
        overall = _nanmedian(everything)
        overall_stddev = (everything - overall).square().nanmean(0).sqrt()
        for cell in range(median.shape[0]):
            chosen = values[:, cells == cell].flatten(0, 1)
            if len(chosen) == 0:
                middle, width = overall, overall_stddev
            else:
                middle = _nanmedian(chosen)
                middle = torch.where(torch.isnan(middle), overall, middle)
                width = (chosen - middle).square().nanmean(0).sqrt()
            median[cell] = middle
            stddev[cell] = torch.where(width > 0, width, overall_stddev).maximum(_least(self.predictor))


def _least(predictor: Predictor) -> Tensor:
    """Return the least standard deviation of a forecast of each target, a millionth of the target's own, (target,)."""
    return 1e-6 * predictor.scaler.target_scale.clamp(max=1.0)


def _nanmedian(values: Tensor) -> Tensor:
    """Compute the median along the first axis without NaN; torch's own takes the lower of two middle values."""
    ordered = values.sort(0).values  # NaN sorts last
    count = (~torch.isnan(values)).sum(0, keepdim=True)
    low, high = (ordered.gather(0, ((count - k) // 2).clamp(min=0)) for k in (1, 0))
    return torch.where(count > 0, (low + high.clamp(max=torch.inf)) / 2, torch.nan)[0]


class Ridge(Baseline):
    """Ridge regression on the window: weights that all nodes share, and where nodes are few, weights across nodes.

    It reads the inputs of `GatedRNN`: the standardised window with masks, steps since observed, the mean over nodes,
    the calendar and the future covariates. It is solved exactly in float64 from sums over one epoch; missing targets of
    a lead are left out of its sums.

    Args:
        penalty: Number added to the diagonal of the features' mean cross-product; features have about unit variance.
            None chooses one for each lead by blocked cross-validation in time.
        imputation: Imputation of missing inputs, beside their mask: `zero` (the channel's mean), `last` (the last
            observation of the window) or `climatology` (the node's training mean in that month and hour).
        transforms: Transforms of the targets, in the order in which they are applied, such as `[Log(), Anomaly()]`. The
            network forecasts the transformed targets; every output is in the targets' own units. `auto` chooses
            them from the training part, None is for none.
        node_statistics: Give the network each node's training mean and standard deviation as static inputs; not in
            rollouts.
        neighbour_means: Give the network the mean of each node's neighbours as channels: `auto` (if the panel has edges
            or coordinates; not in rollouts), `graph` (they are required) or `none`.
    """

    predictor: RidgePredictor

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
            RidgePredictor(
                penalty=penalty,
                imputation=imputation,
                transforms=transforms,
                node_statistics=node_statistics,
                neighbour_means=neighbour_means,
            )
        )

    def fit_series(self, data: WindowData) -> None:
        """Fit means, then standard deviations, from the training windows."""
        check_leads(data)
        predictor = self.predictor
        table = predictor.part(LinearTable)
        sums = fit_linear(table.linear, predictor, data, penalty=predictor.penalty, rows=None)
        fit_spread(table, predictor, data, sums)
