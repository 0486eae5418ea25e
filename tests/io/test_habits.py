"""How people write their tables: labels with zeros, coordinates of all kinds, times that do not tell, slips."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import stgate
from stgate.errors import PanelError, RequestError, StoreError
from stgate.io import read_tables
from stgate.panels import select


def long(*nodes):
    return "time,node,y\n" + "".join(f"2024-01-01T{h:02d}:00,{n},{h}\n" for n in nodes for h in range(4))


WIDE = "time,a,b\n" + "".join(f"2024-01-01T{h:02d}:00,{h},{h + 1}\n" for h in range(4))


def written(tmp_path, text, name="t.csv", **options):
    (tmp_path / name).write_text(text, **options)
    return tmp_path / name


# Labels


def test_station_codes_keep_their_zeros_and_meet_their_coordinates(tmp_path):
    places = written(tmp_path, "code,lat,lon\n06037,34,-118\n06038,35,-119\n", "places.csv")
    wide = written(tmp_path, WIDE.replace("a,b", "06037,06038"))
    rows = written(tmp_path, long("06037", "06038"), "l.csv")
    for n in ("06037", "06038"):
        written(tmp_path, WIDE.replace("a,b", "y,z"), f"{n}.csv")
    for panel in (
        read_tables(wide, name="y", coords=places),
        read_tables(rows, node="node", coords=places),
        read_tables(str(tmp_path / "0603*.csv"), coords=places),
    ):
        assert panel["node"].values.tolist() == ["06037", "06038"]
        assert panel["lat"].values.tolist() == [34, 35]


def test_labels_that_differ_by_a_zero_are_two_nodes_and_plain_numbers_stay_numbers(tmp_path):
    assert read_tables(written(tmp_path, long("6037", "06037")), node="node").sizes["node"] == 2
    panel = read_tables(written(tmp_path, long("7")), node="node")
    assert panel["node"].values.tolist() == [7]


# Coordinates


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("id,lat,lon\na,51d56'N,8d15'W\nb,52,8\n", r"`lat`: .*51d56'N.* at node 'a'.*write degrees"),
        ("id,lat,lon\na,51,8\nb,n/b,8\n", r"`lat`: 'n/b' at node 'b'"),
        ("id,lat,lon\na,51,8\nb,,8\n", "`lat`: nan at node 'b'"),
        ("id,lat,lon\na,95,8\nb,51,8\n", r"`lat`: 95.* at node 'a'"),
        ("id,lat,lon\na,51,8\nb,51,8\na,52,8\n", "'a' appears twice in the coordinates"),
        ("index,id,lat,lon\n0,a,51,8\n1,b,51,8\n", "read from 'index', which starts with"),
    ],
)
def test_coordinates_that_cannot_be_are_named(tmp_path, table, message):
    places, wide = written(tmp_path, table, "places.csv"), written(tmp_path, WIDE)
    with pytest.raises(PanelError, match=message):
        read_tables(wide, name="y", coords=places)


@pytest.mark.parametrize("head", ["lat,lon", "LAT,Lng", "Latitude,Longitude"])
def test_coordinates_by_the_names_that_people_give_them(tmp_path, head):
    places = written(tmp_path, f"id,{head},street\na,51.5,8,High Street\nb,52,9,Low Street\n", "places.csv")
    panel = read_tables(written(tmp_path, WIDE), name="y", coords=places)
    assert panel["lat"].values.tolist() == [51.5, 52] and panel["lon"].attrs["units"] == "degrees_east"


def test_coordinates_are_written_as_the_table_is(tmp_path):
    places = written(tmp_path, "id;lat;lon\nä;51,5;8,0\nb;52,0;9,5\n", "places.csv", encoding="latin-1")
    wide = written(tmp_path, WIDE.replace("a,b", "ä,b").replace(",", ";"), encoding="latin-1")
    with pytest.raises(StoreError, match="give its --encoding, such as latin-1"):
        read_tables(wide, name="y", separator=";")
    with pytest.raises(RequestError, match="encoding 'utf-99': unknown"):
        read_tables(wide, name="y", separator=";", encoding="utf-99")
    panel = read_tables(wide, name="y", separator=";", decimal=",", encoding="latin-1", coords=places)
    assert panel["node"].values.tolist() == ["ä", "b"] and panel["lat"].values.tolist() == [51.5, 52]


# Times


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("2024-01-01T02:00", "soon", "row 3, 'soon'"),
        ("2024-01-01T03:00", "2024-01-01 24:30", "row 4, '2024-01-01 24:30'"),
        ("2024-01-01T00:00", "2024-01-01T00:00+01:00", "row 2, '2024-01-01T01:00'"),
        ("2024-01-01T02:00", "2024-01-01T02:00Z", "row 3, '2024-01-01T02:00Z'"),
    ],
)
def test_a_time_that_does_not_tell_is_named_with_its_row(tmp_path, old, new, message):
    with pytest.raises(PanelError, match=rf"column time is not a time in {message}"):
        read_tables(written(tmp_path, WIDE.replace(old, new)), name="y")


def test_times_with_an_offset_need_no_zone(tmp_path):
    path = written(tmp_path, WIDE.replace(":00,", ":00+01:00,"))
    assert read_tables(path, name="y")["time"].values[0] == np.datetime64("2023-12-31T23:00")
    with pytest.raises(RequestError, match="have an offset already"):
        read_tables(path, name="y", time_zone="Europe/Berlin")


def test_years_of_two_digits_are_refused(tmp_path):
    path = written(tmp_path, "year,month,day,a\n61,1,1,2\n61,1,2,3\n61,1,3,3\n")
    with pytest.raises(PanelError, match="two digits; write 1961"):
        read_tables(path, time=["year", "month", "day"], name="y")


def test_a_start_is_for_tables_without_times(tmp_path):
    options = {"name": "y", "start": "2020-01-01", "freq": "D"}
    with pytest.raises(RequestError, match=r"start 2020-01-01: t\.csv has times, in time"):
        read_tables(written(tmp_path, WIDE), **options)
    frame = pd.read_csv(tmp_path / "t.csv", index_col=0, parse_dates=True)
    frame.to_parquet(tmp_path / "t.parquet")
    with pytest.raises(RequestError, match="has times"):
        read_tables(tmp_path / "t.parquet", **options)


def test_rows_may_stand_in_any_order(tmp_path):
    head, *rows = WIDE.splitlines()
    mixed = read_tables(written(tmp_path, "\n".join([head, rows[2], rows[0], rows[3], rows[1]])), name="y")
    xr.testing.assert_identical(mixed, read_tables(written(tmp_path, WIDE, "u.csv"), name="y"))


# Slips


def test_texts_that_mark_what_is_missing(tmp_path):
    path = written(tmp_path, WIDE.replace(",3,4", ",<LOD,-").replace(",0,1", ",-999,1"))
    panel = read_tables(path, name="y", missing=["<LOD", "-", -999])
    assert panel["y"].isnull().values.tolist() == [[True, False], [False, False], [False, False], [True, True]]


def test_a_column_that_stands_twice_is_refused(tmp_path):
    with pytest.raises(StoreError, match="column 'a' appears twice"):
        read_tables(written(tmp_path, WIDE.replace("a,b", "a,a")), name="y")


def test_a_name_that_no_file_could_hold_is_refused(tmp_path):
    with pytest.raises(PanelError, match="not contain a slash"):
        read_tables(written(tmp_path, WIDE), name="NO/NO2")


def test_a_selection_takes_one_label_and_none_twice(tmp_path):
    panel = read_tables(written(tmp_path, WIDE), name="y")
    assert select(panel, "a")["node"].values.tolist() == ["a"]
    with pytest.raises(PanelError, match="'a' appears twice"):
        select(panel, ["a", "b", "a"])


def lattice(times):
    values = np.arange(len(times) * 4.0).reshape(-1, 2, 2)
    return xr.Dataset({"t": (("time", "lat", "lon"), values)}, {"time": times, "lat": [1.0, 2.0], "lon": [3.0, 4.0]})


def test_a_lattice_with_a_gap_in_time_is_put_on_its_grid_or_refused(stgate_command, tmp_path):
    times = pd.date_range("2024-01-01", periods=9, freq="h").delete([3, 4])
    lattice(times).to_netcdf(tmp_path / "gap.nc")
    convert = ("data", "convert", tmp_path / "gap.nc", "--out", tmp_path / "p.nc")
    code, _, err = stgate_command(*convert)
    assert code == 2 and "time jumps" in err and not (tmp_path / "p.nc").exists()
    assert stgate_command(*convert, "--freq", "h")[0] == 0
    panel = stgate.open_panel(tmp_path / "p.nc")
    assert panel.sizes["time"] == 9 and int(panel["t"].isnull().sum()) == 8
    code, _, err = stgate_command(*convert[:4], tmp_path / "q.nc", "--missing", "gone")
    assert code == 2 and "--missing gone: this file holds numbers" in err


def test_a_long_table_is_fitted_as_it_is(stgate_command, tmp_path):
    rows = [
        f"{t:%Y-%m-%dT%H:%M},{n},{t.hour}" for t in pd.date_range("2024-01-01", periods=200, freq="h") for n in "ab"
    ]
    path = written(tmp_path, "\n".join(["time,node,y", *rows]))
    given = ("--data.panel", path, "--data.targets", "[y]", "--data.window", 6, "--data.horizon", 2)
    code, _, err = stgate_command("fit", "--model", "Persistence", *given, "--out", tmp_path / "run")
    assert code == 0, err
    assert (tmp_path / "run" / "best.ckpt").exists()
