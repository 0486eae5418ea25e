"""Numbers come back from a file as they were written, whatever their units."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from helpers import make_forecast, make_panel, model_time_panel
from hypothesis import given, settings
from hypothesis import strategies as st

from stgate.errors import StoreError
from stgate.io import open_panel
from stgate.io.store import open_dataset, open_forecast, open_lazily, write

UNITS = [
    *("s", "sec", "seconds", "min", "minutes", "h", "hours", "d", "days", "D", "ms", "milliseconds", "us"),
    *("microseconds", "ns", "nanoseconds", "weeks", "month", "months", "years", "days since 2020-01-01"),
    *("hours since 1900-01-01 00:00", "1", "", "K", "%"),
]


def panel_with(units):
    """Return a panel whose variable, node coordinate and node variable have some units."""
    panel = make_panel(steps=6)
    attrs = {"units": units} if units else {}
    numbers = np.array([1.0, 2.5, 3.0])
    return panel.assign(
        y=panel["y"].assign_attrs(attrs), delay=("node", numbers, attrs), u=panel["u"].astype("float64")
    ).assign_coords(height=("node", numbers * 2, attrs))


@given(units=st.sampled_from(UNITS) | st.text("abcdhms0123 -^", max_size=8), suffix=st.sampled_from([".nc", ".zarr"]))
@settings(max_examples=40, deadline=None)
def test_any_unit_comes_back_with_its_values(units, suffix, tmp_path_factory):
    panel = panel_with(units)
    path = write(panel, tmp_path_factory.mktemp("units") / f"panel{suffix}")
    made = open_panel(path)
    for name in ("y", "u", "delay", "height"):
        assert made[name].dtype == panel[name].dtype
        assert made[name].attrs.get("units") == panel[name].attrs.get("units")
        np.testing.assert_array_equal(made[name].values, panel[name].values)
    assert "stgate_number" not in str(made)


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
@pytest.mark.parametrize("units", ["days", "minutes", "s", "months"])
def test_model_time_comes_back(units, suffix, tmp_path):
    panel = model_time_panel(units=units)
    made = open_panel(write(panel, tmp_path / f"panel{suffix}"))
    xr.testing.assert_identical(made["time"], panel["time"])


@pytest.mark.parametrize("units", ["days", "hours since 2000-01-01"])
def test_lazily_opened_stores_have_the_same_values(units, tmp_path):
    panel = panel_with(units)
    path = write(panel, tmp_path / "panel.zarr")
    xr.testing.assert_identical(open_lazily(path).load().drop_encoding(), open_dataset(path).drop_encoding())
    assert open_lazily(path)["delay"].dtype == np.float64


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_lead_times_are_durations_as_they_were(suffix, tmp_path):
    forecast = make_forecast()
    made = open_forecast(write(forecast, tmp_path / f"forecast{suffix}"))
    assert made["lead_time"].dtype == forecast["lead_time"].dtype
    np.testing.assert_array_equal(made["lead_time"].values, forecast["lead_time"].values)


UNITS_OF_LEADS = [
    *[(name, 1.0) for name in ("hours", "hour", "Hours", "h", "hr")],
    *[(name, 60.0) for name in ("minutes", "minute", "min")],
    *[(name, 1 / 24) for name in ("days", "day", "d")],
    *[(name, 3600.0) for name in ("seconds", "s", "sec")],
    *[("weeks", 1 / 168), ("ms", 3.6e6), ("ns", 3.6e12)],
]


@pytest.mark.parametrize(("units", "step"), UNITS_OF_LEADS)
def test_lead_times_of_another_tool_are_durations(units, step, tmp_path):
    forecast = make_forecast()
    hours = forecast["lead_time"].values / np.timedelta64(1, "h")
    other = forecast.assign_coords(lead_time=("lead_time", hours * step, {"units": units}))
    assert forecast["init_time"].dtype.kind == "M"
    other.to_netcdf(tmp_path / "other.nc")
    made = open_forecast(tmp_path / "other.nc")
    assert (made["lead_time"].values == pd.TimedeltaIndex(forecast["lead_time"].values)).all()


@pytest.mark.parametrize(
    "units", ["days since", "since", "days  since 2000-01-01", "hours SINCE 2000", "months since 0"]
)
@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_units_that_begin_like_those_of_dates(units, suffix, tmp_path):
    panel = panel_with(units)
    made = open_panel(write(panel, tmp_path / f"panel{suffix}"))
    xr.testing.assert_identical(made[["y", "delay"]].drop_encoding(), panel[["y", "delay"]])


@pytest.mark.parametrize("attrs", [{"units": "hours since 2000-01-01"}, {"calendar": "noleap"}, {"units": "h"}])
@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_attributes_of_dates_do_not_keep_a_panel_from_being_written(attrs, suffix, tmp_path):
    panel = make_panel(steps=6)
    panel["time"].attrs = attrs | {"long_name": "kept"}
    made = open_panel(write(panel, tmp_path / f"panel{suffix}"))
    assert (made["time"] == panel["time"]).all() and made["time"].attrs["long_name"] == "kept"
    assert panel["time"].attrs == attrs | {"long_name": "kept"}


@pytest.mark.parametrize(
    "attrs",
    [
        {"scale_factor": 0.1},
        {"add_offset": 5.0},
        {"missing_value": 3.0},
        {"_FillValue": 3.0},
        {"missing_value": [1, 3]},
    ],
)
@pytest.mark.parametrize("name", ["y", "delay", "height"])
def test_attributes_that_reading_would_apply_are_refused_and_the_advice_keeps_the_values(attrs, name, tmp_path):
    panel = panel_with("m")
    panel[name] = xr.full_like(panel[name], 3.0).assign_attrs(attrs)
    with pytest.raises(StoreError, match=f"`{name}`: its attribute .* would be applied") as refused:
        write(panel, tmp_path / "panel.nc")
    exec(str(refused.value).split("remove it with ")[1], {"panel": panel})
    assert (open_panel(write(panel, tmp_path / "panel.nc"))[name] == 3.0).all()


@pytest.mark.parametrize("attrs", [{"scale_factor": 1.0}, {"add_offset": 0}, {"missing_value": -9.0}])
def test_attributes_that_change_nothing_are_written(attrs, tmp_path):
    panel = panel_with("m")
    panel["delay"] = panel["delay"].assign_attrs(attrs)
    np.testing.assert_array_equal(open_panel(write(panel, tmp_path / "panel.nc"))["delay"], panel["delay"])


@pytest.mark.parametrize("value", [None, {"a": 1}, True, 1j, 2**70, np.datetime64("2024"), [[1], [2, 3]]])
def test_attributes_that_files_do_not_hold_are_refused_in_one_line(value, tmp_path):
    panel = make_panel(steps=6).assign_attrs(odd=value)
    with pytest.raises(StoreError, match="files do not hold all of it") as refused:
        write(panel, tmp_path / "panel.nc")
    assert "\n" not in str(refused.value) and list(tmp_path.iterdir()) == []
