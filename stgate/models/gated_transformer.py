"""The gated transformer forecaster: causal attention in time, with norm, gate and recurrence as options."""

from __future__ import annotations

from collections.abc import Callable

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import nn

from stgate.distributions.likelihoods import Likelihood
from stgate.errors import check_counts
from stgate.inference.base import Inference
from stgate.models.gated import GatedForecaster
from stgate.nn.gated.rollout import RollOut
from stgate.nn.gated.transformer import TransformerStack


class GatedTransformer(GatedForecaster):
    """A causal transformer over each node's past, or each patch's, direct or free-running.

    Args:
        hidden: Size of a step; the heads divide it.
        layers: Blocks of attention and a feed-forward layer.
        heads: Of each attention.
        span: Steps that one attends to; also the segment after which a recurrent state is renewed.
        norm: `pre` or `post`: where the norm stands.
        gate: What takes the place of each residual, by the name of one of `stgate.nn.gates`.
        recurrence: Carry a state across segments of `span` steps.
        gated_heads: Multiply what the heads give out by a sigmoid of the state.
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
        As `GatedRNN`.
    """

    def __init__(
        self,
        hidden: int = 64,
        layers: int = 2,
        heads: int = 4,
        span: int = 16,
        norm: str = "pre",
        gate: str = "additive",
        recurrence: bool = False,
        gated_heads: bool = False,
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
        check_counts(layers=(layers, 1))
        self.layers = layers
        self.stack = {
            "heads": heads,
            "span": span,
            "norm": norm,
            "gate": gate,
            "recurrent": recurrence,
            "gated_heads": gated_heads,
        }

    def core(self) -> Callable[[int], nn.Module] | None:
        """See `stgate.nn.gated.transformer.TransformerStack`."""
        return lambda channels: TransformerStack(channels, self.layers, **self.stack)  # type: ignore[arg-type]
