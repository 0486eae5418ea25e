"""Sizes that a file declares, against what the file itself can hold, before anything of that size is made."""

from __future__ import annotations

import contextlib
import lzma
import math
import os
import zipfile
from pathlib import Path

import xarray as xr

from stgate._memory import free_memory, size_text
from stgate.errors import StoreError
from stgate.io.safe.reading import exists

MOST = 1100
"""Most bytes that one compressed byte stands for; zlib packs 1,032 into one at best."""
SLACK = 10**8
"""Bytes that any file may declare, such as those of a variable that is missing throughout and takes no place."""

PIECES = 20_000
"""Chunks that any store may declare, besides ten for each of its files; those of missing values take no place."""


def check_size(path: str | os.PathLike[str], declared: float, *, loaded: bool = True) -> None:
    """Refuse a file whose header declares more than the file can hold, or more than there is memory for.

    Args:
        path: The file, or the folder of a store.
        declared: Bytes of its arrays.
        loaded: Whether they are all read into memory.

    Raises:
        StoreError: The declared size is not plausible, or does not fit into memory.
    """
    if declared > SLACK and declared > SLACK + MOST * (stored := stored_bytes(path)):
        raise StoreError(
            f"{path}: is broken: it declares {size_text(declared)} of values and takes {size_text(stored)}; write or "
            "download it again"
        )
    room = free_memory() if loaded and declared > SLACK else None
    if room is not None and declared > room:
        raise StoreError(
            f"{path}: takes {size_text(declared)} and {size_text(room)} of memory are free; give a part of it"
        )


def check_arrays(path: str | os.PathLike[str], dataset: xr.Dataset, *, loaded: bool = True) -> None:
    """Refuse a store of arrays whose shapes, pieces or types cannot be true; nothing of its values is read.

    Args:
        path: The file, or the folder of a zarr store.
        dataset: The store as it was opened: lazily, not decoded, without indexes.
        loaded: Whether all values are read into memory.

    Raises:
        StoreError: The declared size is not plausible, does not fit into memory, or is cut into far too many pieces.
    """
    declared, pieces = 0, 0
    for variable in dataset.variables.values():
        chunks = variable.encoding.get("chunks") or variable.encoding.get("chunksizes") or variable.shape
        declared += max(math.prod(variable.shape), math.prod(chunks)) * variable.dtype.itemsize
        if "chunks" in variable.encoding:  # of zarr: each takes Python's time, also one that is not there
            pieces += math.prod(-(-size // chunk) for size, chunk in zip(variable.shape, chunks, strict=True))
    check_size(path, declared, loaded=loaded)
    if pieces > PIECES and pieces > PIECES + 10 * sum(len(names) for *_, names in os.walk(path)):
        raise StoreError(f"{path}: is broken: it declares {pieces:,} chunks and holds few of them; write it again")


def check_files(path: str | os.PathLike[str]) -> None:
    """Refuse a store that holds anything but files and folders: to read a pipe or a device may never end.

    Args:
        path: The folder of the store.

    Raises:
        StoreError: It holds a pipe, a socket or a device, or a link to one.
    """
    with contextlib.suppress(OSError):  # such as a store that is not there, which its reader says
        for entry in os.scandir(path):
            if entry.is_dir(follow_symlinks=False):
                check_files(entry.path)
            elif not entry.is_file():
                exists(entry.path)


def check_unpacked(path: Path) -> None:
    """Refuse a compressed table that unpacks to more than is plausible, without keeping what is unpacked.

    Args:
        path: The table.

    Raises:
        StoreError: It is not plausible or does not fit into memory.
    """
    unpacked = 0
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())  # no more of a member is read
    if path.suffix == ".xz":
        most = SLACK + MOST * path.stat().st_size
        with lzma.open(path) as file:
            while unpacked <= most and (piece := file.read(2**20)):
                unpacked += len(piece)
    check_size(path, unpacked)


def stored_bytes(path: str | os.PathLike[str]) -> int:
    """Return the bytes that a file takes, or all files of a folder.

    Args:
        path: The file or folder.
    """
    if not os.path.isdir(path):
        return os.path.getsize(path)
    return sum((Path(folder) / name).lstat().st_size for folder, _, names in os.walk(path) for name in names)
