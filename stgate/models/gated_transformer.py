"""The gated transformer forecaster: causal attention in time, with norm, gate and recurrence as options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable

from stgate.distributions.likelihoods import Likelihood
from stgate.distributions.transforms import Auto, Transform
from stgate.inference.base import Inference
from stgate.models.gated import GatedForecaster
from stgate.nn.gated.rollout import RollOut
from stgate.nn.gates import GateName
from stgate.nn.imputation import ImputationName
from stgate.prediction.gated import GatedPredictor, Norm, TransformerCore
from stgate.prediction.predictor import NeighbourMeans


class GatedTransformer(GatedForecaster):
    """A causal transformer over each node's past, or each patch's, direct or by autoregressive rollout.

    Args:
        hidden: Size of a step's representation, a multiple of the number of heads. None takes 16 below 20,000 observed
            training values, 32 below 200,000 and else 64, and 64 for rollouts.
        layers: Number of blocks of attention and a feed-forward layer.
        heads: Number of heads of each attention.
        span: Number of steps that an attention sees, and length of the segments of a recurrent state.
        norm: Position of the norm: `pre` (before each layer) or `post` (after it).
        gate: Name of the gate of `stgate.nn.gates` in place of each residual connection.
        recurrence: Carry a state across segments of `span` steps.
        gated_heads: Multiply the output of the attention heads by a sigmoid of the state.
        patch: Number of nodes along each direction that one local model forecasts together.
        halo: Number of nodes that a local model sees beyond each edge of its patch; for rings, rows and lattices.
        dropout: Share of the state dropped in training.
        rollout: Forecast one step at a time, each fed back into the next, with these options (`stgate.nn.RollOut`);
            None forecasts all leads at once.
        spatial: Class path of a convolution of `torch_geometric.nn` that mixes nodes at each step before the core,
            along the panel's edges, else its ten nearest nodes; None for no mixing. It needs `patch` 1.
        spatial_options: Options of that convolution, plain values, such as `{"heads": 2}`.
        likelihood: The family of distributions of the forecast. None takes Normal, or Quantiles where the errors of the
            linear part have long tails.
        inference: The inference of the weights, a class of `stgate.inference`; PointEstimate, one set of weights, when
            None.
        imputation: Imputation of missing inputs, beside their mask: `zero` (the channel's mean), `last` (the last
            observation of the window) or `climatology` (the node's training mean in that month and hour).
        transforms: Transforms of the targets, in the order in which they are applied, such as `[Log(), Anomaly()]`. The
            network forecasts the transformed targets; every output is in the targets' own units. `auto` chooses
            them from the training part, None is for none.
        node_statistics: Give the network each node's training mean and standard deviation as static inputs; not in
            rollouts.
        neighbour_means: Give the network the mean of each node's neighbours as channels: `auto` (if the panel has edges
            or coordinates; not in rollouts), `graph` (they are required) or `none`.
        linear: Add a linear forecast, a ridge regression on the window that is fitted before the training; the network
            learns what it leaves. Rollouts have none.
        node_embedding: Number of learned numbers of each node, which join its static inputs; `auto` takes eight if each
            node is observed five hundred times or more. Not in rollouts.
        optimizer: Makes the optimizer from the parameters; AdamW with a learning rate of 0.003 by default. It is not
            part of the checkpoint.
        lr_scheduler: Makes the scheduler from the optimizer, stepped once an epoch. None: one cycle over the whole fit,
            stepped once a batch, peaking at the optimizer's learning rate.

    Raises:
        RequestError: An option is out of range.

    References:
        "Deconstructing recurrence, attention, and gating" (arXiv:2410.02654), reconstructed from its abstract, which
        names the components but not their equations.
    """

    def __init__(
        self,
        *,
        hidden: int | None = None,
        layers: int = 2,
        heads: int = 4,
        span: int = 16,
        norm: Norm = "pre",
        gate: GateName = "additive",
        recurrence: bool = False,
        gated_heads: bool = False,
        patch: int = 1,
        halo: int = 0,
        dropout: float = 0.0,
        rollout: RollOut | None = None,
        spatial: str | None = None,
        spatial_options: dict[str, Any] | None = None,
        likelihood: Likelihood | None = None,
        inference: Inference | None = None,
        imputation: ImputationName = "zero",
        transforms: Sequence[Transform] | Auto | None = "auto",
        node_statistics: bool = True,
        neighbour_means: NeighbourMeans = "auto",
        linear: bool = True,
        node_embedding: int | Auto = "auto",
        optimizer: OptimizerCallable = lambda weights: torch.optim.AdamW(weights, lr=0.003),
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        core = TransformerCore(
            layers=layers,
            heads=heads,
            span=span,
            norm=norm,
            gate=gate,
            recurrence=recurrence,
            gated_heads=gated_heads,
        )
        predictor = GatedPredictor(
            core,
            hidden=hidden,
            patch=patch,
            halo=halo,
            dropout=dropout,
            rollout=rollout,
            spatial=spatial,
            spatial_options=spatial_options,
            likelihood=likelihood,
            inference=inference,
            imputation=imputation,
            transforms=transforms,
            node_statistics=node_statistics,
            neighbour_means=neighbour_means,
            linear=linear,
            node_embedding=node_embedding,
        )
        super().__init__(predictor=predictor, optimizer=optimizer, lr_scheduler=lr_scheduler)
