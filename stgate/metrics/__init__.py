"""Scores of arrays and DataArrays: one score a forecast, NaN where the truth is missing, or means over observations."""

from typing import TYPE_CHECKING

from stgate._lazy import attach

if TYPE_CHECKING:
    from stgate.metrics.chaos import nrmse, valid_prediction_time
    from stgate.metrics.climate import (
        correlation_length,
        histogram_distance,
        power_spectrum,
        spectrum_error,
        wasserstein_distance,
    )
    from stgate.metrics.crps_closed import crps_lognormal, crps_normal, crps_normal_mixture, crps_student_t
    from stgate.metrics.crps_empirical import crps, crps_quantiles
    from stgate.metrics.energy import energy_score
    from stgate.metrics.interval import coverage, interval_score, interval_width
    from stgate.metrics.log_score import (
        log_score_lognormal,
        log_score_normal,
        log_score_normal_mixture,
        log_score_student_t,
    )
    from stgate.metrics.point import (
        absolute_error,
        bias,
        mae,
        mape,
        mase,
        naive_scale,
        r2,
        rmse,
        skill_score,
        squared_error,
    )
    from stgate.metrics.quantile import calibration_error, pinball, reliability, weighted_interval_score
    from stgate.metrics.ranks import pit, rank_histogram
    from stgate.metrics.reduce import average, bootstrap, latitude_weights

__all__ = [
    "absolute_error",
    "average",
    "bias",
    "bootstrap",
    "calibration_error",
    "correlation_length",
    "coverage",
    "crps",
    "crps_lognormal",
    "crps_normal",
    "crps_normal_mixture",
    "crps_quantiles",
    "crps_student_t",
    "energy_score",
    "histogram_distance",
    "interval_score",
    "interval_width",
    "latitude_weights",
    "log_score_lognormal",
    "log_score_normal",
    "log_score_normal_mixture",
    "log_score_student_t",
    "mae",
    "mape",
    "mase",
    "naive_scale",
    "nrmse",
    "pinball",
    "pit",
    "power_spectrum",
    "r2",
    "rank_histogram",
    "reliability",
    "rmse",
    "skill_score",
    "spectrum_error",
    "squared_error",
    "valid_prediction_time",
    "wasserstein_distance",
    "weighted_interval_score",
]

_ROOMS = {
    "chaos": ("nrmse", "valid_prediction_time"),
    "crps_empirical": ("crps", "crps_quantiles"),
    "climate": ("correlation_length", "histogram_distance", "power_spectrum", "spectrum_error", "wasserstein_distance"),
    "crps_closed": ("crps_lognormal", "crps_normal", "crps_normal_mixture", "crps_student_t"),
    "energy": ("energy_score",),
    "interval": ("coverage", "interval_score", "interval_width"),
    "log_score": ("log_score_lognormal", "log_score_normal", "log_score_normal_mixture", "log_score_student_t"),
    "ranks": ("pit", "rank_histogram"),
    "point": (
        "absolute_error",
        "bias",
        "mae",
        "mape",
        "mase",
        "naive_scale",
        "r2",
        "rmse",
        "skill_score",
        "squared_error",
    ),
    "quantile": ("calibration_error", "pinball", "reliability", "weighted_interval_score"),
    "reduce": ("average", "bootstrap", "latitude_weights"),
}

__getattr__, __dir__ = attach(
    __name__, {name: f"stgate.metrics.{room}" for room, names in _ROOMS.items() for name in names}
)
