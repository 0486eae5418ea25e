"""Readers: each layout of a table gives the same panel, and a wrong table is named with its file and column."""

import gzip

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from helpers import make_panel, refusal

from stgate.errors import PanelError, PanelWarning, RequestError, StgateError, StoreError
from stgate.io import open_panel, read_tables
from stgate.io.frames import to_panel
from stgate.io.store import write

PANEL = make_panel(steps=30).drop_vars(["lat", "lon"])
COORDS = pd.DataFrame({"lat": [40.0, 40.1, 40.2], "lon": [116.0, 116.1, 116.2]}, index=pd.Index(list("abc"), name="id"))
LONG = PANEL.to_dataframe().reset_index()


def table(folder, frame, name="air.csv", **options):
    frame.to_csv(folder / name, **{"index": False, **options})
    return folder / name


def same(found: xr.Dataset, expected: xr.Dataset = PANEL) -> None:
    xr.testing.assert_allclose(found, expected, rtol=1e-6)
    assert all(v.dtype == np.float32 for v in found.data_vars.values())


def test_a_long_table(tmp_path):
    same(read_tables(table(tmp_path, LONG), node="node"))
    same(read_tables(table(tmp_path, LONG.rename(columns={"node": "site"})), node="site", drop=["u"]), PANEL[["y"]])
    same(open_panel(table(tmp_path, LONG.sample(frac=1, random_state=0))))


def test_a_wide_table(tmp_path):
    wide = PANEL["y"].to_pandas().reset_index()
    same(read_tables(table(tmp_path, wide), name="y"), PANEL[["y"]])
    same(read_tables(table(tmp_path, wide), name="y", variables=["a", "c"]), PANEL[["y"]].sel(node=["a", "c"]))


def test_one_file_a_station_named_after_it(tmp_path):
    files = [table(tmp_path, part.drop(columns="node"), f"{name}.csv.gz") for name, part in LONG.groupby("node")]
    same(read_tables(files))


def test_one_file_a_station_with_a_node_column(tmp_path):
    files = [table(tmp_path, part, f"file{i}.csv") for i, (_, part) in enumerate(LONG.groupby("node"))]
    same(read_tables(files, node="node"))


def test_times_in_several_columns(tmp_path):
    parts = LONG.assign(**{p: getattr(LONG["time"].dt, p) for p in ("year", "month", "day", "hour")})
    path = table(tmp_path, parts.drop(columns="time"))
    same(read_tables(path, time=["year", "month", "day", "hour"], node="node"))
    capital = parts.drop(columns="time").rename(columns=str.title)
    columns = ["Year", "Month", "Day", "Hour"]
    same(read_tables(table(tmp_path, capital), time=columns, node="Node", rename={"Y": "y", "U": "u"}))


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".csv.xz", ".csv.zip", ".txt"])
def test_a_compressed_table_is_a_table(suffix, tmp_path):
    same(read_tables(table(tmp_path, LONG, f"air{suffix}"), node="node"))


def test_times_with_a_zone_become_utc(tmp_path):
    zoned = LONG.assign(time=LONG["time"].dt.tz_localize("UTC").dt.tz_convert("Asia/Shanghai"))
    same(read_tables(table(tmp_path, zoned), node="node"))


def test_numbers_are_model_time(tmp_path):
    numbered = LONG.assign(time=LONG["time"].rank(method="dense") * 0.05)
    panel = read_tables(table(tmp_path, numbered), node="node")
    assert panel["time"].dtype == np.float64
    same(panel, PANEL.assign_coords(time=np.arange(1, 31) * 0.05))


def test_with_a_frequency_absent_rows_become_missing_values(tmp_path):
    path = table(tmp_path, LONG[LONG["time"] != LONG["time"].unique()[7]])
    with pytest.raises(PanelError, match=r"2020-01-01T06:00 to 2020-01-01T08:00"):
        read_tables(path, node="node")
    hole = PANEL["time"] != PANEL["time"][7]
    same(read_tables(path, node="node", freq="h"), PANEL.where(hole))


def test_coordinates_units_and_new_names(tmp_path):
    COORDS.to_csv(tmp_path / "stations.csv")
    path = table(tmp_path, LONG)
    for coords in (COORDS, tmp_path / "stations.csv"):
        panel = read_tables(path, node="node", rename={"y": "pm25"}, units={"pm25": "ug/m3"}, coords=coords)
        assert set(panel.data_vars) == {"pm25", "u"} and panel["pm25"].attrs["units"] == "ug/m3"
        np.testing.assert_allclose(panel["lat"], [40, 40.1, 40.2])


def test_a_node_coordinate_may_be_text(tmp_path):
    """Such as the kind of a station: clusters to calibrate and to score by."""
    coords = pd.DataFrame({"lat": [1.0, 2.0], "kind": ["street", None]}, index=["a", "b"])
    frame = pd.DataFrame(np.ones((3, 2)), pd.date_range("2020", periods=3, freq="h"), ["a", "b"])
    panel = to_panel(frame, name="y", coords=coords)
    assert panel["kind"].values.tolist() == ["street", ""]
    for suffix in ("nc", "zarr"):
        write(panel, tmp_path / f"p.{suffix}")
        assert open_panel(tmp_path / f"p.{suffix}")["kind"].values.tolist() == ["street", ""]


def test_stations_that_are_numbered_meet_their_coordinates_in_a_wide_table(tmp_path):
    coords = COORDS.set_index(pd.Index([101, 102, 103], name="id"))
    coords.to_csv(tmp_path / "stations.csv")
    wide = PANEL["y"].to_pandas().set_axis(["101", "102", "103"], axis=1).reset_index()
    panel = read_tables(table(tmp_path, wide), name="y", coords=tmp_path / "stations.csv")
    np.testing.assert_allclose(panel["lat"], [40, 40.1, 40.2])


def test_netcdf_and_zarr_open_by_their_suffix(tmp_path):
    for suffix in (".nc", ".zarr"):
        xr.testing.assert_identical(open_panel(write(PANEL, tmp_path / f"p{suffix}")).load(), PANEL)


def refused(kind, *arguments, **options) -> str:
    return refusal(kind, read_tables, *arguments, **options)


def test_text_in_a_column_is_named_with_the_column_and_the_time(tmp_path):
    text = LONG.assign(wind=LONG["u"].astype(object))
    text.loc[4, "wind"] = "NNW"
    path = table(tmp_path, text)
    message = refused(PanelError, path, node="node")
    assert "'NNW'" in message and "2020-01-01T01:00" in message
    assert "wind" in message
    same(read_tables(path, node="node", drop=["wind"]))


@pytest.mark.parametrize(
    ("options", "near"),
    [
        ({"time": ["tiem"]}, "'tiem'; did you mean time?"),
        ({"node": "nodes"}, "'nodes'; did you mean node?"),
        ({"node": "node", "variables": ["yy"]}, "'yy'; did you mean y?"),
        ({"node": "node", "drop": ["uu"]}, "'uu'; did you mean u?"),
    ],
)
def test_a_missing_column_is_answered_with_the_nearest_name(options, near, tmp_path):
    message = refused(PanelError, table(tmp_path, LONG), **options)
    assert message.startswith("air.csv") and near in message


def test_a_new_name_for_no_column_is_refused(tmp_path):
    with pytest.raises(StgateError, match="yy"):
        read_tables(table(tmp_path, LONG), node="node", rename={"yy": "pm25"})


def test_what_is_no_time_is_named_with_its_column(tmp_path):
    message = refused(PanelError, table(tmp_path, LONG.assign(time="noon")), node="node")
    assert "air.csv" in message and "column time" in message


def test_a_table_without_variables_is_refused(tmp_path):
    assert "no variable" in refused(PanelError, table(tmp_path, LONG[["time", "node"]]), node="node")


def test_a_missing_file_or_none_at_all_is_refused(tmp_path):
    assert "no such file" in refused(StoreError, tmp_path / "air.csv")
    assert "no files" in refused(RequestError, [])


def test_several_wide_tables_are_refused(tmp_path):
    wide = PANEL["y"].to_pandas().reset_index()
    assert "several wide" in refused(RequestError, [table(tmp_path, wide, f"{i}.csv") for i in "ab"], name="y")


def test_a_file_that_is_no_table_is_refused(tmp_path):
    (tmp_path / "empty.csv").touch()
    assert "not a readable table" in refused(StoreError, tmp_path / "empty.csv")
    (tmp_path / "plain.csv.gz").write_text("time,node,y\n")
    assert "not a readable table" in refused(StoreError, tmp_path / "plain.csv.gz")
    (tmp_path / "air.parquet").touch()
    assert "not a readable table" in refused(StoreError, tmp_path / "air.parquet")
    (tmp_path / "air.xlsx").touch()
    assert ".csv" in refused(StoreError, tmp_path / "air.xlsx")


@pytest.mark.parametrize("damage", ["cut off", "overwritten"])
def test_a_download_that_broke_is_refused(damage, tmp_path):
    whole = gzip.compress(LONG.to_csv(index=False).encode())
    half = len(whole) // 2
    broken = whole[:half] if damage == "cut off" else whole[:100] + bytes(100) + whole[200:]
    (tmp_path / "air.csv.gz").write_bytes(broken)
    assert "not a readable table" in refused(StoreError, tmp_path / "air.csv.gz", node="node")


def test_the_air_of_beijing_is_a_panel_with_gaps(shared):
    files = sorted((shared / "data" / "beijing_air").glob("PRSA_Data_*.csv.gz"))[:2]
    panel = read_tables(
        files,
        time=["year", "month", "day", "hour"],
        node="station",
        variables=["PM2.5"],
        rename={"PM2.5": "pm25"},
        coords=shared / "data" / "beijing_air" / "stations.csv",
    )
    assert dict(panel.sizes) == {"time": 35064, "node": 2}
    assert 0 < float(panel["pm25"].isnull().mean()) < 0.1
    assert 39 < float(panel["lat"].min()) < 42


def test_a_day_first_date_is_refused_unless_its_format_is_given(tmp_path):
    rows = "".join(f"{day:02d}/01/2020,{day}\n" for day in range(1, 13))
    (tmp_path / "days.csv").write_text("time,a\n" + rows)
    with pytest.raises(PanelError, match=r"row 1, '01/01/2020'.*--time-format"):
        read_tables(tmp_path / "days.csv", name="y")
    panel = read_tables(tmp_path / "days.csv", name="y", time_format="%d/%m/%Y")
    assert panel.sizes["time"] == 12
    assert str(panel["time"].values[-1])[:10] == "2020-01-12"


ROWS = "time,node,y\n2024-01-01T00:00,a,1.5\n2024-01-01T01:00,a,2.5\n2024-01-01T02:00,a,3.5"


@pytest.mark.parametrize("cut", [4, 6, 12, 20])
def test_a_table_that_ends_within_a_row_is_refused(tmp_path, cut):
    (tmp_path / "a.csv").write_text(ROWS[:-cut])
    with pytest.raises(StoreError, match=r"ends within a row, which has [12] of 3 columns"):
        read_tables(tmp_path / "a.csv", node="node")


@pytest.mark.parametrize(
    "end", ["", "\n", "\r\n", "\n\n", "\n2024-01-01T03:00,a,", '\n2024-01-01T03:00,"a",4.5', "\n "]
)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "latin-1", "utf-16"])
def test_whole_rows_without_an_end_of_line_are_read(tmp_path, end, encoding):
    (tmp_path / "a.csv").write_bytes((ROWS + end).encode(encoding))
    assert read_tables(tmp_path / "a.csv", node="node", encoding=encoding).sizes["time"] >= 3


TAILS = ["", ",", ",,", ",NA", ",,null"]


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("head", [False, True])
def test_what_follows_the_last_separator_of_each_row_is_no_column(tail, head, tmp_path):
    """Pandas would take the first columns for labels of the rows, and every value would move to the left."""
    names, *rows = ROWS.split("\n")
    lines = [names + "," * (head * tail.count(",")), *(row + tail for row in rows)]
    (tmp_path / "l.csv").write_text("\n".join(lines) + "\n")
    panel = read_tables(tmp_path / "l.csv", node="node")
    assert list(panel.data_vars) == ["y"] and panel["y"].values.ravel().tolist() == [1.5, 2.5, 3.5]


@pytest.mark.parametrize("rows", ["0,5,6,\n1,7,8,\n", "0,5,6\n1,7,8\n"])
@pytest.mark.parametrize("options", [{}, {"start": "2024-01-01", "freq": "h"}])
def test_wide_tables_too(rows, options, tmp_path):
    names = "c,a,b" if options else "time,a,b"
    (tmp_path / "w.csv").write_text(f"{names}\n{rows}")
    panel = read_tables(tmp_path / "w.csv", name="y", **options)
    assert panel["y"].sel(node=["a", "b"]).values.tolist() == [[5, 6], [7, 8]]
    assert panel["y"].sizes["node"] == 2 + bool(options)


@pytest.mark.parametrize(
    "rows", ["time,a\n0,1,2\n1,3,4", "time,a\n0,1,\n1,3,4", "a\n1,2\n3,4", "time,node,y\n0,a,1,x\n1,a,2,x"]
)
def test_values_beyond_the_names_are_refused(rows, tmp_path):
    (tmp_path / "w.csv").write_text(rows)
    options = {"node": "node"} if "node" in rows else {"name": "y"}
    with pytest.raises(StoreError, match=r"rows have \d columns, its first row names \d; name each column there"):
        read_tables(tmp_path / "w.csv", **options)


def test_lines_that_are_no_rows_are_named_with_the_fix(tmp_path):
    for line, words in (("# an agency", "lines above the names"), ("# an agency\n# its units", "such as comments")):
        (tmp_path / "w.csv").write_text(f"{line}\n{ROWS}")
        with pytest.raises(StoreError, match=f"{words}, or give .*separator"):
            read_tables(tmp_path / "w.csv", node="node")


@pytest.mark.parametrize("layout", ["long", "wide"])
def test_numbers_of_rows_are_left_out_with_a_warning_unless_they_are_asked_for(layout, tmp_path):
    frame = LONG if layout == "long" else PANEL["y"].to_pandas().reset_index()
    options = {"node": "node"} if layout == "long" else {"name": "y"}
    path = table(tmp_path, frame, index=True)
    with pytest.warns(PanelWarning, match="column 1 has no name; left out"):
        found = read_tables(path, **options)
    same(found, PANEL if layout == "long" else PANEL[["y"]])
    same(read_tables(path, **options, drop=["Unnamed: 0"]), PANEL if layout == "long" else PANEL[["y"]])
    assert "Unnamed: 0" in str(read_tables(path, **options, variables=["Unnamed: 0"]))


def test_coordinates_with_an_empty_last_column(tmp_path):
    (tmp_path / "places.csv").write_text("id,lat,lon,\n" + "".join(f"{n},4{i},11{i},\n" for i, n in enumerate("abc")))
    panel = read_tables(table(tmp_path, LONG), node="node", coords=tmp_path / "places.csv")
    assert set(panel.coords) == {"time", "node", "lat", "lon"}
