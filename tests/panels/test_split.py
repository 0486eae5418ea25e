"""Splits: chronological, without gap or overlap, and refused where they miss the data."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from stgate.errors import RequestError
from stgate.panels import split_panel


def on(times) -> xr.Dataset:
    return xr.Dataset(coords={"time": times})


HOURS = on(pd.date_range("2020-01-01", periods=240, freq="h"))
shares = st.lists(st.integers(0, 100), min_size=4, max_size=4).filter(lambda s: s[0] > 0)


@given(size=st.integers(1, 500), weights=shares)
@settings(deadline=None)
def test_the_parts_are_the_whole_in_order_each_of_its_share(size, weights):
    fractions = [w / sum(weights) for w in weights]
    split = split_panel(on(np.arange(float(size))), fractions)
    rows = [r for start, stop in split for r in range(start, stop)]
    assert rows == list(range(size))
    for (start, stop), fraction in zip(split, fractions, strict=True):
        assert abs(stop - start - fraction * size) <= 1 + 1e-9


def test_a_share_of_zero_leaves_the_part_out():
    assert split_panel(HOURS, [0.5, 0, 0, 0.5]) == ((0, 120), (120, 120), (120, 120), (120, 240))
    assert split_panel(HOURS, [1, 0, 0, 0]).train == (0, 240)


def test_shares_are_not_cut_short_by_round_off():
    assert 0.7 + 0.1 < 0.8  # the trap
    assert split_panel(on(np.arange(10.0)), [0.7, 0.1, 0.1, 0.1]) == ((0, 7), (7, 8), (8, 9), (9, 10))


def test_times_start_the_parts_they_name():
    split = split_panel(HOURS, ["2020-01-05", "2020-01-07T12", "2020-01-09"])
    starts = HOURS["time"].values[[part[0] for part in split]]
    expected = ["2020-01-01", "2020-01-05", "2020-01-07T12", "2020-01-09"]
    assert starts.tolist() == np.array(expected, starts.dtype).tolist()
    assert split.test[1] == 240


def test_a_time_between_two_steps_starts_at_the_next():
    assert split_panel(HOURS, ["2020-01-05T00:30", "2020-01-06", "2020-01-07"]).validation[0] == 97


@given(step=st.sampled_from([0.01, 0.02, 0.05, 0.1, 0.25]), rows=st.sets(st.integers(1, 999), min_size=3, max_size=3))
@settings(deadline=None)
def test_model_times_as_people_write_them_name_their_own_step(step, rows):
    rows = sorted(rows)
    written = [float(f"{row * step:.10g}") for row in rows]
    assert [part[0] for part in split_panel(on(np.arange(1000) * step), written)] == [0, *rows]


@pytest.mark.parametrize(
    ("split", "word"),
    [
        ([0.6, 0.2, 0.1, 0.2], "add up to 1"),
        ([0, 0.5, 0.25, 0.25], "first must be above zero"),
        ([0.8, -0.1, 0.2, 0.1], "fractions"),
        ([0.6, 0.4], "four fractions"),
        ([], "four fractions"),
        ([0.6, 0.2, 0.2], "not a time"),
        (["noon", "2020-01-06", "2020-01-07"], "'noon' is not a time"),
        (["2020-01-07", "2020-01-06", "2020-01-08"], "must be in order"),
        (["2020-01-05", "2020-01-06", "2021-01-01"], "2021-01-01 lies outside"),
        (["2019-01-01", "2020-01-06", "2020-01-07"], "2019-01-01 lies outside"),
        (["2020-01-01", "2020-01-06", "2020-01-07"], "2020-01-01 lies outside"),  # nothing is left to train on
    ],
)
def test_a_split_that_is_none_is_refused(split, word):
    with pytest.raises(RequestError, match=word) as caught:
        split_panel(HOURS, split)
    assert "\n" not in str(caught.value)


def test_a_time_with_a_zone_is_taken_in_utc_without_a_word():
    split = split_panel(HOURS, ["2020-01-05T00:00Z", "2020-01-06T08:00+08:00", "2020-01-07"])
    assert (split.validation[0], split.calibration[0]) == (96, 120)
