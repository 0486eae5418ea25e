"""The base of the gated hybrids: direct forecasts or roll-outs of a network whose core a subclass names."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.distributions import Distribution

from stgate.data.window_data import WindowData
from stgate.data.windows import Batch, hash_seed
from stgate.distributions.likelihoods import Likelihood
from stgate.distributions.mixture import Mixture
from stgate.errors import RequestError, check_counts, check_number
from stgate.inference.base import Inference, PointEstimate
from stgate.models.forecaster import Forecaster
from stgate.models.parts import check_leads
from stgate.models.step_statistics import step_spread, whitening
from stgate.nn.gated.network import HybridNetwork
from stgate.nn.gated.rollout import RollOut
from stgate.nn.inputs import Inputs
from stgate.schema.spec import PanelSpec

FLOOR = 1e-6
"""Share of the largest variance by which those of a patch are raised before it is whitened."""


class GatedForecaster(Forecaster):
    """What gated recurrent networks and gated transformers have in common; `GatedRNN` says what the options are.

    Raises:
        RequestError: An option is out of range.
    """

    def __init__(
        self,
        hidden: int,
        patch: int,
        halo: int,
        dropout: float,
        rollout: RollOut | None,
        likelihood: Likelihood | None,
        inference: Inference | None,
        fill: str,
        optimizer: OptimizerCallable,
        lr_scheduler: LRSchedulerCallable | None,
    ) -> None:
        self.rollout = rollout
        super().__init__(likelihood, inference, fill, optimizer, lr_scheduler)
        check_counts(hidden=(hidden, 1), patch=(patch, 1), halo=(halo, 0))
        check_number("dropout", dropout)
        if not 0 <= dropout < 1:
            raise RequestError(f"dropout {dropout:g}: a share between 0 and 1")
        if rollout and rollout.stateful and not isinstance(self.inference, PointEstimate):
            raise RequestError("rollout.stateful: carries the state of one set of weights; use inference PointEstimate")
        self.options: dict[str, Any] = {"hidden": hidden, "patch": patch, "halo": halo, "dropout": dropout}
        self._before: Tensor | None = None

    @abstractmethod
    def core(self) -> Callable[[int], nn.Module] | None:
        """What makes the part that remembers, from its channels; None for a step that knows the field alone."""

    def build(self, spec: PanelSpec) -> nn.Module:
        """See `stgate.nn.gated.network.HybridNetwork`."""
        if self.rollout:
            longest, warm_up = max(self.rollout.leads(spec.horizon)), self.rollout.warm_up
            if longest > spec.horizon:
                raise RequestError(f"rollout.unroll {longest}: beyond the horizon of {spec.horizon}; give at most that")
            if warm_up >= spec.window:
                raise RequestError(f"rollout.warm_up {warm_up}: leaves nothing of the window of {spec.window}")
        alone = isinstance(self.inference, PointEstimate)
        parts = {"rollout": self.rollout, "alone": alone, **self.options}
        return HybridNetwork(spec, self.likelihood.parameters, self.core(), **parts)

    def prepare(self, data: WindowData) -> None:
        """Of a roll-out, the usual change over a step and the map that whitens what a patch sees."""
        stateful = bool(self.rollout and self.rollout.stateful)
        if stateful != data.streams:
            what, mend = ("rollout.stateful", "add streams=True") if stateful else ("streams", "add rollout.stateful")
            raise RequestError(f"{what}: the other half is missing, which carries states; {mend} (--data.streams true)")
        if not self.rollout:
            check_leads(data)
            return
        longest = max(self.rollout.leads(self.fitted_spec.horizon))
        if longest > data.train_horizon:
            raise RequestError(
                f"rollout.unroll {longest}: training windows hold {data.train_horizon} leads; raise train_horizon"
            )
        network = self._hybrid
        center, scale = self.scaler.target_center, self.scaler.target_scale
        network.transition.change.copy_(step_spread(data, scale))  # of all members alike
        network.transition.whiten.copy_(whitening(data, network.patches, center, scale, FLOOR))

    @property
    def _hybrid(self) -> HybridNetwork:
        """The network, also where it stands for several members."""
        return next(m for m in self.built.modules() if isinstance(m, HybridNetwork))

    # Training

    def training_leads(self) -> int:
        """The leads that the loss counts, in the last part of a curriculum: epochs are compared by these."""
        return self.rollout.leads(self.fitted_spec.horizon)[-1] if self.rollout else self.fitted_spec.horizon

    def leads_now(self) -> int:
        """The leads of a free run that the loss counts in this epoch."""
        assert self.rollout
        plan = self.rollout.leads(self.fitted_spec.horizon)
        epochs = (self._trainer.max_epochs if self._trainer else None) or 1
        return plan[min(self.current_epoch * len(plan) // max(epochs, 1), len(plan) - 1)]

    def _taught(self) -> int:
        """How many of the window's one-step forecasts the loss counts."""
        return self.fitted_spec.window - 1 - self.rollout.warm_up if self.rollout else 0

    def training_forward(self, batch: Batch) -> Distribution:
        """Of a roll-out, the one-step forecasts of the window, then the leads that the loss counts."""
        if not self.rollout:
            return self.members(batch)
        inputs = self.scaler(batch)
        if self.rollout.noise:
            self._disturb(inputs)
        if self.rollout.stateful:
            self._carry_on(batch["origin"])
        raw = self.built(inputs, self.leads_now(), taught=self._taught())
        return self.distribution(raw)

    def training_target(self, batch: Batch) -> Tensor:
        """See `training_forward`."""
        taught = self._taught()
        targets = batch["target"].shape[-1]
        past = batch["past"][:, batch["past"].shape[1] - taught :, :, :targets]
        return torch.cat([past, batch["target"]], 1) if taught else batch["target"]

    def _disturb(self, inputs: Inputs) -> None:
        assert self.rollout
        targets = inputs.since.shape[-1]
        spread = self.rollout.noise * self._hybrid.transition.change.view(-1, targets)[0]  # of all members alike
        mask = inputs.mask[..., :targets]
        noisy = inputs.values[..., :targets] + spread * mask * torch.randn_like(mask)
        inputs.values = torch.cat([noisy, inputs.values[..., targets:]], -1)

    def _carry_on(self, origin: Tensor) -> None:
        """Forget the state that the batch before left, unless this one goes on where it ended."""
        step = torch.tensor([0, self.fitted_spec.window])
        before = self._before
        if before is None or before.shape != origin.shape or not torch.equal(before + step, origin.cpu()):
            self.built.carried = None  # type: ignore[assignment]
        self._before = origin.cpu()

    # Forecasts

    def forward(self, batch: Batch) -> Distribution:
        """See `Forecaster`; of a roll-out with samples, a mixture of what is forecast along each trajectory."""
        if not self.rollout or not self.rollout.samples:
            return super().forward(batch)
        count, inputs = self.rollout.samples, self.scaler(batch)
        members = {name: value if name == "static" else _repeated(value, count) for name, value in vars(inputs).items()}
        center, scale = self.scaler.target_center, self.scaler.target_scale
        # Levels drawn beforehand: the same for all members, in whichever way these are evaluated.
        generator = torch.Generator().manual_seed(hash_seed(self._seed or 0, *batch["origin"][0].tolist()))
        shape = (self.fitted_spec.horizon, count * len(batch["origin"]), *batch["target"].shape[2:])
        levels = torch.rand(shape, generator=generator).clamp(1e-6, 1 - 1e-6).to(self.device)

        def draw(raw: Tensor, lead: int) -> Tensor:
            return (self.likelihood(raw, center, scale).icdf(levels[lead]) - center) / scale

        raw = self.built(Inputs(**members), draw=draw)
        size = len(batch["origin"])
        raw = raw.unflatten(raw.dim() - 5, (count, size))  # (member?, sample, batch, lead, …)
        return Trajectories(self.distribution(raw.flatten(0, 1) if raw.dim() == 7 else raw))

    def run(self, batch: Batch, steps: int, piece: int) -> Iterator[tuple[int, Tensor]]:
        """A free run from the end of a batch's window, in own units.

        Args:
            batch: Raw windows.
            steps: How many.
            piece: Steps that are given out at once.

        Yields:
            The first step of a piece, and its values (batch, step, node, target).
        """
        network = self.built
        assert isinstance(network, HybridNetwork)
        made: list[Tensor] = []
        for step, location in enumerate(itertools.islice(network.run(self.scaler(batch)), steps), 1):
            made.append(location * self.scaler.target_scale + self.scaler.target_center)
            if len(made) == piece or step == steps:
                yield step - len(made), torch.stack(made, 1)
                made = []

    def validation_forward(self, batch: Batch) -> Distribution:
        """One trajectory, which feeds back its location."""
        return super().forward(batch)


class Trajectories(Mixture):
    """A mixture of what is forecast along several trajectories.

    What they disagree about is not what more data would take away: it has no epistemic part.
    """


def _repeated(value: Tensor, count: int) -> Tensor:
    """(batch, …) -> (count * batch, …)."""
    return value.repeat(count, *[1] * (value.dim() - 1))
