"""Mixing over nodes: by matrix or by gathers alike, learned structures that gradients reach, and the spatial branch."""

import pytest
import torch

from stgate.errors import RequestError
from stgate.nn.edges import EdgeList
from stgate.nn.sepnet import neighbours
from stgate.nn.sepnet.learned_graphs import AdaptiveGraph, AdaptiveHypergraph
from stgate.nn.sepnet.mixing import HypergraphConvolution, MixProp, averages
from stgate.nn.sepnet.neighbours import Neighbours
from stgate.nn.sepnet.spatial import SpatialBranch

OPTIONS = {"hidden": 8, "layers": 2, "kernel": 2, "hops": 2, "adaptive": True, "static": False, "neighbours": 3}
OPTIONS |= {"order": 3, "soft": True, "size": 4, "dropout": 0.0}


def some_neighbours(nodes=7, k=3, dtype=torch.float64):
    torch.manual_seed(0)
    index = torch.stack([torch.randperm(nodes)[:k] for _ in range(nodes)])
    return Neighbours(index, torch.rand(nodes, k, dtype=dtype, requires_grad=True))


KINDS = {"matrix": torch.Tensor, "bags": neighbours._Bags, "gathers": Neighbours}


def sums_by(kind, near, way, monkeypatch):
    """Make sums of one kind, of which the last is for compilers and accelerators."""
    with monkeypatch.context() as patch:
        patch.setattr(neighbours, "FEW", 100 if kind == "matrix" else -100)
        patch.setattr(neighbours, "DENSE", 0)
        patch.setattr(torch.compiler, "is_compiling", lambda: kind == "gathers")
        made = near.sums()[way]
    assert isinstance(made.over, KINDS[kind])
    return made


@pytest.mark.parametrize("way", [0, 1])
def test_sums_are_the_same_by_a_matrix_by_bags_and_by_gathers(monkeypatch, way):
    near = some_neighbours()
    x = torch.randn(7, 2, 5, dtype=torch.float64, requires_grad=True)
    found = []
    for kind in KINDS:
        made = sums_by(kind, near, way, monkeypatch)(x)
        found.append((made, *torch.autograd.grad(made.square().sum(), [x, near.weight])))
    for other in found[1:]:
        for ours, theirs in zip(found[0], other, strict=True):
            torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("nodes", "k", "kind"), [(112, 3, "matrix"), (113, 3, "bags"), (180, 20, "matrix"), (181, 20, "bags")]
)
def test_many_nodes_of_few_neighbours_are_summed_without_a_matrix(nodes, k, kind):
    assert isinstance(some_neighbours(nodes, k).sums()[0].over, KINDS[kind])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", [0, 1])
def test_gradients_of_sums_are_those_of_differences(monkeypatch, way, kind):
    near, x = some_neighbours(), torch.randn(7, 2, 5, dtype=torch.float64, requires_grad=True)

    def summed(x, weight):
        return sums_by(kind, Neighbours(near.index, weight), way, monkeypatch)(x)

    assert torch.autograd.gradcheck(summed, (x, near.weight))
    assert torch.autograd.gradcheck(lambda x: summed(x, near.weight.detach()), (x,))
    assert torch.autograd.gradcheck(lambda weight: summed(x.detach(), weight), (near.weight,))


@pytest.mark.parametrize("way", [0, 1])
def test_members_of_an_ensemble_have_the_sums_of_each(monkeypatch, way):
    members = [some_neighbours() for _ in range(3)]
    for number, near in enumerate(members):
        near.index, near.weight = near.index.roll(number, 0), (near.weight + number).detach().requires_grad_()
    x = torch.randn(3, 7, 4, dtype=torch.float64, requires_grad=True)
    index, weight = torch.stack([near.index for near in members]), torch.stack([near.weight for near in members])
    together = torch.vmap(lambda x, i, w: sums_by("bags", Neighbours(i, w), way, monkeypatch)(x))(x, index, weight)
    apart = torch.stack([sums_by("bags", n, way, monkeypatch)(part) for n, part in zip(members, x, strict=True)])
    wanted = [x, *(near.weight for near in members)]
    torch.testing.assert_close(together, apart)
    for ours, theirs in zip(*(torch.autograd.grad(m.square().sum(), wanted) for m in (together, apart)), strict=True):
        torch.testing.assert_close(ours, theirs)
    shared = torch.vmap(sums_by("bags", members[0], way, monkeypatch))(x)
    torch.testing.assert_close(shared[0], apart[0])


def test_sums_in_low_precision_are_those_of_their_weights(monkeypatch):
    near, x = some_neighbours(dtype=torch.float32), torch.randn(7, 4)
    made = sums_by("bags", near, 0, monkeypatch)(x.bfloat16())
    torch.testing.assert_close(made, sums_by("bags", near, 0, monkeypatch)(x), rtol=0.02, atol=0.02)


def test_averages_of_a_constant_are_that_constant():
    near = some_neighbours()
    x = torch.full((7, 4), 3.0, dtype=torch.float64)
    for average in averages(near, both=True):
        torch.testing.assert_close(average(x), x)


def test_mixprop_is_its_formula():
    torch.manual_seed(1)
    near, mix, x = some_neighbours(dtype=torch.float32), MixProp(4, 1, 2), torch.randn(7, 3, 4)
    matrix = near.matrix() + torch.eye(7)
    matrix = matrix / matrix.sum(1, keepdim=True)
    g = torch.sigmoid(mix.gate(x))
    one = g * x + (1 - g) * torch.einsum("ij,jbc->ibc", matrix, x)
    two = g * one + (1 - g) * torch.einsum("ij,jbc->ibc", matrix, one)
    torch.testing.assert_close(mix(x, averages(near, both=False)), mix.out(torch.cat([x, one, two], -1)))


def test_the_hypergraph_convolution_is_that_of_torch_geometric_between_its_halves():
    """Means over members, then over edges: D^-1 H B^-1 H' x of HypergraphConv, with a relu in the middle left open."""
    from torch_geometric.nn import HypergraphConv

    torch.manual_seed(2)
    index, x = some_neighbours().index, torch.rand(7, 4)  # positive: relu passes all
    ours, theirs = HypergraphConvolution(4), HypergraphConv(4, 4, bias=False)
    with torch.no_grad():
        for layer in (ours.encode, ours.of_edge):
            layer.weight.copy_(torch.eye(4))
            layer.bias.zero_()
        theirs.lin.weight.copy_(torch.eye(4))
    pairs = torch.stack([index.flatten(), torch.arange(7).repeat_interleave(3)])
    made = ours(x, Neighbours(index, torch.ones(7, 3)))
    members = torch.isin(torch.arange(7), index)
    torch.testing.assert_close(made[members], theirs(x, pairs)[members])


def test_two_nodes_are_connected_in_at_most_one_direction_and_the_strongest_edges_are_kept():
    torch.manual_seed(3)
    whole, few = AdaptiveGraph(9, 5, 9), AdaptiveGraph(9, 5, 2)
    few.load_state_dict(whole.state_dict())
    matrix, kept = whole().matrix(), few().matrix()
    assert ((matrix > 1e-6) & (matrix.T > 1e-6)).sum() == 0 and (matrix > 0).sum() > 9
    torch.testing.assert_close(kept.sum(1), matrix.topk(2, 1).values.sum(1))


def test_the_directed_graph_finds_who_hears_whom():
    """On a ring where each node is what the one before it is. As published, flat tanh hold it near where it starts."""
    torch.manual_seed(3)
    graph, x = AdaptiveGraph(12, 16, 11), torch.randn(12, 500)
    optimizer = torch.optim.Adam(graph.parameters(), lr=0.01)
    for _ in range(300):
        matrix = graph().matrix()
        loss = (matrix @ x / (matrix.sum(1, keepdim=True) + 1e-6) - x.roll(1, 0)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.02
    assert torch.equal(graph().matrix().argmax(1), (torch.arange(12) - 1) % 12)


def test_each_node_leads_its_own_hyperedge_of_its_nearest():
    torch.manual_seed(4)
    made = AdaptiveHypergraph(9, 5, 3).eval()()
    own = made.index == torch.arange(9)[:, None]
    assert own.any(1).all() and torch.allclose(made.weight[own], torch.ones(9))
    hard = AdaptiveHypergraph(9, 5, 3, soft=False).eval()
    edges = hard()
    assert torch.equal(edges.weight, torch.ones(9, 3))
    edges.weight.square().sum().backward()
    assert hard.embedding.grad.abs().sum() > 0


def test_the_next_nearest_count_for_gradients_though_they_are_no_members():
    torch.manual_seed(4)
    hypergraph = AdaptiveHypergraph(30, 5, 3)
    edges = hypergraph()
    assert edges.index.shape == (30, 12)
    assert (edges.weight[:, 3:] == 0).all()
    edges.weight[:, 3:].sum().backward()
    assert (hypergraph.embedding.grad.abs().sum(1) > 0).all()
    assert hypergraph.eval()().index.shape == (30, 3)


def test_hyperedges_find_who_belongs_together():
    """Of three groups, each node is to become the mean of its own; the first edges are drawn at random."""
    torch.manual_seed(4)
    group, size = torch.arange(18) % 3, 16
    hypergraph = AdaptiveHypergraph(18, size, 4)

    def together():
        return (group[hypergraph.eval()().index] == group[:, None]).float().mean()

    before, optimizer = together(), torch.optim.Adam(hypergraph.parameters(), lr=0.01)
    hypergraph.train()
    for _ in range(300):
        x = torch.randn(3, 64)[group] + torch.randn(18, 64)
        mean = torch.stack([x[group == g].mean(0) for g in range(3)])[group]
        edges = hypergraph()
        made = edges.sums()[0](x) / edges.weight.sum(1, keepdim=True)
        loss = (made - mean).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert before < 0.5 and together() > 0.8


def test_nodes_at_one_place_each_keep_their_own_hyperedge():
    """Else a node could be in no edge at all, and the mean over its edges be none."""
    same = AdaptiveHypergraph(6, 4, 2).eval()
    with torch.no_grad():
        same.embedding.fill_(1.0)
    edges = same()
    assert (edges.index == torch.arange(6)[:, None]).any(1).all()
    assert torch.isfinite(HypergraphConvolution(3)(torch.randn(6, 3), edges)).all()


def test_every_parameter_gets_a_gradient_and_nodes_may_be_permuted():
    torch.manual_seed(5)
    branch, x = SpatialBranch(9, 3, **OPTIONS).double(), torch.randn(4, 4, 9, 3, dtype=torch.float64)
    made = branch(x)
    made.square().sum().backward()
    for name, weight in branch.named_parameters():
        assert weight.grad is not None and weight.grad.abs().sum() > 0, name
    order = torch.randperm(9)
    with torch.no_grad():
        for name, weight in branch.named_parameters():
            if name.endswith(("node", "gain", "shift", "graph.first", "graph.second", "hypergraph.embedding")):
                weight.copy_(weight[order])
        torch.testing.assert_close(branch(x[:, :, order]), made[:, order])


def test_with_many_nodes_the_branch_is_the_same(monkeypatch):
    torch.manual_seed(6)
    branch, x = SpatialBranch(9, 3, **OPTIONS), torch.randn(2, 4, 9, 3)
    made = branch(x)
    monkeypatch.setattr(neighbours, "DENSE", 0)
    torch.testing.assert_close(branch(x), made)


EDGES = EdgeList(torch.stack([torch.arange(9), torch.arange(9).roll(-1)]), torch.linspace(0.5, 1, 9).double())


@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize("order", [0, 3])
def test_a_convolution_carries_along_the_given_graph_in_the_place_of_mixprop(adaptive, order):
    torch.manual_seed(7)
    options = OPTIONS | {"adaptive": adaptive, "static": True, "order": order}
    options |= {"convolution": "torch_geometric.nn.GATv2Conv", "convolution_options": {"heads": 2}}
    branch, x = SpatialBranch(9, 3, **options).double(), torch.randn(2, 4, 9, 3, dtype=torch.float64)
    assert all(layer.mix is None or layer.mix.out.in_features == 8 * (1 + 2 * 2) for layer in branch.layers)
    made = branch(x, EDGES)
    made.square().sum().backward()
    for name, weight in branch.named_parameters():
        assert weight.grad is not None and weight.grad.abs().sum() > 0, name
    assert made.shape == (2, 9, 8)
    assert not torch.allclose(branch(x, EdgeList(EDGES.index.flip(0), EDGES.weight)), made)


def test_a_convolution_needs_a_given_graph():
    with pytest.raises(RequestError, match=r"spatial .*: needs the given graph"):
        SpatialBranch(9, 3, **OPTIONS, convolution="torch_geometric.nn.GCNConv")
    with pytest.raises(RequestError, match="spatial_options: without a layer"):
        SpatialBranch(9, 3, **OPTIONS, convolution_options={"heads": 2})
