"""Scores of arrays and DataArrays: one value a forecast, NaN where the truth is missing."""

from typing import TYPE_CHECKING

from stgate.lazy import attach

if TYPE_CHECKING:
    from stgate.metrics.chaos import nrmse, valid_prediction_time
    from stgate.metrics.crps import crps_normal, crps_quantiles
    from stgate.metrics.interval import coverage, interval_score, interval_width
    from stgate.metrics.point import absolute_error, squared_error
    from stgate.metrics.reduce import mean_over

__all__ = [
    "absolute_error",
    "coverage",
    "crps_normal",
    "crps_quantiles",
    "interval_score",
    "interval_width",
    "mean_over",
    "nrmse",
    "squared_error",
    "valid_prediction_time",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "absolute_error": "stgate.metrics.point",
        "coverage": "stgate.metrics.interval",
        "crps_normal": "stgate.metrics.crps",
        "crps_quantiles": "stgate.metrics.crps",
        "interval_score": "stgate.metrics.interval",
        "interval_width": "stgate.metrics.interval",
        "mean_over": "stgate.metrics.reduce",
        "nrmse": "stgate.metrics.chaos",
        "squared_error": "stgate.metrics.point",
        "valid_prediction_time": "stgate.metrics.chaos",
    },
)
