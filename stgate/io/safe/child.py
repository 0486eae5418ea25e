"""A process that opens files of strangers with C libraries, so that a crash or a hang ends it and not its parent.

It is run as a script, by `stgate.io.safe.probe`: the first line that it reads is the search path of modules, and each
further line a request as JSON, `{"path", "kind", "all", "seconds"}`. It answers each with a text as JSON: empty if the
file was read, and else what is wrong with it; for the kind `names`, the names in it. Where the system can, each file is
read in a fork of this process.
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
KEPT = ("CLASS", "NAME", "REFERENCE_LIST", "DIMENSION_LIST", "_Netcdf4Dimid", "_Netcdf4Coordinates")
"""Attributes in which netCDF-4 keeps the dimensions."""
IDLE = 60
"""Seconds after which this process ends where nothing is asked."""
WAIT = 6
"""A file may take so many times its seconds, where the process waits for the disk and others."""


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

    with open(path, "rb") as file:
        classic = file.read(3) == b"CDF"
    if not classic:
        _check_dimensions(path)
    with netCDF4.Dataset(path) as dataset:
        dataset.set_auto_maskandscale(False)
        for name in dataset.ncattrs():
            dataset.getncattr(name)
        for variable in dataset.variables.values():
            for name in variable.ncattrs():
                variable.getncattr(name)
            variable.filters(), variable.chunking(), variable.endian(), variable.dimensions
            itemsize = getattr(variable.dtype, "itemsize", 0) or 1
            for piece in pieces(variable.shape, itemsize, everything=everything or variable.dtype is str):
                variable[piece]


def _check_dimensions(path: str) -> None:
    """Refuse attributes in which netCDF-4 keeps the dimensions, where they have another form than it writes.

    The C library does not ask: it reads memory that is not its own, and crashes some time later or does not.

    Raises:
        _OddError: An attribute has another form.
    """
    import h5py

    with h5py.File(path, "r") as file:
        sets = [item for item in _items(file, 0) if isinstance(item, h5py.Dataset)]
        scales = [item for item in sets if "CLASS" in item.attrs and _is_text(item.attrs.get_id("CLASS"))]
        for item in sets:
            _check_source(item)
            if not _is_held(item.id.get_type()):
                raise _OddError(f"{item.name} holds numbers of a kind that netCDF does not have")
            for name in KEPT:
                if h5py.h5a.exists(item.id, name.encode()) and not _is_as_written(item, name, len(scales)):
                    raise _OddError(f"attribute {name} of {item.name} is not as netCDF writes it")
            if "DIMENSION_LIST" in item.attrs:
                for axis in item.attrs["DIMENSION_LIST"]:
                    if any(item.file[place] not in scales for place in axis):
                        raise _OddError(f"a dimension of {item.name} is none")


def _check_source(item: Any) -> None:  # noqa: ANN401
    """Refuse values that are not in the file: what a stranger's file names may be anything that its reader can read.

    Args:
        item: A data set.

    Raises:
        _OddError: Its values are in another file.
    """
    if item.external or (item.is_virtual and any(source.file_name != "." for source in item.virtual_sources())):
        raise _OddError(f"values of {item.name} are in another file; copy them into this one")


def _is_held(kind: Any) -> bool:  # noqa: ANN401
    """Tell if netCDF has a type: it takes numbers of other sizes for text, and their bits for its place."""
    import h5py

    size, found = kind.get_size(), kind.get_class()
    if found == h5py.h5t.COMPOUND:
        return all(_is_held(kind.get_member_type(place)) for place in range(kind.get_nmembers()))
    if found in (h5py.h5t.VLEN, h5py.h5t.ARRAY, h5py.h5t.ENUM):
        return _is_held(kind.get_super())
    sizes = {h5py.h5t.FLOAT: (4, 8), h5py.h5t.INTEGER: (1, 2, 4, 8)}
    return found not in (h5py.h5t.TIME, h5py.h5t.BITFIELD) and size in sizes.get(found, (size,))


class _OddError(Exception):
    """Raised where a file is not as netCDF writes it."""


def _is_text(attribute: Any) -> bool:  # noqa: ANN401
    return attribute.dtype.kind in "SO" and attribute.shape in ((), (1,))


def _is_as_written(item: Any, name: str, scales: int) -> bool:  # noqa: ANN401
    """Tell if an attribute, one of those in which netCDF-4 keeps the dimensions, has the form that it writes.

    Args:
        item: The data set.
        name: Name of the attribute.
        scales: Number of dimensions of the file.
    """
    import h5py

    found = item.attrs.get_id(name)
    if name in ("CLASS", "NAME"):
        return _is_text(found)
    if name == "REFERENCE_LIST":
        return len(found.dtype.names or ()) == 2
    if name == "DIMENSION_LIST":
        kind = h5py.check_vlen_dtype(found.dtype)
        return kind is not None and h5py.check_ref_dtype(kind) is h5py.Reference and found.shape == (item.ndim,)
    shapes = ((), (1,)) if name == "_Netcdf4Dimid" else ((item.ndim,),)
    if found.dtype.kind != "i" or found.shape not in shapes:
        return False
    return all(0 <= int(value) < max(scales, 1) for value in item.attrs[name].reshape(-1))


def _items(group: Any, depth: int) -> Iterator[Any]:  # noqa: ANN401
    """Yield a group of an HDF5 file and all that is in it, but for what is elsewhere."""
    import h5py

    yield group
    for name in group if depth < DEEPEST else ():
        if isinstance(group.get(name, getlink=True), h5py.HardLink):
            inside = group[name]
            if isinstance(inside, h5py.Group):
                yield from _items(inside, depth + 1)
            else:
                yield inside


def _hdf5(path: str, *, everything: bool) -> None:
    """Open an HDF5 file, and read the attributes and values of all its groups."""
    import h5py

    with h5py.File(path, "r") as file:
        for item in _items(file, 0):
            dict(item.attrs)
            if isinstance(item, h5py.Dataset) and item.shape is not None:
                _check_source(item)
                for piece in pieces(item.shape, item.dtype.itemsize, everything=everything or item.dtype.kind == "O"):
                    item[piece]


def _names(path: str, *, everything: bool) -> str:
    """Return the names in a netCDF-4 file as JSON: its variables, its dimensions, and those that are coordinates."""
    import h5py

    coordinates: list[str] = []
    with h5py.File(path, "r") as file:
        sets = [item for item in _items(file, DEEPEST - 1) if isinstance(item, h5py.Dataset)]
        for item in (file, *sets):
            text = item.attrs.get("coordinates", "")
            coordinates += (text.decode() if isinstance(text, bytes) else str(text)).split()
        scales = [item for item in sets if "CLASS" in item.attrs and _is_text(item.attrs.get_id("CLASS"))]
        bare = [item for item in scales if b"netCDF dimension but not" in bytes(item.attrs.get("NAME", b""))]
        variables = [item.name.lstrip("/") for item in sets if item not in bare]
        dims = [item.name.lstrip("/") for item in scales]
    return json.dumps({"variables": variables, "dims": dims, "coordinates": coordinates})


READERS = {"netcdf": _netcdf, "hdf5": _hdf5, "names": _names}
"""Functions that read each kind of file."""
PACKAGES = {"netcdf": ("netCDF4", "h5py"), "hdf5": ("h5py",), "names": ("h5py",)}
"""Packages that they need; imported once, before the forks."""


def _read(request: dict[str, Any]) -> str:
    """Read a file; return what is wrong with it, or the names in it where they are asked for."""
    try:
        return READERS[request["kind"]](request["path"], everything=request["all"]) or ""
    except MemoryError:
        return "needs more memory than a file of its size can hold"
    except Exception as error:
        return " ".join(f"{error}".split())[:120] or type(error).__name__


def _read_apart(request: dict[str, Any]) -> str:
    """Read a file in a fork of this process, which ends with whatever it did to the library; return what is wrong."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        _limit()
        signal.setitimer(signal.ITIMER_PROF, request["seconds"])  # each ends also a C library that does not return
        signal.setitimer(signal.ITIMER_REAL, request["seconds"] * WAIT)
        os.write(writing, _read(request).encode("utf-8", "backslashreplace"))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as answers:
        answer = answers.read()
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if code in (-signal.SIGPROF, -signal.SIGALRM):
        return "its reader does not come to an end; the file is broken"
    return answer if code == 0 else f"its reader crashes with signal {-code}; the file is broken"


def main() -> None:
    """Answer requests until there are no more."""
    sys.path[:] = json.loads(sys.stdin.readline() or "[]")
    for line in sys.stdin:
        _end_after(0)
        request = json.loads(line)
        try:
            for package in PACKAGES[request["kind"]]:
                importlib.import_module(package)
        except ImportError:  # the parent says so
            answer = ""
        else:
            answer = _read_apart(request) if hasattr(os, "fork") else _read(request)
        print(json.dumps(answer), flush=True)
        _end_after(IDLE)


def _end_after(seconds: int) -> None:
    """Let the system end this process after so many seconds, where it can; 0 is never."""
    if hasattr(signal, "alarm"):
        signal.alarm(seconds)


if __name__ == "__main__":
    main()
