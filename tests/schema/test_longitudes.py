"""Longitudes modulo 360: where they are compared, counted and mixed."""

import numpy as np
import pytest
import xarray as xr
from helpers import make_panel
from hypothesis import given
from hypothesis import strategies as st

from stgate.errors import PanelError, RequestError
from stgate.io.lattice import from_lattice, to_lattice
from stgate.panels import select
from stgate.panels.graph import knn_graph
from stgate.schema.longitudes import around, inside, is_longitude, meridian_of
from stgate.schema.panel import check_panel

WHOLE = st.integers(-720, 720)


@given(st.lists(WHOLE, min_size=1, max_size=5), WHOLE, st.integers(0, 359), st.integers(-2, 2))
def test_bounds_and_values_may_turn_by_whole_circles(values, low, width, turns):
    given = np.array(values, float)
    wanted = (np.mod(given - low, 360) <= width).tolist()
    assert inside(given, low, low + width).tolist() == wanted
    assert inside(given + 360 * turns, low, low + width).tolist() == wanted
    assert inside(given, low + 360 * turns, low + width + 360 * turns).tolist() == wanted
    assert inside(given, low, low + width - 360).tolist() == wanted  # eastwards, past the end of the convention


@given(st.lists(st.floats(-180, 179.999), min_size=1, max_size=6))
def test_ordinary_longitudes_within_half_a_circle_keep_their_bits(values):
    given = np.array(values)
    if given.max() - given.min() < 180:
        assert around(given, meridian_of(given)).tolist() == given.tolist()


@given(st.lists(WHOLE, min_size=1, max_size=6))
def test_values_around_a_meridian_are_the_same_in_every_convention(values):
    given = np.array(values, float)
    centre = meridian_of(given)
    assert around(given + 360, centre).tolist() == around(given, centre).tolist()


@pytest.mark.parametrize("name", ["lon", "longitude", "Lng"])
def test_longitudes_are_known_by_name_or_units(name):
    assert is_longitude(name, {}) and is_longitude("x0", {"units": "degrees_east"})
    assert not is_longitude("x", {"units": "m"})


@pytest.mark.parametrize(
    ("bounds", "kept"),
    [
        ((-15, 25), [0, 10, 350]),
        ((345, 385), [0, 10, 350]),
        ((350, 10), [0, 10, 350]),
        ((170, -170), [180]),
        ((0, 360), [0, 10, 180, 350]),
    ],
)
@pytest.mark.parametrize("turn", [0, 360])
def test_select_takes_bounds_of_either_convention(bounds, kept, turn):
    lon = np.array([0.0, 10.0, 180.0, 350.0])
    shown = lon if turn else np.where(lon > 180, lon - 360, lon)
    panel = xr.Dataset(
        {"y": (("time", "node"), np.zeros((3, 4), "float32"))},
        {"time": np.arange(3.0), "node": list("abcd"), "lat": ("node", np.zeros(4)), "lon": ("node", shown)},
    )
    assert sorted(np.mod(select(panel, lon=bounds)["lon"].values, 360)) == kept


def test_two_conventions_in_one_panel_are_refused_and_the_mend_passes():
    panel = make_panel(missing=0)
    lon = np.linspace(-10, 350, panel.sizes["node"])
    panel = panel.assign_coords(lat=("node", np.zeros(len(lon))), lon=("node", lon))
    with pytest.raises(PanelError, match="two ways") as refused:
        check_panel(panel)
    fix = str(refused.value).split("take one: ")[1]
    check_panel(eval(fix, {"panel": panel}))  # the message's own words


@pytest.mark.parametrize(("name", "value"), [("lon", -9999.0), ("lon", 9.97e36), ("lat", -999.0), ("lat", 116.0)])
@pytest.mark.parametrize("use", [check_panel, lambda panel: knn_graph(panel, k=1)])
def test_degrees_that_are_no_place_are_refused_and_the_mend_marks_them(name, value, use):
    panel = make_panel(steps=4)
    panel[name][1] = value
    with pytest.raises(PanelError, match=f"`{name}`: .* beyond") as refused:
        use(panel)
    mended = eval(str(refused.value).rsplit("with ", 1)[1], {"panel": panel})
    check_panel(mended)
    assert np.isnan(mended[name].values).tolist() == [False, True, False]


def test_longitudes_of_ocean_models_are_taken():
    for lon in ([74.0, 200.0, 434.0], [-280.0, -100.0, 80.0]):
        check_panel(make_panel(steps=4).assign_coords(lon=("node", lon)))


@pytest.mark.parametrize("name", ["lon", "lat"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("turn", [0, 360, -360])
def test_bounds_at_a_node_hold_it_in_every_precision(name, dtype, turn):
    degrees = np.array([-0.7, -0.3, 0.1, 0.4])
    turned = degrees + (turn if name == "lon" else 0)
    panel = make_panel(steps=4, nodes="abcd", missing=0).assign_coords({name: ("node", turned.astype(dtype))})
    for low, high, kept in ((-0.3, 0.1, ["b", "c"]), (-0.7, -0.3, ["a", "b"]), (0.4, 0.4, ["d"])):
        assert select(panel, **{name: (low, high)})["node"].values.tolist() == kept


@pytest.mark.parametrize("name", ["lon", "lat"])
@pytest.mark.parametrize("bounds", [(1,), (1, 2, 3), 7, "ab", (None, 1), (np.nan, 1), (5, "x"), None])
def test_bounds_that_are_not_two_numbers_are_refused(name, bounds):
    with pytest.raises(RequestError, match=rf"^{name} [^\n]*$"):
        select(make_panel(steps=4), **{name: bounds})


@pytest.mark.parametrize("lon", [[358.0, 359, 0, 1], [-2.0, -1, 0, 1], [0.0, 90, 180, 270]])
@pytest.mark.parametrize("attrs", [{"units": "degrees_east"}, {"standard_name": "longitude"}])
def test_axes_that_are_longitudes_by_their_attributes_turn_like_those_by_name(lon, attrs):
    values = np.arange(24.0).reshape(3, 2, 4)
    axes = {"time": np.arange(3.0), "y": [10.0, 11.0], "x": ("x", lon, attrs)}
    lattice = xr.Dataset({"u": (("time", "y", "x"), values)}, axes)
    panel = from_lattice(lattice)
    named = from_lattice(xr.Dataset({"u": lattice["u"].drop_attrs().rename(x="lon", y="lat")}))
    np.testing.assert_array_equal(knn_graph(panel, k=2).source, knn_graph(named, k=2).source)
    back = to_lattice(panel)
    assert back["u"].dims == ("time", "y", "x") and (back["u"] == lattice["u"]).all()
    assert back["x"].values.tolist() == lon
    plane = panel.rename(lon="x", lat="y")
    with pytest.raises(PanelError, match="longitudes") as refused:
        knn_graph(plane, k=2)
    mended = eval(str(refused.value).rsplit("with ", 1)[1], {"panel": plane})
    np.testing.assert_array_equal(knn_graph(mended, k=2).source, knn_graph(named, k=2).source)


@pytest.mark.parametrize("attrs", [{}, {"units": "km"}, {"units": "degrees"}, {"standard_name": "grid_longitude"}])
def test_axes_of_a_plane_stay_those_of_a_plane(attrs):
    lattice = xr.Dataset(
        {"u": (("time", "y", "x"), np.zeros((3, 2, 3)))},
        {"time": np.arange(3.0), "y": [0.0, 1], "x": ("x", [0.0, 1, 2], attrs)},
    )
    panel = from_lattice(lattice)
    assert {"x", "y"} <= set(panel.coords) and "lon" not in panel.coords
    assert len(knn_graph(panel, k=2).source) == 12


def test_bounds_may_be_open():
    panel = make_panel(steps=4, nodes="abc", missing=0).assign_coords(lat=("node", [10.0, 20.0, 30.0]))
    assert select(panel, lat=(-np.inf, 20))["node"].values.tolist() == ["a", "b"]
    assert select(panel, lat=(20, np.inf))["node"].values.tolist() == ["b", "c"]
    assert select(panel, lon=(-np.inf, np.inf)).sizes["node"] == 3
