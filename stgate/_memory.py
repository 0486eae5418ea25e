"""Free memory, limits on its use, and sizes as text."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path

from stgate.errors import RequestError


def free_memory() -> int | None:
    """Return the bytes of memory that new arrays may take, or None where the system does not report them.

    Memory that the page cache holds counts as free.
    """
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1])
    with contextlib.suppress(AttributeError, OSError, ValueError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def memory_limit(megabytes: float | None) -> float:
    """Return the number of bytes that may be used.

    Args:
        megabytes: The limit in megabytes; None takes half of the free memory.

    Returns:
        Bytes.

    Raises:
        RequestError: The limit is no positive number.
    """
    if megabytes is None:
        return 0.5 * (free_memory() or 2**32)
    positive = False
    with contextlib.suppress(TypeError):  # no number at all
        positive = megabytes > 0
    if not positive:
        raise RequestError(f"max_memory {megabytes}: must be a positive number of megabytes")
    return 1e6 * megabytes


def size_text(count: float) -> str:
    """Format a number of bytes as text, such as `2.1 MB`.

    >>> size_text(160e9), size_text(2.1e6)
    ('160 GB', '2.1 MB')
    """
    power = min(int(math.log10(max(count, 1)) // 3), 6)
    return f"{count / 1000**power:.3g} {('B', 'kB', 'MB', 'GB', 'TB', 'PB', 'EB')[power]}"
