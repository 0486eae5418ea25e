"""Graphs and hypergraphs: known distances, directions, what is isolated, and what is refused."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from stgate.errors import PanelError, RequestError
from stgate.panels.geometry import Places
from stgate.panels.graph import (
    Graph,
    correlation_graph,
    distance_graph,
    gaussian_graph,
    knn_graph,
    lattice_graph,
    radius_graph,
)
from stgate.panels.hypergraph import cluster_hypergraph, knn_hypergraph, table_hypergraph
from stgate.simulate import kuramoto_sivashinsky, lorenz96

CITIES = {"Paris": (48.8566, 2.3522), "London": (51.5074, -0.1278), "Berlin": (52.52, 13.405), "Suva": (-18.14, 178.44)}


def on_earth():
    lat, lon = np.array(list(CITIES.values())).T
    return panel_of(list(CITIES), lat=lat, lon=lon)


def panel_of(nodes, **coords):
    values = np.random.default_rng(0).standard_normal((100, len(nodes)))
    return xr.Dataset(
        {"value": (("time", "node"), values)},
        {"time": np.arange(100.0), "node": nodes, **{k: ("node", v) for k, v in coords.items()}},
    )


def edges(graph):
    return {(graph.nodes[s], graph.nodes[t]) for s, t in zip(graph.source, graph.target, strict=True)}


def test_great_circles_are_as_long_as_they_are():
    distance = Places.of(on_earth()).distances()
    assert distance[0, 1] == pytest.approx(343.6, abs=0.5)  # Paris to London
    assert distance[0, 2] == pytest.approx(877.5, abs=1.0)  # Paris to Berlin
    west = panel_of(["a", "b"], lat=[0.0, 0.0], lon=[179.5, -179.5])
    assert Places.of(west).distances()[0, 1] == pytest.approx(111.2, abs=0.1)  # across the date line


@given(st.integers(0, 1000), st.integers(3, 20))
@settings(deadline=None, max_examples=40)
def test_neighbours_are_those_of_all_distances(seed, count):
    rng = np.random.default_rng(seed)
    panel = panel_of(list(range(count)), lat=rng.uniform(-90, 90, count), lon=rng.uniform(-180, 180, count))
    distance = Places.of(panel).distances()
    np.fill_diagonal(distance, np.inf)
    k = min(3, count - 1)
    found = knn_graph(panel, k, kernel="inverse").matrix()
    for node in range(count):
        assert set(np.flatnonzero(found[:, node])) == set(np.argsort(distance[:, node])[:k])
    np.testing.assert_allclose(1 / found[found > 0], distance[found > 0], rtol=1e-6)
    radius = float(np.median(distance))
    assert edges(radius_graph(panel, radius)) == {tuple(p) for p in np.argwhere(distance <= radius * (1 + 1e-9))}


def test_nearest_neighbours_are_no_symmetric_relation_and_say_who_hears_whom():
    panel = panel_of(["a", "b", "c"], x=[0.0, 1.0, 3.0], y=[0.0, 0.0, 0.0])
    graph = knn_graph(panel, 1, kernel="one")
    assert edges(graph) == {
        ("b", "a"),
        ("a", "b"),
        ("b", "c"),
    }  # (source, target): c has an edge from b, none goes out from c
    assert graph.weight.tolist() == [1, 1, 1]


def test_stations_at_one_place_are_each_others_neighbours():
    panel = panel_of(["a", "b", "c", "d"], x=[0.0, 0.0, 0.0, 5.0], y=np.zeros(4))
    graph = knn_graph(panel, 2)
    assert all(s != t for s, t in edges(graph)) and np.bincount(graph.target).tolist() == [2, 2, 2, 2]
    with pytest.raises(RequestError, match="have the same position"):
        knn_graph(panel, 2, kernel="inverse")


def test_a_ring_has_no_ends():
    ring = knn_graph(lorenz96(nodes=8, duration=1.0, spinup=0, verify=False), 2, kernel="one")
    assert (0, 7) in edges(ring) and (7, 0) in edges(ring)
    waves = kuramoto_sivashinsky(length=22.0, nodes=64, duration=0.25, spinup=0, verify=False)
    distance = Places.of(waves).distances()
    assert distance.max() == pytest.approx(11.0)
    assert distance[0, 63] == pytest.approx(22 / 64)


def test_gaussian_weights_are_those_of_the_formula():
    panel = panel_of(["a", "b", "c"], x=[0.0, 1.0, 3.0], y=np.zeros(3))
    graph = gaussian_graph(panel, sigma=2.0, threshold=0.2)
    expected = {("a", "b"): np.exp(-0.25), ("b", "a"): np.exp(-0.25), ("b", "c"): np.exp(-1), ("c", "b"): np.exp(-1)}
    found = {(graph.nodes[s], graph.nodes[t]): w for s, t, w in zip(graph.source, graph.target, graph.weight)}  # noqa: B905
    assert found == pytest.approx(expected)
    alone = gaussian_graph(panel, sigma=1.0, threshold=0.3)
    assert alone.isolated == ["c"] and alone.nodes == ("a", "b", "c")


def test_a_table_of_distances_is_directed_and_may_name_others():
    panel = panel_of([101, 102, 103])
    table = pd.DataFrame(
        {"from": ["101", "102", "103", "999"], "to": ["102", "101", "101", "101"], "cost": [1, 2, 9, 1]}
    )
    graph = distance_graph(panel, table, sigma=2.0, threshold=0.1)
    assert edges(graph) == {(101, 102), (102, 101)}
    np.testing.assert_allclose(graph.matrix()[:2, :2], [[0, np.exp(-0.25)], [np.exp(-1), 0]])
    assert graph.isolated == [103]
    with pytest.raises(PanelError, match="no row of the table"):
        distance_graph(panel, table.assign(**{"from": "x"}))


def test_correlation_sees_training_rows_only_and_needs_enough_pairs():
    panel = panel_of(["a", "b", "c"])
    values = panel["value"].values
    values[:, 1] = values[:, 0] + 0.1 * np.random.default_rng(1).standard_normal(100)
    values[60:, 2] = values[60:, 0]  # alike in the test part only
    assert edges(correlation_graph(panel, "value", stop=60)) == {("a", "b"), ("b", "a")}
    values[20:60, 1] = np.nan
    assert edges(correlation_graph(panel, "value", stop=60)) == set()


def test_a_panel_keeps_its_edges_by_label():
    panel = on_earth()
    graph = knn_graph(panel, 2)
    kept = Graph.of(graph.add_to(panel))
    np.testing.assert_array_equal(kept.matrix(), graph.matrix())
    turned = Graph.of(graph.add_to(panel).isel(node=[3, 1, 0, 2]))
    assert edges(turned) == edges(graph)
    with pytest.raises(PanelError, match="is not a node of the panel"):
        Graph.of(graph.add_to(panel).isel(node=[0, 1]))
    with pytest.raises(PanelError, match="the panel has no edges"):
        Graph.of(panel)


def test_neighbours_on_a_lattice_with_a_hole():
    panel = panel_of(list("abcde"), row=[0, 0, 1, 2, 2], column=[0, 1, 0, 0, 1])
    assert edges(lattice_graph(panel)) == {
        *(("a", "b"), ("b", "a"), ("a", "c"), ("c", "a"), ("c", "d"), ("d", "c"), ("d", "e"), ("e", "d"))
    }
    assert ("b", "c") in edges(lattice_graph(panel, diagonal=True))
    with pytest.raises(PanelError, match="are not from a lattice"):
        lattice_graph(on_earth())


def test_hyperedges_of_neighbours_hold_their_node_and_its_nearest():
    hyper = knn_hypergraph(on_earth(), 1)
    incidence = hyper.incidence()
    np.testing.assert_array_equal(incidence.sum(axis=0), 2)
    assert incidence[0, 1] == 1 and incidence[1, 1] == 1  # London's edge holds Paris


def test_regions_are_where_the_stations_are():
    rng = np.random.default_rng(0)
    centres = np.repeat([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0]], 10, axis=0)
    x, y = (centres + rng.normal(0, 2, centres.shape)).T
    panel = panel_of(list(range(30)), x=x, y=y)
    hyper = cluster_hypergraph(panel, 3, seed=1)
    groups = {frozenset(hyper.node[hyper.edge == e].tolist()) for e in range(3)}
    assert groups == {frozenset(range(0, 10)), frozenset(range(10, 20)), frozenset(range(20, 30))}
    again = cluster_hypergraph(panel, 3, seed=1)
    np.testing.assert_array_equal(again.edge, hyper.edge)


def test_a_table_of_memberships_may_put_a_node_in_several_and_leave_one_out():
    table = pd.DataFrame({"node": ["Paris", "London", "Paris", "Suva", "Rome"], "club": ["a", "a", "b", "b", "b"]})
    hyper = table_hypergraph(on_earth(), table)
    assert hyper.edges == ("a", "b")
    np.testing.assert_array_equal(hyper.incidence(), [[1, 1], [1, 0], [0, 0], [0, 1]])
    assert hyper.isolated == ["Berlin"]


def test_a_table_of_weights_goes_by_its_labels_and_one_without_by_its_order():
    nodes, weights = list(CITIES), np.arange(16.0).reshape(4, 4)
    table = pd.DataFrame(weights, nodes, nodes)
    shuffled = table.loc[nodes[::-1], [nodes[i] for i in (2, 0, 3, 1)]]
    for given_ in (shuffled, table, pd.DataFrame(weights)):
        np.testing.assert_array_equal(Graph.of_matrix(nodes, given_).matrix(), weights)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda p: knn_graph(p, 4), RequestError, "k 4: must lie between 1 and 3"),
        (lambda p: knn_graph(p, 1, kernel="gauss"), RequestError, "did you mean gaussian"),
        (lambda p: knn_graph(p, 1, sigma=0.0), RequestError, "sigma 0: must be positive"),
        (lambda p: radius_graph(p, -1.0), RequestError, "radius -1"),
        (lambda p: gaussian_graph(p, threshold=1.0), RequestError, "threshold 1"),
        (lambda p: knn_graph(p.drop_vars("lat"), 1), PanelError, "no coordinates"),
        (
            lambda p: knn_graph(p.assign_coords(lat=("node", [0, 1, np.nan, 2])), 1),
            PanelError,
            "missing at node 'Berlin'",
        ),
        (lambda p: knn_graph(p.assign_coords(lat=p["lon"], lon=p["lat"]), 1), PanelError, "swapped with"),
        (lambda p: Graph.of_matrix(p["node"].values, np.ones((3, 3))), RequestError, "for 4 nodes"),
        (lambda p: Graph.of_matrix(np.ones((4, 4)), p["node"].values), RequestError, r"give \(nodes, matrix\)"),
        (
            lambda p: Graph.of_matrix(list(CITIES), pd.DataFrame(np.eye(4), list("abcd"), list("abcd"))),
            RequestError,
            "its labels, such as 'a', are not",
        ),
        (
            lambda p: Graph.of_matrix([1, 2, 3, 4], np.eye(4)).add_to(p),
            PanelError,
            r"1, 2.* not a node of the panel \(labels",
        ),
        (lambda p: correlation_graph(p, "z"), PanelError, "no such variable"),
        (lambda p: cluster_hypergraph(p, 5), RequestError, "clusters .*: must lie between 1 and 4"),
        (lambda p: table_hypergraph(p, pd.DataFrame({"a": [1]})), RequestError, "needs node and hyperedge"),
    ],
)
def test_a_wrong_request_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call(on_earth())


@pytest.mark.parametrize("bad", [1.5, "a", None, True, np.nan, [1]])
@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("k", lambda p, bad: knn_graph(p, bad)),
        ("k", lambda p, bad: knn_hypergraph(p, bad)),
        ("clusters", lambda p, bad: cluster_hypergraph(p, bad)),
        ("least", lambda p, bad: correlation_graph(p, "y", least=bad)),
        ("stop", lambda p, bad: correlation_graph(p, "y", stop="all" if bad is None else bad)),
        ("radius", lambda p, bad: radius_graph(p, bad if bad != 1.5 else -1.5)),
        ("sigma", lambda p, bad: gaussian_graph(p, sigma=0.0 if bad in (None, 1.5) else bad)),
        ("threshold", lambda p, bad: gaussian_graph(p, threshold=bad)),
    ],
)
def test_options_that_are_no_numbers_are_refused_by_name(name, call, bad):
    panel = on_earth()
    panel = panel.assign(y=(("time", "node"), np.zeros((panel.sizes.get("time", 5), panel.sizes["node"]))))
    with pytest.raises(RequestError, match=rf"^{name} [^\n]*$"):
        call(panel, bad)


@pytest.mark.parametrize("lon", [(0.0, 360.0), (-180.0, 180.0), (-10.0, 350.0), (5.0, 5.0)])
def test_two_nodes_at_one_place_have_no_inverse_distance_however_it_is_written(lon):
    panel = on_earth().isel(node=[0, 1, 2]).assign_coords(lat=("node", [0.1, 0.1, 40.0]), lon=("node", [*lon, 90.0]))
    with pytest.raises(RequestError, match="same position"):
        radius_graph(
            panel.assign_coords(lon=panel["lon"] % 360 if min(lon) < 0 < 180 < max(lon) else panel["lon"]),
            3e4,
            kernel="inverse",
        )
