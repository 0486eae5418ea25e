"""Columns that hold no numbers are refused by name, whatever the file; labels are labels."""

import datetime
import warnings

import numpy as np
import pandas as pd
import pytest

from stgate.errors import PanelError, PanelWarning
from stgate.io import read_tables, to_panel

N = 4
TIMES = pd.date_range("2024", periods=N, freq="h")
REFUSED = {
    "dates": TIMES,
    "aware dates": TIMES.tz_localize("UTC"),
    "durations": pd.to_timedelta(np.arange(N), unit="h"),
    "periods": pd.period_range("2024", periods=N, freq="M"),
    "intervals": pd.interval_range(0, N, periods=N),
    "categories": pd.Categorical(["a", "b", "a", "b"]),
    "categories of numbers": pd.Categorical([1, 2, 1, 2]),
    "complex numbers": np.arange(N) * 1j,
    "date objects": np.array([datetime.date(2024, 1, 1 + i) for i in range(N)], dtype=object),
    "clock objects": np.array([datetime.time(i) for i in range(N)], dtype=object),
    "duration objects": np.array([None, *(datetime.timedelta(hours=i) for i in range(N - 1))], dtype=object),
    "text": np.array(list("abcd"), dtype=object),
}
TAKEN = {
    "booleans": (np.array([True, False, True, False]), [1, 0, 1, 0]),
    "nullable booleans": (pd.array([True, None, True, False], dtype="boolean"), [1, np.nan, 1, 0]),
    "nullable integers": (pd.array([1, None, 3, 4], dtype="Int64"), [1, np.nan, 3, 4]),
    "numbers as text": (np.array(["1", "2.5", "3", "4"], dtype=object), [1, 2.5, 3, 4]),
    "unsigned": (np.array([1, 2, 3, 255], dtype="uint8"), [1, 2, 3, 255]),
}


def frame_of(column):
    return pd.DataFrame({"time": TIMES, "node": "a", "y": np.arange(float(N)), "odd": column})


@pytest.mark.parametrize("kind", REFUSED)
def test_a_column_that_is_no_number_is_refused_and_can_be_left_out(kind):
    frame = frame_of(REFUSED[kind])
    with pytest.raises(PanelError, match=r"column 'odd'.*leave the column out"):
        to_panel(frame, time="time", node="node")
    assert to_panel(frame.drop(columns="odd"), time="time", node="node")["y"].sizes["time"] == N


@pytest.mark.parametrize("kind", TAKEN)
def test_what_is_a_number_is_taken(kind):
    column, wanted = TAKEN[kind]
    made = to_panel(frame_of(column), time="time", node="node")["odd"].values.ravel()
    np.testing.assert_array_equal(made, wanted)


@pytest.mark.parametrize("kind", ["dates", "durations", "categories", "date objects"])
def test_parquet_refuses_them_too(kind, tmp_path):
    frame_of(REFUSED[kind]).to_parquet(tmp_path / "table.parquet")
    with pytest.raises(PanelError, match="column 'odd'"):
        read_tables(tmp_path / "table.parquet", node="node")
    assert set(read_tables(tmp_path / "table.parquet", node="node", drop=["odd"]).data_vars) == {"y"}


def test_a_wide_frame_of_dates_is_refused():
    wide = pd.DataFrame({"a": TIMES, "b": TIMES}, index=TIMES)
    with pytest.raises(PanelError, match="holds dates"):
        to_panel(wide, name="y")


def test_complex_numbers_among_others_are_refused():
    frame = pd.DataFrame({"time": TIMES, "node": "a", "y": pd.Series([1.0, 2 + 1j, 2.0, 3.0], dtype=object)})
    with pytest.raises(PanelError, match="column 'y': holds complex numbers"):
        to_panel(frame, time="time", node="node")


@pytest.mark.parametrize(
    "given", [["50.5"], pd.Categorical([50.5]), pd.array([50.5], "Float64"), np.array([50.5], object)]
)
def test_coordinates_of_other_kinds_become_numbers(given):
    coords = pd.DataFrame({"lat": given, "lon": 5}, index=["a"])
    panel = to_panel(pd.DataFrame({"a": np.ones(N)}, index=TIMES), name="y", coords=coords)
    assert panel["lat"].dtype == float and panel["lat"].item() == 50.5


@pytest.mark.parametrize("unit", ["s", "us", "ns"])
def test_dates_of_hdf5_are_dates_and_text_is_left_out_with_a_warning(unit, tmp_path):
    pytest.importorskip("h5py")
    hdf5(tmp_path / "table.h5", unit)
    with pytest.warns(PanelWarning, match=r"'name'.*left out"), pytest.raises(PanelError, match="holds dates"):
        read_tables(tmp_path / "table.h5", name="y")
    with pytest.warns(PanelWarning, match="left out"):
        panel = read_tables(tmp_path / "table.h5", name="y", drop=["when"])
    assert panel["node"].values.tolist() == ["a"] and panel["y"].values.ravel().tolist() == [0, 1, 2, 3]


def hdf5(path, unit):
    """Write a frame as pandas does, with a block of numbers, one of dates and one of pickled text."""
    import h5py

    with h5py.File(path, "w") as file:
        group = file.create_group("frame")
        group["axis0"] = np.array([b"a", b"when", b"name"])
        group["axis1"] = TIMES.as_unit("ns").asi8
        group["axis1"].attrs["kind"] = b"datetime64"
        blocks = {"a": np.arange(float(N))[:, None], "when": TIMES.as_unit(unit).asi8[:, None]}
        for i, (name, values) in enumerate(blocks.items()):
            group[f"block{i}_items"], group[f"block{i}_values"] = np.array([name.encode()]), values
        group["block1_values"].attrs["value_type"] = f"datetime64[{unit}]".encode()
        group["block2_items"] = np.array([b"name"])
        group.create_dataset("block2_values", data=[b"x"], dtype=h5py.special_dtype(vlen=bytes))


@pytest.mark.parametrize("labels", [["NA", "ZA"], ["null", "nan"], ["None", "N/A"], ["007", "NA"]])
@pytest.mark.parametrize("where", ["long", "coords"])
def test_a_station_may_be_called_like_a_missing_value(labels, where, tmp_path):
    rows = "".join(f"2024-01-0{i + 1},{label},{i}\n" for i in range(2) for label in labels)
    path = tmp_path / "table.csv"
    path.write_text("time,node,y\n" + rows + f"2024-01-03,{labels[0]},NA\n")
    options = {}
    if where == "coords":
        options["coords"] = tmp_path / "places.csv"
        options["coords"].write_text("node,lat,lon\n" + "".join(f"{label},50,{i}\n" for i, label in enumerate(labels)))
    panel = read_tables(path, node="node", **options)
    assert sorted(panel["node"].values.tolist()) == sorted(labels)
    assert panel["y"].isnull().sum() == 2


@pytest.mark.parametrize("kind", ["text", "numbers"])
def test_categorical_stations_are_labels(kind, tmp_path):
    labels = ["a", "b"] if kind == "text" else [7, 12]
    frame = pd.DataFrame({"time": TIMES.repeat(2), "node": pd.Categorical(labels * N), "y": np.arange(2.0 * N)})
    frame.to_parquet(tmp_path / "table.parquet")
    for panel in (read_tables(tmp_path / "table.parquet", node="node"), to_panel(frame, time="time", node="node")):
        assert panel["node"].values.tolist() == labels


@pytest.mark.parametrize("axis", ["columns", "rows"])
def test_several_levels_of_labels_are_refused_and_the_mend_passes(axis):
    if axis == "columns":
        frame = pd.DataFrame(np.zeros((N, 2)), index=TIMES, columns=pd.MultiIndex.from_product([["pm"], ["a", "b"]]))
        with pytest.raises(PanelError, match="the columns have 2 levels"):
            to_panel(frame, name="y")
        frame.columns = ["_".join(map(str, c)) for c in frame.columns]
        assert to_panel(frame, name="y")["node"].values.tolist() == ["pm_a", "pm_b"]
    else:
        index = pd.MultiIndex.from_product([TIMES, ["a", "b"]], names=["time", "node"])
        frame = pd.DataFrame({"y": np.zeros(2 * N)}, index=index)
        with pytest.raises(PanelError, match="the rows have 2 levels"):
            to_panel(frame, name="y")
        assert to_panel(frame.reset_index(), time="time", node="node").sizes["node"] == 2


def test_no_warning_without_odd_columns(tmp_path):
    frame_of(np.ones(N)).to_parquet(tmp_path / "table.parquet")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_tables(tmp_path / "table.parquet", node="node")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "2", "3", "x"], "string"),
        (["1", "2", "3", "x"], "large_string"),
        ([[1.0], [2.0], [3.0], [4.0]], "list"),
        ([{"a": 1}] * 4, "struct"),
        (["x", "y", "x", "y"], "dictionary"),
        ([datetime.date(2024, 1, 1)] * 4, "date32"),
    ],
)
def test_frames_of_pyarrow_are_refused_like_others_and_nothing_of_them_becomes_nan(values, kind):
    pa = pytest.importorskip("pyarrow")
    array = pa.array(values)
    array = array.dictionary_encode() if kind == "dictionary" else array
    array = array.cast(pa.large_string()) if kind == "large_string" else array
    with pytest.raises(PanelError, match="column 'odd'"):
        to_panel(frame_of(pd.arrays.ArrowExtensionArray(array)), time="time", node="node")


@pytest.mark.parametrize(
    ("kind", "wanted"), [("string", [1, 2, np.nan, 4]), ("int64", [1, 2, np.nan, 4]), ("double", [1, 2, np.nan, 4])]
)
def test_numbers_of_pyarrow_are_taken_and_its_times_too(kind, wanted):
    pa = pytest.importorskip("pyarrow")
    array = pa.array([1, 2, None, 4]).cast(kind)
    frame = frame_of(pd.arrays.ArrowExtensionArray(array))
    times = pd.Series(TIMES.tz_localize("Asia/Kolkata")).convert_dtypes(dtype_backend="pyarrow")
    panel = to_panel(frame.assign(time=times), time="time", node="node")
    np.testing.assert_array_equal(panel["odd"].values.ravel(), wanted)
    assert panel["time"].values[0] == np.datetime64("2023-12-31T18:30")


@pytest.mark.parametrize("suffix", [".parquet", ".feather"])
@pytest.mark.parametrize("mark", [2**53 + 1, -(2**60) - 1, 2**63])
def test_large_whole_numbers_with_gaps_keep_their_digits_or_are_refused(mark, suffix, tmp_path):
    frame = frame_of(pd.array([mark, None, 3, 4], dtype="UInt64" if mark > 2**62 else "Int64"))
    pytest.importorskip("pyarrow")
    held = frame.assign(fine=pd.array([2**52, None, 3, 4], dtype="Int64"))
    (held.to_parquet if suffix == ".parquet" else held.to_feather)(tmp_path / f"t{suffix}")
    with pytest.raises(PanelError, match="column 'odd': whole numbers"):
        read_tables(tmp_path / f"t{suffix}", node="node")
    panel = read_tables(tmp_path / f"t{suffix}", node="node", drop=["odd"])
    assert int(panel["fine"].values[0, 0]) == 2**52


@pytest.mark.parametrize("value", [2**53 + 1, str(2**53 + 1), 10**18 + 1])
def test_whole_numbers_among_objects_are_not_rounded(value):
    with pytest.raises(PanelError, match=r"'odd': whole numbers"):
        to_panel(frame_of(np.array([None, "1", 2, value], dtype=object)), time="time", node="node")


@pytest.mark.parametrize(
    "label", [datetime.date(2024, 1, 1), datetime.timedelta(1), (1, 2), frozenset("a"), 1j, pd.Period("2024")]
)
def test_labels_that_no_file_holds_are_refused(label):
    frame = frame_of(np.ones(N)).assign(node=pd.Series([label] * N, dtype=object))
    with pytest.raises(PanelError, match=r"column 'node': has the label .*\.astype\(str\)"):
        to_panel(frame, time="time", node="node")
    wide = pd.DataFrame(np.ones((N, 1)), index=TIMES, columns=pd.Index([label], dtype=object, tupleize_cols=False))
    with pytest.raises(PanelError, match="a column is called"):
        to_panel(wide, name="y")


def test_times_that_are_durations_are_refused(tmp_path):
    pytest.importorskip("pyarrow")
    frame = frame_of(np.ones(N)).assign(time=pd.to_timedelta(np.arange(N), unit="h"))
    frame.to_parquet(tmp_path / "t.parquet")
    with pytest.raises(PanelError, match="column 'time' holds durations"):
        read_tables(tmp_path / "t.parquet", node="node")
