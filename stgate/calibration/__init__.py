"""Calibration of prediction intervals by conformal prediction: arrays in, arrays out."""

from stgate.calibration.conformal import conformal_quantile, split_conformal
from stgate.calibration.groups import grouped_conformal, missing_groups
from stgate.calibration.online import OnlineConformal

__all__ = ["OnlineConformal", "conformal_quantile", "grouped_conformal", "missing_groups", "split_conformal"]
