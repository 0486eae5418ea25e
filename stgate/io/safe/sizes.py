"""Sizes that a file declares, against what the file itself can hold, before anything of that size is made."""

from __future__ import annotations

import os
from pathlib import Path

from stgate._memory import free_memory, size_text
from stgate.errors import StoreError

MOST = 1100
"""Most bytes that one compressed byte stands for; zlib packs 1,032 into one at best."""
SLACK = 2**28
"""Bytes that any file may declare, such as those of a variable that is missing throughout and takes no place."""


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


def stored_bytes(path: str | os.PathLike[str]) -> int:
    """Return the bytes that a file takes, or all files of a folder.

    Args:
        path: The file or folder.
    """
    if not os.path.isdir(path):
        return os.path.getsize(path)
    return sum((Path(folder) / name).lstat().st_size for folder, _, names in os.walk(path) for name in names)
