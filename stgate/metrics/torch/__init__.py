"""Scores of torch distributions, and their torchmetrics forms; torchmetrics is imported when a form is first used."""

from typing import TYPE_CHECKING

from stgate._lazy import attach

if TYPE_CHECKING:
    from stgate.metrics.torch.distributions import crps_of, inside
    from stgate.metrics.torch.forms import (
        CRPS,
        Coverage,
        MaskedMean,
        Mean,
        MeanAbsoluteError,
        RootMeanSquaredError,
        ValidPredictionTime,
    )

__all__ = [
    "CRPS",
    "Coverage",
    "MaskedMean",
    "Mean",
    "MeanAbsoluteError",
    "RootMeanSquaredError",
    "ValidPredictionTime",
    "crps_of",
    "inside",
]

__getattr__, __dir__ = attach(
    __name__,
    {name: "stgate.metrics.torch.forms" for name in __all__ if name not in ("crps_of", "inside")}
    | {name: "stgate.metrics.torch.distributions" for name in ("crps_of", "inside")},
)
