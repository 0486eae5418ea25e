"""Errors of point forecasts."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

Values = TypeVar("Values", xr.DataArray, NDArray[np.floating])


def absolute_error(observation: Values, forecast: Values) -> Values:
    """|observation - forecast|, elementwise; NaN where either is missing. Its mean is the MAE.

    >>> absolute_error(np.array([1.0, np.nan]), np.array([3.0, 1.0]))
    array([ 2., nan])
    """
    return abs(observation - forecast)


def squared_error(observation: Values, forecast: Values) -> Values:
    """(observation - forecast)², elementwise; NaN where either is missing. The root of its mean is the RMSE."""
    return (observation - forecast) ** 2
