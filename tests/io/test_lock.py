"""Locks on folders: one process holds them, its workers do not, and they end with it."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from stgate.errors import StoreError
from stgate.io.safe.lock import FolderLock, claimed, locked
from stgate.io.store import check_folder

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no locks on folders there")
HOLDER = """
import os, sys, time
from pathlib import Path
from stgate.io.safe.lock import locked
held = locked(Path(sys.argv[1]))
if os.fork() == 0:  # as a loader's: it outlives a killed parent for a while
    print(os.getpid(), flush=True)
time.sleep(60)
"""


def test_a_lock_goes_with_its_process_even_where_workers_are_left(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path / "run"], stdout=subprocess.PIPE) as holder:
        worker = int(holder.stdout.readline())
        try:
            with pytest.raises(StoreError, match=r"run: another process is writing it; wait for it"):
                locked(tmp_path / "run")
            holder.kill()
            holder.wait()
            locked(tmp_path / "run").release()
        finally:
            os.kill(worker, signal.SIGKILL)


def test_a_folder_that_was_replaced_is_not_held_by_the_lock_on_the_old_one(tmp_path):
    lock = locked(tmp_path / "run")
    assert lock.holds(tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "moved")
    assert not lock.holds(tmp_path / "run") and lock.holds(tmp_path / "moved")
    locked(tmp_path / "run").release()
    lock.release()
    assert not lock.holds(tmp_path / "moved")


def test_a_claim_holds_once_in_a_thread_and_leaves_no_empty_folder(tmp_path):
    refused = []

    def other():
        try:
            with claimed(tmp_path / "a" / "run"):
                pass
        except StoreError as error:
            refused.append(error)

    with claimed(tmp_path / "a" / "run"), claimed(tmp_path / "a" / "run"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert len(refused) == 1
    assert not (tmp_path / "a" / "run").exists()
    (tmp_path / "mine").mkdir()
    with claimed(tmp_path / "mine"):
        (tmp_path / "mine" / "file").write_text("")
    with pytest.raises(RuntimeError, match="in it"), claimed(tmp_path / "mine"):
        raise RuntimeError("in it")
    assert (tmp_path / "mine" / "file").exists()
    FolderLock(tmp_path / "mine").release()


def test_threads_that_make_and_remove_a_folder_exclude_each_other(tmp_path):
    inside, most, refused = [], [], []

    def work():
        for _ in range(40):
            try:
                with claimed(tmp_path / "run"):
                    inside.append(1)
                    most.append(len(inside))
                    time.sleep(0.0005)
                    inside.pop()
            except StoreError:
                refused.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1} and len(most) + len(refused) == 160


def nowhere(folder):
    folder.symlink_to(folder.with_name("nowhere") / "deep")


def to_itself(folder):
    folder.symlink_to(folder.name)


def a_file(folder):
    folder.write_text("precious")


@pytest.mark.parametrize("make", [nowhere, to_itself, a_file])
def test_a_folder_that_cannot_be_made_is_refused_and_nobody_waits(make, tmp_path):
    make(tmp_path / "run")
    for take in (locked, lambda folder: claimed(folder).__enter__()):
        with pytest.raises(StoreError, match="run: the folder cannot be made"):
            take(tmp_path / "run")
    with pytest.raises(StoreError, match="cannot be made"):
        check_folder(tmp_path / ("q" * 300))
