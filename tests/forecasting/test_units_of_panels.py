"""Panels in other units than those of the fit: converted when they are forecast from, or refused."""

import warnings

import numpy as np
import pytest
import xarray as xr
from helpers import FIELD_NODES, field_data, field_panel, fitted, make_data, make_panel, small_field

import stgate
from stgate.errors import PanelError, RequestError
from stgate.models import Ridge


def in_unit(array: xr.DataArray, unit: str, slope: float, offset: float = 0.0) -> xr.DataArray:
    return (slope * array.astype("float64") + offset).assign_attrs(units=unit)


def panel_of(**options) -> xr.Dataset:
    """A panel of a target in ug/m3, a temperature in K, a wind in m/s and heights in m."""
    panel = make_panel(steps=200, **options)
    wind = (panel["u"] * 2 + 5).assign_attrs(units="m/s")
    elevation = ("node", [10.0, 250.0, 1200.0], {"units": "m"})
    return panel.assign(u=(panel["u"] + 280).assign_attrs(units="K"), wind=wind).assign_coords(elevation=elevation)


START = "2020-01-07"
OTHERS = {
    "y": ("mg/m3", 0.001, 0.0),
    "u": ("degC", 1.0, -273.15),
    "wind": ("km/h", 3.6, 0.0),
    "elevation": ("ft", 1 / 0.3048, 0.0),
}


@pytest.fixture(scope="module")
def ridge():
    panel = panel_of()
    options = {"past_covariates": ["wind"], "future_covariates": ["u"], "static_covariates": ["elevation"]}
    data = make_data(panel, **options)
    model = fitted(Ridge(), data)
    stgate.calibrate(model, data, levels=[0.5])
    return model, panel, options


@pytest.mark.parametrize("changed", [["y"], ["u"], ["wind"], ["elevation"], list(OTHERS)])
def test_a_forecast_from_a_panel_in_other_units_is_the_same(ridge, changed):
    pytest.importorskip("pint", reason="pint converts the units")
    model, panel, options = ridge
    given = panel.assign({name: in_unit(panel[name], *OTHERS[name]) for name in changed})
    assert set(given.coords) == set(panel.coords)
    for act in (stgate.forecast, stgate.backtest):
        made, right = (act(model, one, start=START, levels=[0.5]) for one in (given, panel))
        xr.testing.assert_allclose(made, right, rtol=1e-5)
    covered = stgate.calibrate(model, make_data(given, **options), levels=[0.5])
    assert covered == pytest.approx(stgate.calibrate(model, make_data(panel, **options), levels=[0.5]), abs=0.01)


@pytest.mark.parametrize("changed", list(OTHERS))
def test_units_of_another_quantity_are_refused_for_all_inputs(ridge, changed):
    model, panel, _ = ridge
    given = panel.assign({changed: panel[changed].assign_attrs(units="W m-2")})
    with pytest.raises(PanelError, match=f"`{changed}`: is in 'W m-2', wanted is"):
        stgate.forecast(model, given)
    without = panel.assign({changed: panel[changed].assign_attrs(units="")})
    same = (stgate.forecast(model, given, start=START, levels=[0.5]) for given in (without, panel))
    xr.testing.assert_allclose(*same)


def test_a_panel_that_is_read_in_blocks_is_refused_and_its_heights_are_converted(ridge, tmp_path):
    pytest.importorskip("pint", reason="pint converts the units")
    model, panel, _ = ridge
    stgate.write(panel.assign(u=in_unit(panel["u"], *OTHERS["u"])), tmp_path / "p.zarr")
    with pytest.raises(PanelError, match="`u`: is in 'degC', wanted is 'K'; a panel that is read in blocks"):
        stgate.forecast(model, tmp_path / "p.zarr", max_memory=0.008)
    stgate.write(panel.assign(elevation=in_unit(panel["elevation"], *OTHERS["elevation"])), tmp_path / "q.zarr")
    made = stgate.forecast(model, tmp_path / "q.zarr", max_memory=0.008, levels=[0.5], start=START)
    right = stgate.forecast(model, panel, levels=[0.5], start=START)
    xr.testing.assert_allclose(made["y"], right["y"], rtol=1e-5)


def test_members_of_a_stack_share_all_units():
    panel = panel_of()
    first = fitted(Ridge(), make_data(panel, future_covariates=["u"]))
    celsius = panel.assign(u=in_unit(panel["u"], *OTHERS["u"]))
    second = fitted(Ridge(), make_data(celsius, future_covariates=["u"]))
    plain = fitted(Ridge(), make_data(panel))
    assert stgate.models.Stack(members=[plain, first]).spec.units == {"y": "ug/m3", "u": "K"}
    with pytest.raises(RequestError, match=r"has units {'u': 'degC'}, .* has {'u': 'K'}; fit both"):
        stgate.models.Stack(members=[plain, first, second])


@pytest.fixture(scope="module")
def field():
    panel = field_panel(steps=150)
    panel = panel.drop_vars(["lat", "lon"]).assign_coords(
        x=("node", np.arange(6.0), {"units": "km"}), y_km=("node", np.arange(6.0) % 3, {"units": "km"})
    )
    data = field_data(panel.sel(node=list(FIELD_NODES[:4])), places=["x", "y_km"])
    return fitted(small_field(), data), panel


def test_places_and_truth_of_a_reconstruction_are_converted(field):
    pytest.importorskip("pint", reason="pint converts the units")
    model, panel = field
    assert model.spec.units == {"y": "ug/m3", "x": "km", "y_km": "km"}
    metres = panel.assign_coords({name: in_unit(panel[name], "m", 1000.0) for name in ("x", "y_km")})
    seen = metres.where(~metres["node"].isin(FIELD_NODES[4:]))
    same = panel.where(~panel["node"].isin(FIELD_NODES[4:]))
    np.testing.assert_allclose(stgate.reconstruct(model, seen)["y"], stgate.reconstruct(model, same)["y"], rtol=1e-5)
    truth = panel.assign(y=in_unit(panel["y"], "mg/m3", 0.001))
    covered = stgate.calibrate_reconstruction(model, seen, truth, levels=[0.5])
    assert covered == pytest.approx(stgate.calibrate_reconstruction(model, same, panel, levels=[0.5]), abs=0.01)


def test_truth_of_another_quantity_calibrates_no_reconstruction(field):
    model, panel = field
    odd = panel.assign(y=panel["y"].assign_attrs(units="K"))
    with warnings.catch_warnings(), pytest.raises(RequestError, match="truth `y`: is in 'K', wanted is 'ug/m3'"):
        stgate.calibrate_reconstruction(model, panel, odd)
