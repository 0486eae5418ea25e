"""The summary of a panel names what is odd, and nothing that is not."""

import numpy as np
import pytest
from helpers import make_panel

from stgate.panels.graph import Graph
from stgate.panels.summary import summarize


def remarks(panel):
    return [line.strip() for line in summarize(panel).splitlines() if line.startswith("  ")]


def test_a_sound_panel_has_no_remarks():
    assert remarks(make_panel()) == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda y: y.__setitem__((slice(10, 60), 1), 3.5), "stuck at 3.5 for 50 steps at b from 2020-01-01T10:00"),
        (lambda y: y.__setitem__((slice(None), 2), 7.0), "never changes at 'c'"),
        (lambda y: y.__setitem__((slice(None), 0), np.nan), "never observed at 'a'"),
        (lambda y: y.__setitem__((slice(0, 390, 13), 1), -999.0), "-999 is the value of"),
        (lambda y: y.__setitem__((slice(0, 390, 13), 1), 9999.0), "--missing 9999"),
        (lambda y: y.__setitem__((slice(0, 390, 13), 1), 0.0), "--missing 0"),
    ],
)
def test_what_is_odd_is_named(change, word):
    panel = make_panel(missing=0)
    panel["y"] = panel["y"] + 1  # away from zero
    change(panel["y"].values)
    found = remarks(panel)
    assert len(found) == 1 and word in found[0]


def test_dry_weather_is_not_a_stuck_gauge():
    panel = make_panel(missing=0)
    rain = np.maximum(panel["u"].values - np.quantile(panel["u"].values, 0.9, axis=0), 0)
    assert remarks(panel.assign(u=panel["u"].copy(data=rain))) == []


def test_edges_are_counted_and_those_to_nodes_that_are_gone_are_named():
    panel = make_panel(nodes=("a", "b", "c"))
    graph = Graph.of_matrix(["a", "b", "c"], [[0, 1, 0], [0, 0, 0], [0, 0, 0]])
    whole = graph.add_to(panel)
    assert "edge  1 between nodes" in summarize(whole)
    assert "nodes without an edge: 1" in summarize(whole)
    assert "'b' is not a node of the panel" in summarize(whole.sel(node=["a", "c"]))
    assert "edge " not in summarize(panel)
