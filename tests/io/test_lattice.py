"""Lattices become panels and come back the same, land and all."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import stgate
from stgate.errors import PanelError
from stgate.panels.graph import lattice_graph


def field(rows=4, columns=3, times=5, names=("lat", "lon"), seed=0, land=0.3):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((times, rows, columns)).astype("float32")
    values[:, rng.random((rows, columns)) < land] = np.nan
    values[:, 0, 0] = 1.0  # never all land
    return xr.Dataset(
        {"sst": (("time", *names), values, {"units": "K"}), "depth": (names, rng.standard_normal((rows, columns)))},
        {
            "time": pd.date_range("2020-01-01", periods=times),
            names[0]: -29.0 + 2.0 * np.arange(rows),
            names[1]: 124.0 + 2.0 * np.arange(columns),
        },
        {"title": "a lattice"},
    )


@given(
    rows=st.integers(1, 6),
    columns=st.integers(1, 6),
    names=st.sampled_from([("lat", "lon"), ("latitude", "longitude"), ("y", "x")]),
    seed=st.integers(0, 99),
    keep=st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_a_lattice_comes_back_as_it_was(rows, columns, names, seed, keep):
    lattice = field(rows, columns, names=names, seed=seed)
    panel = stgate.from_lattice(lattice, keep_empty=keep)
    stgate.check_panel(panel)
    back = stgate.to_lattice(panel)
    np.testing.assert_array_equal(back["sst"], lattice["sst"])
    assert back["sst"].dims == lattice["sst"].dims and back["sst"].attrs == {"units": "K"}
    for name in names:
        np.testing.assert_array_equal(back[name], lattice[name])
    depth = lattice["depth"] if keep else lattice["depth"].where(lattice["sst"].notnull().any("time"))
    np.testing.assert_array_equal(back["depth"], depth)
    assert back.attrs == lattice.attrs


def test_land_is_left_out_and_nodes_know_where_they_are():
    panel = stgate.from_lattice(field())
    assert panel["sst"].notnull().any("time").all()
    first = panel.isel(node=0)
    assert str(first["node"].values) == "-29,124" and float(first["lat"]) == -29 and float(first["lon"]) == 124
    assert panel["lat"].attrs["units"] == "degrees_north"


def test_dims_may_stand_in_any_order_and_members_in_front():
    lattice = field(land=0.0)
    turned = lattice.transpose("lon", "time", "lat")
    np.testing.assert_array_equal(stgate.from_lattice(turned)["sst"], stgate.from_lattice(lattice)["sst"])
    ensemble = xr.concat([lattice[["sst"]], lattice[["sst"]] + 1], pd.Index([0, 1], name="member"))
    panel = stgate.from_lattice(ensemble)
    assert panel["sst"].dims == ("member", "time", "node")
    assert stgate.to_lattice(panel)["sst"].dims == ("member", "time", "lat", "lon")


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_it_comes_back_through_a_file(tmp_path, suffix):
    lattice = field()
    stgate.write(stgate.from_lattice(lattice), tmp_path / f"p{suffix}")
    back = stgate.to_lattice(stgate.open_panel(tmp_path / f"p{suffix}"))
    np.testing.assert_array_equal(back["sst"], lattice["sst"])


def test_what_was_made_of_a_panel_without_its_attributes_comes_back_where_there_are_nodes():
    lattice = field(land=0.0)
    panel = stgate.from_lattice(lattice)
    panel.attrs = {}
    quantiles = panel[["sst"]].expand_dims(quantile=[0.1, 0.9], axis=-1)
    back = stgate.to_lattice(quantiles)
    assert back["sst"].dims == ("time", "lat", "lon", "quantile")
    np.testing.assert_array_equal(back["sst"].isel(quantile=0), lattice["sst"])


def test_its_neighbours_make_a_graph():
    panel = stgate.from_lattice(field(land=0.0))
    graph = lattice_graph(panel)
    assert len(graph.source) == 2 * (4 * 2 + 3 * 3)
    np.testing.assert_array_equal(graph.matrix(), graph.matrix().T)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.rename(lat="rows"), r"a lattice has \(lat, lon\)"),
        (lambda d: d.drop_vars("lat"), "`lat`: the dimension has no coordinate"),
        (lambda d: d.expand_dims(level=[1, 2]), "`sst`: has the dimension 'level'"),
        (lambda d: d["sst"], "to_dataset"),
    ],
)
def test_what_is_no_lattice_is_refused(change, message):
    with pytest.raises(PanelError, match=message):
        stgate.from_lattice(change(field()))


def test_other_nodes_come_from_no_lattice(panel):
    with pytest.raises(PanelError, match="are not from a lattice"):
        stgate.to_lattice(panel)
