"""The base of the gated hybrids: how direct forecasts and roll-outs of a gated network are trained."""

from __future__ import annotations

from abc import abstractmethod

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.distributions import Distribution

from stgate.data.window_data import WindowData
from stgate.errors import RequestError
from stgate.models.adoption import check_leads
from stgate.models.forecaster import Forecaster
from stgate.models.graphs import graph_of
from stgate.models.step_statistics import step_spread, whitening
from stgate.nn.inputs import Inputs
from stgate.prediction.gated import GatedPredictor
from stgate.schema.batch import Batch
from stgate.schema.spec import PanelSpec

NEIGHBOURS = 10
"""Nearest nodes along which nodes are mixed, where a panel has coordinates and no edges."""
FLOOR = 1e-6
"""Share of the largest variance by which those of a patch are raised before it is whitened."""


class GatedForecaster(Forecaster):
    """Training of gated recurrent networks and gated transformers.

    Args:
        predictor: What forecasts.
        optimizer: Makes the optimizer from the parameters.
        lr_scheduler: Makes the scheduler from the optimizer; None for one cycle over the whole fit.
    """

    predictor: GatedPredictor
    _before: Tensor | None = None

    @abstractmethod
    def __init__(
        self, *, predictor: GatedPredictor, optimizer: OptimizerCallable, lr_scheduler: LRSchedulerCallable | None
    ) -> None:
        super().__init__(predictor=predictor, optimizer=optimizer, lr_scheduler=lr_scheduler)

    def build(self, spec: PanelSpec) -> nn.Module:
        """Build a `stgate.nn.gated.network.HybridNetwork`."""
        return self.predictor.build(spec)

    def prepare(self, data: WindowData) -> None:
        """Take, for a roll-out, the usual change over a step and the map that whitens what a patch sees.

        Args:
            data: The data that the forecaster is fitted on.

        Raises:
            RequestError: The data's options do not fit the roll-out's.
        """
        rollout, predictor = self.predictor.rollout, self.predictor
        stateful = bool(rollout and rollout.stateful)
        if stateful != data.streams:
            what, fix = ("rollout.stateful", "add streams=True") if stateful else ("streams", "add rollout.stateful")
            raise RequestError(f"{what}: the other half is missing, which carries states; {fix} (--data.streams true)")
        if predictor.edges is not None:
            predictor.edges.fill(graph_of(data.panel, NEIGHBOURS, f"spatial {predictor.spatial}"))
        if not rollout:
            check_leads(data)
            return
        longest = max(rollout.leads(data.spec.horizon))
        if longest > data.train_horizon:
            raise RequestError(
                f"rollout.unroll {longest}: training windows hold {data.train_horizon} leads; raise train_horizon"
            )
        network = predictor.hybrid
        center, scale = predictor.scaler.target_center, predictor.scaler.target_scale
        network.transition.change.copy_(step_spread(data, scale))  # of all members alike
        network.transition.whiten.copy_(whitening(data, network.patches, center, scale, FLOOR))

    def training_leads(self) -> int:
        """Return the leads that the loss counts in the last part of a curriculum: epochs are compared by these."""
        rollout, horizon = self.predictor.rollout, self.predictor.fitted_spec.horizon
        return rollout.leads(horizon)[-1] if rollout else horizon

    def leads_now(self) -> int:
        """Return the leads of a roll-out that the loss counts in this epoch."""
        rollout = self.predictor.rollout
        assert rollout
        plan = rollout.leads(self.predictor.fitted_spec.horizon)
        epochs = (self._trainer.max_epochs if self._trainer else None) or 1
        return plan[min(self.current_epoch * len(plan) // max(epochs, 1), len(plan) - 1)]

    def _teacher_forced(self) -> int:
        """Return how many of the window's one-step forecasts the loss counts."""
        rollout = self.predictor.rollout
        return self.predictor.fitted_spec.window - 1 - rollout.warm_up if rollout else 0

    def training_forward(self, batch: Batch) -> Distribution:
        """Forecast, for a roll-out, the window's one-step forecasts, then the leads that the loss counts."""
        predictor, rollout = self.predictor, self.predictor.rollout
        if not rollout:
            return predictor.members(batch)
        inputs = predictor.scaler(batch)
        if rollout.noise:
            self._add_noise(inputs, rollout.noise)
        if rollout.stateful:
            self._carry_on(batch["origin"])
        raw = predictor.built(inputs, self.leads_now(), taught=self._teacher_forced(), graph=predictor.graph)
        return predictor.distribution(raw)

    def training_target(self, batch: Batch) -> Tensor:
        """Return, for a roll-out, the window's last steps, then the leads: (batch, step + lead, node, target)."""
        steps, targets = self._teacher_forced(), batch["target"].shape[-1]
        past = batch["past"][:, batch["past"].shape[1] - steps :, :, :targets]
        return torch.cat([past, batch["target"]], 1) if steps else batch["target"]

    def _add_noise(self, inputs: Inputs, noise: float) -> None:
        targets = inputs.since.shape[-1]
        change = self.predictor.hybrid.transition.change  # of all members alike
        scale = noise * change.view(-1, targets)[0]
        mask = inputs.mask[..., :targets]
        noisy = inputs.values[..., :targets] + scale * mask * torch.randn_like(mask)
        inputs.values = torch.cat([noisy, inputs.values[..., targets:]], -1)

    def _carry_on(self, origin: Tensor) -> None:
        """Forget the state that the batch before left, unless this one goes on where it ended."""
        step = torch.tensor([0, self.predictor.fitted_spec.window])
        before = self._before
        if before is None or before.shape != origin.shape or not torch.equal(before + step, origin.cpu()):
            self.predictor.hybrid.carried = None
        self._before = origin.cpu()

    def validation_forward(self, batch: Batch) -> Distribution:
        """Forecast one trajectory, which feeds back its location."""
        return self.predictor.single_trajectory(batch)
