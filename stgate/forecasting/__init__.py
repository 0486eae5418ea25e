"""The verbs: forecast, backtest, reconstruct, free_run and calibrate."""

from typing import TYPE_CHECKING

from stgate._lazy import attach

if TYPE_CHECKING:
    from stgate.forecasting._calibrate import calibrate, recalibrate
    from stgate.forecasting._calibrate_reconstruction import calibrate_reconstruction, cross_calibrate_reconstruction
    from stgate.forecasting._forecast import backtest, forecast
    from stgate.forecasting._free_run import free_run
    from stgate.forecasting._reconstruct import reconstruct

__all__ = [
    "backtest",
    "calibrate",
    "calibrate_reconstruction",
    "cross_calibrate_reconstruction",
    "forecast",
    "free_run",
    "recalibrate",
    "reconstruct",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "backtest": "stgate.forecasting._forecast",
        "calibrate": "stgate.forecasting._calibrate",
        "calibrate_reconstruction": "stgate.forecasting._calibrate_reconstruction",
        "cross_calibrate_reconstruction": "stgate.forecasting._calibrate_reconstruction",
        "forecast": "stgate.forecasting._forecast",
        "free_run": "stgate.forecasting._free_run",
        "recalibrate": "stgate.forecasting._calibrate",
        "reconstruct": "stgate.forecasting._reconstruct",
    },
)
