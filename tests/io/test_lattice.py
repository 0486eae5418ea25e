"""Lattices become panels and come back the same, land and all."""

import re

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import stgate
from stgate.errors import PanelError, PanelWarning
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


def mended(dataset: xr.Dataset) -> xr.Dataset:
    """Run the code that refusals of a lattice print, at most three times."""
    for _ in range(3):
        try:
            return stgate.from_lattice(dataset, keep_empty=True)
        except PanelError as error:
            code = re.search(r"with (dataset\.\w+\(.*\))$", str(error))[1]
            dataset = eval(code, {}, {"dataset": dataset})
    return stgate.from_lattice(dataset, keep_empty=True)


def layers(dims, **coords) -> xr.Dataset:
    sizes = {"time": 5, "lat": 4, "lon": 3, "level": 3, "band": 2, "one": 1}
    values = np.arange(np.prod([sizes[d] for d in dims]), dtype="float64").reshape([sizes[d] for d in dims])
    return field()[["depth"]].assign(u=(dims, values)).assign_coords(time=field()["time"], **coords)


@pytest.mark.parametrize(
    "dataset",
    [
        layers(("time", "level", "lat", "lon"), level=[1000.0, 850.0, 500.0]),
        layers(("time", "level", "lat", "lon")),
        layers(("level", "lat", "lon", "time"), level=["low", "mid", "high"]),
        layers(("time", "level", "lat", "lon")).assign(v=lambda d: d["u"] + 1000),
        layers(("time", "level", "band", "lat", "lon")),
        layers(("time", "level", "lat", "lon")).assign(top=(("level", "lat", "lon"), np.full((3, 4, 3), -7.0))),
        layers(("time", "one", "lat", "lon"), one=[2.0]),
        layers(("time", "level", "lat", "lon"), level=[1, 1, 2]),
    ],
)
def test_levels_become_variables_and_keep_every_value(dataset):
    panel = mended(dataset)
    for name in ("u", *{"v", "top"} & set(dataset.data_vars)):
        parts = [
            v.values.ravel() for n, v in panel.data_vars.items() if str(n) == name or str(n).startswith(f"{name}_")
        ]
        np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.sort(dataset[name].values.ravel()))


@pytest.mark.parametrize("land", [0.0, 0.5])
@pytest.mark.parametrize(
    ("dims", "kind"),
    [(("time",), "float32"), (("time",), "int64"), (("time",), "bool"), (("lat",), "float64"), (("lon",), "float64"),
     (("time", "lat"), "float64"), (("lon", "time"), "float64"), (("member", "time"), "float64")],
)  # fmt: skip
def test_numbers_over_a_part_of_the_dims_are_given_to_all_cells(dims, kind, land):
    lattice = field(land=land).assign_coords(member=[0, 1])
    shape = [lattice.sizes[d] for d in dims]
    part = xr.DataArray(np.arange(np.prod(shape)).reshape(shape).astype(kind), dims=dims, attrs={"units": "1"})
    panel = stgate.from_lattice(lattice.assign(h=part))
    assert panel.sizes["node"] == stgate.from_lattice(lattice).sizes["node"]  # land stays land
    assert panel["h"].attrs == {"units": "1"} and panel["h"].dtype.kind == "f"
    back = stgate.to_lattice(panel)
    at = {"lat": back["h"]["lat"], "lon": back["h"]["lon"]}
    expected = part.assign_coords({d: lattice[d] for d in dims}).sel({d: v for d, v in at.items() if d in dims})
    first = back["h"].where(back["sst"].notnull().any("time"))
    assert bool((first.isnull() | (first == expected)).all()) and bool(first.notnull().any())


def test_what_is_over_time_but_not_over_the_lattice_is_left_out_with_a_warning():
    lattice = field()
    soil = lattice.assign(soil=(("time", "layer"), np.ones((5, 2))))
    with pytest.warns(PanelWarning, match="`soil`: has the dimension 'layer', and is not over the lattice; left out"):
        assert "soil" not in stgate.from_lattice(soil)
    bounded = lattice.assign(time_bnds=(("time", "bnds"), np.ones((5, 2))), crs=7)
    bounded["time"].attrs["bounds"] = "time_bnds"
    assert set(stgate.from_lattice(bounded).data_vars) == {"sst", "depth"}  # silently: they describe the axes


def test_other_nodes_come_from_no_lattice(panel):
    with pytest.raises(PanelError, match="are not from a lattice"):
        stgate.to_lattice(panel)
