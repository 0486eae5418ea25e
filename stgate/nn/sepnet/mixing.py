"""Mixing over nodes: along graphs with a gate (MixProp), and over the hyperedges of a hypergraph."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from stgate.nn.sepnet.neighbours import Neighbours

Average = Callable[[Tensor], Tensor]
"""An average over each node and its neighbours, of a tensor (node, …)."""


def averages(graph: Neighbours, *, both: bool) -> list[Average]:
    """Make the averages over each node and the sources of its incoming edges.

    Args:
        graph: Incoming edges of each node.
        both: Add a second average, over each node and the targets of its outgoing edges.
    """
    sums = graph.sums()
    weights = graph.weight.sum(1), graph.outgoing()
    return [_Average(s, w) for s, w in list(zip(sums, weights, strict=True))[: 1 + both]]


class _Average:
    def __init__(self, sums: Average, weight: Tensor) -> None:
        self.sums, self.share = sums, 1 / (1 + weight)

    def __call__(self, x: Tensor) -> Tensor:
        share = self.share.view(-1, *[1] * (x.dim() - 1))
        return share * (x + self.sums(x))


def lerp(start: Tensor, end: Tensor, share: Tensor) -> Tensor:
    """Interpolate like `torch.lerp`, also between tensors of different precision, as mixed precision makes them."""
    kind = torch.promote_types(start.dtype, end.dtype)
    return torch.lerp(start.to(kind), end.to(kind), share.to(kind))


class MixProp(nn.Module):
    """Propagation along graphs with a gate: h <- g * h + (1 - g) * average(h), then one linear map of all these h.

    The gate g = sigmoid(W x + b) is the same for all graphs. The linear map has its own weights for each graph and hop.

    Args:
        channels: Number of channels of x.
        graphs: Number of averages.
        hops: Number of hops along each graph.

    References:
        STH-SepNet, equations 13 to 18.
    """

    def __init__(self, channels: int, graphs: int, hops: int) -> None:
        super().__init__()
        self.hops = hops
        self.gate = nn.Linear(channels, channels)
        self.out = nn.Linear(channels * (1 + graphs * hops), channels)

    def forward(self, x: Tensor, graphs: Sequence[Average]) -> Tensor:
        """Mix (node, …, channel) to (node, …, channel)."""
        keep, made = torch.sigmoid(self.gate(x)), [x]
        for average in graphs:
            h = x
            for _ in range(self.hops):
                h = lerp(average(h), h, keep)
                made.append(h)
        mixed: Tensor = self.out(torch.cat(made, -1))
        return mixed


class HypergraphConvolution(nn.Module):
    """Hypergraph convolution: e = relu(W mean of x over the hyperedge's members), then each node's mean of its e.

    The paper has sums in place of means; with means a node does not count more for being in many hyperedges.

    Args:
        channels: Number of channels of x.

    References:
        STH-SepNet, equations 20 and 21, with degrees normalised as by Bai et al. (2021), Hypergraph convolution and
        hypergraph attention. Pattern Recognition 110.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.encode, self.of_edge = nn.Linear(channels, channels), nn.Linear(channels, channels)

    def forward(self, x: Tensor, edges: Neighbours) -> Tensor:
        """Convolve (node, …, channel) to (node, …, channel), by the members of each hyperedge."""
        members, of = edges.sums()
        shape = (-1, *[1] * (x.dim() - 1))
        size, degree = edges.weight.sum(1).view(shape), edges.outgoing().view(shape)
        edge = torch.relu(self.of_edge(members(self.encode(x)) / size))
        return of(edge) / degree
