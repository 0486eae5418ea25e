"""Panels merged on time; nodes selected by label and by box."""

import numpy as np
import pytest
import xarray as xr
from helpers import make_panel

from stgate.errors import PanelError, RequestError
from stgate.panels import merge, select
from stgate.panels.graph import Graph, knn_graph


def test_panels_of_other_variables_nodes_and_times_become_one():
    whole = make_panel(missing=0)
    parts = [
        whole[["y"]].isel(time=slice(0, 250), node=[0, 1]),
        whole[["y"]].isel(time=slice(200, 400), node=[0, 1]),  # they overlap and agree
        whole[["y"]].isel(node=[2]),
        whole[["u"]],
    ]
    xr.testing.assert_equal(merge(parts)[["y", "u"]], whole)


def test_what_no_panel_tells_is_missing():
    whole = make_panel(missing=0)
    merged = merge([whole.isel(time=slice(0, 100), node=[0]), whole.isel(time=slice(60, 200), node=[1])])
    assert merged["y"].isnull().sum() == 100 + 60
    assert merged["y"].sel(node="a").isel(time=slice(100, None)).isnull().all()


def test_panels_that_contradict_are_refused_by_name():
    panel = make_panel(missing=0)
    other = panel.copy(deep=True)
    other["y"][5:8, 1] += 1
    with pytest.raises(PanelError, match="`y`: two panels differ in 3 entries"):
        merge([panel, other])
    with pytest.raises(PanelError, match=r"`y`: is in 'K', wanted is 'ug/m3'"):
        merge([panel, panel.assign(y=panel["y"].assign_attrs(units="K"))])
    with pytest.raises(PanelError, match="calendar time and some model time"):
        merge([panel, panel.assign_coords(time=np.arange(400.0))])
    with pytest.raises(PanelError, match="time jumps"):
        merge([panel.isel(time=slice(0, 10)), panel.isel(time=slice(20, 30))])
    with pytest.raises(RequestError, match="no panels"):
        merge([])


def in_milligrams(panel):
    return panel.assign(y=(panel["y"].astype("float64") / 1000).assign_attrs(units="mg/m3"))


def km_and_m(panel):
    """A panel with elevation in kilometres, and the same in metres."""
    km = panel.assign_coords(elevation=("node", [0.1, 0.2, 0.3], {"units": "km"}))
    return km, panel.assign_coords(elevation=("node", [100.0, 200.0, 300.0], {"units": "m"}))


@pytest.mark.parametrize(
    "cut",
    [
        lambda a, b: [a.isel(time=slice(0, 200)), b.isel(time=slice(200, None))],  # by time
        lambda a, b: [a.isel(node=[0]), b.isel(node=[1, 2])],  # by node
        lambda a, b: [a[["y"]], b],  # by variable, all entries twice
        lambda a, b: [a.isel(time=slice(0, 250)), b.isel(time=slice(150, None)), a.isel(node=[1])],
        lambda a, b: [a.drop_vars("y"), a.isel(node=[2]), b.isel(time=slice(5, None)), a.isel(time=slice(0, 5))],
    ],
)
def test_panels_in_other_units_are_merged_in_that_of_the_first(cut):
    pytest.importorskip("pint", reason="pint converts the units")
    panel = make_panel()
    merged = merge(cut(panel, in_milligrams(panel)))
    assert merged["y"].attrs["units"] == "ug/m3"
    xr.testing.assert_allclose(merged[["y", "u"]], panel[["y", "u"]], rtol=1e-6)


def test_coordinates_and_offsets_are_converted_too_and_real_differences_are_found():
    pytest.importorskip("pint", reason="pint converts the units")
    km, m = km_and_m(make_panel(missing=0))
    np.testing.assert_allclose(merge([km, m])["elevation"], km["elevation"])
    kelvin = km.assign(y=(km["y"] + np.float32(273.15)).assign_attrs(units="K"))
    celsius = km.assign(y=km["y"].assign_attrs(units="degC"))
    for pair in ([celsius, kelvin], [kelvin, celsius]):
        np.testing.assert_allclose(merge(pair)["y"], pair[0]["y"], rtol=1e-6)
    kelvin["y"][3, 1] += 1
    with pytest.raises(PanelError, match="`y`: two panels differ in 1 entries"):
        merge([celsius, kelvin])


def test_model_times_in_other_units_are_not_merged():
    panel = make_panel(missing=0).assign_coords(time=("time", np.arange(400.0), {"units": "days"}))
    assert merge([panel.isel(node=[0]), panel.isel(node=[1, 2])]).sizes["node"] == 3
    hours = panel.assign_coords(time=panel["time"].assign_attrs(units="hours"))
    with pytest.raises(PanelError, match=r"`time`: is in 'hours', wanted is 'days'"):
        merge([panel, hours.isel(time=slice(10, None))])


def test_nodes_are_selected_by_label_and_box_with_the_edges_between_them():
    panel = make_panel()
    panel = knn_graph(panel, 2).add_to(panel)
    assert select(panel, ["c", "a"])["node"].values.tolist() == ["c", "a"]
    boxed = select(panel, lat=(40.05, 40.3), lon=(116.0, 117.0))
    assert boxed["node"].values.tolist() == ["b", "c"]
    assert sorted(zip(Graph.of(boxed).source, Graph.of(boxed).target, strict=True)) == [(0, 1), (1, 0)]
    across = panel.assign_coords(lon=("node", [179.0, -179.0, 0.0]))
    assert select(across, lon=(170, -170))["node"].values.tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nodes": ["d"]}, "no 'd'"),
        ({"lats": (0, 1)}, "did you mean lat"),
        ({"lat": (0, 1)}, "no node is left"),
        ({"without": ["c", "d"]}, "no 'd'"),
    ],
)
def test_a_selection_of_nothing_is_named(options, message):
    with pytest.raises(PanelError, match=message):
        select(make_panel(), **options)


@pytest.mark.parametrize(
    ("first", "second", "merged"),
    [
        ([350.1, 355.0], [-9.9, -5.0], [350.1, 355.0]),
        ([-9.9, -5.0], [350.1, 355.0], [-9.9, -5.0]),
        ([170.0, 190.0], [170.0, -170.0], [170.0, 190.0]),
        ([10.0, 20.0], [10.0, 20.0], [10.0, 20.0]),
    ],
)
@pytest.mark.parametrize("name", ["lon", "longitude"])
def test_the_same_places_in_two_ways_to_count_longitudes_are_one(name, first, second, merged):
    panel = make_panel(missing=0, nodes=("a", "b")).drop_vars("lon")
    parts = [panel[[v]].assign_coords({name: ("node", lon)}) for v, lon in (("y", first), ("u", second))]
    assert merge(parts)[name].values.tolist() == merged


@pytest.mark.parametrize(
    ("longitudes", "merged"),
    [
        ([[10.0], [350.0], [-5.0]], [10.0, 350.0, 355.0]),
        ([[10.0], [-5.0], [200.0]], [10.0, -5.0, -160.0]),
        ([[-170.0], [170.0], [190.0]], [-170.0, 170.0, -170.0]),
        ([[0.0], [359.0], [1.0]], [0.0, 359.0, 1.0]),
    ],
)
def test_nodes_of_several_panels_are_counted_as_the_first_that_tells_how(longitudes, merged):
    whole = make_panel(missing=0)
    parts = [whole[["y"]].isel(node=[i]).assign_coords(lon=("node", lon)) for i, lon in enumerate(longitudes)]
    assert merge(parts)["lon"].values.tolist() == merged


def test_other_coordinates_may_have_any_values():
    whole = make_panel(missing=0)
    parts = [whole[["y"]].isel(node=[i]).assign_coords(x=("node", [x])) for i, x in enumerate((350.0, -10.0, 5.0))]
    assert merge(parts)["x"].values.tolist() == [350.0, -10.0, 5.0]
