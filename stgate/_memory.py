"""How much room there is, and sizes as people say them."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path

from stgate.errors import RequestError


def free_memory() -> int | None:
    """Bytes of memory that new arrays may take, where the system tells; what the page cache holds counts as free."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1])
    with contextlib.suppress(AttributeError, OSError, ValueError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def memory_limit(megabytes: float | None) -> float:
    """Bytes that may be taken: as many megabytes, or half of what is free.

    Raises:
        RequestError: Not a positive number.
    """
    if megabytes is None:
        return 0.5 * (free_memory() or 2**32)
    if not megabytes > 0:
        raise RequestError(f"max_memory {megabytes:g}: a positive number of megabytes")
    return 1e6 * megabytes


def size_text(count: float) -> str:
    """Bytes as people say them.

    >>> size_text(160e9), size_text(2.1e6)
    ('160 GB', '2.1 MB')
    """
    power = min(int(math.log10(max(count, 1)) // 3), 6)
    return f"{count / 1000**power:.3g} {('B', 'kB', 'MB', 'GB', 'TB', 'PB', 'EB')[power]}"
