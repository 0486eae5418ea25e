"""Plan of a fit: the number of epochs from the number of batches, when to stop early, which epoch to keep."""

from __future__ import annotations

import math

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import Tensor

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
    patience = max(PATIENCE, epochs // 4)
    return EarlyStopping(monitor, patience=patience, check_finite=False, strict=False)  # not each epoch is validated


class BestEpoch(ModelCheckpoint):
    """Lightning's callback that keeps the epoch of the lowest score, but never one whose score is not finite."""

    @property
    def _legacy_state_key(self) -> str:  # type: ignore[override]
        """Name of the state in older checkpoints, that of Lightning's class, of which a user may have one."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)

    def check_monitor_top_k(self, trainer: L.Trainer, current: Tensor | None = None) -> bool:
        """Return True if an epoch is to be kept.

        Args:
            trainer: The trainer.
            current: The epoch's score.
        """
        return current is not None and bool(torch.isfinite(current)) and super().check_monitor_top_k(trainer, current)
