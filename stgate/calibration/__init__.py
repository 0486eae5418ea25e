"""Calibration: how intervals are made honest. Arrays in, arrays out."""

from stgate.calibration.conformal import conformal_quantile, split_conformal

__all__ = ["conformal_quantile", "split_conformal"]
