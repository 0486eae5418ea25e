"""The gated recurrent forecaster: one GRU shared by all nodes, gated with its input."""

from __future__ import annotations

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import nn
from torch.distributions import Distribution

from stgate.data.windows import Batch
from stgate.errors import RequestError
from stgate.inference.base import Inference
from stgate.models.forecaster import Forecaster
from stgate.nn.likelihoods import Likelihood
from stgate.nn.recurrent import GatedRecurrentNetwork
from stgate.spec import PanelSpec


class GatedRNN(Forecaster):
    """A gated recurrent forecaster, direct or free-running.

    Args:
        hidden: State size.
        layers: GRU layers.
        gate: How the recurrence's output joins its input, by the name of one of `stgate.nn.gates`: `additive`,
            `learned_rate`, `coupled`, `highway`, `gated_unit` or `bilinear`.
        rollout: Forecast one step at a time, each fed back into the next, rather than all leads at once.
        unroll: Leads that the training loss of a roll-out counts; None for all of them. Validation rolls out all leads,
            its loss counts the same ones.
        halo: Neighbours on either side that a node sees; for rings and lattices.
        dropout: Share of the state dropped in training.
        likelihood: See `Forecaster`.
        inference: See `Forecaster`.
        fill: See `Forecaster`.
        optimizer: See `Forecaster`.
        lr_scheduler: See `Forecaster`.

    Raises:
        RequestError: An option is out of range.
    """

    def __init__(
        self,
        hidden: int = 64,
        layers: int = 1,
        gate: str = "coupled",
        rollout: bool = False,
        unroll: int | None = None,
        halo: int = 0,
        dropout: float = 0.0,
        likelihood: Likelihood | None = None,
        inference: Inference | None = None,
        fill: str = "zero",
        optimizer: OptimizerCallable = torch.optim.AdamW,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(likelihood, inference, fill, optimizer, lr_scheduler)
        if unroll is not None and (not rollout or unroll < 1):
            raise RequestError(f"unroll {unroll}: a positive number of leads, and only with rollout: true")
        for name, value, least in (("hidden", hidden, 1), ("layers", layers, 1), ("halo", halo, 0)):
            if value < least:
                raise RequestError(f"{name} {value}: must be at least {least}")
        if not 0 <= dropout < 1:
            raise RequestError(f"dropout {dropout:g}: a share between 0 and 1")
        self.unroll = unroll
        self.options = {
            "hidden": hidden,
            "layers": layers,
            "gate": gate,
            "rollout": rollout,
            "halo": halo,
            "dropout": dropout,
        }

    def build(self, spec: PanelSpec) -> nn.Module:
        """See `stgate.nn.recurrent.GatedRecurrentNetwork`."""
        if self.unroll is not None and self.unroll > spec.horizon:
            raise RequestError(f"unroll {self.unroll}: beyond the horizon of {spec.horizon}; give at most that")
        return GatedRecurrentNetwork(spec, self.likelihood.parameters, **self.options)  # type: ignore[arg-type]

    def training_leads(self) -> int:
        """The leads that the loss counts."""
        return self.unroll or self.fitted_spec.horizon

    def training_forward(self, batch: Batch) -> Distribution:
        """Only the leads that the loss counts: a roll-out need not run on."""
        return self.members(batch, self.training_leads())
