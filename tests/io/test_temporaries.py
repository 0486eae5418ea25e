"""A write leaves a whole result or the one before; what a kill leaves, a later write removes."""

import asyncio
import errno
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import zarr
from helpers import environment, make_panel
from zarr.storage import LocalStore

from stgate.errors import StoreError
from stgate.io.safe.lock import locked
from stgate.io.safe.temporaries import is_temporary, sweep
from stgate.io.safe.zarr_folder import zarr_folder
from stgate.io.store import atomic, check_out, open_dataset, write

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no locks on folders there")
KILLED = """
import os, signal, sys
from pathlib import Path
from stgate.io.safe.temporaries import temporary_for
path, kind = Path(sys.argv[1]), sys.argv[2]
if kind == "moved":
    os.replace = lambda *names: os.kill(os.getpid(), signal.SIGKILL)
with temporary_for(path) as temporary:
    if kind == "file":
        temporary.write_bytes(b"half")
    else:
        temporary.mkdir()
        (temporary / "zarr.json").write_text("half")
    if kind != "moved":
        os.kill(os.getpid(), signal.SIGKILL)
"""


def killed(path, kind):
    """Let a process be killed in the middle of a write."""
    ended = subprocess.run([sys.executable, "-c", KILLED, path, kind], env=environment(), check=False)
    assert ended.returncode == -signal.SIGKILL


def hidden(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


@pytest.mark.parametrize(("name", "kind"), [("p.nc", "file"), ("p.zarr", "folder"), ("a [1]*.nc", "file")])
def test_what_a_kill_left_is_removed_by_the_next_write_of_any_result(tmp_path, name, kind):
    killed(tmp_path / name, kind)
    assert len(hidden(tmp_path)) == 1 and not (tmp_path / name).exists()
    write(make_panel(steps=3), tmp_path / "other.nc")
    assert [p.name for p in tmp_path.iterdir()] == ["other.nc"]


def test_a_result_is_refused_before_and_swept_after_its_checks(tmp_path):
    killed(tmp_path / "p.nc", "file")
    with pytest.raises(StoreError, match="suffix"):
        check_out(tmp_path / "p.txt", overwrite=False)
    assert hidden(tmp_path)
    check_out(tmp_path / "p.nc", overwrite=False)
    assert not hidden(tmp_path)


def test_a_store_whose_replacing_was_killed_comes_back(tmp_path):
    panel = make_panel(steps=3)
    write(panel, tmp_path / "p.zarr")
    killed(tmp_path / "p.zarr", "moved")
    assert not (tmp_path / "p.zarr").exists()  # moved away, and the new one not yet in its place
    sweep(tmp_path)
    assert open_dataset(tmp_path / "p.zarr").identical(panel) and not hidden(tmp_path)


@pytest.mark.parametrize("there", [True, False])
def test_a_store_that_was_replaced_does_not_come_back_in_part(tmp_path, there, monkeypatch):
    """The old one is about to be removed when the command is killed; the user then removes the new one, too."""
    old, new = make_panel(steps=3), make_panel(steps=4)
    write(old, tmp_path / "p.zarr")
    with monkeypatch.context() as patch:
        patch.setattr("stgate.io.safe.temporaries.shutil.rmtree", lambda *names, **options: None)
        write(new, tmp_path / "p.zarr", overwrite=True)
    assert hidden(tmp_path)
    if not there:
        (tmp_path / "p.zarr").rename(tmp_path / "elsewhere")
    sweep(tmp_path)
    assert (tmp_path / "p.zarr").exists() == there and not hidden(tmp_path)


def test_what_is_being_written_stays(tmp_path):
    with atomic(tmp_path / "p.nc") as temporary:
        temporary.write_bytes(b"new")
        write(make_panel(steps=3), tmp_path / "p.nc")
        sweep(tmp_path)
        assert temporary.read_bytes() == b"new"
    assert (tmp_path / "p.nc").read_bytes() == b"new" and not hidden(tmp_path)


def test_a_block_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    panel = make_panel(steps=3)
    for name in ("p.nc", "p.zarr"):
        write(panel, tmp_path / name)
        for fails in (KeyboardInterrupt, OSError):
            with pytest.raises(fails), atomic(tmp_path / name) as temporary:
                temporary.mkdir()
                raise fails
        assert open_dataset(tmp_path / name).identical(panel)

    def fail(*names):
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), atomic(tmp_path / "p.zarr") as temporary:
        temporary.mkdir()
        monkeypatch.setattr(os, "replace", fail)
    assert open_dataset(tmp_path / "p.zarr").identical(panel) and not hidden(tmp_path)


def test_what_others_made_stays(tmp_path):
    (tmp_path / ".p.nc.0123abcd.tmp").mkdir()
    (tmp_path / ".p.nc.0123abcd.tmp" / "mine").write_text("")  # no result of that name
    (tmp_path / ".cache.tmp").mkdir()
    (tmp_path / ".p.nc.0123abce.tmp").write_text("a file")
    (tmp_path / ".p.nc.0123abcf.tmp").symlink_to(tmp_path / ".cache.tmp")
    before = hidden(tmp_path)
    assert not any(is_temporary(path) for path in tmp_path.iterdir())
    write(make_panel(steps=3), tmp_path / "p.nc")
    assert hidden(tmp_path) == before


def test_where_nobody_can_tell_nothing_is_removed(tmp_path, monkeypatch):
    killed(tmp_path / "p.nc", "file")
    monkeypatch.setattr(
        "stgate.io.safe.temporaries.FolderLock.holds", lambda *names: False
    )  # a file system without locks
    sweep(tmp_path)
    assert len(hidden(tmp_path)) == 1
    monkeypatch.undo()
    lock = locked(tmp_path / hidden(tmp_path)[0])
    sweep(tmp_path)
    assert len(hidden(tmp_path)) == 1
    lock.release()
    sweep(tmp_path)
    assert not hidden(tmp_path)


def test_a_file_never_replaces_a_folder(tmp_path):
    (tmp_path / "state.npz").mkdir()
    (tmp_path / "state.npz" / "precious").write_text("1")
    with pytest.raises(StoreError, match="a folder has this name"), atomic(tmp_path / "state.npz") as temporary:
        temporary.write_text("2")
    assert (tmp_path / "state.npz" / "precious").read_text() == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["state.npz"]


@pytest.mark.parametrize(
    ("name", "said"),
    [("none/p.nc", "does not exist; make it"), ("q" * 250 + ".nc", "longer than 241"), ("é" * 120 + ".nc", "longer")],
)
def test_a_name_that_cannot_be_written_is_refused(name, said, tmp_path):
    for refuse in (lambda path: atomic(path).__enter__(), lambda path: check_out(path, overwrite=False)):
        with pytest.raises(StoreError, match=said):
            refuse(tmp_path / name)
    longest = write(make_panel(steps=3), tmp_path / ("q" * 238 + ".nc"))
    assert [path for path in tmp_path.iterdir()] == [longest]


@pytest.mark.parametrize("stop", ["interrupt", "full disk"])
def test_threads_of_a_zarr_write_that_is_stopped_leave_nothing(stop, tmp_path, monkeypatch):
    usual, started = LocalStore.set, []

    async def slow(self, key, value):
        started.append(key)
        if len(started) == 15 and stop == "full disk":
            raise OSError(errno.ENOSPC, "no space left")
        if len(started) == 15:
            os.kill(os.getpid(), signal.SIGUSR1)
        await asyncio.sleep(0.1)
        await usual(self, key, value)

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalStore, "set", slow)
    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt if stop == "interrupt" else OSError):
            write(make_panel(steps=20_000, nodes=[f"n{n}" for n in range(40)]), tmp_path / "a.zarr")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert list(tmp_path.iterdir()) == []
    time.sleep(0.5)
    assert list(tmp_path.iterdir()) == []


def test_a_zarr_store_that_was_left_takes_nothing_more(tmp_path):
    with pytest.raises(OSError, match="full"), zarr_folder(tmp_path / "a.zarr") as folder:
        group = zarr.open_group(folder, mode="w")
        raise OSError("full")
    for write_more in (lambda: group.create_array("a", data=np.zeros(3)), lambda: folder.set_sync("a", b"")):
        with pytest.raises(StoreError, match=r"a\.zarr: its write has been stopped"):
            write_more()
