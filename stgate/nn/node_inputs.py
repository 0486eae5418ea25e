"""Inputs that tell a network which node it forecasts, and what the neighbours of that node did."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from stgate.nn.edges import EdgeList, GivenEdges
from stgate.nn.inputs import Inputs
from stgate.nn.single import single_precision
from stgate.schema.spec import PanelSpec

DENSE = 700
"""Largest number of nodes for means by a matrix product; beyond it they are gathered along the edges."""


class NodeInputs(nn.Module):
    """Node statistics as static inputs, and weighted means over neighbours as channels.

    The channels stand after the past covariates: for each target the mean over the nodes from which edges come in, and
    for a directed graph the mean over the nodes to which edges go out. Their masks are the observed shares of the
    weights. Edges from a node to itself do not count.

    Args:
        spec: The spec of the panel.
        statistics: Whether each target's training mean and standard deviation at the node are static inputs.
        directions: Number of means over neighbours: 0, 1 (incoming edges) or 2 (incoming and outgoing edges).
    """

    statistics: Tensor

    def __init__(self, spec: PanelSpec, *, statistics: bool, directions: int) -> None:
        super().__init__()
        self.targets, self.directions, self.nodes = len(spec.targets), directions, len(spec.nodes)
        self.first = len(spec.channels) - len(spec.future_covariates)
        self.register_buffer(
            "statistics", torch.zeros(self.nodes, 2 * self.targets if statistics else 0), persistent=statistics
        )
        self.edges = GivenEdges() if directions else None
        self._shares: tuple[EdgeList, list[Tensor]] | None = None
        static = [f"{part} of {name}" for name in spec.targets for part in ("mean", "stddev")] if statistics else []
        kinds = ("incoming", "outgoing")[:directions]
        means = [f"{kind} mean of {name}" for kind in kinds for name in spec.targets]
        self.spec = dataclasses.replace(
            spec,
            static_covariates=(*spec.static_covariates, *static),
            past_covariates=(*spec.past_covariates, *means),
        )
        """The spec of the inputs, with the added names."""

    @single_precision()
    def forward(self, inputs: Inputs) -> Inputs:
        """Add the static inputs and the channels.

        Args:
            inputs: Standardised inputs.
        """
        static = torch.cat([inputs.static, self.statistics], -1) if self.statistics.numel() else inputs.static
        if not self.directions:
            return dataclasses.replace(inputs, static=static)
        values, mask = inputs.values, inputs.mask
        seen = mask[..., : self.targets]
        shown = values[..., : self.targets] * seen
        means, shares = [], []
        for direction in range(self.directions):
            total, share = self._sums(torch.cat([shown, seen], -1), direction).chunk(2, -1)
            means.append(torch.where(share > 1e-6, total / share.clamp(min=1e-6), 0.0))
            shares.append(share)
        return dataclasses.replace(
            inputs,
            static=static,
            values=torch.cat([values[..., : self.first], *means, values[..., self.first :]], -1),
            mask=torch.cat([mask[..., : self.first], *shares, mask[..., self.first :]], -1),
        )

    def _sums(self, x: Tensor, direction: int) -> Tensor:
        """Sum (batch, time, node, channel) over neighbours, with weights that add up to 1."""
        assert self.edges is not None
        edges = self.edges()
        if self._shares is None or self._shares[0] is not edges:
            self._shares = edges, [self._share(edges, k) for k in range(self.directions)]
        share = self._shares[1][direction].to(x)
        if self.nodes <= DENSE:
            return share @ x
        source, target = edges.index if direction == 0 else edges.index.flip(0)
        return torch.zeros_like(x).index_add_(-2, target, x[..., source, :] * share.unsqueeze(-1))

    def _share(self, edges: EdgeList, direction: int) -> Tensor:
        """Return the share of each edge in its node's mean: a matrix (target, source), or (edge,) for many nodes."""
        source, target = edges.index if direction == 0 else edges.index.flip(0)
        weight = torch.where(source == target, 0.0, edges.weight)
        total = weight.new_zeros(self.nodes).index_add_(0, target, weight)
        share = weight / total[target].clamp(min=1e-12)
        if self.nodes > DENSE:
            return share
        return share.new_zeros(self.nodes, self.nodes).index_put_((target, source), share, accumulate=True)


def embedded_spec(spec: PanelSpec, size: int) -> PanelSpec:
    """Return the spec of inputs whose static inputs an embedding of this size joins."""
    names = tuple(f"embedding {number}" for number in range(size))
    return dataclasses.replace(spec, static_covariates=(*spec.static_covariates, *names))


def with_identity(inputs: Inputs, embedding: Tensor | None) -> Inputs:
    """Add a learned embedding of each node, (node, size), to the static inputs."""
    if embedding is None:
        return inputs
    return dataclasses.replace(inputs, static=torch.cat([inputs.static, embedding], -1))
