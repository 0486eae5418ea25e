"""Local clocks: what is written in either order of time comes back as it was; what cannot be told is refused."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stgate.errors import PanelError
from stgate.io import read_tables

ZONES = {  # a time near a change of the clock
    "Europe/Berlin": "2016-10-29T18:00",
    "America/New_York": "2020-10-31T20:00",
    "Australia/Lord_Howe": "2021-04-03T04:00",
    "Europe/Moscow": "2014-10-25T12:00",
    "America/Santiago": "2019-04-06T16:00",
    "Europe/London": "2018-03-24T16:00",
}


def table(utc, zone, order, tmp_path, nodes=("a",)):
    """Write a table of local times, newest first or not; return its path."""
    frames = []
    for i, node in enumerate(nodes):
        local = utc.tz_localize("UTC").tz_convert(zone).tz_localize(None)
        values = np.arange(float(len(utc))) + 1000 * i
        frame = pd.DataFrame({"time": local.strftime("%Y-%m-%dT%H:%M"), "node": node, "y": values})
        frames.append(frame.iloc[::-1] if order[i] else frame)
    path = tmp_path / "table.csv"
    pd.concat(frames).to_csv(path, index=False)
    return path


@given(
    zone=st.sampled_from(sorted(ZONES)),
    step=st.sampled_from([15, 30, 60]),
    shift=st.integers(0, 5),
    order=st.tuples(st.booleans(), st.booleans()),
)
@settings(max_examples=40, deadline=None)
def test_rows_in_either_order_come_back_in_utc(zone, step, shift, order, tmp_path_factory):
    step = (
        min(step, 30) if zone == "Australia/Lord_Howe" else step
    )  # an hour does not meet a shift of half an hour twice
    utc = pd.date_range(ZONES[zone], periods=1200 // step, freq=f"{step}min") + pd.Timedelta(minutes=step * shift)
    path = table(utc, zone, order, tmp_path_factory.mktemp("clock"), nodes=("a", "b"))
    panel = read_tables(path, node="node", time_zone=zone)
    assert (pd.DatetimeIndex(panel["time"].values) == utc).all()
    assert panel["y"].sel(node="a").values.tolist() == list(range(len(utc)))
    assert panel["y"].sel(node="b").values.tolist() == [1000.0 + i for i in range(len(utc))]


@pytest.mark.parametrize("rows", [[0, 2, 1, 3, 4, 5], [0, 1, 3, 2, 4, 5], [3, 0, 1, 2, 4, 5]])
def test_another_order_within_the_repeated_hour_is_refused(rows, tmp_path):
    utc = pd.date_range("2016-10-29T23:00", periods=6, freq="30min")
    frame = pd.read_csv(table(utc, "Europe/Berlin", [False], tmp_path))
    frame.iloc[rows].to_csv(tmp_path / "mixed.csv", index=False)
    with pytest.raises(PanelError, match="write times with their offset"):
        read_tables(tmp_path / "mixed.csv", node="node", time_zone="Europe/Berlin")


def test_half_of_the_repeated_hour_is_refused(tmp_path):
    utc = pd.date_range("2016-10-29T23:00", periods=6, freq="30min").delete([2, 3])
    path = table(utc, "Europe/Berlin", [False], tmp_path)
    with pytest.raises(PanelError, match="occurs twice"):
        read_tables(path, node="node", time_zone="Europe/Berlin", freq="30min")


def test_a_time_that_the_clock_skips_is_refused(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("time,node,y\n2016-03-27T01:30,a,1\n2016-03-27T02:30,a,2\n2016-03-27T03:30,a,3\n")
    with pytest.raises(PanelError, match="2016-03-27T02:30 does not exist in Europe/Berlin"):
        read_tables(path, node="node", time_zone="Europe/Berlin")
