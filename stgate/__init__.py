"""Gated spatiotemporal forecasting over xarray panels with gaps, with intervals that can be trusted.

Importing `stgate` imports neither xarray nor torch: each public name loads when it is first used.
"""

from typing import TYPE_CHECKING

from stgate.lazy import attach

__version__ = "0.1.0"

if TYPE_CHECKING:
    from stgate import calibration, data, inference, metrics, models, nn, plot, simulate
    from stgate.calibrating import calibrate, recalibrate
    from stgate.calibrating_reconstruction import calibrate_reconstruction, cross_calibrate_reconstruction
    from stgate.data.read import open_panel
    from stgate.evaluation import evaluate
    from stgate.forecast_schema import check_forecast
    from stgate.forecasting import backtest, forecast
    from stgate.free_running import free_run
    from stgate.lattice import from_lattice, to_lattice
    from stgate.panel import check_panel, observed_mask
    from stgate.reconstructing import reconstruct
    from stgate.spec import PanelSpec
    from stgate.store import open_forecast, write
    from stgate.tables import to_panel

__all__ = [
    "PanelSpec",
    "__version__",
    "backtest",
    "calibrate",
    "calibrate_reconstruction",
    "calibration",
    "check_forecast",
    "check_panel",
    "cross_calibrate_reconstruction",
    "data",
    "evaluate",
    "forecast",
    "free_run",
    "from_lattice",
    "inference",
    "metrics",
    "models",
    "nn",
    "observed_mask",
    "open_forecast",
    "open_panel",
    "plot",
    "recalibrate",
    "reconstruct",
    "simulate",
    "to_lattice",
    "to_panel",
    "write",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "PanelSpec": "stgate.spec",
        "backtest": "stgate.forecasting",
        "calibrate": "stgate.calibrating",
        "calibrate_reconstruction": "stgate.calibrating_reconstruction",
        "calibration": "stgate.calibration",
        "check_forecast": "stgate.forecast_schema",
        "check_panel": "stgate.panel",
        "cross_calibrate_reconstruction": "stgate.calibrating_reconstruction",
        "data": "stgate.data",
        "evaluate": "stgate.evaluation",
        "forecast": "stgate.forecasting",
        "free_run": "stgate.free_running",
        "from_lattice": "stgate.lattice",
        "inference": "stgate.inference",
        "metrics": "stgate.metrics",
        "models": "stgate.models",
        "nn": "stgate.nn",
        "observed_mask": "stgate.panel",
        "open_forecast": "stgate.store",
        "open_panel": "stgate.data.read",
        "plot": "stgate.plot",
        "recalibrate": "stgate.calibrating",
        "reconstruct": "stgate.reconstructing",
        "simulate": "stgate.simulate",
        "to_lattice": "stgate.lattice",
        "to_panel": "stgate.tables",
        "write": "stgate.store",
    },
)
