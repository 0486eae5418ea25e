"""Fits without noise: a quiet trainer, a plain fit, and optimizers by their rate."""

from __future__ import annotations

import dataclasses
import time
import warnings
from typing import Any

import lightning as L
import torch

RAW: dict[str, Any] = {"transforms": None, "node_statistics": False, "neighbour_means": "none"}
"""Inputs as they are: configurations that were tuned before forecasters chose transforms and knew their nodes."""
ALONE: dict[str, Any] = {**RAW, "linear": False}
"""Those, and a network without a linear part."""
QUIET = dict.fromkeys(("logger", "enable_checkpointing", "enable_model_summary", "enable_progress_bar"), False)


@dataclasses.dataclass(frozen=True)
class Spent:
    """Seconds of a fit.

    Attributes:
        cpu: Seconds of all threads of this process.
        wall: Seconds of the clock.
    """

    cpu: float
    wall: float


def trainer(**options: Any) -> L.Trainer:
    """Return a trainer without logger, checkpoints, summary and progress bar.

    Args:
        options: Options of `lightning.Trainer`, these four too.
    """
    return L.Trainer(**{**QUIET, **options})


def fit(model: Any, data: Any, epochs: int, seed: int = 0, *, clip: float | None = 1.0) -> Spent:
    """Fit on the CPU without validation and without warnings, from a seed; return the seconds it took.

    Args:
        model: Forecaster that is fitted in place.
        data: Data module.
        epochs: Number of epochs.
        seed: Seed of weights and shuffles.
        clip: Norm that gradients are clipped to; None does not clip.
    """
    L.seed_everything(seed, verbose=False)
    cpu, wall = time.process_time(), time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {"gradient_clip_val": clip, "limit_val_batches": 0}
        trainer(max_epochs=epochs, accelerator="cpu", **options).fit(model, data)
    return Spent(time.process_time() - cpu, time.monotonic() - wall)


def adam(rate: float) -> Any:
    """Return a maker of Adam for given weights."""
    return lambda weights: torch.optim.Adam(weights, lr=rate)


def adamw(rate: float, decay: float = 0.01) -> Any:
    """Return a maker of AdamW for given weights."""
    return lambda weights: torch.optim.AdamW(weights, lr=rate, weight_decay=decay)


def cosine(epochs: int) -> Any:
    """Return a maker of a cosine schedule over so many epochs."""
    return lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
