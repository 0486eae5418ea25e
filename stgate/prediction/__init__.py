"""Predictors: plain torch modules that make forecasts, load from checkpoints, and need no Lightning."""

from typing import TYPE_CHECKING

from stgate._lazy import attach

if TYPE_CHECKING:
    from stgate.prediction.intervals import Calibration
    from stgate.prediction.loading import load
    from stgate.prediction.predictor import Predictor

__all__ = ["Calibration", "Predictor", "load"]

__getattr__, __dir__ = attach(
    __name__,
    {
        "Calibration": "stgate.prediction.intervals",
        "Predictor": "stgate.prediction.predictor",
        "load": "stgate.prediction.loading",
    },
)
