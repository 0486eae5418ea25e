"""A process that opens files of strangers with C libraries, so that a crash or a hang ends it and not its parent.

It is run as a script, by `stgate.io.safe.probe`: the first line that it reads is the search path of modules, and each
further line a request as JSON, `{"path", "kind", "all", "seconds"}`. It answers each with a text as JSON: empty if the
file was read, and else what is wrong with it. Where the system can, each file is read in a fork of this process.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

MEMORY = 2**31
"""Bytes that this process may take."""
PIECE = 2**24
"""Bytes that are read at once."""
DEEPEST = 8
"""Levels of groups that are looked into."""


def _limit() -> None:
    """Limit this process's memory where the system can, and leave no core file of a crash."""
    try:
        import resource
    except ImportError:  # Windows
        return
    for kind, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CORE, 0)):
        try:
            resource.setrlimit(kind, (most, most))
        except (ValueError, OSError):  # such as on macOS
            continue


def pieces(shape: tuple[int, ...], itemsize: int, *, everything: bool) -> Iterator[tuple[Any, ...]]:
    """Yield the indices of pieces of an array.

    Args:
        shape: Its shape.
        itemsize: Bytes of a value.
        everything: Cover all values; otherwise those at both ends of an array that is larger than a piece.
    """
    row = math.prod(shape[1:]) * itemsize
    rows = max(PIECE // max(row, 1), 1)
    if not shape or (row <= PIECE and shape[0] <= rows):
        yield (...,)
        return
    starts = range(0, shape[0], rows)
    for start in starts if everything else sorted({starts[0], starts[-1]}):
        if row <= PIECE:
            yield (slice(start, start + rows if everything or start else 1),)
        else:
            yield from ((start, *rest) for rest in pieces(shape[1:], itemsize, everything=everything))


def _netcdf(path: str, *, everything: bool) -> None:
    """Open a netCDF file as xarray does, and read all that it says of its variables, and values."""
    import netCDF4

    with netCDF4.Dataset(path) as file:
        file.set_auto_maskandscale(False)
        for name in file.ncattrs():
            file.getncattr(name)
        for variable in file.variables.values():
            for name in variable.ncattrs():
                variable.getncattr(name)
            variable.filters(), variable.chunking(), variable.endian(), variable.dimensions
            itemsize = getattr(variable.dtype, "itemsize", 0) or 1
            for piece in pieces(variable.shape, itemsize, everything=everything or variable.dtype is str):
                variable[piece]


def _hdf5(path: str, *, everything: bool) -> None:
    """Open an HDF5 file, and read the attributes and values of all its groups."""
    import h5py

    def sets(group: Any, depth: int) -> Iterator[Any]:  # noqa: ANN401
        yield group
        for name in group if depth < DEEPEST else ():
            kind = group.get(name, getlink=True)
            if isinstance(kind, h5py.HardLink):
                inside = group[name]
                if isinstance(inside, h5py.Group):
                    yield from sets(inside, depth + 1)
                else:
                    yield inside

    with h5py.File(path, "r") as file:
        for item in sets(file, 0):
            dict(item.attrs)
            if isinstance(item, h5py.Dataset) and item.shape is not None:
                for piece in pieces(item.shape, item.dtype.itemsize, everything=everything or item.dtype.kind == "O"):
                    item[piece]


READERS = {"netcdf": ("netCDF4", _netcdf), "hdf5": ("h5py", _hdf5)}
"""The package and the function that read each kind of file."""


def _read(request: dict[str, Any]) -> str:
    """Read a file; return what is wrong with it."""
    try:
        READERS[request["kind"]][1](request["path"], everything=request["all"])
    except MemoryError:
        return "needs more memory than a file of its size can hold"
    except Exception as error:
        return " ".join(f"{error}".split())[:120] or type(error).__name__
    return ""


def _read_apart(request: dict[str, Any]) -> str:
    """Read a file in a fork of this process, which ends with whatever it did to the library; return what is wrong."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        _limit()
        signal.setitimer(signal.ITIMER_REAL, request["seconds"])  # its default ends a C library that does not return
        os.write(writing, _read(request).encode("utf-8", "backslashreplace"))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as answers:
        answer = answers.read()
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if code == -signal.SIGALRM:
        return "its reader does not come to an end; the file is broken"
    return answer if code == 0 else f"its reader crashes with signal {-code}; the file is broken"


def main() -> None:
    """Answer requests until there are no more."""
    sys.path[:] = json.loads(sys.stdin.readline() or "[]")
    for line in sys.stdin:
        request = json.loads(line)
        try:
            importlib.import_module(READERS[request["kind"]][0])
        except ImportError:  # the parent says so
            answer = ""
        else:
            answer = _read_apart(request) if hasattr(os, "fork") else _read(request)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
