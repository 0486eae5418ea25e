"""Dates of climate models: months stay months, and days that a calendar lacks become missing values."""

import re

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from helpers import one_line, refusal, says

import stgate
from stgate.errors import PanelError, PanelWarning
from stgate.io import convert_calendar, from_lattice
from stgate.schema.panel import check_panel, time_step

pytest.importorskip("cftime")


def on(times) -> xr.Dataset:
    values = np.arange(len(times), dtype="float32")[:, None]
    return xr.Dataset({"y": (("time", "node"), values)}, {"time": times, "node": ["a"]})


def model(start, periods, freq, calendar) -> xr.Dataset:
    return on(xr.date_range(start, periods=periods, freq=freq, calendar=calendar, use_cftime=True))


@pytest.mark.parametrize("calendar", ["noleap", "all_leap", "360_day"])
@pytest.mark.parametrize(("freq", "expected"), [("MS", "MS"), ("ME", "ME"), ("QS", "QS"), ("YS", "YS"), ("YE", "YE")])
def test_months_of_another_calendar_are_the_same_months(calendar, freq, expected):
    with pytest.warns(PanelWarning, match=f"converted from the {calendar} calendar"):
        panel = convert_calendar(model("2019-01-01", 30, freq, calendar))
    check_panel(panel)
    np.testing.assert_array_equal(panel["time"].values, pd.date_range("2019-01-01", periods=30, freq=expected).values)
    np.testing.assert_array_equal(panel["y"].values.ravel(), np.arange(30))
    assert calendar in panel["time"].attrs["comment"]


def test_middles_of_the_months_of_a_model_are_middles_of_ours():
    starts = xr.date_range("2019-01-01", periods=31, freq="MS", calendar="noleap", use_cftime=True)
    with pytest.warns(PanelWarning):
        panel = convert_calendar(on(starts[:-1] + (starts[1:] - starts[:-1]) / 2))
    check_panel(panel)
    assert panel["time"].values[13] == np.datetime64("2020-02-15T12:00")  # of 29 days
    assert time_step(panel) == np.timedelta64(1, "M")


def test_days_without_leap_days_leave_29_february_missing():
    with pytest.warns(PanelWarning, match="29 February is missing"):
        panel = convert_calendar(model("2019-01-01", 4 * 365, "D", "noleap"))
    check_panel(panel)
    gone = panel["time"].values[panel["y"].isnull().values.ravel()]
    assert gone.astype("datetime64[D]").tolist() == [np.datetime64("2020-02-29").item()]
    assert int(panel["y"].notnull().sum()) == 4 * 365
    assert float(panel["y"].sel(time="2021-01-01").squeeze()) == 2 * 365


def test_six_hours_without_leap_days_leave_four_rows_missing():
    with pytest.warns(PanelWarning):
        panel = convert_calendar(model("2020-02-01", 4 * 60, "6h", "noleap"))
    check_panel(panel)
    assert int(panel["y"].isnull().sum()) == 4


def test_years_of_360_days_are_spread_over_the_year():
    with pytest.warns(PanelWarning, match="spread over the year"):
        panel = convert_calendar(model("2019-01-01", 2 * 360, "D", "360_day"))
    check_panel(panel)
    assert int(panel["y"].notnull().sum()) == 2 * 360
    assert panel.sizes["time"] == pytest.approx(730, abs=2)
    seen = panel["y"].values[panel["y"].notnull().values]
    np.testing.assert_array_equal(seen, np.arange(720))  # in order, each once


def test_leap_days_of_leap_years_are_kept():
    with pytest.warns(PanelWarning, match="the dates are the same"):
        panel = convert_calendar(model("2020-01-01", 366, "D", "all_leap"))
    check_panel(panel)
    assert panel.sizes["time"] == 366 and not panel["y"].isnull().any()


def test_standard_dates_are_converted_as_they_are_and_silently():
    panel = convert_calendar(model("2019-01-01", 40, "D", "proleptic_gregorian"))
    np.testing.assert_array_equal(panel["time"].values, pd.date_range("2019-01-01", periods=40).values)
    old = convert_calendar(model("1200-01-01", 40, "YS", "proleptic_gregorian"))
    check_panel(old)
    assert str(old["time"].values[0])[:10] == "1200-01-01"


@pytest.mark.parametrize("calendar", ["noleap", "standard", "julian", "proleptic_gregorian"])
@pytest.mark.filterwarnings("ignore::stgate.errors.PanelWarning")
def test_months_of_the_past_millennium_survive_a_file(tmp_path, calendar):
    past = model("0850-01-01", 30, "MS", calendar)
    panel = convert_calendar(past)
    check_panel(panel)
    assert time_step(panel) == np.timedelta64(1, "M") and str(panel["time"].values[1])[:10] == "0850-02-01"
    stgate.io.write(panel, tmp_path / "past.nc")
    again = stgate.open_panel(tmp_path / "past.nc")
    np.testing.assert_array_equal(again["time"].values, panel["time"].values)
    stgate.io.write(past, tmp_path / "model.nc")
    np.testing.assert_array_equal(stgate.open_panel(tmp_path / "model.nc")["time"].values, panel["time"].values)


@pytest.mark.parametrize(
    ("freq", "calendar", "start"),
    [
        ("5D", "noleap", "2019-01-01"), ("8D", "noleap", "2019-01-01"), ("6h", "360_day", "2019-01-01"),
        ("10D", "360_day", "2019-01-01"), ("D", "julian", "2019-01-01"), ("6h", "julian", "2019-01-01"),
        ("D", "standard", "1500-01-01"), ("D", "all_leap", "2019-01-01"), ("6h", "all_leap", "2019-01-01"),
        ("7D", "all_leap", "2019-01-01"),
    ],
)  # fmt: skip
def test_what_has_no_counterpart_is_refused_and_keeps_every_value_as_model_time(freq, calendar, start):
    dataset = model(start, 400, freq, calendar)
    message = refusal(PanelError, convert_calendar, dataset)
    says(message, "`time`", calendar, "count days, as model time")
    assert "\n" not in message
    code = re.search(r"with (dataset\.\w+\(.*\))$", message)[1]
    panel = convert_calendar(eval(code, {}, {"dataset": dataset}))
    check_panel(panel)
    np.testing.assert_array_equal(panel["y"].values.ravel(), np.arange(400))
    assert panel["time"].attrs["units"] == "days"


def test_a_panel_in_memory_is_refused_with_the_converter():
    says(refusal(PanelError, check_panel, model("2019-01-01", 4, "MS", "noleap")), "noleap", "convert_calendar(panel)")


def test_other_datasets_are_returned_as_they_are():
    for panel in (on(pd.date_range("2020", periods=3)), on(np.arange(3.0)), on(np.array(["a", "b"], object))):
        assert convert_calendar(panel) is panel


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_a_file_of_a_climate_model_becomes_a_monthly_panel(stgate_command, tmp_path, suffix):
    times = xr.date_range("2000-01-16", periods=36, freq="30D", calendar="360_day", use_cftime=True)
    values = np.random.default_rng(0).normal(size=(36, 2, 3))
    field = xr.Dataset({"t": (("time", "lat", "lon"), values)}, {"time": times, "lat": [0.0, 1.0], "lon": [0.0, 1, 2]})
    path, out = tmp_path / f"model{suffix}", tmp_path / "panel.nc"
    stgate.io.write(field, path)
    code, text, err = stgate_command("data", "convert", path, "--out", out)
    assert code == 0 and "36 steps of 1 month, 2000-01-16" in text
    assert "warning: `time`: converted from the 360_day calendar" in err
    panel = stgate.open_panel(out)  # silently: it is converted
    assert panel["time"].dtype.kind == "M" and panel["time"].attrs["comment"].startswith("converted from")
    with pytest.warns(PanelWarning):
        xr.testing.assert_equal(from_lattice(field)["t"].drop_attrs(), panel["t"].drop_attrs())


def test_a_table_of_months_is_read_and_its_absent_ones_become_gaps(stgate_command, tmp_path):
    months = pd.date_range("2000-01-31", periods=24, freq="ME").delete([5, 6])
    table, out = tmp_path / "monthly.csv", tmp_path / "panel.nc"
    pd.DataFrame({"time": months, "a": range(22), "b": range(22)}).to_csv(table, index=False)
    convert = ("data", "convert", table, "--name", "y", "--overwrite", "--out", out)
    one_line(stgate_command(*convert), "time jumps from 2000-05-31T00:00 to 2000-08-31T00:00", "--freq ME")
    code, text, err = stgate_command(*convert, "--freq", "ME")
    assert code == 0 and "24 steps of 1 month, 2000-01-31T00:00 to 2001-12-31T00:00" in text, err
    code, text, _ = stgate_command(*convert, "--freq", "MS")  # dated by first days
    assert code == 0 and "24 steps of 1 month, 2000-01-01T00:00 to 2001-12-01T00:00" in text
    assert stgate.open_panel(out)["y"].isnull().values.any(1).nonzero()[0].tolist() == [5, 6]
    one_line(stgate_command(*convert, "--freq", "YS"), "lie in one step of 'YS-JAN'")


def test_a_table_without_times_may_count_months(stgate_command, tmp_path):
    table, out = tmp_path / "monthly.csv", tmp_path / "panel.nc"
    pd.DataFrame({"a": range(24)}).to_csv(table, index=False)
    given = ("--name", "y", "--start", "2000-01-01", "--freq", "1MS", "--out", out)
    code, text, err = stgate_command("data", "convert", table, *given)
    assert code == 0 and "24 steps of 1 month, 2000-01-01T00:00 to 2001-12-01T00:00" in text, err


def test_a_start_off_the_grid_is_refused(stgate_command, tmp_path):
    table = tmp_path / "monthly.csv"
    pd.DataFrame({"a": range(24)}).to_csv(table, index=False)
    convert = ("data", "convert", table, "--name", "y", "--out", tmp_path / "panel.nc")
    result = stgate_command(*convert, "--start", "2000-01-15", "--freq", "MS")
    one_line(result, "start 2000-01-15: not on the grid of freq 'MS', whose next time is 2000-02-01")
    assert stgate_command(*convert, "--start", "2000-01", "--freq", "ME")[0] == 0
    assert str(stgate.open_panel(tmp_path / "panel.nc")["time"].values[0])[:10] == "2000-01-31"


def test_dates_of_months_have_no_time_zone(stgate_command, tmp_path):
    table = tmp_path / "monthly.csv"
    pd.DataFrame({"time": pd.date_range("2000-01-01", periods=24, freq="MS"), "a": range(24)}).to_csv(
        table, index=False
    )
    convert = ("data", "convert", table, "--name", "y", "--out", tmp_path / "panel.nc")
    one_line(stgate_command(*convert, "--time-zone", "Europe/Berlin"), "dates of months, which have no zone; leave it")


def test_business_days_become_calendar_days_with_missing_weekends(stgate_command, tmp_path):
    table, out = tmp_path / "daily.csv", tmp_path / "panel.nc"
    pd.DataFrame({"time": pd.date_range("2001-01-01", periods=20, freq="B"), "a": range(20)}).to_csv(table, index=False)
    convert = ("data", "convert", table, "--name", "y", "--out", out)
    one_line(stgate_command(*convert), "business days are no regular step", "--freq D")
    one_line(stgate_command(*convert, "--freq", "B"), "business days are no regular step", "--freq D")
    code, text, err = stgate_command(*convert, "--freq", "D")
    assert code == 0 and "26 steps of 24h" in text, err


@pytest.mark.parametrize(
    ("columns", "option", "first"),
    [
        ({"year": [2000, 2000, 2000], "month": [11, 12, 10]}, ("year", "month"), "2000-10-01"),
        ({"time": ["2000Q2", "2000Q1", "2000Q3"]}, ("time",), "2000-01-01"),
        ({"time": ["2000-Q2", "2000-Q1", "2000-Q3"]}, ("time",), "2000-01-01"),
        ({"time": ["2000-02", "2000-01", "2000-03"]}, ("time",), "2000-01-01"),
    ],
)
def test_months_and_quarters_are_read_as_tables_write_them(tmp_path, columns, option, first):
    pd.DataFrame({**columns, "a": range(3)}).to_csv(tmp_path / "t.csv", index=False)
    panel = stgate.io.read_tables(tmp_path / "t.csv", time=option, name="y")
    assert str(panel["time"].values[0])[:10] == first
    check_panel(panel)


def test_years_are_read_with_their_format(tmp_path):
    pd.DataFrame({"year": [1990, 1991, 1992], "a": range(3)}).to_csv(tmp_path / "t.csv", index=False)
    panel = stgate.io.read_tables(tmp_path / "t.csv", time=["year"], time_format="%Y", name="y")
    assert time_step(panel) == np.timedelta64(12, "M")


def test_a_frame_of_periods_is_dated_by_first_days():
    frame = pd.DataFrame({"a": range(5)}, index=pd.period_range("2000-01", periods=5, freq="M"))
    panel = stgate.to_panel(frame, name="y")
    np.testing.assert_array_equal(panel["time"].values, pd.date_range("2000-01-01", periods=5, freq="MS").values)


def test_panels_that_date_months_differently_are_not_merged():
    first, last = (on(pd.date_range("2000-01-01", periods=9, freq=freq)) for freq in ("MS", "ME"))
    message = refusal(PanelError, stgate.panels.merge, [first.rename(y="z"), last])
    says(message, "2000-01-01T00:00", "2000-01-31T00:00", "date both by first days")
    later = on(pd.date_range("2000-10-01", periods=9, freq="MS"))
    assert stgate.panels.merge([first, later]).sizes["time"] == 18
