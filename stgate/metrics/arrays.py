"""One name for arrays and DataArrays: a function of arrays, applied to either."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr


def applied(function: Callable[..., Any], *arguments: Any, core: dict[int, str] | None = None) -> Any:  # noqa: ANN401 (as given)
    """The function of arguments broadcast by name where there is a DataArray among them, else of float64 arrays.

    Args:
        function: Takes arrays; an axis of its own is the last one.
        arguments: Arrays, numbers or DataArrays.
        core: Which arguments have an axis of their own, and its name.
    """
    core = core or {}
    if not any(isinstance(a, xr.DataArray) for a in arguments):
        return np.asarray(function(*(np.asarray(a, "float64") for a in arguments)))
    own = [[core[i]] if i in core else [] for i in range(len(arguments))]
    result: Any = xr.apply_ufunc(
        function, *(a.astype("float64") if isinstance(a, xr.DataArray) else a for a in arguments), input_core_dims=own
    )
    return result
