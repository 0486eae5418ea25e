"""`stgate evaluate` with truth and forecasts in several units."""

import json

import pytest
from helpers import make_forecast, one_line, truth_of

import stgate


def test_the_truth_of_a_panel_is_converted_or_refused_in_one_line(stgate_command, tmp_path):
    forecast = make_forecast(missing=0.0)
    truth = truth_of(forecast)
    stgate.write(forecast, tmp_path / "f.nc")
    truth["seen"] = (truth["y"] - 273.15).assign_attrs(units="degC")
    truth["odd"] = truth["y"].assign_attrs(units="ug/m3")
    stgate.write(truth, tmp_path / "t.nc")
    about = ("evaluate", tmp_path / "f.nc", "--json", "--truth", tmp_path / "t.nc", "--truth-variable")
    one_line(stgate_command(*about, "odd"), "`y`", "'ug/m3'", "'K'")
    pytest.importorskip("pint", reason="pint converts the units")
    (code, out, err), (_, right, _) = stgate_command(*about, "seen"), stgate_command(*about, "y")
    assert code == 0, err
    assert json.loads(out)[0]["mae"] == pytest.approx(json.loads(right)[0]["mae"])


@pytest.mark.parametrize(("unit", "taken"), [("K", True), ("kelvin", True), ("", True), ("degC", False), ("mK", False)])
def test_forecasts_of_a_target_in_several_units_share_no_table(unit, taken, stgate_command, tmp_path):
    forecast = make_forecast()
    stgate.write(forecast, tmp_path / "a.nc")
    other = forecast.assign(y=forecast["y"].assign_attrs(units=unit))
    stgate.write(other, tmp_path / "b.nc")
    result = stgate_command("evaluate", tmp_path / "a.nc", tmp_path / "b.nc")
    if taken:
        assert result[0] == 0, result[2]
    else:
        one_line(result, "b.nc", "`y`", f"'{unit}'", "'K'", "one by one")


def test_forecasts_over_days_and_hours_of_model_time_share_no_table(stgate_command, tmp_path):
    forecast = make_forecast(step=0.5, every=1.5)
    for unit in ("days", "hours"):
        stgate.write(
            forecast.assign_coords(lead_time=forecast["lead_time"].assign_attrs(units=unit)), tmp_path / f"{unit}.nc"
        )
    one_line(stgate_command("evaluate", tmp_path / "days.nc", tmp_path / "hours.nc"), "`lead_time`", "one by one")
