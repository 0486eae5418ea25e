"""The guard of readers: whatever a library raises while a file is read becomes one line that names the file."""

from __future__ import annotations

import contextlib
import os
import stat
import warnings
from collections.abc import Iterator

from stgate.errors import StgateError, StgateWarning, StoreError, one_line

LONGEST = 120
"""Most characters of a reason."""


def exists(path: str | os.PathLike[str]) -> bool:
    """Return True if there is a file or a folder of this name, which may be opened without waiting for anybody.

    Args:
        path: The file or folder.

    Raises:
        StoreError: The path is that of a pipe, a socket or a device: to read one may never end.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError, TypeError):  # also of a name that is too long, or that no file can have
        return False
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise StoreError(f"{path}: a pipe, a socket or a device, not a file; write its content to a file first")
    return True


@contextlib.contextmanager
def reading(
    path: str | os.PathLike[str],
    kind: str,
    error: type[StgateError] = StoreError,
    hint: str = "",
    *,
    named: bool = False,
) -> Iterator[None]:
    """Turn whatever a library raises while a file is read into an error of ours, and silence what it warns of.

    Errors and warnings of ours pass. Others are no concern of the user of a reader: they tell of the library's own
    doubts about an odd file, which is read or refused.

    Args:
        path: The file.
        kind: What it should be, for the message: `netCDF file`.
        error: The class of the error.
        hint: The end of the message.
        named: Put the file before errors of ours that do not name it.

    Raises:
        StgateError: Of the class `error`: the file cannot be read, or it needs more memory than there is.
    """
    ours: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as ours:
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", StgateWarning)
            yield
    except StgateError as raised:
        if not named or os.fspath(path) in str(raised):
            raise
        raise type(raised)(f"{path}: {raised}") from raised
    except MemoryError as raised:
        raise error(f"{path}: takes more memory than there is; it is broken, or give a part of it") from raised
    except Exception as raised:
        raise error(f"{path}: not a readable {kind} ({reason(raised)}){hint}") from raised
    finally:
        for one in ours:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)


def reason(error: BaseException) -> str:
    """Return what an exception says as part of a line: its first line without control characters, not too long.

    Args:
        error: The exception.
    """
    lines = (" ".join(one_line(line).split()) for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__)[:LONGEST].rstrip()
