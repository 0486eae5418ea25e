"""Units are compared as units, not as texts; truth in other units is refused."""

import pytest
from helpers import make_data, make_forecast, make_panel

import stgate
from stgate.errors import RequestError
from stgate.schema.units import check_unit, same_unit

SAME = [
    ("ug/m3", "ug m-3"),
    ("µg/m³", "ug/m3"),
    ("μg m^-3", "µg m⁻³"),
    ("m s-1", "m/s"),
    ("m s**-1", "m.s-1"),
    ("kg m-2 s-1", "kg/m2/s"),
    ("W m-2", "W/m^2"),
    ("degC", "°C"),
    ("Celsius", "degree_C"),
    ("kelvin", "K"),
    ("degrees_north", "degree_N"),
    ("days", "d"),
    ("kg m−2 s⁻¹", "kg/m²/s"),
    ("W m-2 sr-1", "W sr-1 m-2"),
    ("metres/second", "m s-1"),
    ("unitless", "1"),
    ("5 min", "5 min"),
    ("mg/100mL", "mg/100mL"),
    ("1/m", "m-1"),
    ("1", "1"),
    ("%", "%"),
]
OTHER = [
    ("ug/m3", "mg/m3"),
    ("degC", "K"),
    ("m/s", "m/s2"),
    ("m", "km"),
    ("kg m-2", "kg m2"),
    ("%", "1"),
    ("h", "d"),
    ("W/m2 K", "W m-2 K"),
    ("C", "degC"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_ways_of_writing_are_the_same_unit(one, other):
    assert same_unit(one, other) and same_unit(other, one)


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_other_units_are_not(one, other):
    assert not same_unit(one, other) and not same_unit(other, one)


def test_truth_in_another_unit_is_refused_and_without_one_is_taken():
    forecast = make_forecast()
    name = "y"
    forecast[name].attrs["units"] = "ug/m3"
    truth = make_panel()["y"]
    with pytest.raises(RequestError, match=r"truth `y`: is in 'K', wanted is 'ug/m3'"):
        stgate.evaluate(forecast, truth=truth.assign_attrs(units="K"))
    check_unit(truth, "ug/m3", "truth")  # its unit is not known
    check_unit(truth.assign_attrs(units="mg/m3"), "", "truth")


def test_a_panel_in_another_way_of_writing_is_taken():
    panel = make_panel()
    panel["y"].attrs["units"] = "ug m-3"
    spec = make_data(panel).spec
    spec.check(panel.assign(y=panel["y"].assign_attrs(units="µg/m³")))
