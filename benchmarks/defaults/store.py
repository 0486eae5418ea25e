"""Forecasts that are kept in the working folder, so that a run that was stopped goes on.

A name holds a digest of the code that made the file: of the package for its forecasters, of this folder for rivals.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from benchmarks.defaults.choices import HAND
from benchmarks.defaults.scores import Made
from benchmarks.defaults.sets import Task
from benchmarks.registry import ROOT

HERE = Path(__file__).parent


def digest(files: Iterable[Path], *more: object) -> str:
    """Return ten characters that change with the text of any of the files, or with anything else that is given.

    Args:
        files: Files of source.
        more: Arrays, or values that are told apart by their text.
    """
    found = hashlib.sha1(usedforsecurity=False)
    for path in sorted(files):
        found.update(path.read_bytes())
    for each in more:
        found.update(each.tobytes() if isinstance(each, np.ndarray) else repr(each).encode())
    return found.hexdigest()[:10]


def package_digest(task: Task) -> str:
    """Return the digest of the package, and of the data of a task.

    Args:
        task: Record and scored part.
    """
    sources = [*(ROOT / "stgate").rglob("*.py"), HERE / "ours.py"]
    return digest(sources, task.values, task.split, task.record.horizons, task.record.static)


def rival_digest(task: Task, *names: str) -> str:
    """Return the digest of files of this folder, of the choices for a record, and of the data of a task.

    Args:
        task: Record and scored part.
        names: Names of the files.
    """
    files = (HERE / name for name in names)
    return digest(files, HAND[task.record.name], task.values, task.start, task.record.horizons)


def once(path: Path, make: Callable[[], Made]) -> Made:
    """Return the forecasts of a file, made and kept if it is not there.

    Args:
        path: File of the forecasts, .npz.
        make: Function that makes them.
    """
    if path.exists():
        with np.load(path) as held:
            return Made(held["quantiles"], held["mean"], float(held["seconds"]))
    started = time.process_time()
    made = make()
    made = Made(made.quantiles.astype(np.float32), made.mean.astype(np.float32), time.process_time() - started)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}")
    np.savez(partial, quantiles=made.quantiles, mean=made.mean, seconds=made.seconds)
    partial.replace(path)
    return made
