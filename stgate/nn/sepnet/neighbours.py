"""Weighted neighbours of each node, and sums over them: by a matrix, or without an N x N matrix."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding_bag

from stgate.panels.graph import Graph

DENSE = 700
"""Largest number of nodes for sums by a matrix product where a compiler or an accelerator computes them."""
FEW, MORE = 100, 4
"""Largest number of nodes for sums by a matrix product on a CPU, and how many more for each neighbour of a node."""

_per_weight = torch.ops.aten._embedding_bag_per_sample_weights_backward


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
        nodes, count = self.index.shape
        bags = self.index.device.type == "cpu" and not torch.compiler.is_compiling()
        if nodes <= (FEW + MORE * count if bags else DENSE):
            matrix = self.matrix()
            return Sums(matrix), Sums(matrix.T)
        over = _Bags.of(self) if bags else self
        return Sums(over, False), Sums(over, True)


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
        over: Weight matrix, (node, node), or edges.
        back: Sum over outgoing edges in place of incoming ones, if edges are given.
    """

    def __init__(self, over: Tensor | Neighbours | _Bags, back: bool = False) -> None:
        self.over, self.back = over, back

    def __call__(self, x: Tensor) -> Tensor:
        """Sum (node, …) over the neighbours of each node: (node, …)."""
        flat = x.reshape(len(x), -1)
        if isinstance(self.over, Tensor):
            made = self.over @ flat
        elif isinstance(self.over, _Bags):
            made = self.over.sum(flat, self.back)
        else:
            made = _Sum.apply(flat, self.over.index, self.over.weight, self.back)  # type: ignore[no-untyped-call]
        return made.view_as(x)


@dataclasses.dataclass
class _Bags:
    """Edges as bags for `embedding_bag`, by target and, in `order`, by source.

    Attributes:
        weight: Weights, (edge,).
        source: Source nodes, (edge,).
        target: Target nodes, (edge,), in order.
        starts: First edge of each target, (node,).
        order: Edges by their sources, (edge,).
        starts_back: First place of each source in `order`, (node,).
    """

    weight: Tensor
    source: Tensor
    target: Tensor
    starts: Tensor
    order: Tensor
    starts_back: Tensor

    @classmethod
    def of(cls, near: Neighbours) -> _Bags:
        """Order the edges of some neighbours."""
        (nodes, count), source = near.index.shape, near.index.flatten()
        number = torch.arange(nodes * count)
        degree = torch.zeros_like(source[:nodes]).scatter_add(0, source, torch.ones_like(source))
        order, starts_back = source.argsort(stable=True), degree.cumsum(0) - degree
        return cls(near.weight.flatten(), source, number // count, number[::count], order, starts_back)

    def sum(self, x: Tensor, back: bool) -> Tensor:
        """Sum (node, feature) over the incoming or, if back, the outgoing edges of each node."""
        kind = torch.promote_types(x.dtype, self.weight.dtype)
        edges = (self.source, self.target, self.starts, self.order, self.starts_back)
        made: Tensor = _BagSum.apply(x.to(kind), self.weight.to(kind), *edges, back)  # type: ignore[no-untyped-call]
        return made


class _BagSum(torch.autograd.Function):
    """Autograd function of the sums of `_Bags`, its attributes given in turn; members of an ensemble go one by one."""

    @staticmethod
    def forward(
        x: Tensor,
        weight: Tensor,
        source: Tensor,
        target: Tensor,
        starts: Tensor,
        order: Tensor,
        starts_back: Tensor,
        back: bool,
    ) -> Tensor:
        if back:
            return embedding_bag(target[order], x, starts_back, per_sample_weights=weight[order], mode="sum")
        return embedding_bag(source, x, starts, per_sample_weights=weight, mode="sum")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ANN401
        ctx.save_for_backward(*inputs[:-1])
        ctx.back = inputs[-1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        x, weight, source, target, starts, *others = ctx.saved_tensors
        grad, of_x, of_weight = grad.contiguous(), None, None
        if ctx.needs_input_grad[0]:
            of_x = _BagSum.apply(grad, weight, source, target, starts, *others, not ctx.back)  # type: ignore[no-untyped-call]
        if ctx.needs_input_grad[1]:
            of_target, of_source = (x, grad) if ctx.back else (grad, x)
            of_weight = _per_weight(of_target, of_source, source, starts, target, 0)
        return of_x, of_weight, *[None] * 6

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *given: Any) -> tuple[Tensor, int]:  # noqa: ANN401
        made = [
            _BagSum.apply(  # type: ignore[no-untyped-call]
                *(one if dim is None else one.select(dim, member) for one, dim in zip(given, in_dims, strict=True))
            )
            for member in range(info.batch_size)
        ]
        return torch.stack(made), 0


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
