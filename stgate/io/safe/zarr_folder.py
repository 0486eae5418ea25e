"""Folders of zarr stores that can be left: zarr's threads go on writing after an interrupt or an error."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from zarr.storage import LocalStore

from stgate.errors import StoreError

if TYPE_CHECKING:
    from zarr.abc.buffer import Buffer


class ZarrFolder(LocalStore):
    """Folder of a zarr store, to be written within a `with` block.

    zarr writes the chunks of an array in threads, side by side. Where one of them fails, or an interrupt comes, the
    call returns while others are still to be written, which would make the folder again when it has been removed. If
    the block fails, this store therefore takes no more chunks, and waits for those that are being written.

    Args:
        root: The folder.
        read_only: Refuse all writes.
    """

    def __init__(self, root: Path | str, *, read_only: bool = False) -> None:
        super().__init__(root, read_only=read_only)
        self._changed = threading.Condition()
        self._writes, self._left = 0, False

    async def set(self, key: str, value: Buffer) -> None:
        """Write a chunk or a description.

        Args:
            key: Path in the folder.
            value: Its bytes.

        Raises:
            StoreError: The store has been left.
        """
        with self._writing():
            await super().set(key, value)

    def set_sync(self, key: str, value: Buffer) -> None:
        """Write a chunk or a description from a thread without an event loop, as later versions of zarr do.

        Args:
            key: Path in the folder.
            value: Its bytes.

        Raises:
            StoreError: The store has been left.
        """
        with self._writing():
            super().set_sync(key, value)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Write a chunk or a description, unless it is there.

        Args:
            key: Path in the folder.
            value: Its bytes.

        Raises:
            StoreError: The store has been left.
        """
        with self._writing():
            await super().set_if_not_exists(key, value)

    def leave(self) -> None:
        """Take no more chunks, and wait for those that are being written."""
        with self._changed:
            self._left = True
            self._changed.wait_for(lambda: not self._writes)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        with self._changed:
            if self._left:
                raise StoreError(f"{self.root}: its write has been stopped; write it again")
            self._writes += 1
        try:
            yield
        finally:
            with self._changed:
                self._writes -= 1
                self._changed.notify_all()


@contextlib.contextmanager
def zarr_folder(path: Path) -> Iterator[ZarrFolder]:
    """Yield a folder for a zarr store, of which nothing is written any more when the block has failed.

    Args:
        path: The folder.
    """
    folder = ZarrFolder(path)
    try:
        yield folder
    except BaseException:
        folder.leave()
        raise
