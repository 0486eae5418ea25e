"""Crashes and hangs of the C libraries end another process: here they are one line."""

import multiprocessing
import os
import time
from pathlib import Path

import h5py
import netCDF4
import numpy as np
import pytest
from helpers import make_panel

from stgate.errors import StoreError
from stgate.io import open_panel, store
from stgate.io.safe import child, probe
from stgate.io.tables import load_frame


@pytest.fixture
def panel_file(tmp_path):
    """A file that this process has not written, as far as it knows."""
    path = store.write(make_panel(), tmp_path / "panel.nc")
    probe._trusted.clear()
    return path


def _wrong_scale(file):
    del file["y"].attrs["DIMENSION_LIST"]
    file["y"].attrs["DIMENSION_LIST"] = np.int32(5)


def _no_scale(file):
    del file["time"]


def _no_dimension(file):
    file["y"].attrs["_Netcdf4Dimid"] = np.int32(99)
    file["y"].attrs["_Netcdf4Coordinates"] = np.array([7, 9], "i4")


def _text_of_scale(file):
    for name in ("time", "node"):
        del file[name].attrs["CLASS"]
        file[name].attrs["CLASS"] = np.zeros(3)


def _several(file):
    _no_dimension(file)
    _no_scale(file)


@pytest.mark.parametrize("edit", [_wrong_scale, _no_scale, _no_dimension, _text_of_scale, _several])
def test_structures_that_crash_the_library_leave_this_process(panel_file, edit):
    with h5py.File(panel_file, "r+") as file:
        edit(file)
    with pytest.raises(StoreError, match="not a readable netCDF file") as caught:
        store.open_dataset(panel_file)
    assert str(panel_file) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


ODD = [
    *(np.dtype(kind) for kind in ("f2", "longdouble", "clongdouble")),
    np.dtype([("a", "f4"), ("b", "f2")]),
    h5py.vlen_dtype(np.dtype("f2")),
    np.dtype(("f2", (3,))),
    *(h5py.h5t.STD_B8LE, h5py.h5t.UNIX_D32LE),
]


@pytest.mark.parametrize("kind", ODD, ids=lambda kind: str(kind).partition(" object at")[0])
@pytest.mark.parametrize("name", ["r", "y"])
def test_numbers_that_netcdf_does_not_have_are_refused_and_read_by_nobody(panel_file, kind, name):
    """The C library takes them for text: their bits are then places in memory."""
    with h5py.File(panel_file, "r+") as file:
        if name in file:
            del file[name]
        kind = kind if isinstance(kind, h5py.h5t.TypeID) else h5py.h5t.py_create(kind, logical=True)
        h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create_simple((400, 3)))
    with pytest.raises(StoreError, match="numbers of a kind that netCDF does not have") as caught:
        store.open_dataset(panel_file)
    assert str(panel_file) in str(caught.value)


@pytest.mark.parametrize(
    "kind", [">f4", "f8", "i1", "u2", ">i8", "u8", "S3", "c8", [("a", "i2"), ("b", "f8")]], ids=str
)
def test_numbers_that_it_has_are_read(tmp_path, kind):
    with h5py.File(tmp_path / "a.nc", "w") as file:
        file.create_dataset("r", data=np.zeros((3, 2), kind))
        file.attrs["half"] = np.float16(1)
    assert store.open_dataset(tmp_path / "a.nc")["r"].shape == (3, 2)


def _requests(tmp_path, answers):
    """Answers of a reader of its own to a crash, and to a good file after it."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.arange(3)
    reader = probe.Reader()
    request = {"path": str(path), "kind": "hdf5", "all": False, "seconds": 20.0}
    try:
        return reader.ask({**request, **answers}), reader.ask(request)
    finally:
        reader.close()


def _stands_in(monkeypatch, tmp_path, what):
    """Let the library that reads a file do something else for one whose path is `special`."""
    script = tmp_path / "child.py"
    own = f"def _special(path, everything): {what} if path == 'special' else _hdf5(path, everything=everything)"
    own += "\nREADERS['hdf5'] = _special"
    text = Path(child.__file__).read_text().replace("\nif __name__", f"\nimport time\n{own}\nif __name__")
    script.write_text(text)
    monkeypatch.setattr(probe, "CHILD", script)


@pytest.mark.parametrize("signal", [6, 11, 7])
def test_a_crash_is_one_line_and_the_next_file_is_read(monkeypatch, tmp_path, signal):
    _stands_in(monkeypatch, tmp_path, f"os.kill(os.getpid(), {signal})")
    crashed, after = _requests(tmp_path, {"path": "special"})
    assert "crashes" in crashed and str(signal) in crashed
    assert after == ""


@pytest.mark.parametrize("what", ["time.sleep(60)", "[0 for _ in iter(int, 1)]"])
def test_a_hang_is_one_line_and_the_next_file_is_read(monkeypatch, tmp_path, what):
    _stands_in(monkeypatch, tmp_path, what)
    begin = time.monotonic()
    hung, after = _requests(tmp_path, {"path": "special", "seconds": 0.5})
    assert "does not come to an end" in hung
    assert after == "" and time.monotonic() - begin < 20


def test_a_process_without_work_ends_and_another_one_is_started(monkeypatch, tmp_path):
    (tmp_path / "child.py").write_text(Path(child.__file__).read_text().replace("IDLE = 60", "IDLE = 1"))
    monkeypatch.setattr(probe, "CHILD", tmp_path / "child.py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.arange(3)
    reader = probe.Reader()
    request = {"path": str(tmp_path / "a.h5"), "kind": "hdf5", "all": False, "seconds": 20.0}
    assert reader.ask(request) == ""
    first = reader.process
    assert first.wait(timeout=20) != 0
    assert reader.ask(request) == ""
    assert reader.process is not first
    reader.close()


def test_memory_is_bounded(monkeypatch, tmp_path):
    _stands_in(monkeypatch, tmp_path, "bytearray(2**33)")
    assert "memory" in _requests(tmp_path, {"path": "special"})[0]


def test_own_files_are_not_examined_until_they_change(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(probe.Reader, "ask", lambda self, request: asked.append(request) or "")
    path = store.write(make_panel(), tmp_path / "panel.nc")
    open_panel(path)
    assert not asked
    content = path.read_bytes()
    path.write_bytes(content)
    open_panel(path)
    open_panel(path)
    assert len(asked) == 1
    monkeypatch.setenv(probe.UNTRUSTED, "1")
    open_panel(path)
    assert len(asked) == 2 and asked[1]["all"]


def test_without_a_process_files_are_read_but_not_those_of_strangers(monkeypatch, panel_file):
    monkeypatch.setattr("sys.executable", "")
    monkeypatch.setattr(probe, "_readers", {})
    open_panel(panel_file)
    monkeypatch.setenv(probe.UNTRUSTED, "1")
    with pytest.raises(StoreError, match="leave out --untrusted"):
        open_panel(panel_file)


def test_the_command_takes_untrusted_and_reads_all_values(panel_file, stgate_command, monkeypatch):
    asked, ask = [], probe.Reader.ask
    monkeypatch.setattr(probe.Reader, "ask", lambda self, request: asked.append(request["all"]) or ask(self, request))
    assert stgate_command("data", "check", panel_file, "--untrusted")[0] == 0
    assert asked == [True]
    assert probe.UNTRUSTED not in os.environ


@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (4, 3), (2, 70_000, 3), (1, 1, 20), (9_000_000,)])
def test_values_of_any_shape_are_read(tmp_path, shape, everything):
    with netCDF4.Dataset(tmp_path / "a.nc", "w") as file:
        for axis, length in enumerate(shape):
            file.createDimension(f"d{axis}", length)
        dimensions = [f"d{axis}" for axis in range(len(shape))]
        file.createVariable("x", "f8", dimensions)
        file.createVariable("text", str, dimensions[:1] if shape and shape[0] < 10 else ())
    child._netcdf(str(tmp_path / "a.nc"), everything=everything)
    child._hdf5(str(tmp_path / "a.nc"), everything=everything)


@pytest.mark.parametrize("shape", [(3, 7, 5), (2, 40, 3), (1, 100), (50, 2)])
def test_pieces_hold_every_value_once(monkeypatch, shape):
    monkeypatch.setattr(child, "PIECE", 64)
    seen = np.zeros(shape, int)

    for key in child.pieces(shape, 4, everything=True):
        assert seen[key].size <= 16
        seen[key] += 1
    assert (seen == 1).all()
    for key in child.pieces(shape, 4, everything=False):
        seen[key] += 1
    assert seen.flat[0] == seen.flat[-1] == 2


@pytest.mark.parametrize("how", ["external", "virtual"])
@pytest.mark.parametrize("suffix", [".nc", ".h5"])
def test_values_in_another_file_are_refused(tmp_path, how, suffix):
    (tmp_path / "secret").write_bytes(np.arange(6.0).tobytes())
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["y"] = np.arange(6.0)
    path = tmp_path / f"a{suffix}"
    with h5py.File(path, "w") as file:
        if how == "external":
            file.create_dataset("y", (6,), "f8", external=[(str(tmp_path / "secret"), 0, 48)])
        else:
            layout = h5py.VirtualLayout((6,), "f8")
            layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "y", (6,))
            file.create_virtual_dataset("y", layout)
    with pytest.raises(StoreError, match=r"values of /y are in another file; copy them into this one"):
        (store.open_dataset if suffix == ".nc" else load_frame)(path)


def test_tables_in_hdf5_are_examined(tmp_path, monkeypatch):
    import pandas as pd

    frame = pd.DataFrame({"a": [1.0, 2.0]}, pd.DatetimeIndex(["2024-01-01", "2024-01-02"]))
    frame.to_hdf(tmp_path / "t.h5", key="x")
    asked, ask = [], probe.Reader.ask
    monkeypatch.setattr(probe.Reader, "ask", lambda self, request: asked.append(request["kind"]) or ask(self, request))
    assert load_frame(tmp_path / "t.h5")["a"].tolist() == [1.0, 2.0]
    assert asked == ["hdf5"]


def _opened(path, queue):
    probe._trusted.clear()
    queue.put(float(store.open_dataset(path)["y"].count()))


def test_a_forked_worker_has_a_reader_of_its_own(panel_file):
    store.open_dataset(panel_file)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    worker = context.Process(target=_opened, args=(panel_file, queue))
    worker.start()
    assert queue.get(timeout=30) > 0
    worker.join()
    probe._trusted.clear()
    store.open_dataset(panel_file)
