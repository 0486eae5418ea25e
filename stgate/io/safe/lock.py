"""Locks on folders that one process at a time may write; they are released with the process, even a killed one."""

from __future__ import annotations

import contextlib
import os
import sys
import weakref
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

from stgate.errors import StoreError

_HANDLES: weakref.WeakSet[FolderLock] = weakref.WeakSet()
_CLAIMED: ContextVar[tuple[Path, ...]] = ContextVar("_CLAIMED", default=())
"""Folders that this thread has claimed."""
TRIES = 1000
"""Most times that a folder is made: another process may remove it each time before it is locked."""


class FolderLock:
    """Lock on a folder, held until `release` or the end of this process. Its worker processes do not hold it.

    Args:
        folder: Folder to lock.

    Raises:
        StoreError: Another process holds it.
    """

    def __init__(self, folder: Path) -> None:
        self.handle: int | None = None
        if sys.platform == "win32":  # no lock on folders there
            return
        import fcntl

        self.handle = os.open(folder, os.O_RDONLY)
        _HANDLES.add(self)
        try:
            fcntl.flock(self.handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.release()
            raise StoreError(f"{folder}: another process is writing it; wait for it, or give another --out") from error
        except OSError:  # a file system without locks
            self.release()

    def holds(self, folder: Path) -> bool:
        """Return True if this is the lock of the folder that has this path now.

        Args:
            folder: The path.
        """
        if self.handle is None:
            return False
        with contextlib.suppress(OSError):
            return os.path.samestat(os.fstat(self.handle), folder.stat())
        return False

    def release(self) -> None:
        """Release the lock."""
        if self.handle is not None:
            with contextlib.suppress(OSError):
                os.close(self.handle)
            self.handle = None


def locked(folder: Path) -> FolderLock:
    """Make a folder, unless it is there, and lock it.

    Args:
        folder: The folder.

    Returns:
        The lock.

    Raises:
        StoreError: Another process holds it, or it cannot be made, as behind a link to nowhere.
    """
    why = ""
    for _ in range(TRIES):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = FolderLock(folder)
        except (FileNotFoundError, FileExistsError) as error:
            why = f" ({error.strerror})"
            continue
        if lock.handle is None or lock.holds(folder):
            return lock
        lock.release()
    raise StoreError(f"--out {folder}: the folder cannot be made{why}; choose another one")


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold the lock on the folder of a run; a folder that was made for it and is still empty is removed at the end.

    Within this thread the lock may be held already: a command claims a folder before the fit in it does.

    Args:
        folder: The folder, which is made where there is none.

    Raises:
        StoreError: Another process holds it.
    """
    place = Path(os.path.realpath(folder))
    if place in _CLAIMED.get():
        yield
        return
    new = not place.exists()
    lock = locked(folder)
    token = _CLAIMED.set((*_CLAIMED.get(), place))
    try:
        yield
    finally:
        _CLAIMED.reset(token)
        if new:
            with contextlib.suppress(OSError):
                place.rmdir()
        lock.release()


def _close_all() -> None:
    """Close the handles that a forked process has inherited; the lock of its parent stays."""
    for lock in list(_HANDLES):
        lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_all)
