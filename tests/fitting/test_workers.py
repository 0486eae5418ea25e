"""Fits in processes of their own: the same bits as in turn, a failure is a message, and what is there is not made."""

import dataclasses
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from helpers import make_panel

from stgate.data.window_data import WindowData
from stgate.distributions import Normal
from stgate.fitting import workers
from stgate.fitting.shortlist import Candidate
from stgate.fitting.training import Length
from stgate.fitting.workers import Refit, refit
from stgate.models import GatedRNN, Ridge
from stgate.prediction.loading import load


def jobs_in(folder, *, seconds=0.0):
    made = []
    for name, kind in (("Ridge", Ridge), ("GatedRNN", partial(GatedRNN, hidden=4))):
        for number, rows in enumerate(((0, 60), None)):
            path = folder / f"{name}.{number}.ckpt"
            made.append(Refit(Candidate(name, kind), {}, (), Normal(), Length(1, 1), rows, path, "key", seconds, 60.0))
    return made


@pytest.fixture(scope="module")
def data():
    made = WindowData(make_panel(steps=150), targets="y", window=6, horizon=2)
    made.setup()
    return made


def test_fits_in_processes_are_those_in_turn(data, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "workers_for", lambda data: 2)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        in_turn, apart = jobs_in(tmp_path / "turn"), jobs_in(tmp_path / "apart", seconds=100.0)
        assert list(refit(in_turn, data, seed=3)) == [(n, "") for n in range(4)]
        assert sorted(refit(apart, data, seed=3)) == [(n, "") for n in range(4)]
    finally:
        torch.set_num_threads(threads)
    for one, two in zip(in_turn, apart, strict=True):
        first, second = (load(job.path).state_dict() for job in (one, two))
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_fit_that_fails_is_a_message_and_one_that_is_there_is_not_made(data, tmp_path):
    first = jobs_in(tmp_path)[:2]
    list(refit(first, data, seed=0))
    before = [job.path.stat().st_mtime_ns for job in first]
    broken = dataclasses.replace(first[0], options={"penalty": -1.0}, path=tmp_path / "broken.ckpt")
    found = dict(refit([*first, broken], data, seed=0))
    assert found[0] == found[1] == ""
    assert "penalty" in found[2] and "\n" not in found[2]
    assert [job.path.stat().st_mtime_ns for job in first] == before
    assert not broken.path.exists()


def killed(**options):
    os._exit(137)  # as by the system, for want of memory


def test_a_process_that_is_killed_leaves_the_other_fits_alone(data, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "workers_for", lambda data: 2)
    jobs = jobs_in(tmp_path, seconds=100.0)
    jobs[0] = dataclasses.replace(jobs[0], candidate=Candidate("Killed", partial(killed)))
    found = dict(refit(jobs, data, seed=0))
    assert found == {0: "its process was killed, perhaps for want of memory", 1: "", 2: "", 3: ""}
    assert [job.path.is_file() for job in jobs] == [False, True, True, True]


def named(path, **options):
    path.write_text(str(os.getpid()))
    time.sleep(60)


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_processes_end_with_a_parent_that_is_killed(data, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "workers_for", lambda data: 2)
    jobs = [
        dataclasses.replace(job, candidate=Candidate("Named", partial(named, tmp_path / str(number))))
        for number, job in enumerate(jobs_in(tmp_path, seconds=100.0)[:2])
    ]
    parent = os.fork()
    if parent == 0:
        list(refit(jobs, data, seed=0))
        os._exit(0)
    names = [tmp_path / str(number) for number in range(2)]
    wait_for(lambda: all(name.is_file() and name.read_text() for name in names))
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    wait_for(lambda: not any(is_there(int(name.read_text())) for name in names))


def wait_for(what, seconds=60.0):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.1)


def is_there(number):
    """Tell if a process runs; one that has ended stays in the list until its new parent asks for it."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_processes_need_memory_for_the_panel(data, monkeypatch):
    monkeypatch.setattr(workers, "memory_limit", lambda megabytes: 4e8)
    assert workers.workers_for(data) == 1
