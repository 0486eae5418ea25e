"""Gated spatiotemporal forecasting over xarray panels with gaps, with intervals that can be trusted.

Importing `stgate` imports neither xarray nor torch: each public name loads when it is first used.
"""

from typing import TYPE_CHECKING

from stgate._lazy import attach
from stgate._version import __version__

if TYPE_CHECKING:
    from stgate import (
        calibration,
        data,
        distributions,
        fitting,
        inference,
        io,
        metrics,
        models,
        nn,
        panels,
        prediction,
        schema,
        simulate,
    )
    from stgate.data.field_data import FieldData
    from stgate.data.window_data import WindowData
    from stgate.errors import RequestError, StgateError
    from stgate.evaluation import plot
    from stgate.evaluation._evaluate import evaluate
    from stgate.exporting._export import export
    from stgate.fitting.auto import fit
    from stgate.forecasting._calibrate import calibrate, recalibrate
    from stgate.forecasting._calibrate_reconstruction import calibrate_reconstruction, cross_calibrate_reconstruction
    from stgate.forecasting._forecast import backtest, forecast
    from stgate.forecasting._free_run import free_run
    from stgate.forecasting._reconstruct import reconstruct
    from stgate.io.frames import to_panel
    from stgate.io.lattice import from_lattice, to_lattice
    from stgate.io.readers import open_panel
    from stgate.io.store import open_forecast, write
    from stgate.models.baselines import Climatology, Persistence, Ridge
    from stgate.models.bayesnf import BayesNF
    from stgate.models.cglubnf import CGLUBNF
    from stgate.models.forecaster import Forecaster
    from stgate.models.gated_rnn import GatedRNN
    from stgate.models.gated_transformer import GatedTransformer
    from stgate.models.stack import Stack
    from stgate.models.sth_sepnet import STHSepNet
    from stgate.prediction.loading import load
    from stgate.schema.forecast import check_forecast
    from stgate.schema.panel import check_panel, observed_mask
    from stgate.schema.spec import PanelSpec

__all__ = [
    "CGLUBNF",
    "BayesNF",
    "Climatology",
    "FieldData",
    "Forecaster",
    "GatedRNN",
    "GatedTransformer",
    "PanelSpec",
    "Persistence",
    "RequestError",
    "Ridge",
    "STHSepNet",
    "Stack",
    "StgateError",
    "WindowData",
    "__version__",
    "backtest",
    "calibrate",
    "calibrate_reconstruction",
    "calibration",
    "check_forecast",
    "check_panel",
    "cross_calibrate_reconstruction",
    "data",
    "distributions",
    "evaluate",
    "export",
    "fit",
    "fitting",
    "forecast",
    "free_run",
    "from_lattice",
    "inference",
    "io",
    "load",
    "metrics",
    "models",
    "nn",
    "observed_mask",
    "open_forecast",
    "open_panel",
    "panels",
    "plot",
    "prediction",
    "recalibrate",
    "reconstruct",
    "schema",
    "simulate",
    "to_lattice",
    "to_panel",
    "write",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "BayesNF": "stgate.models.bayesnf",
        "CGLUBNF": "stgate.models.cglubnf",
        "Climatology": "stgate.models.baselines",
        "FieldData": "stgate.data.field_data",
        "Forecaster": "stgate.models.forecaster",
        "GatedRNN": "stgate.models.gated_rnn",
        "GatedTransformer": "stgate.models.gated_transformer",
        "PanelSpec": "stgate.schema.spec",
        "Persistence": "stgate.models.baselines",
        "RequestError": "stgate.errors",
        "Ridge": "stgate.models.baselines",
        "STHSepNet": "stgate.models.sth_sepnet",
        "Stack": "stgate.models.stack",
        "StgateError": "stgate.errors",
        "WindowData": "stgate.data.window_data",
        "backtest": "stgate.forecasting._forecast",
        "calibrate": "stgate.forecasting._calibrate",
        "calibrate_reconstruction": "stgate.forecasting._calibrate_reconstruction",
        "calibration": "stgate.calibration",
        "check_forecast": "stgate.schema.forecast",
        "check_panel": "stgate.schema.panel",
        "cross_calibrate_reconstruction": "stgate.forecasting._calibrate_reconstruction",
        "data": "stgate.data",
        "distributions": "stgate.distributions",
        "evaluate": "stgate.evaluation._evaluate",
        "export": "stgate.exporting._export",
        "forecast": "stgate.forecasting._forecast",
        "free_run": "stgate.forecasting._free_run",
        "from_lattice": "stgate.io.lattice",
        "fit": "stgate.fitting.auto",
        "fitting": "stgate.fitting",
        "inference": "stgate.inference",
        "io": "stgate.io",
        "load": "stgate.prediction.loading",
        "metrics": "stgate.metrics",
        "models": "stgate.models",
        "nn": "stgate.nn",
        "observed_mask": "stgate.schema.panel",
        "open_forecast": "stgate.io.store",
        "open_panel": "stgate.io.readers",
        "panels": "stgate.panels",
        "plot": "stgate.evaluation.plot",
        "prediction": "stgate.prediction",
        "recalibrate": "stgate.forecasting._calibrate",
        "reconstruct": "stgate.forecasting._reconstruct",
        "schema": "stgate.schema",
        "simulate": "stgate.simulate",
        "to_lattice": "stgate.io.lattice",
        "to_panel": "stgate.io.frames",
        "write": "stgate.io.store",
    },
)
