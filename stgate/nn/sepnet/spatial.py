"""The spatial branch: gated temporal convolutions, each followed by mixing over graphs and a hypergraph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from stgate.errors import RequestError
from stgate.nn.convolution import GraphConvolution
from stgate.nn.edges import EdgeList
from stgate.nn.sepnet.learned_graphs import AdaptiveGraph, AdaptiveHypergraph
from stgate.nn.sepnet.mixing import Average, HypergraphConvolution, MixProp, averages, lerp
from stgate.nn.sepnet.neighbours import Neighbours


class SpaceTimeLayer(nn.Module):
    """A gated temporal convolution of a few steps at once, then mixing over nodes, joined with what skips both.

    So many times fewer steps come out: a stack of these is a stack of dilated causal convolutions, evaluated only where
    the last step looks. What is mixed is γ MixProp + (1 - γ) hypergraph convolution. After the norm each node has a
    gain and a shift of its own.

    Args:
        nodes: How many.
        channels: Of a step of a node.
        kernel: Steps that are joined.
        graphs: Averages of MixProp; 0 for none.
        hops: Of MixProp.
        hypergraph: Whether there is one.
        dropout: On what the convolution gives out.
        convolution: Class path of a convolution of `torch_geometric.nn` along the given graph, whose result is added to
            that of MixProp; None for none.
        convolution_options: Options of that convolution.

    References:
        STH-SepNet, equations 22 to 25; van den Oord et al. (2016), WaveNet (the gated unit).
    """

    def __init__(
        self,
        nodes: int,
        channels: int,
        kernel: int,
        graphs: int,
        hops: int,
        hypergraph: bool,
        dropout: float,
        convolution: str | None = None,
        convolution_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.kernel = kernel
        self.convolve, self.dropout = nn.Linear(kernel * channels, 2 * channels), nn.Dropout(dropout)
        self.mix = MixProp(channels, graphs, hops) if graphs else None
        self.given = GraphConvolution(convolution, channels, convolution_options) if convolution else None
        self.join = HypergraphConvolution(channels) if hypergraph else None
        self.share = nn.Parameter(torch.zeros(())) if (graphs or convolution) and hypergraph else None
        self.norm = nn.LayerNorm(channels, elementwise_affine=False)
        self.gain, self.shift = nn.Parameter(torch.ones(nodes, channels)), nn.Parameter(torch.zeros(nodes, channels))

    def forward(
        self, x: Tensor, graphs: list[Average], edges: Neighbours | None, given: EdgeList | None = None
    ) -> tuple[Tensor, Tensor]:
        """(node, batch, step, channel) -> the same with fewer steps, and before mixing (node, batch, channel).

        The first step is repeated where steps do not divide.
        """
        lack = -x.shape[2] % self.kernel
        if lack:
            x = torch.cat([x[:, :, :1].expand(-1, -1, lack, -1), x], 2)
        update, openness = self.convolve(x.reshape(*x.shape[:2], -1, self.kernel * x.shape[-1])).chunk(2, -1)
        h = self.dropout(torch.tanh(update) * torch.sigmoid(openness))
        along = h if self.mix is None else self.mix(h, graphs)
        if self.given is not None:
            assert given is not None
            carried = self.given(h, given, dim=0)
            along = carried if self.mix is None else along + carried
        if self.join is not None and edges is not None:
            through = self.join(h, edges)
            along = through if self.share is None else lerp(through, along, torch.sigmoid(self.share))
        made = self.norm(x[:, :, self.kernel - 1 :: self.kernel] + along)
        return torch.addcmul(self.shift[:, None, None], made, self.gain[:, None, None]), h[:, :, -1]


class SpatialBranch(nn.Module):
    """State of each node after a window, mixed with the others: (batch, step, node, input) -> (batch, node, hidden).

    Args:
        nodes: How many.
        inputs: Size of what is known of a node at a step.
        hidden: Channels.
        layers: How many; a window of up to kernel^layers steps is seen.
        kernel: Steps that a layer joins into one.
        hops: Of MixProp.
        adaptive: Whether a directed graph is learned.
        static: Whether there is a graph that is given.
        neighbours: Nodes that a node hears in the learned graph.
        order: Nodes of a hyperedge; 0 for no hypergraph.
        soft: See `AdaptiveHypergraph`.
        size: Of the embeddings that graph and hypergraph are learned by.
        dropout: In each layer.
        convolution: Class path of a convolution of `torch_geometric.nn`, such as `torch_geometric.nn.GATv2Conv`, that
            carries along the given graph in the place of MixProp; None for MixProp.
        convolution_options: Options of that convolution, plain values.

    Raises:
        RequestError: A convolution that cannot be used, or one without a given graph.
    """

    def __init__(
        self,
        nodes: int,
        inputs: int,
        *,
        hidden: int,
        layers: int,
        kernel: int,
        hops: int,
        adaptive: bool,
        static: bool,
        neighbours: int,
        order: int,
        soft: bool,
        size: int,
        dropout: float,
        convolution: str | None = None,
        convolution_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if convolution and not static:
            raise RequestError(f"convolution {convolution}: carries along a given graph; let graph be static or both")
        if convolution_options and not convolution:
            raise RequestError("convolution_options: of no convolution; name one, or leave them out")
        self.convolved = convolution is not None
        self.graph = AdaptiveGraph(nodes, size, neighbours) if adaptive else None
        self.hypergraph = AdaptiveHypergraph(nodes, size, order, soft=soft) if order else None
        self.embed = nn.Linear(inputs, hidden)
        self.node = nn.Parameter(0.1 * torch.randn(nodes, hidden))
        graphs = 2 * adaptive + (static and not self.convolved)
        options = (nodes, hidden, kernel, graphs, hops, order > 0, dropout, convolution, convolution_options)
        self.layers = nn.ModuleList(SpaceTimeLayer(*options) for _ in range(layers))
        self.skips = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(layers + 1))

    def forward(self, x: Tensor, static: Neighbours | EdgeList | None = None) -> Tensor:
        """(batch, step, node, input) -> (batch, node, hidden).

        Args:
            x: What is known of each node at each step.
            static: The given graph: its edges where there is a convolution, else the neighbours of each node.
        """
        # Nodes first: then a sum over neighbours is one product with a matrix, without a copy.
        h = self.embed(x.permute(2, 0, 1, 3)) + self.node[:, None, None]
        graphs = [] if self.graph is None else averages(self.graph(), both=True)
        graphs += averages(static, both=False) if isinstance(static, Neighbours) else []
        given = static if isinstance(static, EdgeList) else None
        edges = None if self.hypergraph is None else self.hypergraph()
        made = self.skips[0](h[:, :, -1])
        for layer, skip in zip(self.layers, self.skips[1:], strict=True):
            h, before = layer(h, graphs, edges, given)
            made = made + skip(before)
        return torch.relu(made + h[:, :, -1]).transpose(0, 1)
