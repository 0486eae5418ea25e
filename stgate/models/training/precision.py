"""Precision of a fit: times, scales and weights keep the digits that forecasts need."""

from __future__ import annotations

import warnings

import lightning as L
from lightning.pytorch.plugins.precision import DoublePrecision, HalfPrecision, Precision

from stgate.errors import FitWarning


def keep_precision(trainer: L.Trainer) -> None:
    """Compute in single precision where a trainer would convert the whole forecaster to another one.

    Half precision would round times and scales, and a forecast is made in single precision whatever the fit was.

    Args:
        trainer: A trainer that has not converted the forecaster yet.
    """
    plugin = trainer.precision_plugin
    if isinstance(plugin, HalfPrecision | DoublePrecision):
        trainer.strategy.precision_plugin = Precision()
        warnings.warn(
            f"precision {plugin.precision}: would convert times and scales too, so 32-true is used; bf16-mixed is the "
            "faster one that keeps them",
            FitWarning,
            stacklevel=2,
        )
