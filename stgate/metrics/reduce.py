"""Means over what was observed."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import xarray as xr


def mean_over(values: xr.DataArray, dims: Iterable[str]) -> xr.DataArray:
    """The mean over dims of the values that are not NaN, in float64; NaN, never 0, where there is none.

    >>> float(mean_over(xr.DataArray([1.0, np.nan, 3.0], dims="time"), ["time"]))
    2.0
    """
    dims = list(dims)
    count = values.notnull().sum(dims)
    total = values.astype("float64").sum(dims, skipna=True)
    return (total / count.where(count > 0)).astype(np.float64)
