"""Headers of netCDF and HDF5 files, read without a C library: what cannot be, is refused before one sees it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import IO, TypeVar

from stgate.errors import StoreError

Entry = TypeVar("Entry")
HDF5 = b"\x89HDF\r\n\x1a\n"
CLASSIC = {b"CDF\x01": (4, 4), b"CDF\x02": (4, 8), b"CDF\x05": (8, 8)}
"""Bytes of a count and of a place in the classic formats of netCDF, by their first four bytes."""
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8, 7: 1, 8: 2, 9: 4, 10: 8, 11: 8}
"""Bytes of a value by the number of its type."""
DIMENSIONS, VARIABLES, ATTRIBUTES = 10, 11, 12
MOST_ENTRIES = 2**16
"""Most dimensions, variables or attributes of a list; those of measurements have dozens."""


def check_header(path: Path) -> None:
    """Refuse a file that is neither netCDF nor HDF5, and a classic netCDF file whose header does not fit its size.

    The C library believes the counts of a classic header: it would loop over them for hours, and give zeros for values
    that a cut file does not have.

    Args:
        path: The file.

    Raises:
        StoreError: The file cannot be read, or is no such file, or is cut or broken.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            counts = CLASSIC.get(first := file.read(4))
            if counts is not None:
                _Classic(file, size, *counts).check(path)
            elif not (first == HDF5[:4] or _behind_a_block(file, size)):
                raise StoreError(f"{path}: not a netCDF or HDF5 file; its first bytes are those of neither")
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror or error})") from error


def _behind_a_block(file: IO[bytes], size: int) -> bool:
    """Return True if HDF5 begins at 512 bytes or a later power of two, behind a block of the user's."""
    place = 512
    while place + len(HDF5) <= size:
        file.seek(place)
        if file.read(len(HDF5)) == HDF5:
            return True
        place *= 2
    return False


class _BrokenError(Exception):
    """Raised where a header cannot be right."""


class _Classic:
    """Walk through the header of a classic netCDF file.

    Args:
        file: The open file, behind its first four bytes.
        size: Bytes of the file.
        count: Bytes of a count.
        place: Bytes of the place of a variable's values.
    """

    def __init__(self, file: IO[bytes], size: int, count: int, place: int) -> None:
        self.file, self.size, self.count, self.place = file, size, count, place

    def check(self, path: Path) -> None:
        """Refuse counts and places that do not fit the size.

        Args:
            path: The file, for messages.

        Raises:
            StoreError: The file is cut or broken.
        """
        try:
            records = self._number(self.count)
            dimensions = self._list(DIMENSIONS, self._dimension)
            self._list(ATTRIBUTES, self._attribute)
            variables = self._list(VARIABLES, lambda: self._variable(dimensions))
        except (_BrokenError, IndexError) as error:
            raise StoreError(f"{path}: its header is broken ({error}); get the file again") from error
        if records == 2 ** (8 * self.count) - 1:  # not counted while it was written
            records = 0
        parts = [size for size, _, recorded in variables if recorded]
        step = parts[0] if len(parts) == 1 else sum(-(-part // 4) * 4 for part in parts)  # one alone is not padded
        for size, begin, recorded in variables:
            end = begin + size + (step * (records - 1) if recorded else 0)
            if end > self.size and not (recorded and records == 0):
                raise StoreError(
                    f"{path}: is cut or broken: its header tells of {end:,} bytes, it has {self.size:,}; get it again"
                )

    def _number(self, width: int = 4) -> int:
        content = self.file.read(width)
        if len(content) < width:
            raise _BrokenError("it ends early")
        return int.from_bytes(content, "big")

    def _counted(self, least: int) -> int:
        """Return a count of things that take at least so many bytes each."""
        count = self._number(self.count)
        if count * least > self.size - self.file.tell():
            raise _BrokenError(f"a count of {count:,} where {self.size - self.file.tell():,} bytes are left")
        return count

    def _list(self, tag: int, entry: Callable[[], Entry]) -> list[Entry]:
        found, count = self._number(), self._counted(1)
        if found not in (0, tag) or (found == 0 and count) or count > MOST_ENTRIES:
            raise _BrokenError(f"a list of kind {found} with {count:,} entries")
        return [entry() for _ in range(count)]

    def _skip(self, size: int) -> None:
        self.file.seek(-(-size // 4) * 4, 1)

    def _dimension(self) -> int:
        self._skip(self._counted(1))
        return self._number(self.count)

    def _type(self) -> int:
        kind = self._number()
        if kind not in SIZES:
            raise _BrokenError(f"values of kind {kind}")
        return SIZES[kind]

    def _attribute(self) -> None:
        self._skip(self._counted(1))
        width = self._type()
        self._skip(width * self._counted(width))

    def _variable(self, dimensions: list[int]) -> tuple[int, int, bool]:
        """Return the bytes of a variable (of a record, if it has records), their place, and whether it has records."""
        self._skip(self._counted(1))
        lengths = [dimensions[self._number(self.count)] for _ in range(self._counted(self.count))]
        self._list(ATTRIBUTES, self._attribute)
        width = self._type()
        self._number(self.count)  # its size, which readers compute themselves
        begin = self._number(self.place)
        recorded = bool(lengths) and lengths[0] == 0
        return width * math.prod(lengths[recorded:]), begin, recorded
