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
    """Gated temporal convolution over `kernel` steps, then mixing over nodes, with a residual connection.

    The number of steps shrinks by the factor `kernel`. A stack of these layers is a stack of dilated causal
    convolutions, computed only where the last step depends on them. The mixing over nodes is γ MixProp + (1 - γ)
    hypergraph convolution. After the norm each node has its own gain and shift.

    Args:
        nodes: Number of nodes.
        channels: Number of channels of a node at a step.
        kernel: Number of steps that are joined into one.
        graphs: Number of averages of MixProp; 0 for no MixProp.
        hops: Number of hops of MixProp.
        hypergraph: Add the hypergraph convolution.
        dropout: Dropout rate of the temporal convolution's output.
        convolution: Class path of a convolution of `torch_geometric.nn` along the given graph, whose output is added to
            that of MixProp; None for none.
        convolution_options: Options of that convolution, plain values.

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
        self.given = None
        if convolution:
            self.given = GraphConvolution(convolution, channels, convolution_options, option="spatial")
        self.join = HypergraphConvolution(channels) if hypergraph else None
        self.share = nn.Parameter(torch.zeros(())) if (graphs or convolution) and hypergraph else None
        self.norm = nn.LayerNorm(channels, elementwise_affine=False)
        self.gain, self.shift = nn.Parameter(torch.ones(nodes, channels)), nn.Parameter(torch.zeros(nodes, channels))

    def forward(
        self, x: Tensor, graphs: list[Average], edges: Neighbours | None, given: EdgeList | None = None
    ) -> tuple[Tensor, Tensor]:
        """Convolve in time and mix over nodes; the first step is repeated to a multiple of `kernel` steps.

        Args:
            x: Values, (node, batch, step, channel).
            graphs: Averages over the neighbours in each graph, for MixProp.
            edges: Learned hypergraph: the members of each hyperedge; None for no hypergraph.
            given: Edges of the given graph, for the convolution; None without one.

        Returns:
            Values with fewer steps, (node, batch, step, channel), and the last step before mixing, (node, batch,
            channel).
        """
        lack = -x.shape[2] % self.kernel
        if lack:
            x = torch.cat([x[:, :, :1].expand(-1, -1, lack, -1), x], 2)
        update, gate = self.convolve(x.reshape(*x.shape[:2], -1, self.kernel * x.shape[-1])).chunk(2, -1)
        h = self.dropout(torch.tanh(update) * torch.sigmoid(gate))
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
    """Spatial branch: layers that convolve in time and mix over nodes, which reduce a window to a state of each node.

    Args:
        nodes: Number of nodes.
        inputs: Number of input features of a node at a step.
        hidden: Number of channels.
        layers: Number of layers; together they see kernel^layers steps.
        kernel: Number of steps that a layer joins into one.
        hops: Number of hops of MixProp in a layer.
        adaptive: Learn a directed graph.
        static: Use the given graph.
        neighbours: Number of incoming edges of a node that the learned graph keeps.
        order: Number of nodes of a hyperedge; 0 for no hypergraph.
        soft: Let nodes belong to hyperedges by degrees between 0 and 1.
        size: Number of channels of the node embeddings from which graph and hypergraph are learned.
        dropout: Dropout rate of each layer.
        convolution: Class path of a convolution of `torch_geometric.nn`, such as `torch_geometric.nn.GATv2Conv`, that
            mixes nodes along the given graph in place of MixProp; None for MixProp.
        convolution_options: Options of that convolution, plain values.

    Raises:
        RequestError: The convolution cannot be used, or there is no given graph for it.
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
            raise RequestError(f"spatial {convolution}: needs the given graph; set graph to static or both")
        if convolution_options and not convolution:
            raise RequestError("spatial_options: without a layer; name one in spatial, or leave spatial_options out")
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
        """Reduce a window to the state of each node.

        Args:
            x: Input features, (batch, step, node, input).
            static: The given graph: its edges for a convolution, its neighbours for MixProp; None without one.

        Returns:
            States, (batch, node, hidden).
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
