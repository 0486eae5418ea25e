"""Steps of calendar months: which dates follow them, and which dates come next."""

import re

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from helpers import refusal, says
from hypothesis import given, settings
from hypothesis import strategies as st

from stgate.errors import PanelError
from stgate.schema.panel import check_panel, step_number, step_text, time_step
from stgate.schema.steps import (
    MONTH,
    extended,
    has_step,
    month_numbers,
    month_step,
    months_of,
    step_label,
    step_of,
    time_text,
)

MONTHS = st.sampled_from([1, 2, 3, 4, 6, 12, 24])


def on(times) -> xr.Dataset:
    times = np.asarray(times)
    return xr.Dataset({"y": (("time", "node"), np.ones((len(times), 1)))}, {"time": times, "node": ["a"]})


def middles(months: int, count: int) -> np.ndarray:
    starts = pd.date_range("1999-01-01", periods=count + 1, freq=f"{months}MS").values
    return starts[:-1] + np.diff(starts) // 2


@pytest.mark.parametrize(
    ("freq", "months", "text"),
    [("MS", 1, "1 month"), ("ME", 1, "1 month"), ("QS", 3, "3 months"), ("QE", 3, "3 months"), ("YS", 12, "1 year"),
     ("YE", 12, "1 year"), ("24MS", 24, "2 years"), ("YE-JUN", 12, "1 year"), ("QE-FEB", 3, "3 months")],
)  # fmt: skip
def test_months_quarters_and_years_are_regular_steps(freq, months, text):
    panel = on(pd.date_range("1999-01-01", periods=24, freq=freq))
    check_panel(panel)
    assert time_step(panel) == np.timedelta64(months, "M")
    assert step_number(panel) == pytest.approx(months * 365.2425 / 12 * 86_400)
    assert step_text(panel) == text


@pytest.mark.parametrize("freq", ["h", "D", "7D", "28D", "30D", "365D"])
def test_a_fixed_length_stays_one(freq):
    panel = on(pd.date_range("1999-01-01", periods=30, freq=freq))
    assert months_of(time_step(panel)) == 0
    assert time_step(panel) == panel.indexes["time"][1] - panel.indexes["time"][0]


@given(
    months=MONTHS, day=st.integers(1, 31), hour=st.integers(0, 23), start=st.integers(-600, 600),
    count=st.integers(2, 40), more=st.integers(1, 40), unit=st.sampled_from(["s", "us", "ns"]),
)  # fmt: skip
@settings(deadline=None)
def test_months_added_are_counted_back_and_keep_the_day(months, day, hour, start, count, more, unit):
    numbers = start + months * np.arange(count + more)
    first = numbers.astype("datetime64[M]")
    last = ((first + 1).astype("datetime64[D]") - np.timedelta64(1, "D")).astype("datetime64[D]")
    days = np.minimum(first.astype("datetime64[D]") + (day - 1), last)  # a day that a month lacks is its last
    whole = days.astype(f"datetime64[{unit}]") + np.timedelta64(hour, "h")
    given_times = whole[:count]
    assert month_step(given_times) == months
    longer = extended(given_times, np.timedelta64(months, "M"), more)
    assert longer.dtype == whole.dtype and len(longer) == count + more
    np.testing.assert_array_equal(month_numbers(longer), numbers)
    if day <= 28:
        np.testing.assert_array_equal(longer, whole)
    check_panel(on(longer))


@given(months=MONTHS, start=st.integers(-600, 600), count=st.integers(2, 30), more=st.integers(1, 30))
@settings(deadline=None)
def test_a_months_end_is_followed_by_a_months_end(months, start, count, more):
    numbers = start + months * np.arange(count + more)
    ends = ((numbers + 1).astype("datetime64[M]").astype("datetime64[D]") - 1).astype("datetime64[s]")
    np.testing.assert_array_equal(extended(ends[:count], np.timedelta64(months, "M"), more), ends)


@pytest.mark.parametrize("months", [1, 3, 4, 6, 12])
@pytest.mark.parametrize("unit", ["s", "D"])
def test_the_middles_of_months_quarters_and_years_are_followed_by_middles(months, unit):
    times = middles(months, 30).astype(f"datetime64[{unit}]").astype("datetime64[ns]")
    check_panel(on(times))
    np.testing.assert_array_equal(extended(times[:9], np.timedelta64(months, "M"), 21), times)


@given(st.integers(1, 400), st.integers(2, 50), st.integers(0, 20_000))
@settings(deadline=None)
def test_days_added_are_counted_back(days, count, start):
    times = np.datetime64("1970-01-01", "ns") + np.timedelta64(1, "D") * (start + days * np.arange(count))
    step = step_of(times)
    assert has_step(times, step) and has_step(times, np.timedelta64(days, "D"))
    longer = extended(times, np.timedelta64(days, "D"), 3)
    np.testing.assert_array_equal(np.diff(longer), np.timedelta64(days, "D"))


def test_two_dates_fit_both_a_length_and_a_month():
    times = np.array(["2021-02-01", "2021-03-01"], "datetime64[ns]")
    assert has_step(times, np.timedelta64(28, "D")) and has_step(times, np.timedelta64(1, "M"))
    assert not has_step(times, np.timedelta64(30, "D")) and not has_step(times, np.timedelta64(2, "M"))


def test_a_month_has_a_mean_length_of_which_twelve_are_a_year():
    assert 12 * MONTH == 365.2425 * 86_400
    assert step_label(np.timedelta64(1, "Y")) == "1 year"


def fixed(panel: xr.Dataset) -> xr.Dataset:
    """Run the code of the refusal, as often as there is one; at most twice."""
    for _ in range(2):
        try:
            check_panel(panel)
            return panel
        except PanelError as error:
            code = re.search(r"(panel\.\w+\(time=.*\))$", str(error))[1]
            panel = eval(code, {"pandas": pd}, {"panel": panel})
    check_panel(panel)
    return panel


@pytest.mark.parametrize(
    ("times", "alias"),
    [
        (pd.date_range("2001-01-01", periods=30, freq="MS").delete(4), "--freq MS"),
        (pd.date_range("2001-01-01", periods=30, freq="ME").delete([4, 5]), "--freq ME"),
        (pd.date_range("2001-01-01", periods=30, freq="QS").delete(4), "--freq 3MS"),
        (pd.date_range("2001-01-01", periods=30, freq="MS").delete(4) + pd.Timedelta("14D"), "--freq MS"),
        (np.delete(middles(1, 30), 5), "--freq MS"),
        (pd.date_range("2001-01-01", periods=30, freq="BME"), "--freq MS"),
        (pd.date_range("2001-01-01", periods=30, freq="BQE"), "--freq 3MS"),
    ],
)
def test_absent_months_and_odd_days_are_refused_with_the_fix(times, alias):
    message = refusal(PanelError, check_panel, on(times))
    says(message, "`y`: time jumps", alias)
    assert "\n" not in message
    whole = fixed(on(times))
    assert int(whole["y"].notnull().sum()) == len(times)  # nothing is lost
    assert months_of(time_step(whole)) > 0


def test_business_days_are_refused_with_calendar_days_as_the_fix():
    times = pd.date_range("2001-01-01", periods=30, freq="B")
    says(refusal(PanelError, check_panel, on(times)), "business days are no regular step", "--freq D")
    whole = fixed(on(times))
    weekend = whole["time"].dt.dayofweek >= 5
    assert bool((whole["y"].isel(node=0).isnull() == weekend).all())


def test_days_without_29_february_are_refused_with_the_gap_as_the_fix():
    days = pd.date_range("2019-12-01", "2020-05-01")
    times = days[~((days.month == 2) & (days.day == 29))]
    says(refusal(PanelError, check_panel, on(times)), "2020-02-28T00:00 to 2020-03-01T00:00")
    whole = fixed(on(times))
    assert whole["time"].values[whole["y"].isel(node=0).isnull()].astype("datetime64[D]") == np.datetime64("2020-02-29")


@pytest.mark.parametrize(
    ("when", "text"),
    [
        ("2020-01-01", "2020-01-01T00:00"),
        ("2020-01-01T10:05:07.9", "2020-01-01T10:05:07"),
        ("12020-01-01", "12020-01-01T00:00"),
        ("0000-06-01T03", "0000-06-01T03:00"),
    ],
)
def test_dates_of_any_year_have_a_text(when, text):
    assert time_text(np.datetime64(when)) == text
