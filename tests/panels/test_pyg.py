"""Graphs and hypergraphs to torch-geometric and back: exact, named, and without torch until they are asked for."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from torch_geometric.data import Data, HeteroData

from stgate.errors import RequestError
from stgate.panels.graph import Graph, correlation_graph, gaussian_graph, knn_graph, lattice_graph
from stgate.panels.hypergraph import Hypergraph, cluster_hypergraph, knn_hypergraph, table_hypergraph


def panel_of(**coords):
    values = np.random.default_rng(0).standard_normal((60, 6)).cumsum(0)
    nodes = list("abcdef")
    coords = {"time": np.arange(60.0), "node": nodes} | {k: ("node", v) for k, v in coords.items()}
    return xr.Dataset({"value": (("time", "node"), values)}, coords)


def placed():
    rng = np.random.default_rng(1)
    return panel_of(lat=rng.uniform(40, 41, 6), lon=rng.uniform(10, 11, 6))


def same(one, other):
    for name, value in vars(one).items():
        found = getattr(other, name)
        if isinstance(value, np.ndarray):
            assert found.dtype == value.dtype
            np.testing.assert_array_equal(found, value)
        else:
            assert found == value, name


GRAPHS = {
    "neighbours": lambda: knn_graph(placed(), 2),
    "gaussian": lambda: gaussian_graph(placed()),
    "correlation": lambda: correlation_graph(placed(), "value", threshold=0.1),
    "lattice": lambda: lattice_graph(panel_of(row=[0, 0, 0, 1, 1, 1], column=[0, 1, 2, 0, 1, 2])),
    "of a panel": lambda: Graph.of(knn_graph(placed(), 2).add_to(placed())),
    "without coordinates": lambda: Graph.of_matrix(["p", 3, 2.5], np.arange(9.0).reshape(3, 3)),
    "without edges": lambda: Graph.of_matrix([4, 5], np.zeros((2, 2))),
}
HYPERGRAPHS = {
    "neighbours": lambda: knn_hypergraph(placed(), 2),
    "regions": lambda: cluster_hypergraph(placed(), 2),
    "a table": lambda: table_hypergraph(panel_of(), pd.DataFrame({"n": list("aabf"), "e": [7, "x", "x", 7]})),
}


@pytest.mark.parametrize("make", GRAPHS.values(), ids=GRAPHS)
def test_a_graph_comes_back_exactly(make):
    graph = make()
    same(graph, Graph.from_pyg(graph.to_pyg()))


@pytest.mark.parametrize("make", HYPERGRAPHS.values(), ids=HYPERGRAPHS)
def test_a_hypergraph_comes_back_exactly(make):
    hypergraph = make()
    same(hypergraph, Hypergraph.from_pyg(hypergraph.to_pyg()))


def test_data_hold_what_torch_geometric_expects():
    panel, graph = placed(), knn_graph(placed(), 2)
    data = graph.to_pyg()
    assert data.validate() and data.num_nodes == 6 and data.node_names == list("abcdef")
    assert torch.equal(data.edge_index[:, 0], torch.tensor([graph.source[0], graph.target[0]]))
    np.testing.assert_array_equal(data.pos, np.stack([panel["lon"], panel["lat"]], 1))  # as it is plotted
    single = graph.to_pyg(dtype="float32")
    assert single.edge_weight.dtype == single.pos.dtype == torch.float32
    other = graph.to_pyg(np.zeros((6, 3)))
    assert other.pos.shape == (6, 3)
    made = knn_hypergraph(panel, 2).to_pyg()
    assert made.hyperedge_index.shape == (2, 18)
    assert torch.equal(made.hyperedge_index[1], torch.arange(6).repeat_interleave(3))


def test_coordinates_of_a_plane_go_along_and_those_missing_at_a_node_do_not():
    plane = Graph.of(knn_graph(panel_of(x=np.arange(6.0), y=np.zeros(6)), 1).add_to(panel_of(x=np.arange(6.0))))
    assert plane.pos.shape == (6, 1)
    gone = placed()
    gone["lat"][0] = np.nan
    assert Graph.of(knn_graph(placed(), 1).add_to(gone)).pos is None


def test_data_without_names_or_weights_get_numbers_and_ones():
    pairs = torch.tensor([[0, 1], [1, 2]])
    graph = Graph.from_pyg(Data(edge_index=pairs, num_nodes=4))
    assert graph.nodes == (0, 1, 2, 3) and graph.weight.tolist() == [1, 1] and graph.pos is None
    assert Graph.from_pyg(Data(edge_index=pairs, x=torch.zeros(5, 2))).nodes == (0, 1, 2, 3, 4)
    assert Graph.from_pyg(Data(edge_index=pairs, edge_attr=torch.tensor([[2.0], [3]]), num_nodes=3)).weight[1] == 3
    made = Hypergraph.from_pyg(Data(hyperedge_index=torch.tensor([[0, 2, 1], [0, 0, 1]]), num_nodes=3))
    assert made.nodes == (0, 1, 2) and made.edges == (0, 1) and made.weight.tolist() == [1, 1]


def test_weights_of_any_precision_are_taken():
    data = Data(edge_index=torch.tensor([[0], [1]]), edge_weight=torch.ones(1, dtype=torch.bfloat16), num_nodes=2)
    assert Graph.from_pyg(data).weight.tolist() == [1]


def test_graphs_are_compared_by_value():
    graph = knn_graph(placed(), 1)
    assert graph == Graph.from_pyg(graph.to_pyg()) and graph != knn_graph(placed(), 2)
    assert Graph((0, 1), *np.zeros((3, 1), int)) != Graph((0, 1), *np.zeros((3, 1), int), pos=np.zeros((2, 1)))
    assert graph != "a graph"


PAIR = torch.tensor([[0], [1]])
WRONG = {
    "a Tensor; give a torch_geometric.data.Data": PAIR,
    "a HeteroData; give": HeteroData(),
    "data: has no edge_index (it holds x); give it": Data(x=torch.zeros(2, 1)),
    "edge_index: is int64 of shape (3, 1)": Data(edge_index=torch.zeros(3, 1, dtype=torch.long), num_nodes=2),
    "edge_index: is float32": Data(edge_index=PAIR.float(), num_nodes=2),
    "edge_index: has 1 among its positions; nodes must be 0 to 0": Data(edge_index=PAIR, num_nodes=1),
    "edge_weight: has shape (2,); must be one weight": Data(edge_index=PAIR, edge_weight=torch.ones(2), num_nodes=2),
    "edge_attr: has shape (1, 3)": Data(edge_index=PAIR, edge_attr=torch.ones(1, 3), num_nodes=2),
    "edge_weight: weights must be finite": Data(edge_index=PAIR, edge_weight=-torch.ones(1), num_nodes=2),
    "node_names: has 1 labels; must have 2": Data(edge_index=PAIR, node_names=["a"], num_nodes=2),
    "node_names: 'a' appears twice": Data(edge_index=PAIR, node_names=["a", "a"]),
    "node_names: is a Tensor; must be a flat": Data(edge_index=PAIR, node_names=torch.zeros(2, 2), num_nodes=2),
    "node_names: is a int; must be a flat": Data(edge_index=PAIR, node_names=7),
    "edge_weight: is a list that holds no array": Data(edge_index=PAIR, edge_weight=["a"], num_nodes=2),
    "edge_index: is a list that holds no array": Data(edge_index=[[0], [1, 2]], num_nodes=3),
    "pos: is a str that holds no array": Data(edge_index=PAIR, pos="abc", num_nodes=2),
    "pos: has shape (3, 2); must have (2, dimensions)": Data(edge_index=PAIR, pos=torch.zeros(3, 2), num_nodes=2),
}


@pytest.mark.parametrize(("message", "data"), WRONG.items(), ids=WRONG)
def test_what_is_no_graph_is_refused_in_one_line(message, data):
    with pytest.raises(RequestError) as error:
        Graph.from_pyg(data)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_what_is_no_hypergraph_is_refused():
    with pytest.raises(RequestError, match="has no hyperedge_index"):
        Hypergraph.from_pyg(Data(edge_index=PAIR, num_nodes=2))
    with pytest.raises(RequestError, match="has 1 among its positions; hyperedges must be 0 to 0"):
        Hypergraph.from_pyg(Data(hyperedge_index=PAIR, hyperedge_weight=torch.ones(1), num_nodes=2))
    with pytest.raises(RequestError, match="pos: has shape"):
        knn_graph(placed(), 2).to_pyg(np.zeros((5, 2)))
    with pytest.raises(RequestError, match="dtype 'half'"):
        knn_graph(placed(), 2).to_pyg(dtype="half")


def test_importing_graphs_imports_no_torch():
    modules = "stgate.panels.graph, stgate.panels.hypergraph, stgate.panels.pyg"
    code = f"import sys, {modules}; print([m for m in ('torch', 'torch_geometric') if m in sys.modules])"
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert made.stdout.strip() == "[]"
