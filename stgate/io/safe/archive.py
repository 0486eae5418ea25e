"""Arrays of `.npz` files of anybody: their headers are read first, and nothing is unpickled."""

from __future__ import annotations

import math
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stgate.errors import PanelError, StoreError, did_you_mean
from stgate.io.safe.reading import reading
from stgate.io.safe.sizes import check_size

HEADER = 2**14
"""Most bytes of the header of an array; those that numpy writes have a hundred."""


def load_array(path: str | os.PathLike[str], name: str) -> NDArray[Any]:
    """Load an array of an `.npz` file.

    Args:
        path: The file.
        name: The array's name.

    Raises:
        StoreError: The file cannot be read, holds pickled objects, or declares more than it holds.
        PanelError: The file has no such array.
    """
    with reading(path, ".npz"), zipfile.ZipFile(path) as archive:
        held = [member.removesuffix(".npy") for member in archive.namelist()]
        if name not in held:
            raise PanelError(f"{Path(path).name}: no array {name!r}; {did_you_mean(name, held)}")
        return _load(path, archive, [name])[name]


def load_arrays(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """Load all arrays of an `.npz` file, by name.

    Args:
        path: The file.

    Raises:
        StoreError: The file cannot be read, holds pickled objects, or declares more than it holds.
    """
    with reading(path, ".npz"), zipfile.ZipFile(path) as archive:
        return _load(path, archive, [member.removesuffix(".npy") for member in archive.namelist()])


def _load(path: str | os.PathLike[str], archive: zipfile.ZipFile, names: list[str]) -> dict[str, NDArray[Any]]:
    """Load arrays once all their sizes are known to be true."""
    check_size(path, sum(_declared(archive, name) for name in names))
    made = {}
    for name in names:
        with archive.open(f"{name}.npy") as file:
            made[name] = np.lib.format.read_array(file, allow_pickle=False, max_header_size=HEADER)
    return made


def _declared(archive: zipfile.ZipFile, name: str) -> int:
    """Return the bytes of an array by its header.

    Raises:
        StoreError: The array is of pickled objects, or has another size than the archive says.
    """
    member = archive.getinfo(f"{name}.npy")
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file, max_header_size=HEADER)
        begin = file.tell()
    size = math.prod(shape) * dtype.itemsize
    if dtype.hasobject or min(shape, default=0) < 0 or size != member.file_size - begin:
        what = "pickled objects, which are not read" if dtype.hasobject else f"not the values of {shape}"
        raise StoreError(f"{archive.filename}: not a readable .npz (its array {name!r} holds {what})")
    return size
