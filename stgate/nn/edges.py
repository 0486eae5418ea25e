"""A given graph as a list of weighted edges, the form that the convolutions of torch-geometric take."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stgate.panels.graph import Graph

KEPT = 8
"""Largest number of batch sizes whose joined graphs are cached; a fit has about three."""


@dataclasses.dataclass
class EdgeList:
    """Directed edges between nodes; a node receives from the sources of the edges that end in it.

    Attributes:
        index: Positions of source and target nodes, (2, edge).
        weight: Weights, (edge,), not negative.
    """

    index: Tensor
    weight: Tensor
    _copies: dict[int, tuple[Tensor, Tensor]] = dataclasses.field(default_factory=dict, repr=False, compare=False)

    def copies(self, count: int) -> tuple[Tensor, Tensor]:
        """Join copies of the graph, without edges between them, into one graph; the result is cached.

        Node n of copy c gets the number `n * count + c`, so that a tensor (node, copy, channel) is flattened to rows
        without a copy in memory.

        Args:
            count: Number of copies.

        Returns:
            The positions, (2, edge * count), and the weights, (edge * count,).
        """
        if count == 1:
            return self.index, self.weight
        if count in self._copies:
            return self._copies[count]
        # A graph that validation caches is used in training too, which refuses tensors made in inference mode.
        with torch.inference_mode(False):
            apart = torch.arange(count, device=self.index.device)
            made = (self.index.unsqueeze(-1) * count + apart).flatten(1), self.weight.repeat_interleave(count)
        if not self.weight.requires_grad:
            if len(self._copies) >= KEPT:
                self._copies.clear()
            self._copies[count] = made
        return made


class GivenEdges(nn.Module):
    """Edges of a graph that is not learned; they are stored with the weights.

    There are none until `fill` takes them from a graph, or a state dict is loaded.
    """

    index: Tensor
    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("index", torch.zeros((2, 0), dtype=torch.long))
        self.register_buffer("weight", torch.zeros(0))
        self._edges: EdgeList | None = None

    def fill(self, graph: Graph) -> None:
        """Take the edges of a graph, sorted by their target node."""
        order = np.lexsort([graph.source, graph.target])
        index = np.stack([graph.source[order], graph.target[order]]).astype(np.int64)
        weight = graph.weight[order].astype(np.float64)
        self.index = torch.from_numpy(index).to(self.index.device)
        self.weight = torch.from_numpy(weight).to(self.weight)

    def forward(self) -> EdgeList:
        """Return the edges: the same object, with its cached copies, until they change."""
        kept = self._edges
        if kept is None or kept.index is not self.index or kept.weight is not self.weight:
            kept = self._edges = EdgeList(self.index, self.weight)
        return kept

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:  # noqa: ANN401
        for name in ("index", "weight"):
            held = state_dict.get(f"{prefix}{name}")
            if held is not None:
                setattr(self, name, torch.empty_like(held, device=getattr(self, name).device))
        super()._load_from_state_dict(state_dict, prefix, *rest)
