"""Other formats and other habits: parquet, HDF5 frames, arrays, lattices; clocks, sentinels, separators, patterns."""

import builtins
import pickle

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from helpers import make_panel

import stgate
from stgate.errors import PanelError, RequestError, StoreError
from stgate.io import open_panel, read_npz, read_tables

PANEL = make_panel(steps=30).drop_vars(["lat", "lon"])
LONG = PANEL.to_dataframe().reset_index()
WIDE = PANEL["y"].to_pandas()


def same(found, expected=PANEL):
    xr.testing.assert_allclose(found, expected, rtol=1e-6)


def test_parquet_long_and_wide_with_its_index_of_times(tmp_path):
    LONG.to_parquet(tmp_path / "long.parquet")
    same(read_tables(tmp_path / "long.parquet", node="node"))
    WIDE.to_parquet(tmp_path / "wide.parquet")
    same(read_tables(tmp_path / "wide.parquet", name="y"), PANEL[["y"]])
    PANEL.to_dataframe().to_parquet(tmp_path / "indexed.parquet")
    same(read_tables(tmp_path / "indexed.parquet", node="node"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("labels", [["a", "b", "c"], [773869, 767541, 767542]])
def test_hdf5_as_pandas_writes_it(tmp_path, labels):
    frame = WIDE.set_axis(labels, axis=1)
    frame.to_hdf(tmp_path / "speed.h5", key="df", mode="w")
    found = read_tables(tmp_path / "speed.h5", name="y")
    np.testing.assert_allclose(found["y"], PANEL["y"], rtol=1e-6)
    np.testing.assert_array_equal(found["time"], PANEL["time"])
    assert found["node"].values.tolist() == [str(label) for label in labels]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_hdf5_file_that_only_a_pickle_could_tell_is_refused(tmp_path):
    WIDE.to_hdf(tmp_path / "table.h5", key="df", mode="w", format="table")
    with pytest.raises(StoreError, match="no pandas frame in the fixed format"):
        read_tables(tmp_path / "table.h5", name="y")
    with h5py.File(tmp_path / "evil.h5", "w") as file:
        group = file.create_group("df")
        group["axis0"] = np.void(pickle.dumps(["a"]))
        group["axis1"] = np.arange(3)
    with pytest.raises(StoreError, match="its labels are pickled"):
        read_tables(tmp_path / "evil.h5", name="y")


def test_arrays_of_time_node_channel(tmp_path):
    values = np.stack([PANEL["y"], PANEL["u"]], axis=-1)
    np.savez(tmp_path / "pems.npz", data=values)
    options = {"start": "2020-01-01", "freq": "h"}
    found = read_npz(tmp_path / "pems.npz", ["y", "u"], **options, units={"y": "km/h"})
    same(found.drop_vars("node"), PANEL.drop_vars("node"))
    assert found["y"].attrs["units"] == "km/h"
    counted = read_npz(tmp_path / "pems.npz", ["y", "u"])
    assert counted["time"].values.tolist() == list(range(30)) and counted["time"].dtype == float
    with pytest.raises(PanelError, match=r"float32 30x3x2; expected \(time, node, 3\)"):
        read_npz(tmp_path / "pems.npz", ["flow", "occupancy", "speed"])
    with pytest.raises(PanelError, match="no array 'date'; did you mean data"):
        read_npz(tmp_path / "pems.npz", ["y"], array="date")
    with pytest.raises(RequestError, match="only one is given; give both"):
        read_npz(tmp_path / "pems.npz", ["y", "u"], start="2020-01-01")
    with pytest.raises(PanelError, match=r"start 1704067200 holds numbers .* write dates like 2012-03-01"):
        read_npz(tmp_path / "pems.npz", ["y", "u"], start="1704067200", freq="3600")
    np.savez(tmp_path / "large.npz", data=np.full((3, 2), 2**53 + 1))
    with pytest.raises(PanelError, match=r"large.npz: data holds whole numbers beyond 2\*\*53"):
        read_npz(tmp_path / "large.npz", ["y"])
    np.savez(tmp_path / "evil.npz", data=np.array([{"a": 1}], dtype=object))
    with pytest.raises(StoreError, match=r"not a readable \.npz"):
        read_npz(tmp_path / "evil.npz", ["y"])


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_a_lattice_opens_as_a_panel_of_its_cells(tmp_path, suffix):
    rng = np.random.default_rng(0)
    lattice = xr.Dataset(
        {"sst": (("time", "lat", "lon"), rng.standard_normal((5, 2, 3)))},
        {"time": pd.date_range("2020-01-01", periods=5), "lat": [10.0, 20.0], "lon": [0.0, 1.0, 2.0]},
    )
    stgate.write(lattice, tmp_path / f"sst{suffix}")
    panel = open_panel(tmp_path / f"sst{suffix}")
    assert panel.sizes["node"] == 6
    np.testing.assert_array_equal(stgate.to_lattice(panel)["sst"], lattice["sst"])


def test_a_clock_that_shows_an_hour_twice_is_taken_to_utc(tmp_path):
    utc = pd.date_range("2016-10-29T20:00", periods=12, freq="h")
    local = utc.tz_localize("UTC").tz_convert("Europe/Berlin").tz_localize(None)
    assert local.duplicated().any()
    frame = pd.DataFrame({"time": local, "a": np.arange(12.0), "b": np.arange(12.0)})
    frame.to_csv(tmp_path / "clock.csv", index=False)
    with pytest.raises(PanelError, match="appears twice"):
        read_tables(tmp_path / "clock.csv", name="y")
    found = read_tables(tmp_path / "clock.csv", name="y", time_zone="Europe/Berlin")
    np.testing.assert_array_equal(found["time"], utc)
    long = frame.melt("time", var_name="node", value_name="y")
    long.to_csv(tmp_path / "long.csv", index=False)
    same(read_tables(tmp_path / "long.csv", node="node", time_zone="Europe/Berlin"), found)


@pytest.mark.parametrize(
    ("times", "zone", "message"),
    [
        (["2016-10-30T01:00", "2016-10-30T02:00"], "Europe/Berlin", "2016-10-30T02:00 occurs twice"),
        (["2016-03-27T01:00", "2016-03-27T02:00"], "Europe/Berlin", "2016-03-27T02:00 does not exist"),
        (["2016-03-27T01:00", "2016-03-27T02:00"], "Europe/Berlinn", "time zone 'Europe/Berlinn': unknown"),
        (["2016-03-27T01:00", "2016-03-27T02:00"], "../passwd", "unknown"),
        (["2016-03-27T01:00Z", "2016-03-27T02:00Z"], "Europe/Berlin", "have an offset already"),
        ([1.0, 2.0], "Europe/Berlin", "holds numbers; model time has no zone"),
    ],
)
def test_a_clock_that_does_not_tell_is_named(tmp_path, times, zone, message):
    pd.DataFrame({"time": times, "a": 1.0}).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises((PanelError, RequestError), match=message):
        read_tables(tmp_path / "t.csv", name="y", time_zone=zone)


def test_values_that_mark_what_is_missing(tmp_path):
    marked = LONG.fillna({"y": -999.9, "u": 0.0})
    marked.to_csv(tmp_path / "m.csv", index=False)
    same(read_tables(tmp_path / "m.csv", node="node", missing={"y": [-999.9], "u": [0.0]}))
    same(read_tables(tmp_path / "m.csv", node="node", missing=[-999.9, 0.0]))
    with pytest.raises(PanelError, match="no variable 'z'"):
        read_tables(tmp_path / "m.csv", node="node", missing={"z": [0]})


def test_other_separators_decimal_commas_and_no_header(tmp_path):
    WIDE.to_csv(tmp_path / "semi.csv", sep=";", decimal=",", encoding="utf-8-sig")
    with pytest.raises(StoreError, match="give --separator"):
        read_tables(tmp_path / "semi.csv", name="y")
    same(read_tables(tmp_path / "semi.csv", name="y", separator=";", decimal=","), PANEL[["y"]])
    WIDE.to_csv(tmp_path / "bare.txt", header=False, index=False)
    bare = read_tables(tmp_path / "bare.txt", name="y", header=False, start="2020-01-01", freq="h")
    assert bare["node"].values.tolist() == ["0", "1", "2"]
    np.testing.assert_allclose(bare["y"], PANEL["y"], rtol=1e-6)
    np.testing.assert_array_equal(bare["time"], PANEL["time"])
    with pytest.raises(RequestError, match="give name too, and freq"):
        read_tables(tmp_path / "bare.txt", node="0", header=False, start="2020-01-01")


def test_a_pattern_finds_the_files_in_order(tmp_path):
    for name, part in LONG.groupby("node"):
        part.drop(columns="node").to_csv(tmp_path / f"{name}.csv", index=False)
    same(read_tables(tmp_path / "*.csv"))
    with pytest.raises(StoreError, match="matches no file"):
        read_tables(tmp_path / "*.parquet")


def test_a_missing_package_is_named_with_the_extra_that_brings_it(tmp_path, monkeypatch):
    LONG.to_parquet(tmp_path / "long.parquet")
    usual = builtins.__import__

    def without(name, *rest, **more):
        if name.split(".")[0] == "pyarrow":
            raise ImportError(name)
        return usual(name, *rest, **more)

    monkeypatch.setattr("stgate.io.tables.import_module", lambda name: without(name))
    with pytest.raises(RequestError, match=r"needs pyarrow; pip install 'stgate\[files\]'"):
        read_tables(tmp_path / "long.parquet", node="node")


def test_write_then_read_is_the_same_in_every_format(tmp_path):
    for suffix in (".nc", ".zarr"):
        stgate.write(PANEL, tmp_path / f"p{suffix}")
        xr.testing.assert_equal(open_panel(tmp_path / f"p{suffix}"), PANEL)
    for suffix in (".csv", ".csv.gz", ".parquet"):
        path = tmp_path / f"p{suffix}"
        LONG.to_parquet(path) if suffix == ".parquet" else LONG.to_csv(path, index=False)
        xr.testing.assert_equal(read_tables(path, node="node"), PANEL)
    with pytest.raises(StoreError, match="stgate data convert"):
        open_panel(tmp_path / "p.parquet")
