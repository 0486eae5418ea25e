"""The continuous ranked probability score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from stgate.metrics.point import Values


def crps_normal(observation: ArrayLike, loc: ArrayLike, scale: ArrayLike) -> NDArray[np.float64]:
    """CRPS of a normal distribution, in closed form.

    σ (z (2Φ(z) - 1) + 2φ(z) - 1/√π), z = (y - μ) / σ

    Args:
        observation: y, any shape; NaN gives NaN.
        loc: μ.
        scale: σ > 0.

    Returns:
        One score a forecast, in the target's units.

    References:
        Gneiting et al. (2005), Calibrated probabilistic forecasting. doi:10.1175/MWR2904.1

    >>> float(crps_normal(0.0, 0.0, 1.0).round(4))
    0.2337
    """
    scale = np.asarray(scale, "float64")
    z = (np.asarray(observation, "float64") - loc) / scale
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    return np.asarray(scale * (z * (2 * ndtr(z) - 1) + 2 * density - 1 / np.sqrt(np.pi)))


def crps_quantiles(observation: Values, forecast: Values, quantiles: Sequence[float] | None = None) -> Values:
    """CRPS from quantiles: twice the pinball loss, integrated over the level.

    Each quantile stands for the levels nearer to it than to the others, the outermost ones up to 0 and 1. With few
    quantiles this is coarse: compare it only between forecasts of the same quantiles.

    Args:
        observation: (...).
        forecast: (..., quantile), the last axis of an array, or a DataArray over `quantile`.
        quantiles: Levels of the last axis; a DataArray carries its own.

    Returns:
        One score a forecast, in the target's units; NaN where the truth is missing.

    References:
        Laio and Tamea (2007), Verification tools for probabilistic forecasts. doi:10.5194/hess-11-1267-2007

    >>> crps_quantiles(np.array([1.0]), np.array([[0.0]]), [0.5])
    array([1.])
    """
    if isinstance(forecast, xr.DataArray):
        levels = forecast["quantile"]
        weights = xr.DataArray(_cells(levels.values), {"quantile": levels}, "quantile")
        miss = observation - forecast
        pinball = (levels * miss).where(~(miss < 0), (levels - 1) * miss)
        return (2 * weights * pinball).sum("quantile", skipna=False)
    tau = np.asarray(quantiles, "float64")
    miss = np.asarray(observation)[..., None] - forecast
    return np.asarray((2 * _cells(tau) * np.where(miss >= 0, tau * miss, (tau - 1) * miss)).sum(-1))


def _cells(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much of [0, 1] each level stands for."""
    edges = np.concatenate([[0.0], (levels[1:] + levels[:-1]) / 2, [1.0]])
    return np.diff(edges)
