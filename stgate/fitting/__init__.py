"""Whole fits: blocks in time that are held out in turn, a refit on all data, and their calibration."""

from stgate.fitting.crossfit import out_of_fold
from stgate.fitting.one_fit import CalibrationMode, fit_forecaster

__all__ = ["CalibrationMode", "fit_forecaster", "out_of_fold"]
