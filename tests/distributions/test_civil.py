"""Dates as tensors are those of numpy and of the panels' calendar."""

import numpy as np
import pytest
import torch

from stgate.distributions.civil import cells_of, date_of, month_start
from stgate.panels.calendar import calendar_groups

RANDOM = np.random.default_rng(0)


def test_dates_are_those_of_numpy():
    seconds = RANDOM.integers(-30_000_000_000, 200_000_000_000, 20_000)
    found, times = date_of(torch.tensor(seconds, dtype=torch.float64)), seconds.astype("datetime64[s]")
    month, day = times.astype("datetime64[M]"), times.astype("datetime64[D]")
    np.testing.assert_array_equal(found.month, month.astype("int64"))
    np.testing.assert_array_equal(found.day, (day - month.astype("datetime64[D]")).astype("int64"))
    np.testing.assert_array_equal(found.yearday, (day - times.astype("datetime64[Y]")).astype("int64"))
    np.testing.assert_array_equal(found.weekday, (day.astype("int64") + 3) % 7)
    np.testing.assert_array_equal(found.hour, seconds % 86_400 // 3600)
    np.testing.assert_array_equal(month_start(found.month), month.astype("datetime64[s]").astype("int64"))


@pytest.mark.parametrize("keys", [(), ("month",), ("month", "hour"), ("weekday", "hour")])
def test_cells_are_those_of_the_panel(keys):
    times = np.datetime64("1968-02-27") + RANDOM.integers(0, 60 * 366 * 24, 500).astype("timedelta64[h]")
    seconds = torch.tensor(times.astype("datetime64[s]").astype("float64"))
    assert cells_of(seconds, keys).tolist() == calendar_groups(times, keys).tolist()
