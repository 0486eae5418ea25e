"""The gated recurrent forecaster: cells shared by all nodes, gates and attention as options."""

from __future__ import annotations

from collections.abc import Callable

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import nn

from stgate.distributions.likelihoods import Likelihood
from stgate.errors import RequestError, check_counts
from stgate.inference.base import Inference
from stgate.models.gated import GatedForecaster
from stgate.nn.gated.recurrent import RecurrentStack
from stgate.nn.gated.rollout import RollOut


class GatedRNN(GatedForecaster):
    """A gated recurrent forecaster, direct or free-running.

    Args:
        hidden: State size.
        layers: Recurrent layers.
        cell: `gru`, `lstm`, `rhn` (recurrent highway) or `none`: then only attention remembers, and without it a
            roll-out's step knows no more than the field and what forces it.
        gate: How the output of each cell, and of each attention, joins what enters it, by the name of one of
            `stgate.nn.gates`: `none`, `additive`, `learned_rate`, `coupled`, `highway`, `gated_unit` or `bilinear`.
        attention: Heads of the attention over the last states that follows each cell; 0 for none.
        span: Steps that it attends to.
        gated_heads: Multiply what its heads give out by a sigmoid of the state.
        depth: Highway layers in a step of the cell `rhn`.
        free_carry: A carry gate of its own, of the cell `rhn`.
        patch: Nodes along each direction that one local model forecasts together.
        halo: Nodes that it sees beyond either edge of its patch; for rings, rows and lattices.
        dropout: Share of the state dropped in training.
        rollout: Forecast one step at a time, each fed back into the next, see `stgate.nn.RollOut`; None forecasts all
            leads at once.
        likelihood: See `Forecaster`.
        inference: See `Forecaster`.
        fill: See `Forecaster`.
        optimizer: See `Forecaster`.
        lr_scheduler: See `Forecaster`.

    Raises:
        RequestError: An option is out of range.

    References:
        After "Deconstructing recurrence, attention, and gating" (arXiv:2410.02654), reconstructed from its abstract:
        which components there are is known from it, their equations are not.
    """

    def __init__(
        self,
        hidden: int = 64,
        layers: int = 1,
        cell: str = "gru",
        gate: str = "coupled",
        attention: int = 0,
        span: int = 16,
        gated_heads: bool = False,
        depth: int = 2,
        free_carry: bool = False,
        patch: int = 1,
        halo: int = 0,
        dropout: float = 0.0,
        rollout: RollOut | None = None,
        likelihood: Likelihood | None = None,
        inference: Inference | None = None,
        fill: str = "zero",
        optimizer: OptimizerCallable = torch.optim.AdamW,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(hidden, patch, halo, dropout, rollout, likelihood, inference, fill, optimizer, lr_scheduler)
        check_counts(layers=(layers, 1), attention=(attention, 0), span=(span, 1), depth=(depth, 1))
        if rollout and rollout.stateful and cell == "none" and not attention:
            raise RequestError("rollout.stateful: without a cell there is no state to carry; leave it out")
        self.layers, self.cell, self.attention = layers, cell, attention
        self.stack = {
            "gate": gate,
            "heads": attention,
            "span": span,
            "gated_heads": gated_heads,
            "depth": depth,
            "free_carry": free_carry,
        }

    def core(self) -> Callable[[int], nn.Module] | None:
        """See `stgate.nn.gated.recurrent.RecurrentStack`."""
        if self.cell == "none" and not self.attention:
            return None
        return lambda channels: RecurrentStack(channels, self.layers, cell=self.cell, **self.stack)  # type: ignore[arg-type]
