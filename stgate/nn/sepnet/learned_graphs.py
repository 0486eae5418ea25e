"""Learned structures over nodes: a directed graph, and a hypergraph whose edges connect nearest neighbours."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from stgate.nn.once import once
from stgate.nn.sepnet.neighbours import Neighbours

SHARPNESS = 3.0
"""Sharpness a of the tanh that bounds embeddings and weights, that of MTGNN."""
BLOCK = 2**24
"""Number of pairs of nodes that are compared at once, so that not all pairs are held in memory."""


class AdaptiveGraph(nn.Module):
    """Learned directed graph; an edge from j to i has weight relu(tanh(a (F1_i · F2_j - F2_i · F1_j) / size)).

    F = tanh(a (W E + b)). Each node keeps its strongest incoming edges. Two nodes are connected in at most one
    direction. The published form does not divide by size. Nearly all weights then start at 0 or 1, where the outer tanh
    is flat and the graph hardly learns.

    Args:
        nodes: Number of nodes.
        size: Number of channels of each of the two embeddings E of a node.
        neighbours: Number of incoming edges that a node keeps.

    References:
        Wu et al. (2020), Connecting the dots: multivariate time series forecasting with graph neural networks. KDD.
    """

    def __init__(self, nodes: int, size: int, neighbours: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Parameter(torch.randn(nodes, size)) for _ in range(2))
        self.of_first, self.of_second = nn.Linear(size, size), nn.Linear(size, size)
        self.neighbours = min(neighbours, nodes)

    def forward(self) -> Neighbours:
        """Compute the current graph; gradients reach the embeddings through the weights of the kept edges."""
        one = torch.tanh(SHARPNESS * self.of_first(self.first))
        two = torch.tanh(SHARPNESS * self.of_second(self.second))
        target, source = torch.cat([one, -two], -1), torch.cat([two, one], -1)
        index = once(self, lambda: _largest(lambda piece: piece @ source.T, target, self.neighbours))
        score = (target.unsqueeze(1) * source[index]).mean(-1)
        return Neighbours(index, torch.relu(torch.tanh(SHARPNESS * score)))


class AdaptiveHypergraph(nn.Module):
    """Learned hypergraph with one hyperedge for each node: itself and its nearest nodes in F = tanh(a (W E + b)).

    The degree of membership is exp(-d² / size), with d the distance to the node that owns the hyperedge. In training
    the next nearest nodes have weight zero but carry gradients (straight-through), so that useful nodes move nearer and
    become members. The published code has memberships of 1 or 0, which cannot be learned.

    Args:
        nodes: Number of nodes.
        size: Number of channels of the embedding E.
        order: Number of nodes of a hyperedge.
        soft: Use degrees of membership. Otherwise members have weight 1, with the gradients of the degrees.

    References:
        STH-SepNet, equation 6 and algorithm A.1.
    """

    def __init__(self, nodes: int, size: int, order: int, *, soft: bool = True) -> None:
        super().__init__()
        self.embedding = nn.Parameter(
            0.1 * torch.randn(nodes, size)
        )  # close together, so that hyperedges change readily
        self.of = nn.Linear(size, size)
        self.order, self.soft = min(order, nodes), soft
        self.candidates = min(4 * self.order, nodes)

    def forward(self) -> Neighbours:
        """Compute the members of each node's hyperedge and their degrees of membership.

        Returns:
            Members and degrees, (node, order); in training (node, 4 * order), with weight zero beyond order.
        """
        at = torch.tanh(SHARPNESS * self.of(self.embedding))
        index = once(self, lambda: self._nearest(at))
        belongs = torch.exp(-(at.unsqueeze(1) - at[index]).square().mean(-1))
        members, others = belongs[:, : self.order], belongs[:, self.order :]
        if not self.soft:
            members = members + (1 - members).detach()
        return Neighbours(index, torch.cat([members, others - others.detach()], 1))

    def _nearest(self, at: Tensor) -> Tensor:
        """Find the nearest nodes of each node, itself among the members: (node, candidate)."""
        squares, count = at.square().sum(-1), self.candidates if self.training else self.order
        index = _largest(lambda piece: 2 * piece @ at.T - squares, at, count)
        own, last = torch.arange(len(at), device=at.device), self.order - 1
        lacks = (index[:, : self.order] != own.unsqueeze(1)).all(1)  # if others have the same embedding
        index[:, last] = torch.where(lacks, own, index[:, last])
        return index


def _largest(score: Callable[[Tensor], Tensor], rows: Tensor, count: int) -> Tensor:
    """Find the positions of the largest scores of each row, largest first, one block of rows at a time."""
    pieces = torch.split(rows, max(BLOCK // len(rows), 1))
    return torch.cat([score(piece).topk(count).indices for piece in pieces])
