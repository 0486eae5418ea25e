"""Lock on a folder that one process at a time may write; it is released with the process, even a killed one."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from stgate.errors import StoreError


class FolderLock:
    """Lock on a folder, held until `release`.

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
        try:
            fcntl.flock(self.handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.release()
            raise StoreError(f"{folder}: another process is writing it; wait for it, or give another --out") from error
        except OSError:  # a file system without locks
            self.release()

    def release(self) -> None:
        """Release the lock."""
        if self.handle is not None:
            with contextlib.suppress(OSError):
                os.close(self.handle)
            self.handle = None
