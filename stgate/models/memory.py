"""Memory that training steps take: kept from one to the next."""

from __future__ import annotations

import torch


def keep_what_is_freed() -> None:
    """Let what a training step frees serve the next one, rather than go back to the system: taking it anew costs time.

    glibc gives back what is free beyond twice the largest block that it had from the system by itself and that was
    freed, of blocks up to 32 MiB; so one such block, never written to, is made and freed. Elsewhere this does nothing.
    """
    torch.empty(31 * 2**20, dtype=torch.uint8)
