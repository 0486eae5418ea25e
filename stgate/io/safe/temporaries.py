"""Temporary folders beside results: locked while they are written, removed by a later write where a kill left them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from stgate.errors import StoreError
from stgate.io.safe.lock import FolderLock

NAME = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.tmp", re.DOTALL)
LONGEST = 255 - len("..01234567.tmp")
"""Most bytes of a result's name: a temporary folder has that name with more around it, and file systems take 255."""


@contextlib.contextmanager
def temporary_for(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` when the block succeeds, and is removed when it fails.

    It has the name of the result, in a hidden folder beside it. What killed writes left in the same folder is removed.

    Args:
        path: The result.

    Raises:
        StoreError: It has no name, or one that is too long or a folder's, or its own folder does not exist.
    """
    check_name(path)
    sweep(path.parent)
    room, lock = _room(path)
    temporary = room / path.name
    try:
        yield temporary
        if path.is_dir() and temporary.is_file():
            raise StoreError(f"{path}: a folder has this name, and a file does not replace it; give another name")
        if os.path.lexists(path) and not path.is_dir() and temporary.is_dir():
            raise StoreError(f"{path}: a file has this name, and a folder does not replace it; give another name")
        if path.is_dir() and not path.is_symlink():  # a folder cannot be replaced in one step: move it first
            os.rename(path, _moved(temporary))
        os.replace(temporary, path)
    finally:
        _give_back(room, path)
        shutil.rmtree(room, ignore_errors=True)
        lock.release()


def check_name(path: Path) -> None:
    """Refuse a result's path that cannot be written.

    Args:
        path: The result.

    Raises:
        StoreError: It has no name, one too long for a temporary folder, or one that is not in UTF-8, which the
            libraries that write it require; or its own folder does not exist.
    """
    if "\0" in str(path) or any("\ud800" <= letter <= "\udfff" for letter in str(path)):
        raise StoreError(f"{path}: the name is not text in UTF-8; give another one")
    if not path.name:
        raise StoreError(f"{path}: names no file; give the name of one")
    if not os.path.isdir(path.parent):
        raise StoreError(f"{path}: the folder {path.parent} does not exist; make it with mkdir -p {path.parent}")
    if len(os.fsencode(path.name)) > LONGEST:
        raise StoreError(f"{path}: the name is longer than {LONGEST} bytes; give a shorter one")


def sweep(folder: Path) -> None:
    """Remove what killed writes left in a folder; a store that was about to be replaced comes back.

    Args:
        folder: Folder of results. Temporaries that are being written stay.
    """
    with contextlib.suppress(OSError):
        for room in [path for path in folder.iterdir() if is_temporary(path)]:
            _remove(room)


def is_temporary(path: Path) -> bool:
    """Return True for a temporary folder of ours: by its name, and since it holds nothing but the result.

    Args:
        path: A file or folder.
    """
    found = NAME.fullmatch(path.name)
    if not found or path.is_symlink() or not path.is_dir():
        return False
    names = {found["name"], _moved(Path(found["name"])).name}
    return {inside.name for inside in path.iterdir()} <= names


def _room(path: Path) -> tuple[Path, FolderLock]:
    """Make a hidden folder beside a path and lock it; a sweep may come between the two."""
    while True:
        room = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
        try:
            room.mkdir()
        except (FileNotFoundError, PermissionError) as error:  # such as in /proc
            raise StoreError(f"{path}: nothing can be written there ({error.strerror}); give another place") from error
        with contextlib.suppress(StoreError, FileNotFoundError):
            lock = FolderLock(room)
            if lock.handle is None or lock.holds(room):
                return room, lock
            lock.release()


def _remove(room: Path) -> None:
    """Remove a temporary folder, unless a process holds it or nobody can tell."""
    try:
        lock = FolderLock(room)
    except (StoreError, OSError):
        return
    if lock.holds(room):
        found = NAME.fullmatch(room.name)
        assert found is not None
        _give_back(room, room.with_name(found["name"]))
        shutil.rmtree(room, ignore_errors=True)
    lock.release()


def _moved(temporary: Path) -> Path:
    """Return where the result that is replaced is moved to."""
    return temporary.with_name(f"{temporary.name}.old")


def _give_back(room: Path, path: Path) -> None:
    """Put a result back that was moved away and has not been replaced; one that has been never comes back in part."""
    with contextlib.suppress(OSError):
        os.rename(_moved(room / path.name), room / path.name if os.path.lexists(path) else path)
