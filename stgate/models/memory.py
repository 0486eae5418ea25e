"""Reuse of memory between training steps."""

from __future__ import annotations

import torch


def keep_what_is_freed() -> None:
    """Raise glibc's mmap threshold so that freed blocks are reused, not returned to the system.

    When glibc frees a block that it got by mmap (of at most 32 MiB), it raises the threshold to the size of that block.
    So one block just below 32 MiB is allocated, never written to, and freed. With other C libraries this does nothing.
    """
    torch.empty(31 * 2**20, dtype=torch.uint8)
