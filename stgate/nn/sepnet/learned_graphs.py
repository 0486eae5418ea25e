"""Structures over nodes that are learned: a directed graph, and a hypergraph whose edges join nearest neighbours."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from stgate.nn.sepnet.neighbours import Neighbours

SHARPNESS = 3.0
"""Of the tanh that bounds embeddings and weights, as in MTGNN."""
BLOCK = 2**24
"""Pairs of nodes that are compared at once, so that all pairs need never be held."""


class AdaptiveGraph(nn.Module):
    """A directed graph: how much node i hears of j is relu(tanh(a (F1_i · F2_j - F2_i · F1_j) / size)).

    F = tanh(a (W E + b)). Of each node its strongest neighbours are kept. Of a pair of nodes at most one hears the
    other. Without the division by size, as it was published, nearly all weights start at 0 or 1, where the outer tanh
    is flat and the graph learns next to nothing.

    Args:
        nodes: How many.
        size: Of the embeddings E of a node, of which there are two.
        neighbours: How many of them a node hears.

    References:
        Wu et al. (2020), Connecting the dots: multivariate time series forecasting with graph neural networks. KDD.
    """

    def __init__(self, nodes: int, size: int, neighbours: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Parameter(torch.randn(nodes, size)) for _ in range(2))
        self.of_first, self.of_second = nn.Linear(size, size), nn.Linear(size, size)
        self.neighbours = min(neighbours, nodes)

    def forward(self) -> Neighbours:
        """The graph as it is now; gradients reach the embeddings through the weights of the edges that are kept."""
        one = torch.tanh(SHARPNESS * self.of_first(self.first))
        two = torch.tanh(SHARPNESS * self.of_second(self.second))
        hears, heard = torch.cat([one, -two], -1), torch.cat([two, one], -1)
        with torch.no_grad():
            index = _largest(lambda piece: piece @ heard.T, hears, self.neighbours)
        score = (hears.unsqueeze(1) * heard[index]).mean(-1)
        return Neighbours(index, torch.relu(torch.tanh(SHARPNESS * score)))


class AdaptiveHypergraph(nn.Module):
    """One hyperedge a node, of itself and its nearest others in a learned space, F = tanh(a (W E + b)).

    A node belongs to an edge by exp(-d² / size), d its distance from the node whose edge it is, if it is among the
    nearest; in training the next nearest count for gradients (straight-through), so that nodes which would serve an
    edge come nearer and join it. The published code joins nodes by 1 or 0, which nothing can learn.

    Args:
        nodes: How many.
        size: Of the embedding E.
        order: Nodes of an edge.
        soft: Belong by degrees. Else members count 1, and gradients are those of the degrees.

    References:
        STH-SepNet, equation 6 and algorithm A.1.
    """

    def __init__(self, nodes: int, size: int, order: int, *, soft: bool = True) -> None:
        super().__init__()
        self.embedding = nn.Parameter(0.1 * torch.randn(nodes, size))  # near one another, so that edges change readily
        self.of = nn.Linear(size, size)
        self.order, self.soft = min(order, nodes), soft
        self.candidates = min(4 * self.order, nodes)

    def forward(self) -> Neighbours:
        """The members of each node's edge, (node, order), and how much each belongs to it.

        In training (node, 4 * order), those beyond order at weight zero.
        """
        at = torch.tanh(SHARPNESS * self.of(self.embedding))
        with torch.no_grad():
            squares, count = at.square().sum(-1), self.candidates if self.training else self.order
            index = _largest(lambda piece: 2 * piece @ at.T - squares, at, count)
            own, last = torch.arange(len(at), device=at.device), self.order - 1
            lacks = (index[:, : self.order] != own.unsqueeze(1)).all(1)  # where others stand at the very same place
            index[:, last] = torch.where(lacks, own, index[:, last])
        belongs = torch.exp(-(at.unsqueeze(1) - at[index]).square().mean(-1))
        members, others = belongs[:, : self.order], belongs[:, self.order :]
        if not self.soft:
            members = members + (1 - members).detach()
        return Neighbours(index, torch.cat([members, others - others.detach()], 1))


def _largest(score: Callable[[Tensor], Tensor], rows: Tensor, count: int) -> Tensor:
    """Positions of the largest scores of each row, the largest first, a block of rows at a time."""
    pieces = torch.split(rows, max(BLOCK // len(rows), 1))
    return torch.cat([score(piece).topk(count).indices for piece in pieces])
