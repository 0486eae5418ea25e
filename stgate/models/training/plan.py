"""Plan of a fit: the number of epochs from the number of batches, and when to stop early."""

from __future__ import annotations

import math

from lightning.pytorch.callbacks import EarlyStopping

STEPS = 1000
"""Number of optimizer steps that a fit makes unless it stops early."""
EPOCHS = (10, 60)
"""Smallest and largest number of epochs."""
PATIENCE = 10
"""Smallest number of epochs without a better score that ends a fit: a short one is left to its learning rate's end."""


def epochs_for(batches: int) -> int:
    """Return the number of epochs of a fit.

    Args:
        batches: Number of training batches in an epoch.
    """
    least, most = EPOCHS
    return min(max(math.ceil(STEPS / max(batches, 1)), least), most)


def early_stopping(monitor: str, epochs: int) -> EarlyStopping:
    """Return the callback that ends a fit once a quarter of its epochs, at least ten, brought no better score.

    Args:
        monitor: Name of the score.
        epochs: Number of epochs of the fit.
    """
    return EarlyStopping(monitor, patience=max(PATIENCE, epochs // 4), check_finite=False)
