"""Numbers with other decimal marks and with marks between thousands: right, or refused, and never another number."""

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stgate.errors import PanelError, RequestError
from stgate.io import read_tables
from stgate.io.numbers import numbers_of

MARKS = [(",", "."), (".", ","), (".", "'"), (",", " "), (",", "\u00a0"), (".", None), (",", None)]


def written(value, decimal, thousands):
    """Write a number of up to three decimals."""
    text = f"{value:,.3f}" if thousands else f"{value:.3f}"
    return text.replace(",", "\0").replace(".", decimal).replace("\0", thousands or "")


def table(tmp_path, texts):
    rows = "".join(f'2020-01-{i + 1:02d};a;"{text}"\n' for i, text in enumerate(texts))
    path = tmp_path / "table.csv"
    path.write_text("time;node;y\n" + rows)
    return path


@given(st.lists(st.integers(-(10**9), 10**9), min_size=3, max_size=6), st.sampled_from(MARKS))
@settings(max_examples=60, deadline=None)
def test_numbers_come_back_as_they_were_written(thousandths, marks):
    values = [n / 1000 for n in thousandths]
    texts = pd.Series([written(v, *marks) for v in values])
    assert numbers_of(texts, *marks).tolist() == values


@pytest.mark.parametrize("marks", MARKS)
def test_tables_take_the_marks(marks, tmp_path):
    values = [1234.5, 0.25, 1234567.0, -12.5]
    path = table(tmp_path, [written(v, *marks) for v in values])
    options = {"thousands": marks[1]} if marks[1] else {}
    panel = read_tables(path, node="node", separator=";", decimal=marks[0], **options)
    assert panel["y"].values.ravel().tolist() == values


@pytest.mark.parametrize(
    ("text", "decimal"),
    [
        ("1.234,5", "."),
        ("1.234,5", ","),
        ("12.5", ","),
        ("1,234", "."),
        ("1'234", "."),
        ("1 234,5", ","),
        ("0.567", ","),
    ],
)
def test_another_way_of_writing_is_refused_with_its_row(text, decimal, tmp_path):
    path = table(tmp_path, [f"1{decimal}5", text, f"2{decimal}5"])
    with pytest.raises(PanelError, match=r"row 2, not a number.*--decimal.*--thousands"):
        read_tables(path, node="node", separator=";", decimal=decimal)


@pytest.mark.parametrize("suffix", [".parquet", ".feather"])
def test_texts_of_other_tables_are_read_with_the_marks_too(suffix, tmp_path):
    frame = pd.DataFrame({"time": pd.date_range("2020", periods=2), "node": "a", "y": ["1.234,5", "0,5"]})
    save = {".parquet": frame.to_parquet, ".feather": frame.to_feather}[suffix]
    save(tmp_path / f"t{suffix}")
    options = {"node": "node", "decimal": ","}
    panel = read_tables(tmp_path / f"t{suffix}", thousands=".", **options)
    assert panel["y"].values.ravel().tolist() == [1234.5, 0.5]
    with pytest.raises(PanelError, match="row 1, not a number"):
        read_tables(tmp_path / f"t{suffix}", **options)


@pytest.mark.parametrize(("texts", "times"), [(["0,0", "0,5", "1,0"], [0, 0.5, 1]), (["1.000", "2.000"], [1000, 2000])])
def test_model_time_is_written_with_the_marks_too(texts, times, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("time;node;y\n" + "".join(f"{text};a;1\n" for text in texts))
    options = {"node": "node", "separator": ";", "decimal": ","}
    assert read_tables(path, thousands=".", **options)["time"].values.tolist() == times
    if times[0]:
        with pytest.raises(PanelError, match=r"column 'time' holds '1.000' in row 1, not a number"):
            read_tables(path, **options)


def test_dates_with_points_are_no_numbers(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("time;node;y\n01.02.2020;a;1,5\n02.02.2020;a;2,5\n")
    with pytest.raises(PanelError, match="give --time-format"):
        read_tables(path, node="node", separator=";", decimal=",", thousands=".")


def test_coordinates_are_numbers_too(tmp_path):
    path = table(tmp_path, ["1,5", "2,5"])
    places = tmp_path / "places.csv"
    places.write_text('node;lat;lon;name\na;"51,93";"4,25";Delft\n')
    panel = read_tables(path, node="node", separator=";", decimal=",", coords=places)
    assert panel["lat"].item() == 51.93 and panel["lon"].item() == 4.25
    places.write_text('node;lat;lon\na;"51.93";"4.25"\n')
    with pytest.raises(PanelError, match="lat"):
        read_tables(path, node="node", separator=";", decimal=",", coords=places)


def test_marks_that_are_the_same_are_refused(tmp_path):
    with pytest.raises(RequestError, match="thousands"):
        read_tables(table(tmp_path, ["1,5"]), node="node", separator=";", decimal=",", thousands=",")
