"""Single precision: what a fit in mixed precision computes as it would without."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def single_precision() -> Iterator[None]:
    """Switch off the autocast of a fit in mixed precision; a context, and a decorator of functions.

    Under autocast, products of matrices have three digits: enough between the layers of a network, but not for scales,
    climatologies, the linear part and scores.
    """
    with contextlib.ExitStack() as stack:
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield
