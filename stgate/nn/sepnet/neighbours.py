"""Weighted neighbours of each node, and sums over them: by a matrix, or by gathers without an N x N matrix."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stgate.panels.graph import Graph

DENSE = 700
"""Largest number of nodes for sums by a matrix product: with 20 neighbours, on one core, it is faster at 500 nodes and
slower at 1,000."""


@dataclasses.dataclass
class Neighbours:
    """Incoming edges of each node: their source nodes and weights.

    Attributes:
        index: Source nodes of the incoming edges, (node, k).
        weight: Weights of the incoming edges, (node, k), not negative; zero where there is no edge.
    """

    index: Tensor
    weight: Tensor

    def outgoing(self) -> Tensor:
        """Add up the weights of the outgoing edges of each node, (node,)."""
        made = self.weight.new_zeros(len(self.index))
        return made.scatter_add(0, self.index.flatten(), self.weight.flatten())

    def matrix(self) -> Tensor:
        """Make the weight matrix, (node, node), with targets in rows and sources in columns."""
        made = self.weight.new_zeros(len(self.index), len(self.index))
        return made.scatter_add(1, self.index, self.weight)

    def sums(self) -> tuple[Sums, Sums]:
        """Make the sums over the incoming and over the outgoing edges of each node, for tensors (node, …)."""
        if len(self.index) <= DENSE:
            matrix = self.matrix()
            return Sums(matrix), Sums(matrix.T)
        return Sums(self, False), Sums(self, True)


class GivenGraph(nn.Module):
    """Given graph, which is not learned and is stored with the weights.

    Args:
        nodes: Number of nodes.
        neighbours: Largest number of incoming edges of a node.
    """

    index: Tensor
    weight: Tensor

    def __init__(self, nodes: int, neighbours: int) -> None:
        super().__init__()
        shape = (nodes, min(neighbours, nodes))
        self.register_buffer("index", torch.zeros(shape, dtype=torch.long))
        self.register_buffer("weight", torch.zeros(shape))

    def fill(self, graph: Graph) -> None:
        """Take the strongest edges of a graph that end in each node."""
        near = strongest(graph, self.index.shape[1])
        self.index.copy_(near.index)
        self.weight.copy_(near.weight)

    def forward(self) -> Neighbours:
        """Return the graph."""
        return Neighbours(self.index, self.weight)


def strongest(graph: Graph, count: int) -> Neighbours:
    """Return the strongest edges that end in each node, without those of a node to itself.

    Args:
        graph: A directed, weighted graph.
        count: Number of edges that are kept at each node; where there are fewer, weights are zero.
    """
    nodes = len(graph.nodes)
    index, weight = np.zeros((nodes, count), np.int64), np.zeros((nodes, count), np.float32)
    apart = graph.source != graph.target
    source, target, strength = graph.source[apart], graph.target[apart], graph.weight[apart]
    order = np.lexsort([-strength, target])
    source, target, strength = source[order], target[order], strength[order]
    rank = np.arange(len(target)) - np.searchsorted(target, target)
    kept = rank < count
    index[target[kept], rank[kept]], weight[target[kept], rank[kept]] = source[kept], strength[kept]
    return Neighbours(torch.from_numpy(index), torch.from_numpy(weight))


class Sums:
    """Weighted sums over the neighbours of each node.

    Args:
        over: Weight matrix, (node, node), or neighbours.
        back: Sum over outgoing edges in place of incoming ones, if neighbours are given.
    """

    def __init__(self, over: Tensor | Neighbours, back: bool = False) -> None:
        self.over, self.back = over, back

    def __call__(self, x: Tensor) -> Tensor:
        """Sum (node, …) over the neighbours of each node: (node, …)."""
        flat = x.reshape(len(x), -1)
        if isinstance(self.over, Tensor):
            made = self.over @ flat
        else:
            made = _Sum.apply(flat, self.over.index, self.over.weight, self.back)  # type: ignore[no-untyped-call]
        return made.view_as(x)


def _gathered(x: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    made = torch.zeros_like(x)
    for j in range(index.shape[1]):
        made = torch.addcmul(made, x[index[:, j]], weight[:, j : j + 1])
    return made


def _scattered(x: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    made = torch.zeros_like(x)
    for j in range(index.shape[1]):
        made = made.index_add(0, index[:, j], x * weight[:, j : j + 1])
    return made


def _products(source: Tensor, target: Tensor, index: Tensor) -> Tensor:
    """Multiply each target node with each of its source nodes and sum over features, (node, k)."""
    return torch.stack([(target * source[index[:, j]]).sum(-1) for j in range(index.shape[1])], 1)


class _Sum(torch.autograd.Function):
    """Autograd function of Σ_j w_ij x_n(i,j), or its transpose; it saves x, n and w only, not the gathered rows."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, index: Tensor, weight: Tensor, back: bool) -> Tensor:
        return (_scattered if back else _gathered)(x, index, weight)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ANN401
        ctx.save_for_backward(*inputs[:3])
        ctx.back = inputs[3]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, Tensor, None]:  # noqa: ANN401
        x, index, weight = ctx.saved_tensors
        if ctx.back:
            return _gathered(grad, index, weight), None, _products(grad, x, index), None
        return _scattered(grad, index, weight), None, _products(x, grad, index), None
