"""Sizes that a header declares are held against the file before anything of that size is made or looped over."""

import json
import lzma
import os
import resource
import time
import zipfile

import h5py
import netCDF4
import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
from helpers import make_panel

from stgate.errors import StoreError
from stgate.io import open_panel, read_tables, store
from stgate.io.safe import sizes
from stgate.io.safe.sizes import SLACK, check_size, stored_bytes
from stgate.io.tables import load_frame


@pytest.fixture(autouse=True)
def quick():
    """Refusals come before the work: within seconds and 500 MB."""
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert time.monotonic() - began < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000


def test_a_size_is_refused_beyond_what_a_file_can_pack_or_what_memory_holds(tmp_path, monkeypatch):
    path = tmp_path / "a.nc"
    path.write_bytes(bytes(1000))
    check_size(path, SLACK + 1_000_000)
    with pytest.raises(StoreError, match=r"a\.nc: is broken: it declares 200 MB of values and takes 1 kB"):
        check_size(path, 2e8)
    monkeypatch.setattr(sizes, "MOST", 10**9)
    monkeypatch.setattr(sizes, "free_memory", lambda: 10**9)
    with pytest.raises(StoreError, match=r"takes 2 GB and 1 GB of memory are free"):
        check_size(path, 2e9)
    check_size(path, 2e9, loaded=False)
    monkeypatch.setattr(sizes, "free_memory", lambda: None)
    check_size(path, 2e9)


def test_the_size_of_a_store_is_that_of_its_files(tmp_path):
    path = store.write(make_panel(), tmp_path / "air.zarr")
    assert stored_bytes(path) == sum(p.stat().st_size for p in path.rglob("*") if p.is_file())


def edited(path, name, **entries):
    file = path / name / "zarr.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | entries))


def bare(path):
    """A store of one variable without coordinates, whose shape agrees with anything."""
    return store.write(make_panel()[["y"]].drop_vars(["time", "node", "lat", "lon"]), path)


@pytest.mark.parametrize("shape", [[10**10, 3], [400, 10**9]])
def test_a_zarr_array_of_any_shape_is_refused_unread(shape, tmp_path):
    path = bare(tmp_path / "air.zarr")
    edited(path, "y", shape=shape)
    for read in (open_panel, store.open_lazily):
        with pytest.raises(StoreError, match=r"air\.zarr: is broken: it declares"):
            read(path)


@pytest.mark.parametrize("name", ["time", "node"])
def test_a_zarr_axis_of_any_length_is_refused_unread(name, tmp_path):
    path = store.write(make_panel()[[name]].drop_vars(["lat", "lon"], errors="ignore"), tmp_path / "air.zarr")
    edited(path, name, shape=[10**12])
    for read in (open_panel, store.open_lazily):
        with pytest.raises(StoreError, match=r"air\.zarr: is broken: it declares"):
            read(path)


def test_a_zarr_array_in_countless_chunks_is_refused_unread(tmp_path):
    path = bare(tmp_path / "air.zarr")
    edited(path, "y", shape=[3000, 3000], chunk_grid={"name": "regular", "configuration": {"chunk_shape": [1, 1]}})
    with pytest.raises(StoreError, match="it declares 9,000,000 chunks and holds few of them"):
        open_panel(path)


def test_a_zarr_chunk_of_any_size_is_refused_unread(tmp_path):
    path = store.write(make_panel(), tmp_path / "air.zarr")
    edited(path, "y", chunk_grid={"name": "regular", "configuration": {"chunk_shape": [10**9, 3]}})
    with pytest.raises(StoreError, match="is broken: it declares 12 GB"):
        open_panel(path)


def test_a_store_in_many_chunks_that_are_there_is_read(tmp_path, monkeypatch):
    path = store.write(make_panel(), tmp_path / "air.zarr")
    monkeypatch.setattr(sizes, "PIECES", 0)
    open_panel(path)


@pytest.mark.parametrize("place", ["y/c/0/0", "y/zarr.json", "zarr.json", "node/c/0", "other"])
@pytest.mark.parametrize("made", ["pipe", "device", "pipe behind a link"])
def test_a_store_that_holds_a_pipe_or_a_device_is_refused_unread(place, made, tmp_path):
    """To read one would never end, or fill the memory."""
    path = store.write(make_panel(), tmp_path / "air.zarr")
    (path / place).unlink(missing_ok=True)
    if made == "device":
        (path / place).symlink_to("/dev/zero")
    elif made == "pipe":
        os.mkfifo(path / place)
    else:
        os.mkfifo(tmp_path / "pipe")
        (path / place).symlink_to(tmp_path / "pipe")
    for read in (open_panel, store.open_lazily):
        with pytest.raises(StoreError, match=rf"{place}: a pipe, a socket or a device, not a file"):
            read(path)


def test_a_store_may_hold_links_to_files_and_other_things(tmp_path):
    path = store.write(make_panel(), tmp_path / "air.zarr")
    (path / "y").rename(tmp_path / "elsewhere")
    (path / "y").symlink_to(tmp_path / "elsewhere")
    (path / "notes").symlink_to("nowhere")
    (path / "again").symlink_to(".")
    assert open_panel(path)["y"].notnull().any()


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_a_variable_that_is_missing_throughout_is_read(suffix, tmp_path):
    panel = make_panel(steps=50_000, nodes=tuple("abcdefghijklmnopqrst"))
    panel["y"] = panel["y"] * np.float32(np.nan)
    path = store.write(panel[["y"]], tmp_path / f"air{suffix}")
    assert open_panel(path)["y"].isnull().all()


@pytest.mark.parametrize("dims", [("time", "node"), ("time",)])
def test_a_netcdf_variable_of_any_shape_is_refused_unread(dims, tmp_path):
    path = tmp_path / "air.nc"
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("time", 10**9)
        file.createDimension("node", 1000)
        file.createVariable("y" if len(dims) > 1 else "time", "f4", dims, chunksizes=(1000,) * len(dims))
    with pytest.raises(StoreError, match=r"air\.nc: is broken: it declares"):
        open_panel(path)


@pytest.mark.parametrize("name", ["block0_values", "axis0", "axis1"])
@pytest.mark.parametrize("shape", [(10**12,), (10**6, 10**6)])
def test_a_table_in_hdf5_of_any_shape_is_refused_unread(name, shape, tmp_path):
    pytest.importorskip("tables")
    path = tmp_path / "air.h5"
    make_panel()["y"].to_pandas().to_hdf(path, key="air")
    with h5py.File(path, "r+") as file:
        kept = dict(file["air"][name].attrs)
        del file["air"][name]
        file["air"].create_dataset(name, shape=shape, dtype="f8", chunks=(1000,) * len(shape))
        file["air"][name].attrs.update(kept)
    with pytest.raises(StoreError, match=r"air\.h5: is broken: it declares"):
        load_frame(path)


@pytest.mark.parametrize("suffix", [".csv.xz", ".csv.zip"])
def test_a_table_that_unpacks_without_end_is_refused_unkept(suffix, tmp_path, monkeypatch):
    monkeypatch.setattr(sizes, "SLACK", 10**5)
    path = tmp_path / f"air{suffix}"
    if suffix == ".csv.xz":
        path.write_bytes(lzma.compress(b"time,node,y\n" + bytes(10_000_000), preset=0))
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
            archive.writestr("air.csv", b"time,node,y\n" + bytes(10_000_000))
    with pytest.raises(StoreError, match="is broken: it declares"):
        read_tables(path, node="node")


def test_a_table_in_parquet_of_any_length_is_refused_unread(tmp_path, monkeypatch):
    path = tmp_path / "air.parquet"
    pd.DataFrame({"time": [1, 2], "y": [1.0, 2.0]}).to_parquet(path)

    class Long:
        num_rows, num_columns = 10**12, 2

    monkeypatch.setattr(pyarrow.parquet, "read_metadata", lambda path: Long)
    with pytest.raises(StoreError, match=r"air\.parquet: is broken: it declares 16 TB"):
        load_frame(path)
