"""`stgate data select`: parts of a panel, with what belongs to them."""

import numpy as np
import pytest
import xarray as xr

import stgate
from stgate.panels.graph import Graph


@pytest.fixture
def panel():
    rng = np.random.default_rng(0)
    time = np.datetime64("2020-01-01", "us") + np.arange(72) * np.timedelta64(3_600_000_000, "us")
    values = rng.normal(size=(72, 4))
    values[:, 2] = np.nan
    made = xr.Dataset(
        {"y": (("time", "node"), values), "u": (("time", "node"), rng.normal(size=(72, 4)))},
        {"time": time, "node": [7, 8, 9, 10], "lat": ("node", [1.0, 2.0, 3.0, 4.0]), "kind": ("node", [*"abab"])},
    )
    return Graph.of_matrix([7, 8, 9, 10], np.ones((4, 4)) - np.eye(4)).add_to(made)


def test_a_part_keeps_what_was_asked_for_and_the_edges_between(stgate_command, panel, tmp_path):
    stgate.write(panel, tmp_path / "p.nc")
    asked = ("--without", "9", "--within", "lat", "2", "5", "--from", "2020-01-02", "--to", "2020-01-02")
    code, out, err = stgate_command(
        "data", "select", tmp_path / "p.nc", *asked, "--variables", "y", "--out", tmp_path / "q.nc"
    )
    assert code == 0, err
    part = stgate.open_panel(tmp_path / "q.nc")
    assert part["node"].values.tolist() == [8, 10] and list(part.data_vars).count("u") == 0
    xr.testing.assert_equal(part["y"], panel["y"].sel(time="2020-01-02", node=[8, 10]))
    assert sorted(zip(part["edge_source"].values, part["edge_target"].values, strict=True)) == [(8, 10), (10, 8)]
    assert "time 24 of 72, node 2 of 4" in out and "data select" in part.attrs["history"]
    assert stgate_command("data", "check", tmp_path / "q.nc")[0] == 0


def test_nodes_come_in_the_order_asked_for(stgate_command, panel, tmp_path):
    stgate.write(panel, tmp_path / "p.nc")
    command = ("data", "select", tmp_path / "p.nc", "--nodes", "10", "7", "--out", tmp_path / "q.nc")
    assert stgate_command(*command)[0] == 0
    assert stgate.open_panel(tmp_path / "q.nc")["node"].values.tolist() == [10, 7]


def test_bounds_that_are_given_twice_hold_both(stgate_command, panel, tmp_path):
    stgate.write(panel, tmp_path / "p.nc")
    within = ("--within", "lat", "1", "3", "--within", "lat", "2", "4")
    assert stgate_command("data", "select", tmp_path / "p.nc", *within, "--out", tmp_path / "q.nc")[0] == 0
    assert stgate.open_panel(tmp_path / "q.nc")["node"].values.tolist() == [8, 9]


def test_a_span_of_model_time(stgate_command, tmp_path):
    made = stgate.simulate.lorenz96(nodes=4, duration=2.0, step=0.05, every=2, seed=0)
    stgate.write(made, tmp_path / "p.nc")
    command = ("data", "select", tmp_path / "p.nc", "--from", "0.6", "--to", "1.2", "--out", tmp_path / "q.nc")
    code, _, err = stgate_command(*command)
    assert code == 0, err
    np.testing.assert_allclose(stgate.open_panel(tmp_path / "q.nc")["time"], np.arange(6, 13) * 0.1)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (("--without", "11"), ("no '11'", "`node`")),
        (("--nodes", "7", "7"), ("7", "twice")),
        (("--without", "7", "8", "9", "10"), ("no node is left",)),
        (("--within", "lon", "1", "2"), ("--within lon", "lat")),
        (("--within", "without", "1", "2"), ("--within without", "lat")),
        (("--within", "kind", "1", "2"), ("`kind`", "text")),
        (("--within", "time", "1", "2"), ("--within time", "the nodes have no such coordinate")),
        (("--within", "lat", "1", "x"), ("--within lat 1 x", "two numbers")),
        (("--variables", "z"), ("--variables z", "known: y, u")),
        (("--from", "2021"), ("no time of the panel", "2020-01-03")),
        (("--from", "2020-01-02", "--to", "2020-01-01"), ("no time of the panel",)),
        (("--from", "01/02/2020"), ("not a time of this panel", "year first")),
    ],
)
def test_what_is_not_there_is_named_and_nothing_written(stgate_command, panel, tmp_path, asked, words):
    stgate.write(panel, tmp_path / "p.nc")
    code, _, err = stgate_command("data", "select", tmp_path / "p.nc", *asked, "--out", tmp_path / "q.nc")
    assert code == 2 and err.count("\n") == 1
    for word in words:
        assert word in err
    assert not (tmp_path / "q.nc").exists()
