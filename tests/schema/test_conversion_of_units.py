"""Units are converted by pint where that is certain, and refused where not."""

import sys

import numpy as np
import pytest
import xarray as xr
from helpers import make_data, make_panel

from stgate.errors import PanelError, RequestError
from stgate.schema import units
from stgate.schema.units import factors, in_units, other_units

CONVERTED = [
    ("ug/m3", "mg/m3", 0.001, 0),
    ("µg m-3", "g/m^3", 1e-6, 0),
    ("degC", "K", 1, 273.15),
    ("°C", "degF", 1.8, 32),
    ("degF", "K", 5 / 9, 255.372222222),
    ("K/km", "degC m-1", 0.001, 0),
    ("m s-1", "km/h", 3.6, 0),
    ("knots", "m/s", 0.514444444, 0),
    ("mph", "m s**-1", 0.44704, 0),
    ("Pa", "hPa", 0.01, 0),
    ("hPa", "mbar", 1, 0),
    ("%", "1", 0.01, 0),
    ("kWh", "MJ", 3.6, 0),
    ("MVA", "kVA", 1000, 0),
    ("mSv/h", "uSv/h", 1000, 0),
    ("Gt", "kg", 1e12, 0),
    ("W m-2", "MJ m-2 day-1", 0.0864, 0),
    ("m**3 s**-1", "L/s", 1000, 0),
    ("g kg-1", "1", 0.001, 0),
    ("J kg-1", "m2 s-2", 1, 0),
    ("count", "1", 1, 0),
    ("counts/s", "Hz", 1, 0),
    ("ppm", "ppb", 1000, 0),
    ("degrees_north", "rad", np.pi / 180, 0),
    ("ft", "m", 0.3048, 0),
    ("inch/h", "mm h-1", 25.4, 0),
    ("mm/year", "mm/month", 1 / 12, 0),
]
NOT_CERTAIN = [
    ("kg m-2 s-1", "mm/day"),
    ("ppb", "ug/m3"),
    ("W m-2", "J m-2"),
    ("dBZ", "1"),
    ("dB", "1"),
    ("gpm", "m"),
    ("DU", "mol m-2"),
    ("cases", "1"),
    ("veh/5min", "veh/h"),
    ("C", "K"),
    ("F", "degC"),
    ("ms-1", "m s-1"),
    ("rpm", "Hz"),  # turns or radians
    ("degrees", "%"),
    ("mol mol-1", "kg kg-1"),
    ("m3 m-3", "%"),
    ("ppm", "1"),
    ("ppt", "g kg-1"),
    ("mm/month", "mm/day"),
    ("ton", "kg"),
    ("Mm3", "m3"),  # millions of them
    ("mt", "kg"),
    ("nm", "km"),
    ("bbl", "L"),
    ("hp", "kW"),
    ("oz", "g"),
    ("kcal", "J"),
    ("Mgal/d", "m3/s"),
    ("kton", "kg"),
    ("Mbbl", "m3"),
    ("kVA", "kW"),
    ("uSv/h", "uGy/h"),
    ("g0", "m/s2"),
    ("m^0", "1"),
    ("1e-6 m", "mm"),
    ("W/m2 K", "kW/m2 K"),
    ("kg/(m2 s)", "g/m2/s"),
    ("import os", "1"),
]


@pytest.mark.parametrize(("unit", "wanted", "slope", "offset"), CONVERTED)
def test_units_of_one_quantity_are_converted_there_and_back(unit, wanted, slope, offset):
    pytest.importorskip("pint", reason="pint converts the units")
    assert factors(unit, wanted) == pytest.approx((slope, offset), rel=1e-9)
    given = xr.DataArray([-40.0, 0.1, 3e5], dims="node", attrs={"units": unit, "long_name": "kept"})
    there = in_units(given, wanted, "`x`")
    assert there.attrs == {"units": wanted, "long_name": "kept"}
    np.testing.assert_allclose(there, slope * given + offset, rtol=1e-9)
    np.testing.assert_allclose(in_units(there, unit, "`x`"), given, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("unit", "wanted"), NOT_CERTAIN)
def test_what_is_not_certain_is_refused(unit, wanted):
    pytest.importorskip("pint", reason="pint converts the units")
    for one, other in ((unit, wanted), (wanted, unit)):
        with pytest.raises(RequestError, match=r"quantities|pint knows|several units|written|logarithm"):
            factors(one, other)


def test_float32_is_converted_in_float64_and_text_not_at_all():
    pytest.importorskip("pint", reason="pint converts the units")
    many = xr.DataArray(np.float32([16777216.0, 0.1]), attrs={"units": "Pa"})
    assert in_units(many, "hPa", "`p`").values.tolist() == [167772.16, 0.01 * float(np.float32(0.1))]
    assert in_units(xr.DataArray([1, 250], attrs={"units": "g"}), "kg", "`m`").values.tolist() == [0.001, 0.25]
    with pytest.raises(RequestError, match="`m`: is in 'g', wanted is 'kg'; it holds <U1, not numbers"):
        in_units(xr.DataArray(["1", "2"], attrs={"units": "g"}), "kg", "`m`")


@pytest.mark.parametrize(
    "about",
    [
        {"units_metadata": "temperature: difference"},
        {"standard_name": "air_temperature_anomaly"},
        {"cell_methods": "time: standard_deviation"},
    ],
)
def test_differences_of_temperature_have_no_offset(about):
    pytest.importorskip("pint", reason="pint converts the units")
    given = xr.DataArray([1.0], attrs={"units": "degC", **about})
    assert in_units(given, "K", "`t`").item() == 1.0 and in_units(given, "degF", "`t`").item() == pytest.approx(1.8)


@pytest.mark.parametrize(("unit", "wanted"), [("", "K"), ("degC", ""), ("µg/m³", "ug m-3"), ("Celsius", "°C")])
def test_unknown_units_and_other_spellings_need_no_library(unit, wanted, monkeypatch):
    monkeypatch.setitem(sys.modules, "pint", None)
    given = xr.DataArray([1.0], attrs={"units": unit} if unit else {})
    assert in_units(given, wanted, "`x`").item() == 1.0


def test_without_pint_the_message_names_the_extra_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "pint", None)
    units._registry.cache_clear()
    with pytest.raises(
        RequestError, match=r"`x`: is in 'g', wanted is 'kg'; .*pip install 'stgate\[units\]'"
    ) as raised:
        in_units(xr.DataArray([1.0], attrs={"units": "g"}), "kg", "`x`")
    assert "\n" not in str(raised.value)


def test_a_spec_holds_all_units_and_one_of_an_earlier_version_is_still_the_same():
    panel = make_panel(steps=160)
    panel["elevation"] = ("node", [10.0, 20.0, 30.0], {"units": "m"})
    options = {"future_covariates": ["u"], "static_covariates": ["elevation"]}
    spec = make_data(panel, **options).spec
    assert spec.units == {"y": "ug/m3", "u": "1", "elevation": "m"}
    earlier = type(spec).from_dict({**spec.to_dict(), "units": {"y": "µg m-3"}})
    assert earlier == spec and spec == earlier
    other = type(spec).from_dict({**spec.to_dict(), "units": {**spec.units, "elevation": "ft"}})
    assert (
        other != spec and other.differences(spec) == ["units"] and other_units(other.units, spec.units) == ["elevation"]
    )


def test_data_that_follow_a_fit_take_its_units():
    pytest.importorskip("pint", reason="pint converts the units")
    panel = make_panel(steps=160)
    given = panel.assign(y=(panel["y"].astype("float64") / 1000).assign_attrs(units="mg/m3"))
    own, data = make_data(panel, future_covariates=["u"]), make_data(given, future_covariates=["u"])
    assert data.spec != own.spec
    data.follow(own.spec)
    assert data.spec == own.spec
    np.testing.assert_allclose(data.panel["y"], panel["y"], rtol=1e-6)


def test_model_time_in_another_unit_is_refused():
    panel = make_panel(steps=160).assign_coords(time=("time", np.arange(160.0), {"units": "days"}))
    spec = make_data(panel, calendar=()).spec
    for unit in ("days", "d", ""):
        spec.check(panel.assign_coords(time=panel["time"].assign_attrs(units=unit)))
    with pytest.raises(PanelError, match="`time`: is in 'hours', wanted is 'days'"):
        spec.check(panel.assign_coords(time=panel["time"].assign_attrs(units="hours")))
