"""Helper that applies a function of arrays to arrays and to DataArrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr


def applied(function: Callable[..., Any], *arguments: Any, core: dict[int, str] | None = None) -> Any:  # noqa: ANN401 (as given)
    """Apply a function of arrays; DataArrays are broadcast by the names of their dims.

    Args:
        function: Function of float64 arrays. An axis that is not broadcast comes last.
        *arguments: Arrays, numbers or DataArrays.
        core: Name of the axis that is not broadcast, by the position of the argument that has it.

    Returns:
        A DataArray if any argument is one, else an array.
    """
    core = core or {}
    if not any(isinstance(a, xr.DataArray) for a in arguments):
        return np.asarray(function(*(np.asarray(a, "float64") for a in arguments)))
    own = [[core[i]] if i in core else [] for i in range(len(arguments))]
    result: Any = xr.apply_ufunc(
        function, *(a.astype("float64") if isinstance(a, xr.DataArray) else a for a in arguments), input_core_dims=own
    )
    return result
