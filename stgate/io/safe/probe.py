"""Files of strangers are opened in a process of its own first, where the crash or hang of a C library harms nobody."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

from stgate.errors import StoreError
from stgate.io.safe.child import WAIT
from stgate.io.safe.header import HDF5, check_header

UNTRUSTED = "STGATE_UNTRUSTED"
"""Variable of the environment that is set where all values are to be read in the other process, too (`--untrusted`)."""
SECONDS = 10.0
"""Time of a processor for a file, beside that for its size."""
MOST_SECONDS = 60.0
"""Time of a processor for a file whose values are all read, whatever its size."""
RATE = 5e6
"""Bytes a second of a file of many small variables."""
CHILD = Path(__file__).with_name("child.py")
_trusted: set[tuple[str, int, int, int]] = set()
"""Files that this process wrote or has examined: path, inode, time and size."""


def trust(path: Path) -> None:
    """Remember that a file need not be examined as long as it is not changed.

    Args:
        path: A file that this process wrote, or has examined.
    """
    with contextlib.suppress(OSError):
        _trusted.add(_identity(path))


def examine(path: Path, kind: str) -> None:
    """Open a file in a process of its own, unless this process has written it.

    Where no process can be started, this is left out, unless the file is said to be a stranger's (`--untrusted`).

    Args:
        path: The file.
        kind: The library that reads it: `netcdf` or `hdf5`.

    Raises:
        StoreError: The file cannot be read: the library refuses it, crashes, does not come to an end, or would take
            more than 2 GB of memory.
    """
    everything = bool(os.environ.get(UNTRUSTED))
    with contextlib.suppress(OSError):
        if _identity(path) in _trusted and not everything:
            return
    check_header(path)
    seconds = MOST_SECONDS if everything else SECONDS + path.stat().st_size / RATE
    why = _reader().ask({"path": str(path.resolve()), "kind": kind, "all": everything, "seconds": seconds})
    if why is None and everything:
        raise StoreError(f"{path}: no process can be started to examine it; leave out --untrusted if you trust it")
    if why:
        raise StoreError(f"{path}: not a readable {'netCDF' if kind == 'netcdf' else 'HDF5'} file ({why})")
    trust(path)


def names_in(path: Path) -> dict[str, list[str]] | None:
    """Return the names in a netCDF-4 file, read in the other process: `variables`, `dims` and `coordinates`.

    Args:
        path: The file.

    Returns:
        The names; None where they cannot be had so, as of a file of another format.

    Raises:
        StoreError: The file is neither netCDF nor HDF5, or its header is broken.
    """
    check_header(path)
    with path.open("rb") as file:
        if file.read(len(HDF5)) != HDF5:
            return None
    answer = _reader().ask({"path": str(path.resolve()), "kind": "names", "all": False, "seconds": SECONDS})
    try:
        held = json.loads(answer or "null")
    except ValueError:  # what is wrong with the file, which its reader will say
        return None
    return held if isinstance(held, dict) else None


def _identity(path: Path) -> tuple[str, int, int, int]:
    found = path.stat()
    return str(path.resolve()), found.st_ino, found.st_mtime_ns, found.st_size


class Reader:
    """A process that reads files one after the other. It is started at the first."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None
        self.owner = os.getpid()
        self.turn = threading.Lock()

    def ask(self, request: dict[str, str | bool | float]) -> str | None:
        """Have a file read.

        Args:
            request: What `stgate.io.safe.child` takes.

        Returns:
            What is wrong with the file; empty if nothing is, None where no process can be started.
        """
        with self.turn:
            for _ in range(2):  # one that had nothing to do for a while has ended
                self.process = self.process or _started()
                if self.process is None:
                    return None
                if answer := _answer(self.process, request):
                    return str(json.loads(answer))
                self.close()
        return "its reader crashes or does not come to an end; the file is broken"

    def close(self) -> None:
        """End the process."""
        if self.process is None or self.owner != os.getpid():
            return
        process, self.process = self.process, None
        for stream in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()
        process.wait()


def _answer(process: subprocess.Popen[str], request: dict[str, str | bool | float]) -> str:
    """Return the line that a process answers with; empty if it ends."""
    assert process.stdin is not None and process.stdout is not None
    late = threading.Timer(WAIT * float(request["seconds"]) + SECONDS, process.kill)
    late.start()
    try:
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        return process.stdout.readline()
    except OSError:
        return ""
    finally:
        late.cancel()


_readers: dict[int, Reader] = {}
"""The reader of this process, and of those that it was forked from."""


def _reader() -> Reader:
    """Return the reader of this process; a forked worker has its own."""
    if (number := os.getpid()) not in _readers:
        _readers[number] = Reader()
        atexit.register(_readers[number].close)
    return _readers[number]


def _started() -> subprocess.Popen[str] | None:
    """Start the process; None where there is no interpreter to start."""
    if not sys.executable:
        return None
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", str(CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,  # an interrupt from the keyboard is the parent's
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps(sys.path) + "\n")
        process.stdin.flush()
    except OSError:
        return None
    return process
