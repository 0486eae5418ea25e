"""Graph attention over a fixed number of neighbours, in dense algebra, for batches and for members of an ensemble."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu


class GraphAttention(nn.Module):
    """Graph attention (GATv2): each place attends to itself and its neighbours, with features e of each edge.

    α = softmax over neighbours of a · LeakyReLU(T x_target + S x_source + E e), and the output is Σ α (S x_source) + b.

    The k neighbours of each place are gathered. The result equals torch_geometric.nn.GATv2Conv with the same weights.

    Args:
        inputs: Number of channels of x.
        outputs: Number of channels of the output, a multiple of the heads.
        edge: Number of features of an edge.
        heads: Number of attention heads.

    References:
        Brody, Alon, Yahav (2022), How attentive are graph attention networks? ICLR.
    """

    def __init__(self, inputs: int, outputs: int, edge: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.source = nn.Linear(inputs, outputs)
        self.target = nn.Linear(inputs, outputs)
        self.edge = nn.Linear(edge, outputs, bias=False)
        self.attention = nn.Parameter(torch.empty(heads, outputs // heads))
        self.bias = nn.Parameter(torch.zeros(outputs))
        nn.init.xavier_uniform_(self.attention)

    def forward(self, x: Tensor, near: Tensor, edges: Tensor, there: Tensor | None = None) -> Tensor:
        """Attend from each place to its neighbours.

        Args:
            x: States of the places that attend, (place, inputs).
            near: States of their neighbours, (place, neighbour, inputs); a place can be among its own neighbours.
            edges: Features of the edges, (place, neighbour, edge).
            there: Mask of the neighbours, (place, neighbour), False where there is none. A place without any gets b.

        Returns:
            Outputs, (place, outputs).
        """
        source = self.source(near)
        mixed = leaky_relu(self.target(x).unsqueeze(-2) + source + self.edge(edges), 0.2)
        by_head = (self.heads, source.shape[-1] // self.heads)
        score = (mixed.view(*mixed.shape[:-1], *by_head) * self.attention).sum(-1)  # (place, neighbour, head)
        if there is not None:
            score = score.masked_fill(~there.unsqueeze(-1), -1e9)
        share = score.softmax(-2)
        if there is not None:
            share = share * there.unsqueeze(-1)
        made: Tensor = (share.unsqueeze(-1) * source.view(*source.shape[:-1], *by_head)).sum(-3)
        return made.flatten(-2) + self.bias
