"""Fits that do not depend on each other, several at a time, each in a process of its own with one thread."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import os
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Any

import torch

from stgate._memory import memory_limit
from stgate.data.window_data import WindowData
from stgate.distributions.likelihoods import Likelihood
from stgate.distributions.transforms import Transform
from stgate.errors import StgateError
from stgate.fitting.attempts import Fit, is_kept, kept, limited
from stgate.fitting.blocks import Rows, before_test, without
from stgate.fitting.shortlist import Candidate
from stgate.fitting.training import Length, keep_choices, train

FAILURES = (StgateError, RuntimeError, ValueError, ArithmeticError, ImportError, MemoryError)
"""Errors of one candidate that leave the others alone."""
WORTH = 20.0
"""Seconds of fits from which it is worth starting processes."""
LOOK = 1.0
"""Seconds after which a process looks for its parent again."""
COPIES = 8
"""Bytes that a fit needs for each byte of its panel, besides half a gigabyte."""


@dataclasses.dataclass(frozen=True)
class Refit:
    """A fit of a candidate on other rows, for as long as at first.

    Attributes:
        candidate: The candidate.
        options: Options by which it differs from what the candidate makes.
        transforms: Transforms that its first fit has chosen.
        likelihood: Likelihood that its first fit has chosen.
        length: Its length.
        hidden: Rows that are hidden from it; None for none.
        path: Path of its checkpoint.
        key: Digest of what it depends on.
        seconds: Seconds that it is expected to take.
        limit: Seconds after which it stops.
    """

    candidate: Candidate
    options: dict[str, Any]
    transforms: tuple[Transform, ...]
    likelihood: Likelihood
    length: Length
    hidden: Rows | None
    path: Path
    key: str
    seconds: float
    limit: float


def workers_for(data: WindowData) -> int:
    """Return the number of fits that can be made at a time: one for each core, if there is no GPU and enough memory.

    Args:
        data: The data of the fits.
    """
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(min(cores, int(memory_limit(None) / (COPIES * data.panel.nbytes + 5e8))), 1)


def refit(jobs: Sequence[Refit], data: WindowData, seed: int) -> Iterator[tuple[int, str]]:
    """Make fits that are not in the folder yet, several at a time where that is faster.

    Args:
        jobs: The fits.
        data: The data; each fit sees all rows before the test part but those hidden from it.
        seed: Seed of weights and shuffles.

    Yields:
        The number of each job that has ended, and the message of the error that ended it; empty for none.
    """
    missing = [number for number, job in enumerate(jobs) if not is_kept(job.path, job.key)]
    yield from ((number, "") for number in range(len(jobs)) if number not in missing)
    workers = min(workers_for(data), len(missing))
    if workers < 2 or sum(jobs[number].seconds for number in missing) < WORTH:
        yield from ((number, _made(jobs[number], data, seed)) for number in missing)
        return
    from joblib import Parallel, delayed, parallel_config

    rest = sorted(missing, key=lambda number: -jobs[number].seconds)  # the longest first
    sent = copy.copy(data)
    sent.trainer = None  # the last fit's, which holds its network
    followed = {"initializer": _follow, "initargs": (os.getpid(),)}
    with parallel_config(backend="loky", inner_max_num_threads=1, **followed), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="A worker stopped", category=UserWarning)  # for its use of memory
        run = Parallel(n_jobs=workers, max_nbytes=None, return_as="generator_unordered")
        try:
            for number, message in run(delayed(_alone)(number, jobs[number], sent, seed) for number in list(rest)):
                rest.remove(number)
                yield number, message
        except BrokenExecutor:  # a process was killed, as a rule for want of memory: the others go on one by one
            for number in rest:
                try:
                    yield from run([delayed(_alone)(number, jobs[number], sent, seed)])
                except BrokenExecutor:
                    yield number, "its process was killed, perhaps for want of memory"


def _follow(parent: int) -> None:
    """End this process soon after its parent, which may be killed: it would wait for work for ever.

    Args:
        parent: Number of the parent process.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK)
        os._exit(1)

    if sys.platform != "win32":  # where a parent's number stays
        threading.Thread(target=watch, daemon=True).start()


def _alone(number: int, job: Refit, data: WindowData, seed: int) -> tuple[int, str]:
    """Make a fit in a process of its own."""
    torch.set_num_threads(1)
    return number, _made(job, data, seed)


def _made(job: Refit, data: WindowData, seed: int) -> str:
    """Make a fit, and keep it; return the message of the error that ended it."""

    def fit() -> Fit:
        forecaster = keep_choices(job.candidate.make(**job.options), job.transforms, job.likelihood)
        rows = before_test(data) if job.hidden is None else without(data, job.hidden)
        train(forecaster, rows, seed=seed, length=job.length, make_trainer=limited(job.limit))
        return forecaster, job.length, job.options

    try:
        kept(job.path, job.key, fit)
    except FAILURES as error:
        return " ".join(str(error).split())[:200]
    return ""


@contextlib.contextmanager
def one_thread(wanted: bool) -> Iterator[None]:
    """Compute with one thread, as the processes do, so that the seconds of a fit are those of a fit there.

    Args:
        wanted: Whether to do so; nothing is changed otherwise.
    """
    before = torch.get_num_threads()
    if wanted:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
