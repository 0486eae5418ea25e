"""The guard of readers: one line that names the file, whatever a library raises, and nothing of what it warns of."""

import json
import os
import shutil
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from helpers import make_panel

import stgate
from stgate.calibration import OnlineConformal
from stgate.errors import (
    CheckpointError,
    PanelError,
    PanelWarning,
    RequestError,
    StgateError,
    StoreError,
    one_line,
)
from stgate.io import open_panel, read_npz, read_tables, store
from stgate.io.readers import open_within
from stgate.io.safe.documents import read_yaml
from stgate.io.safe.reading import LONGEST, reading


@pytest.mark.parametrize(
    "error",
    [
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
        RecursionError,
        AssertionError,
        OverflowError,
        OSError,
    ],
)
def test_what_a_library_raises_is_one_line_that_names_the_file(error):
    with pytest.raises(StoreError) as caught, reading("air.nc", "netCDF file"):
        raise error("bad\x1b[31m\x00 thing " + "x" * 500 + "\nsecond line")
    said = str(caught.value)
    assert said.startswith("air.nc: not a readable netCDF file (")
    assert said.isprintable() and "second line" not in said and len(said) < LONGEST + 50


def test_an_exception_without_words_is_named_by_its_kind():
    with pytest.raises(StoreError, match=r"^a\.npz: not a readable \.npz \(EOFError\)$"), reading("a.npz", ".npz"):
        raise EOFError


def test_too_little_memory_is_said():
    with pytest.raises(StoreError, match=r"^air\.nc: takes more memory than there is"), reading("air.nc", "panel"):
        raise MemoryError


def test_the_error_is_of_the_class_that_is_asked_for():
    said = r"a\.ckpt: not a readable checkpoint \('spec'\); fit it again"
    hint = "; fit it again"
    with pytest.raises(CheckpointError, match=said), reading("a.ckpt", "checkpoint", CheckpointError, hint):
        raise KeyError("spec")


@pytest.mark.parametrize("error", [PanelError("`y`: odd"), RequestError("freq: odd"), StoreError("b.nc: odd")])
def test_errors_of_ours_pass_as_they_are(error):
    with pytest.raises(StgateError) as caught, reading("air.nc", "panel"):
        raise error
    assert caught.value is error


@pytest.mark.parametrize("said", ["odd", "runs/a.ckpt: odd"])
def test_errors_of_ours_can_be_given_the_name_of_the_file(said):
    with pytest.raises(RequestError) as caught, reading("runs/a.ckpt", "checkpoint", CheckpointError, named=True):
        raise RequestError(said)
    assert str(caught.value) == "runs/a.ckpt: odd"


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_stops_a_program_passes(stop):
    with pytest.raises(stop), reading("air.nc", "panel"):
        raise stop


@pytest.mark.parametrize("kind", [RuntimeWarning, FutureWarning, UserWarning, xr.SerializationWarning])
def test_warnings_of_libraries_are_silent_though_they_be_errors(kind):
    with warnings.catch_warnings(action="error"), reading("air.nc", "panel"):
        warnings.warn("odd", kind, stacklevel=1)


def test_warnings_of_ours_pass_also_before_an_error_and_through_two_guards():
    with pytest.warns(PanelWarning, match="read, but"), pytest.raises(StoreError), reading("air.nc", "panel"):
        with reading("air.nc", "netCDF file"):
            warnings.warn("read, but otherwise", PanelWarning, stacklevel=1)
        raise ValueError("broken")


@pytest.mark.parametrize("error", [StgateError, PanelError, StoreError, RequestError])
def test_names_in_a_file_break_no_line(error):
    said = str(error("`wind\nspeed\x1b[2J`: holds\ttext" + "x" * 5000 + "; drop it"))
    assert said.isprintable() and said.startswith("`wind speed") and said.endswith("; drop it") and len(said) < 1100
    assert one_line("plain") == "plain"


# Files that a library opens, and whose content no check foresaw


def odd_attribute(name, attribute, value):
    def spoil(folder):
        path = folder / name / "zarr.json"
        held = json.loads(path.read_text())
        held["attributes"][attribute] = value
        path.write_text(json.dumps(held))

    return spoil


def entry(name, key, value):
    def spoil(folder):
        path = folder / name / "zarr.json"
        held = json.loads(path.read_text())
        if value is None:
            del held[key]
        else:
            held[key] = value
        path.write_text(json.dumps(held))

    return spoil


@pytest.mark.parametrize(
    "spoil",
    [
        odd_attribute("time", "units", 5),
        odd_attribute("time", "units", "days since"),
        odd_attribute("time", "calendar", ["noleap"]),
        odd_attribute("y", "scale_factor", "large"),
        odd_attribute("y", "add_offset", {"a": 1}),
        odd_attribute("y", "_FillValue", [[1]]),
        entry("y", "shape", [10**12, 3]),
        entry("y", "shape", [400]),
        entry("y", "shape", "400"),
        entry("y", "data_type", "object"),
        entry("y", "data_type", {"name": "fixed_length_utf32", "configuration": {"length_bytes": 10**15}}),
        entry("y", "codecs", []),
        entry("y", "chunk_grid", None),
        entry("y", "fill_value", {}),
        entry("node", "attributes", 3),
        lambda folder: (folder / "zarr.json").write_text("[" * 100_000),
        lambda folder: (folder / "y" / "zarr.json").write_bytes(b"\xff\x00"),
    ],
)
def test_a_zarr_store_of_anything_is_a_panel_or_one_line(spoil, tmp_path):
    path = store.write(make_panel(), tmp_path / "air.zarr")
    spoil(path)
    for read in (open_panel, lambda path: open_within(path, ["y"], ["y"], 1.0), store.open_lazily):
        try:
            read(path)
        except StgateError as error:
            assert str(error).isprintable()


@pytest.mark.parametrize("group", [{"coordinates": 5}, {"lattice": [1]}, {"history": "x\ny"}, {"stgate_variables": 3}])
def test_odd_attributes_of_a_store_are_read_or_refused(group, tmp_path):
    path = store.write(make_panel(), tmp_path / "air.zarr")
    entry(".", "attributes", group)(path)
    try:
        open_panel(path)
    except StgateError as error:
        assert str(error).isprintable()


@pytest.mark.parametrize(
    "content", [b"\x00" * 50, b"time,node,y\n" + b'"' * 999, b"\xff\xfe\x00", b",,,\n,,,\n", b"\n\n"]
)
def test_a_table_of_anything_is_one_line(content, tmp_path):
    path = tmp_path / "air.csv"
    path.write_bytes(content)
    with pytest.raises(StgateError) as caught:
        read_tables(path, node="node")
    assert str(caught.value).isprintable() and "air.csv" in str(caught.value)


def test_an_unknown_encoding_is_no_broken_file(tmp_path):
    (tmp_path / "air.csv").write_text("time,node,y\n2020-01-01,a,1\n2020-01-02,a,2\n")
    with pytest.raises(RequestError, match="encoding 'nope': unknown"):
        read_tables(tmp_path / "air.csv", node="node", encoding="nope")


def test_a_table_of_coordinates_is_named_itself(tmp_path):
    (tmp_path / "air.csv").write_text("time,node,y\n2020-01-01,a,1\n2020-01-02,a,2\n")
    pd.DataFrame({"node": ["a"]}).to_parquet(tmp_path / "places.parquet")
    shutil.copy(tmp_path / "places.parquet", tmp_path / "cut.parquet")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "places.parquet").read_bytes()[:-9])
    with pytest.raises(StoreError, match=r"cut\.parquet: not a readable table"):
        read_tables(tmp_path / "air.csv", node="node", coords=tmp_path / "cut.parquet")


def test_a_forecast_of_anything_is_one_line(tmp_path):
    odd = xr.Dataset(
        {"y": (("quantile", "init_time"), np.zeros((2, 2)))}, {"quantile": ["a", "b"], "init_time": [1, 2]}
    )
    odd.to_netcdf(tmp_path / "odd.nc")
    with pytest.raises(StgateError) as caught:
        store.open_forecast(tmp_path / "odd.nc")
    assert str(caught.value).isprintable()


READERS = {
    "panel.nc": stgate.open_panel,
    "panel.zarr": stgate.open_panel,
    "panel.csv": stgate.open_panel,
    "table.parquet": read_tables,
    "arrays.npz": lambda path: read_npz(path, ["y"]),
    "state.npz": OnlineConformal.load,
    "best.ckpt": stgate.load,
    "config.yaml": read_yaml,
}


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes there")
@pytest.mark.parametrize("name", READERS)
def test_what_may_never_end_is_not_read(name, tmp_path):
    path = tmp_path / name
    os.mkfifo(path)
    with pytest.raises(StoreError, match="a pipe, a socket or a device"):
        READERS[name](path)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(StoreError, match="a pipe, a socket or a device"):
        READERS[name](path)


@pytest.mark.parametrize("name", READERS)
def test_a_name_that_no_file_can_have_is_no_file(name, tmp_path):
    (tmp_path / name).symlink_to(name)  # to itself
    for path in (tmp_path / name, tmp_path / f"{'q' * 300}{name}", tmp_path / f"\0{name}", tmp_path / "none" / name):
        with pytest.raises(StoreError, match="no such"):
            READERS[name](path)
