"""Whole fits: blocks in time that are held out in turn, a refit on all data, and their calibration."""

from stgate.fitting._fit import CalibrationMode, fit
from stgate.fitting.crossfit import out_of_fold

__all__ = ["CalibrationMode", "fit", "out_of_fold"]
