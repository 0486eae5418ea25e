"""The base of the gated forecasters: training of direct forecasts and of rollouts."""

from __future__ import annotations

import warnings
from abc import abstractmethod

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.distributions import Distribution

from stgate.data.window_data import WindowData
from stgate.errors import FitWarning, RequestError
from stgate.models.forecaster import Forecaster
from stgate.models.training.adoption import check_leads
from stgate.models.training.step_statistics import typical_change, whitening
from stgate.nn.inputs import Inputs
from stgate.panels.own_graph import graph_of
from stgate.prediction.gated import GatedPredictor
from stgate.schema.batch import Batch
from stgate.schema.spec import PanelSpec

NEIGHBOURS = 10
"""Number of nearest nodes that make the graph of a panel with coordinates and no edges."""
FLOOR = 1e-6
"""Share of the largest variance that is added to the variances of a patch before it is whitened."""


class GatedForecaster(Forecaster):
    """Training of gated recurrent networks and gated transformers.

    Args:
        predictor: The torch module that forecasts.
        optimizer: Makes the optimizer from the parameters.
        lr_scheduler: Makes the scheduler from the optimizer; None for one cycle over the whole fit.
    """

    predictor: GatedPredictor
    _before: list[list[int]] | None = None

    @abstractmethod
    def __init__(
        self, *, predictor: GatedPredictor, optimizer: OptimizerCallable, lr_scheduler: LRSchedulerCallable | None
    ) -> None:
        super().__init__(predictor=predictor, optimizer=optimizer, lr_scheduler=lr_scheduler)

    def build(self, spec: PanelSpec) -> nn.Module:
        """Build a `stgate.nn.gated.network.HybridNetwork`."""
        return self.predictor.build(spec)

    def prepare(self, data: WindowData) -> None:
        """Take the panel's graph and, for a rollout, the typical change over a step and the map that whitens a patch.

        Args:
            data: The data that the forecaster is fitted on.

        Raises:
            RequestError: The data's options do not fit the rollout's, or the panel has no graph.
        """
        rollout, predictor = self.predictor.rollout, self.predictor
        stateful = bool(rollout and rollout.stateful)
        if stateful != data.streams:
            what, fix = ("rollout.stateful", "add streams=True") if stateful else ("streams", "add rollout.stateful")
            raise RequestError(f"{what}: rollout.stateful and streams belong together; {fix} (--data.streams true)")
        if predictor.edges is not None:
            predictor.edges.fill(graph_of(data.panel, NEIGHBOURS, f"spatial {predictor.spatial}"))
        if not rollout:
            check_leads(data)
            warn_of_reach(predictor)
            return
        longest = max(rollout.leads(data.spec.horizon))
        if longest > data.train_horizon:
            raise RequestError(
                f"rollout.unroll {longest}: training windows hold {data.train_horizon} leads; raise train_horizon"
            )
        network = predictor.hybrid
        center, scale = predictor.scaler.target_center, predictor.scaler.target_scale
        series, rows = predictor.encoded_series(data.series), data.parts.train
        network.transition.change.copy_(typical_change(series, rows, scale))  # of all members alike
        network.transition.whiten.copy_(whitening(series, rows, network.patches, center, scale, FLOOR))

    def training_leads(self) -> int:
        """Return the number of leads in the loss at the end of a curriculum, by which epochs are compared."""
        rollout, horizon = self.predictor.rollout, self.predictor.fitted_spec.horizon
        return rollout.leads(horizon)[-1] if rollout else horizon

    @property
    def monitor(self) -> str:
        """The score on the validation part whose lowest value marks the best epoch.

        For a rollout it is the loss over the leads of the training: later leads of a chaotic system say little.
        """
        return "val_loss" if self.predictor.rollout else super().monitor

    @property
    def stops_early(self) -> bool:
        """False for a rollout: its score rises while the learning rate is high, and falls at the end."""
        return not self.predictor.rollout

    def leads_now(self) -> int:
        """Return the number of leads of a rollout in the loss of the present epoch."""
        rollout = self.predictor.rollout
        assert rollout
        plan = rollout.leads(self.predictor.fitted_spec.horizon)
        epochs = (self._trainer.max_epochs if self._trainer else None) or 1
        return plan[min(self.current_epoch * len(plan) // max(epochs, 1), len(plan) - 1)]

    def _teacher_forced(self) -> int:
        """Return the number of teacher-forced one-step forecasts of the window in the loss."""
        rollout = self.predictor.rollout
        return self.predictor.fitted_spec.window - 1 - rollout.warm_up if rollout else 0

    def training_forward(self, batch: Batch) -> Distribution:
        """Forecast the leads of the loss; a rollout puts the teacher-forced one-step forecasts of the window first."""
        predictor, rollout = self.predictor, self.predictor.rollout
        if not rollout:
            return predictor.members(batch)
        inputs = predictor.inputs_of(batch)
        if rollout.noise:
            self._add_noise(inputs, rollout.noise)
        if rollout.stateful:
            self._carry_on(predictor.origins(batch))
        options = {"teacher_forced": self._teacher_forced(), "complete": predictor.complete(batch)}
        raw = predictor.built(inputs, self.leads_now(), graph=predictor.graph, **options)
        return predictor.distribution(raw)

    def training_target(self, batch: Batch) -> Tensor:
        """Return the truth: the last steps of the window for a rollout, then the leads, (batch, lead, node, target)."""
        steps, targets = self._teacher_forced(), batch["target"].shape[-1]
        past = batch["past"][:, batch["past"].shape[1] - steps :, :, :targets]
        return torch.cat([past, batch["target"]], 1) if steps else batch["target"]

    def training_pieces(self, batch: Batch) -> list[Batch]:
        """Cut a batch into pieces; where a state is carried on from batch to batch, it stays whole."""
        rollout = self.predictor.rollout
        return [batch] if rollout and rollout.stateful else super().training_pieces(batch)

    def _add_noise(self, inputs: Inputs, noise: float) -> None:
        targets = inputs.since.shape[-1]
        change = self.predictor.hybrid.transition.change  # of all members alike
        scale = noise * change.view(-1, targets)[0]
        mask = inputs.mask[..., :targets]
        noisy = inputs.values[..., :targets] + scale * mask * torch.randn_like(mask)
        inputs.values = torch.cat([noisy, inputs.values[..., targets:]], -1)

    def _carry_on(self, origins: list[list[int]]) -> None:
        """Drop the state of the batch before, unless this batch continues in time where that one ended."""
        window = self.predictor.fitted_spec.window
        if self._before is None or [[member, row + window] for member, row in self._before] != origins:
            self.predictor.hybrid.carried = None
        self._before = origins

    def validation_forward(self, batch: Batch) -> Distribution:
        """Forecast a single trajectory, which feeds back its location."""
        return self.predictor.single_trajectory(batch)


def warn_of_reach(predictor: GatedPredictor) -> None:
    """Warn if the network of a direct forecast sees fewer steps than the window holds, and say what reads the others.

    Args:
        predictor: A predictor whose network is built.
    """
    window, reach = predictor.fitted_spec.window, predictor.hybrid.reach
    if reach is None or reach >= window:
        return
    readers = ["the linear part"] if predictor.has_linear else []
    if not readers or predictor.imputation == "last" or predictor.transform.of_window:
        readers.append("the search for the last observation of a node that is silent since")
    warnings.warn(
        f"window {window}: the network sees only its last {reach} steps; earlier ones are read by "
        f"{' and '.join(readers)} alone; give more layers or a longer span, or a shorter window",
        FitWarning,
        stacklevel=2,
    )
