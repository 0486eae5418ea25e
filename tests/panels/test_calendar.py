"""Calendar features: phases on circles, and cells."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from stgate.errors import RequestError
from stgate.panels.calendar import calendar_features, calendar_groups, cell_keys, default_keys

HOURS = pd.date_range("2019-12-30", periods=24 * 800, freq="h").values  # a Monday; over a leap day
KEYS = ["hour", "weekday", "yearday"]


def at(time: str, key: str) -> list[float]:
    return calendar_features(np.array([time], "datetime64[s]"), [key])[0].tolist()


@pytest.mark.parametrize(
    ("key", "time", "sine", "cosine"),
    [
        ("hour", "2020-05-17T00:00", 0, 1),
        ("hour", "2020-05-17T06:00", 1, 0),
        ("hour", "2020-05-17T18:00", -1, 0),
        ("hour", "2020-05-17T01:30", np.sin(np.pi / 8), np.cos(np.pi / 8)),
        ("weekday", "2020-05-18T00:00", 0, 1),  # a Monday
        ("weekday", "2020-05-19T18:00", 1, 0),  # a quarter of the week
        ("yearday", "2021-01-01T00:00", 0, 1),
        ("yearday", "2021-07-02T14:54:36", 0, -1),  # half of 365.2425 days
        ("hour/1", "2020-05-17T06:00", 1, 0),
        ("hour/2", "2020-05-17T06:00", 0, -1),  # half of half a day
        ("hour/3", "2020-05-17T02:00", 1, 0),
        ("weekday/7", "2020-05-18T06:00", 1, 0),  # a day
        ("yearday", "2020-02-29", np.sin(2 * np.pi * 59 / 365.2425), np.cos(2 * np.pi * 59 / 365.2425)),  # a day more
        ("month", "2020-01-31", 0, 1),
        ("month", "2020-10-01", -1, 0),
        ("month/2", "2020-04-15", 0, -1),
    ],
)
def test_phases_at_known_times(key, time, sine, cosine):
    assert at(time, key) == pytest.approx([sine, cosine], abs=2e-5)


def test_each_pair_lies_on_the_unit_circle():
    features = calendar_features(HOURS, KEYS).astype("float64")
    assert features.shape == (len(HOURS), 6)
    np.testing.assert_allclose(features[:, ::2] ** 2 + features[:, 1::2] ** 2, 1, atol=1e-6)


@pytest.mark.parametrize(("key", "period"), [("hour", 24), ("weekday", 168)])
def test_the_day_and_the_week_repeat(key, period):
    features = calendar_features(HOURS, [key])
    np.testing.assert_allclose(features[period:], features[:-period], atol=1e-6)
    assert len(np.unique(features[:period].round(5), axis=0)) == period


def test_the_year_turns_without_a_jump():
    features = calendar_features(HOURS, ["yearday"])
    assert np.abs(np.diff(features, axis=0)).max() < 2 * 2 * np.pi / 365


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_the_unit_in_which_times_are_stored_does_not_matter(unit):
    np.testing.assert_array_equal(
        calendar_features(HOURS.astype(f"datetime64[{unit}]"), KEYS), calendar_features(HOURS, KEYS)
    )


def test_no_key_gives_no_feature():
    assert calendar_features(HOURS, []).shape == (len(HOURS), 0)


@pytest.mark.parametrize(
    ("freq", "learned", "keys"),
    [("h", 9000, ("hour", "weekday", "yearday")), ("12h", 800, ("hour", "weekday", "yearday")),
     ("D", 400, ("weekday", "yearday")), ("7D", 60, ("yearday",)), ("7D", 52, ()), ("h", 168, ("hour", "weekday")),
     ("h", 167, ("hour",)), ("5min", 287, ()), ("MS", 12, ("month",)), ("ME", 11, ()), ("QS", 4, ("month",)),
     ("6MS", 2, ("month",)), ("YS", 50, ())],
)  # fmt: skip
def test_by_default_a_key_is_used_where_the_step_resolves_it_and_training_sees_it_whole(freq, learned, keys):
    panel = xr.Dataset(coords={"time": pd.date_range("2020-01-01", periods=4, freq=freq)})
    assert default_keys(panel, learned) == keys


def test_model_time_has_no_calendar():
    assert default_keys(xr.Dataset(coords={"time": np.arange(4.0)}), 4) == ()


@pytest.mark.parametrize(
    ("step", "keys"),
    [(np.timedelta64(1, "h"), ("month", "hour")), (np.timedelta64(1, "D"), ("month",)), (0.5, ()),
     (np.timedelta64(1, "M"), ("month",)), (np.timedelta64(3, "M"), ("month",)), (np.timedelta64(12, "M"), ())],
)  # fmt: skip
def test_a_climatology_has_the_cells_that_the_step_resolves(step, keys):
    assert cell_keys(step) == keys


@given(st.lists(st.sampled_from(["month", "hour", "weekday"]), unique=True))
@settings(deadline=None)
def test_groups_are_one_to_one_with_the_cells_of_the_calendar(keys):
    times = HOURS[::5]
    part = {"month": lambda t: t.month, "hour": lambda t: t.hour, "weekday": lambda t: t.isoweekday()}
    cells = [tuple(part[key](t) for key in keys) for t in times.astype("datetime64[s]").tolist()]
    groups = calendar_groups(times, keys).tolist()
    assert len(set(cells)) == len(set(groups)) == len(set(zip(cells, groups, strict=True)))


@pytest.mark.parametrize(("key", "size"), [("month", 12), ("hour", 24), ("weekday", 7)])
def test_groups_count_from_zero(key, size):
    assert np.unique(calendar_groups(HOURS, [key])).tolist() == list(range(size))


@pytest.mark.parametrize("key", ["hour/", "hour/0", "hour/-2", "hour/1.5", "hour/two", "hour/2/3"])
def test_a_harmonic_is_a_whole_number(key):
    with pytest.raises(RequestError, match=f"calendar '{key}': a harmonic must be a whole number .* hour/2"):
        calendar_features(HOURS, [key])


@pytest.mark.parametrize("work", [calendar_features, calendar_groups])
def test_an_unknown_key_is_answered_with_the_nearest(work):
    with pytest.raises(RequestError, match=r"did you mean hour\?"):
        work(HOURS, ["hours"])
