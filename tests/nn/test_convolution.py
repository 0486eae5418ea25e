"""Convolutions of torch-geometric along a given graph: batches as single graphs, gradients, symmetries, refusals."""

import io

import numpy as np
import pytest
import torch
import torch_geometric.nn
from torch import nn

from stgate.errors import RequestError
from stgate.inference import MeanField
from stgate.inference.members import Members
from stgate.nn.convolution import GraphConvolution, find_convolution
from stgate.nn.edges import KEPT, EdgeList, GivenEdges
from stgate.panels.graph import Graph

NODES, CHANNELS = 7, 8
LAYERS = {
    "torch_geometric.nn.GCNConv": {},
    "torch_geometric.nn.GraphConv": {"aggr": "mean"},
    "torch_geometric.nn.GATv2Conv": {"heads": 2},
    "torch_geometric.nn.TransformerConv": {"heads": 4, "beta": True},
    "torch_geometric.nn.ChebConv": {"K": 3},
}
FIVE = pytest.mark.parametrize("name", LAYERS, ids=[name.rsplit(".", 1)[1] for name in LAYERS])


def some_graph(seed=0):
    """Two edges into each node but the last, which is isolated."""
    rng = np.random.default_rng(seed)
    source = np.concatenate([rng.permutation(NODES - 1), rng.permutation(NODES - 1)])
    target = np.tile(np.arange(NODES - 1), 2)
    apart = source != target
    return Graph(tuple(range(NODES)), source[apart], target[apart], rng.uniform(0.2, 2.0, apart.sum()))


def edges_of(graph, dtype=torch.float64):
    given = GivenEdges().to(dtype)
    given.fill(graph)
    return given()


def made(name, **options):
    torch.manual_seed(0)
    return GraphConvolution(name, CHANNELS, LAYERS.get(name, {}) | options).double()


def values(*shape):
    torch.manual_seed(1)
    return torch.randn(*shape, CHANNELS, dtype=torch.float64)


@FIVE
def test_a_batch_gives_what_its_graphs_give_one_by_one(name):
    layer, edges, x = made(name), edges_of(some_graph()), values(3, 2, NODES)
    kept = edges.weight.unsqueeze(-1) if layer.takes == "edge_attr" else edges.weight
    loop = [layer.out(layer.layer(one, edges.index, kept)) for one in x.flatten(0, 1)]
    torch.testing.assert_close(layer(x, edges), torch.stack(loop).view_as(x))
    torch.testing.assert_close(layer(x.movedim(-2, 0), edges, dim=0).movedim(0, -2), layer(x, edges))
    torch.testing.assert_close(layer(x[0, 0], edges), loop[0])


@FIVE
def test_gradients_reach_every_parameter_and_the_input(name):
    layer, x = made(name), values(3, NODES).requires_grad_()
    layer(x, edges_of(some_graph())).square().sum().backward()
    for key, weight in layer.named_parameters():
        assert weight.grad is not None and weight.grad.abs().sum() > 0, key
    assert (x.grad.abs().sum((0, 2)) > 0).all()


@FIVE
def test_weights_and_directions_of_edges_matter(name):
    layer, edges, x = made(name), edges_of(some_graph()), values(2, NODES)
    heavier = edges.weight.clone()
    heavier[0] *= 3
    touched = (layer(x, EdgeList(edges.index, heavier)) - layer(x, edges)).abs().amax((0, 2)) > 1e-9
    assert touched[edges.index[1, 0]] and not touched[-1]
    assert not torch.allclose(layer(x, EdgeList(edges.index.flip(0), edges.weight)), layer(x, edges))


@FIVE
def test_nodes_may_be_permuted(name):
    layer, graph, x = made(name), some_graph(), values(2, NODES)
    order = np.random.default_rng(3).permutation(NODES)
    place = np.argsort(order)
    moved = Graph(graph.nodes, place[graph.source], place[graph.target], graph.weight)
    torch.testing.assert_close(layer(x[:, order], edges_of(moved)), layer(x, edges_of(graph))[:, order])


@FIVE
def test_members_are_evaluated_in_one_pass(name):
    edges, x = edges_of(some_graph(), torch.float32), values(2, NODES).float()
    networks = []

    def build():
        networks.append(GraphConvolution(name, CHANNELS, LAYERS[name]))
        return networks[-1]

    members = Members(build, 3).train()
    own = [{k: v.clone() for k, v in network.state_dict().items()} for network in networks[1:]]
    found = members(x, edges)
    assert members._together == {True: True}
    for network, state, one in zip(networks[1:], own, found[1:], strict=True):
        network.load_state_dict(state)
        torch.testing.assert_close(network(x, edges), one)


@FIVE
def test_uncertain_weights_travel_too(name):
    """Of its own linear layers torch-geometric saves weight and bias alone."""
    networks = [MeanField().wrap(lambda: GraphConvolution(name, CHANNELS, LAYERS[name])) for _ in range(2)]
    names = {key for key, _ in networks[0].named_parameters()}
    assert names <= networks[0].state_dict().keys() and len(names) > len(list(made(name).parameters()))
    networks[1].load_state_dict(networks[0].state_dict())


@FIVE
def test_half_precision_is_as_it_is_elsewhere(name):
    layer, edges, x = made(name).float(), edges_of(some_graph(), torch.float32), values(2, NODES).float()
    with torch.autocast("cpu", torch.bfloat16):
        half = layer(x, edges)
        half.float().square().sum().backward()
    torch.testing.assert_close(half.float(), layer(x, edges), atol=0.1, rtol=0.1)


def test_many_layers_can_be_named():
    edges, x = edges_of(some_graph()), values(2, NODES)
    others = {"SAGEConv": {}, "GATConv": {}, "TAGConv": {}, "CGConv": {}, "MixHopConv": {}, "GeneralConv": {}}
    others |= {"PDNConv": {"hidden_channels": 3}, "ResGatedGraphConv": {}, "SimpleConv": {}}
    others |= {"APPNP": {"K": 2, "alpha": 0.1}}
    for name, options in others.items():
        assert made(f"torch_geometric.nn.{name}", **options)(x, edges).shape == x.shape


def test_a_batch_first_seen_while_validating_can_be_trained_on():
    layer, edges, x = made("torch_geometric.nn.GCNConv"), edges_of(some_graph()), values(3, NODES)
    with torch.inference_mode():
        layer(x, edges)
    layer(x, edges).sum().backward()
    for count in range(2, 2 * KEPT):
        edges.copies(count)
    assert len(edges._copies) <= KEPT


def test_edges_travel_with_the_weights():
    model, fresh = (nn.ModuleDict({"edges": GivenEdges()}) for _ in range(2))
    model["edges"].fill(some_graph())
    first = model["edges"]()
    assert model["edges"]() is first
    kept = io.BytesIO()
    torch.save(model.state_dict(), kept)
    kept.seek(0)
    fresh.load_state_dict(torch.load(kept, weights_only=True))
    assert torch.equal(fresh["edges"]().index, first.index) and torch.equal(fresh["edges"]().weight, first.weight)
    assert (first.index[1].diff() >= 0).all()  # those of a node side by side
    fresh["edges"].fill(some_graph(1))
    assert not torch.equal(fresh["edges"]().index, first.index)
    assert model.double()["edges"]().weight.dtype == torch.float64


def test_a_class_path_is_looked_up_below_torch_geometric_alone():
    same = ("torch_geometric.nn.GATv2Conv", "torch_geometric.nn.conv.GATv2Conv")
    for path in (*same, "torch_geometric.nn.conv.gatv2_conv.GATv2Conv"):
        assert find_convolution(path) is torch_geometric.nn.GATv2Conv


REFUSED = {
    "os.system": "not a class path below torch_geometric.nn",
    "torch_geometric.nn": "not a class path below",
    "torch_geometric.nn.GCNConv\n": "not a class path below",
    "torch_geometric.nn.__loader__": "not a class path below",
    "torch_geometric.nn.conv.gcn_conv.torch.nn.Linear": "no module torch in torch_geometric.nn.conv.gcn_conv",
    "torch_geometric.nn.inspect.os": "no module inspect in torch_geometric.nn",
    "torch_geometric.nn.conv.gcn_conv.gcn_norm": "not a convolution of torch_geometric",
    "torch_geometric.nn.Linear": "not a convolution of torch_geometric; take",
    "torch_geometric.nn.MessagePassing": "not a convolution of torch_geometric; take",
    "torch_geometric.nn.GATv3Conv": "did you mean GATv2Conv?",
    "torch_geometric.nn.HypergraphConv": "needs hyperedge_index; a panel's graph has only nodes and weighted edges",
    "torch_geometric.nn.RGCNConv": "needs edge_type",
    "torch_geometric.nn.GCN2Conv": "needs x_0",
    "torch_geometric.nn.DynamicEdgeConv": "takes no edge_index",
    "torch_geometric.nn.GINConv": "needs nn, which a checkpoint cannot hold",
    "torch_geometric.nn.CuGraphSAGEConv": "needs a package that is not installed",
    "torch_geometric.nn.ChebConv": "needs K; give it in convolution_options",
    "torch_geometric.nn.WLConv": "does not work here",
}


@pytest.mark.parametrize(("path", "message"), REFUSED.items(), ids=[repr(path) for path in REFUSED])
def test_what_cannot_be_used_is_refused_in_one_line(path, message):
    with pytest.raises(RequestError) as error:
        GraphConvolution(path, CHANNELS)
    assert message in str(error.value) and path.strip() in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": 2}, "head is not an option of it; did you mean heads?"),
        ({"heads": 3}, "heads 3 must divide the 8 channels"),
        ({"heads": 0}, "heads 0 must be a whole number"),
        ({"edge_dim": 2}, "the network sets edge_dim"),
        ({"cached": True}, "the network sets cached"),
        ({"aggr": torch.relu}, "give a plain value"),
        ({"aggr": "nonsense"}, "does not work here (Could not resolve 'nonsense'"),
    ],
)
def test_options_that_a_layer_lacks_are_refused(options, message):
    with pytest.raises(RequestError) as error:
        GraphConvolution("torch_geometric.nn.GATv2Conv", CHANNELS, options)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_layers_that_lose_nodes_or_let_graphs_see_each_other_are_refused(monkeypatch):
    class Fewer(nn.Module):
        def forward(self, x, edge_index, edge_weight=None):
            return x[:-1]

    class Mean(nn.Module):
        def forward(self, x, edge_index, edge_weight=None):
            return x - x.mean(0)

    for kind, message in {
        Fewer: "returns 9 rows for 10 nodes",
        Mean: "mixes the graphs of a batch",
    }.items():
        kind.__module__ = "torch_geometric.nn.conv.mine"
        monkeypatch.setattr(torch_geometric.nn, "Mine", kind, raising=False)
        with pytest.raises(RequestError, match=message):
            GraphConvolution("torch_geometric.nn.Mine", CHANNELS)


def test_the_trial_of_a_layer_leaves_no_trace():
    torch.manual_seed(5)
    torch_geometric.nn.GENConv(CHANNELS, CHANNELS, edge_dim=1)
    expected = torch.rand(3)
    torch.manual_seed(5)
    layer = GraphConvolution("torch_geometric.nn.GENConv", CHANNELS)
    assert torch.equal(torch.rand(3), expected)
    assert all(b.sum() == 0 for name, b in layer.named_buffers() if name.endswith(("mean", "tracked")))
    assert layer.training and layer.layer.training


def test_a_layer_is_that_of_torch_geometric_with_the_same_weights():
    torch.manual_seed(2)
    theirs = torch_geometric.nn.GATv2Conv(CHANNELS, CHANNELS, edge_dim=1, share_weights=True)
    torch.manual_seed(2)
    ours = GraphConvolution("torch_geometric.nn.GATv2Conv", CHANNELS, {"share_weights": True})
    edges, x = edges_of(some_graph(), torch.float32), values(NODES).float()
    assert ours.layer.state_dict().keys() == theirs.state_dict().keys() and ours.layer.lin_l is ours.layer.lin_r
    torch.testing.assert_close(ours(x, edges), theirs(x, edges.index, edges.weight.unsqueeze(-1)), rtol=0, atol=1e-6)
