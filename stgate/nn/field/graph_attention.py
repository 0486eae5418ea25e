"""Graph attention over a fixed number of neighbours, as dense algebra: it takes batches, and members of an ensemble."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu


class GraphAttention(nn.Module):
    """Attention of GATv2: each place looks at itself and its neighbours, with what is known of each edge.

    α = softmax over neighbours of a · LeakyReLU(T x_target + S x_source + E e), and Σ α (S x_source) + b.

    Over k neighbours of each, gathered: equal to torch_geometric.nn.GATv2Conv with the same weights.

    Args:
        inputs: Size of x.
        outputs: Size of what is given out, a multiple of the heads.
        edge: Size of e.
        heads: How many.

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
        """Attend.

        Args:
            x: (place, inputs), those that look.
            near: (place, neighbour, inputs), what they look at, themselves among them where that is wanted.
            edges: (place, neighbour, edge).
            there: (place, neighbour), False where there is nothing to look at; a place that has nothing gets b.

        Returns:
            (place, outputs).
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
