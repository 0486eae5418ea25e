"""Truth in other units than the forecast: converted, or refused, never compared as it is."""

import numpy as np
import pytest
import xarray as xr
from helpers import make_forecast, truth_of

import stgate
from stgate.errors import RequestError


def celsius(values: xr.DataArray) -> xr.DataArray:
    return (values - 273.15).assign_attrs(units="degC")


@pytest.mark.parametrize(
    ("unit", "slope", "offset"),
    [("degC", 1, -273.15), ("degF", 1.8, -459.67), ("mK", 1000, 0), ("kelvin", 1, 0), ("", 1, 0)],
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_truth_in_another_unit_scores_like_that_in_the_right_one(unit, slope, offset, dtype):
    if unit in ("degC", "degF", "mK"):
        pytest.importorskip("pint", reason="pint converts the units")
    forecast = make_forecast()
    truth = truth_of(forecast)["y"]
    given = (slope * truth + offset).astype(dtype).assign_attrs(units=unit)
    scores = stgate.evaluate(forecast, truth=given)
    xr.testing.assert_allclose(scores, stgate.evaluate(forecast, truth=truth), rtol=1e-4)


def test_truth_of_members_and_of_the_forecast_itself_are_converted():
    pytest.importorskip("pint", reason="pint converts the units")
    one = make_forecast(missing=0.0)
    forecast = xr.concat([one, one + 1.0], "member", data_vars="all").assign_coords(member=[0, 1])
    forecast["y"].attrs["units"] = "K"
    truth = xr.concat([truth_of(one), truth_of(one) + 1.0], "member").assign_coords(member=[0, 1])["y"]
    xr.testing.assert_allclose(
        stgate.evaluate(forecast, truth=celsius(truth), by="member"),
        stgate.evaluate(forecast, truth=truth, by="member"),
    )
    odd = forecast.assign(y_truth=celsius(forecast["y_truth"]), y_mean=celsius(forecast["y_mean"]))
    xr.testing.assert_allclose(stgate.evaluate(odd), stgate.evaluate(forecast))


@pytest.mark.parametrize("unit", ["ug/m3", "W", "1", "dBZ", "C"])
def test_truth_of_another_quantity_is_refused(unit):
    forecast = make_forecast()
    given = truth_of(forecast)["y"].assign_attrs(units=unit)
    with pytest.raises(RequestError, match=rf"truth `y`: is in '{unit}', wanted is 'K'"):
        stgate.evaluate(forecast, truth=given)
    with pytest.raises(RequestError, match=rf"`y_truth`: is in '{unit}', wanted is 'K'"):
        stgate.evaluate(forecast.assign(y_truth=forecast["y_truth"].assign_attrs(units=unit)))


def test_truth_takes_the_place_in_the_unit_of_the_forecast():
    pytest.importorskip("pint", reason="pint converts the units")
    forecast = make_forecast(missing=0.0)
    made = stgate.evaluation.truth.with_truth(forecast, "y", celsius(truth_of(forecast)["y"]))
    assert made["y_truth"].attrs["units"] == "K"
    np.testing.assert_allclose(made["y_truth"], forecast["y_truth"])


def test_truth_over_model_time_in_another_unit_is_refused():
    forecast = make_forecast(step=0.5, every=1.5, missing=0.0)
    forecast["lead_time"].attrs["units"] = "days"
    truth = truth_of(forecast)["y"]
    for unit in ("days", "d", ""):
        stgate.evaluate(forecast, truth=truth.assign_coords(time=truth["time"].assign_attrs(units=unit)))
    with pytest.raises(RequestError, match="truth `time`: is in 'hours', wanted is 'days'"):
        stgate.evaluate(forecast, truth=truth.assign_coords(time=truth["time"].assign_attrs(units="hours")))
