"""Scores of forecasts of chaotic systems."""

from __future__ import annotations

import numpy as np
import xarray as xr

from stgate.errors import check_positive
from stgate.metrics.arrays import as_floats, check_dims, check_labels
from stgate.metrics.spreads import check_spread


def nrmse(observation: xr.DataArray, forecast: xr.DataArray, sigma: xr.DataArray) -> xr.DataArray:
    """Normalised root mean square error over nodes, each in units of its standard deviation.

    sqrt(mean_i ((y_i - ŷ_i) / σ_i)²): 1 for the climatological mean, √2 for an unrelated trajectory.

    Args:
        observation: Truth over `node` and any other dims.
        forecast: Forecast over the same dims.
        sigma: (node,), standard deviation of the training data.

    Returns:
        One error for each entry of the other dims; NaN where all nodes are missing.

    References:
        Vlachas et al. (2020), Backpropagation algorithms and reservoir computing. doi:10.1016/j.neunet.2020.02.016
    """
    names = ("observation", "forecast", "sigma")
    for values, name in zip((observation, forecast, sigma), names, strict=True):
        check_dims(values, ["node"], name)
    truth, ours, unit = (as_floats(v, n) for v, n in zip((observation, forecast, sigma), names, strict=True))
    check_labels([truth, ours, unit], names)
    check_spread(unit.values, name="sigma")
    squares = ((truth - ours) / unit.where(unit > 0)) ** 2  # a node that never changed drops out
    roots: xr.DataArray = squares.mean("node") ** 0.5
    return roots


def valid_prediction_time(
    observation: xr.DataArray, forecast: xr.DataArray, sigma: xr.DataArray, *, threshold: float = 0.5
) -> tuple[xr.DataArray, xr.DataArray]:
    """Valid prediction time: the lead time up to which the NRMSE stays below a threshold.

    Definitions differ by a factor of two: this is the last lead before NRMSE first reaches `threshold`, with the
    per-node sigma of the training data. A forecast that never does is censored: its value is a lower bound.

    Args:
        observation: Truth over `lead_time`, `node` and any other dims.
        forecast: Forecast over the same dims.
        sigma: (node,), standard deviation of the training data.
        threshold: NRMSE at which a forecast is no longer valid; 0.5 in most of the literature.

    Returns:
        The time, in the units of `lead_time` (0 where the first lead misses, NaN where it was not observed), and
        a flag that it is censored; both without `lead_time` and `node`.
    """
    check_positive("threshold", threshold)
    for values, name in ((observation, "observation"), (forecast, "forecast")):
        check_dims(values, ["lead_time", "node"], name)
    errors = nrmse(observation, forecast, sigma).transpose(..., "lead_time").sortby("lead_time")
    missing = errors.isnull()
    missed = (errors >= threshold).where(~missing, False)
    leads = errors["lead_time"]
    first = missed.argmax("lead_time")
    before = xr.DataArray(np.concatenate([np.zeros(1, leads.dtype), leads.values[:-1]]), dims="lead_time")
    reached = missed.any("lead_time")
    observed_last = leads.where(~missing).max("lead_time")
    known = ~missing.isel(lead_time=0, drop=True)
    return before.isel(lead_time=first).where(reached, observed_last).where(known), ~reached & known
