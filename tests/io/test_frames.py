"""Frames: wide and long ones become the same panel, and a wrong one is named with its place."""

import re

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from helpers import refusal, says
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stgate.errors import PanelError, StgateError
from stgate.io import open_panel
from stgate.io.frames import to_panel
from stgate.io.store import write


def wide_frame(steps=5, **options) -> pd.DataFrame:
    time = pd.date_range("2020-01-01", periods=steps, freq="h", **options)
    return pd.DataFrame(np.arange(2.0 * steps).reshape(steps, 2), index=time, columns=["a", "b"])


def long_frame(wide: pd.DataFrame, name="y") -> pd.DataFrame:
    return wide.rename_axis("when").reset_index().melt(id_vars="when", var_name="site", value_name=name)


def test_wide_and_long_frames_give_the_same_panel():
    wide = wide_frame()
    long = long_frame(wide).sample(frac=1, random_state=0)
    xr.testing.assert_identical(to_panel(wide, name="y"), to_panel(long, time="when", node="site"))


def test_times_with_a_zone_become_utc():
    panel = to_panel(wide_frame(tz="Asia/Shanghai"), name="y")
    assert panel["time"].values[0] == np.datetime64("2019-12-31T16:00")
    assert to_panel(long_frame(wide_frame(tz="Asia/Shanghai")), time="when", node="site").equals(panel)


def test_with_a_frequency_absent_rows_become_missing_values():
    wide = wide_frame()
    panel = to_panel(wide.drop(wide.index[2]), name="y", freq="h")
    assert panel["y"].dims == ("time", "node")
    np.testing.assert_array_equal(panel["y"].values, wide.drop(wide.index[2]).reindex(wide.index).values)
    says(refusal(PanelError, to_panel, wide.drop(wide.index[2]), name="y"), "row 2")


def test_a_frequency_neither_moves_nor_averages_observations():
    wide = wide_frame()
    late = wide.set_axis(wide.index + pd.Timedelta("30min"))
    message = refusal(PanelError, to_panel, pd.concat([wide, late]).sort_index(), name="y", freq="h")
    says(message, "2020-01-01T00:30")


@pytest.mark.parametrize("freq", ["H", "hourly"])
def test_an_unknown_frequency_is_an_error_of_ours(freq):
    with pytest.raises(StgateError, match=freq):
        to_panel(wide_frame(), name="y", freq=freq)


def test_a_frequency_is_no_matter_of_model_time():
    with pytest.raises(StgateError):
        to_panel(wide_frame().set_axis(np.arange(5.0)), name="y", freq="h")


def test_coordinates_and_units_land_on_the_panel():
    coords = pd.DataFrame({"lat": [41.0, 40.0], "lon": [117.0, 116.0], "name": ["B", "A"]}, index=["b", "a"])
    panel = to_panel(wide_frame(), name="y", coords=coords, units={"y": "K"})
    assert panel["lat"].values.tolist() == [40.0, 41.0] and panel["lat"].attrs["units"] == "degrees_north"
    assert panel["y"].attrs["units"] == "K" and panel["y"].dtype == np.float32
    says(refusal(PanelError, to_panel, wide_frame(), name="y", coords=coords.loc[["a"]]), "`node`", "'b'")
    says(refusal(PanelError, to_panel, wide_frame(), name="y", units={"yy": "K"}), "'yy'", "did you mean y?")


def test_text_in_a_wide_frame_is_refused_with_node_and_time():
    wide = wide_frame().astype(object)
    wide.iloc[3, 1] = "n/k"
    says(refusal(PanelError, to_panel, wide, name="y"), "'b'", "'n/k'", "2020-01-01T03:00")


def test_text_in_a_long_frame_is_refused_with_variable_node_and_time():
    long = long_frame(wide_frame(), "wind").astype({"wind": object})
    long.loc[(long["site"] == "b") & (long["when"] == "2020-01-01T03"), "wind"] = "NW"
    message = refusal(PanelError, to_panel, long, time="when", node="site")
    says(message, "'NW'", "2020-01-01T03:00", "wind")


def test_numbers_written_as_text_are_numbers():
    assert to_panel(wide_frame().astype(str), name="y").equals(to_panel(wide_frame(), name="y"))


def test_a_row_that_stands_twice_is_named_with_time_and_node():
    long = long_frame(wide_frame())
    says(
        refusal(PanelError, to_panel, pd.concat([long, long.iloc[[7]]]), time="when", node="site"),
        "2020-01-01T02:00",
        "'b'",
    )


def test_a_column_that_stands_twice_is_named():
    wide = wide_frame().set_axis(["a", "a"], axis=1)
    says(refusal(PanelError, to_panel, wide, name="y"), "'a'", "twice")


def test_a_row_without_a_node_is_refused():
    long = long_frame(wide_frame())
    with pytest.raises(StgateError):
        to_panel(long.assign(site=long["site"].where(long.index != 3)), time="when", node="site")


def test_a_long_frame_without_variables_is_refused():
    with pytest.raises(StgateError):
        to_panel(long_frame(wide_frame())[["when", "site"]], time="when", node="site")


def test_a_frame_of_unsaid_layout_is_refused():
    says(refusal(PanelError, to_panel, wide_frame()), "name=", "node=")


tables = st.tuples(st.integers(2, 6), st.integers(1, 4)).flatmap(
    lambda shape: arrays("float32", shape, elements=st.floats(width=32, allow_infinity=False))
)


@given(values=tables)
@settings(deadline=None, max_examples=40)
def test_any_wide_frame_keeps_its_values_and_its_gaps(values):
    time = pd.date_range("2020-01-01", periods=len(values), freq="D")
    panel = to_panel(pd.DataFrame(values, index=time, columns=[f"n{i}" for i in range(values.shape[1])]), name="y")
    np.testing.assert_array_equal(panel["y"].values, values)


@given(values=tables, data=st.data())
@settings(deadline=None, max_examples=40)
def test_any_long_frame_keeps_its_values_and_its_absent_rows_are_gaps(values, data):
    keep = data.draw(arrays(bool, values.shape))
    keep[:, 0] = keep[0, :] = True  # each time and each node stands somewhere
    rows, nodes = np.nonzero(keep)
    order = np.asarray(data.draw(st.permutations(range(len(rows)))))
    frame = pd.DataFrame({"time": rows * 0.5, "node": nodes, "y": values[rows, nodes], "z": 1.0}).iloc[order]
    panel = to_panel(frame, time="time", node="node")
    np.testing.assert_array_equal(panel["y"].values, np.where(keep, values, np.nan))
    np.testing.assert_array_equal(panel["z"].notnull().values, keep)


@pytest.mark.parametrize("kind", ["str", "object", "category", "float"])
def test_rows_without_a_label_are_named_and_not_lost(kind):
    frame = long_frame(wide_frame())
    frame["site"] = frame["site"].map({"a": 1.0, "b": 2.0}) if kind == "float" else frame["site"].astype(kind)
    frame.loc[[3, 9], "site"] = None
    message = refusal(PanelError, to_panel, frame, time="when", node="site")
    says(message, "column 'site': no label at 2020-01-01T03:00")
    named = eval(re.search(r"with (frame\..*\))$", message)[1], {"frame": frame})
    panel = to_panel(named, time="when", node="site")
    seen = panel["y"].values[np.isfinite(panel["y"].values)]
    assert sorted(seen.tolist()) == list(range(10))


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ({"y": 1.0, "z": 2.0}, "the rows are equal: keep one of them"),
        ({"y": 1.0, "z": np.nan}, "complete each other: join them, as frame.groupby([time, node]).first() does"),
        ({"y": np.nan, "z": 2.0}, "complete each other"),
        ({"y": 1.0, "z": 3.0}, "the values differ: a local clock that was set back needs its time zone"),
        ({"y": 4.0, "z": np.nan}, "decide which row to lose"),
    ],
)
def test_rows_of_one_time_and_node_are_told_apart_by_their_values(second, words):
    when = pd.Timestamp("2020-01-01")
    rows = [{"when": when, "site": "a", "y": 1.0, "z": 2.0}, {"when": when, "site": "a", **second}]
    says(refusal(PanelError, to_panel, pd.DataFrame(rows), time="when", node="site"), "appears twice", words)


@pytest.mark.parametrize(
    "columns",
    [
        ["2024-01-01", "2024-01-02"],
        ["2024-01-01 00:00:00", "2024-01-01 01:00:00"],
        ["2024-01-01T00:00", "2024-01-01T01:00"],
        pd.date_range("2024-01-01", periods=2),
    ],
)
def test_columns_that_are_times_are_refused_and_the_turned_table_is_read(columns):
    turned = pd.DataFrame([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], index=[0, 1, 2], columns=columns)
    says(refusal(PanelError, to_panel, turned, name="y"), "called like times", "frame.T")
    panel = to_panel(turned.T.set_axis(pd.to_datetime(columns)), name="y")
    assert panel["y"].values.tolist() == [[1, 3, 5], [2, 4, 6]]


@pytest.mark.parametrize("columns", [["2019", "2020"], ["2024-01-01", "b"], ["1001-07", "1001-08"], ["20240101", "7"]])
def test_labels_of_nodes_that_hold_digits_are_labels(columns):
    assert to_panel(wide_frame().set_axis(columns, axis=1), name="y")["node"].values.tolist() == columns


@pytest.mark.parametrize("name", ["y", "x", "lat", "elevation"])
def test_a_coordinate_never_takes_the_place_of_a_variable(name):
    long = long_frame(wide_frame()).assign(**{name: 1.0, "z": 2.0})
    coords = pd.DataFrame({name: [1.0, 2.0]}, index=["a", "b"])
    message = refusal(PanelError, to_panel, long, time="when", node="site", coords=coords)
    says(message, f"'{name}': is a variable and a coordinate")


def test_names_of_coordinates_have_no_blanks_which_files_do_not_hold(tmp_path):
    coords = pd.DataFrame({"station name": ["A", "B"], "sea level": [1.0, 2.0]}, index=["a", "b"])
    panel = to_panel(wide_frame(), name="y", coords=coords)
    assert open_panel(write(panel, tmp_path / "p.nc"))["station_name"].values.tolist() == ["A", "B"]
