"""Arguments of scores as float64 of fitting shapes, and a function of arrays applied to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
import xarray as xr

from stgate.errors import RequestError

FORECAST = ("observation", "forecast")
"""Names of the arguments of most scores, for messages."""


def applied(
    function: Callable[..., Any],
    *arguments: Any,  # noqa: ANN401 (arrays, numbers or DataArrays)
    core: Mapping[int, str | tuple[str, ...]] | None = None,
    names: Sequence[str] = FORECAST,
    same: bool = False,
    kept: str | None = None,
) -> Any:  # noqa: ANN401 (as given)
    """Apply a function of arrays; DataArrays are broadcast by the names of their dims, arrays never beyond the first.

    Args:
        function: Function of float64 arrays. Axes that are not broadcast come last.
        *arguments: Arrays, numbers or DataArrays, the observation first.
        core: Names of the axes that are not broadcast, by the position of the argument that has them.
        names: Names of the arguments, for messages.
        same: Require arrays of the observation's own shape, or single numbers.
        kept: Name of the last axis of the result, where it is not broadcast.

    Returns:
        A DataArray if any argument is one, else an array.

    Raises:
        RequestError: An argument holds no numbers, or its shape or labels do not fit those of the observation.
    """
    own = [_axes(core, i) for i in range(len(arguments))]
    given = [as_floats(a, name) for a, name in zip(arguments, names, strict=True)]
    if not any(isinstance(a, xr.DataArray) for a in given):
        _check_shapes([np.shape(a)[: np.ndim(a) - len(axes)] for a, axes in zip(given, own, strict=True)], names, same)
        return np.asarray(function(*given))
    try:
        result: Any = xr.apply_ufunc(
            function,
            *_named(given, own, names, same),
            input_core_dims=own,
            output_core_dims=[[kept] if kept else []],
            dask="parallelized",
            output_dtypes=["float64"],
        )
    except xr.AlignmentError as error:
        raise RequestError(
            f"{' and '.join(names)}: their labels differ; align them first, with xr.align(…, join='inner')"
        ) from error
    return result


def as_floats(values: Any, name: str) -> Any:  # noqa: ANN401 (arrays, numbers or DataArrays)
    """Return values in float64: differences of unsigned integers would wrap around, those of booleans are refused.

    Args:
        values: An array, a number, a list, a DataArray, or a table of pandas; masked entries and NA become NaN.
        name: Name of the argument, for the message.

    Raises:
        RequestError: These are no real numbers.
    """
    if isinstance(values, np.ma.MaskedArray):
        values = np.ma.filled(values.astype("float64"), np.nan)
    try:
        if hasattr(values, "to_numpy") and not isinstance(values, xr.DataArray):  # a table of pandas, whose NA is NaN
            plain = values.to_numpy()
            values = values.to_numpy("float64", na_value=np.nan) if plain.dtype.kind in "fiubO" else plain
        made = values if isinstance(values, xr.DataArray) else np.asarray(values)
        numbers = made.dtype.kind in "fiub" or (
            made.dtype.kind == "O" and all(isinstance(x, Real | Decimal) or x is None for x in np.asarray(made).flat)
        )
        if numbers:
            return made.astype("float64", copy=False)
        what = str(made.dtype)
    except (TypeError, ValueError, RuntimeError) as error:  # text in a table; a tensor with gradients
        what = str(error).splitlines()[0]
    raise RequestError(f"{name}: holds no real numbers ({what}); give floats, integers or booleans")


def _check_shapes(shapes: Sequence[tuple[int, ...]], names: Sequence[str], same: bool) -> None:
    """Refuse shapes that numpy would broadcast outwards: (n,) against (n, 1) pairs each value with each."""
    first = shapes[0]
    for name, shape in zip(names[1:], shapes[1:], strict=True):
        inward = len(shape) <= len(first) and all(a in (1, b) for a, b in zip(shape[::-1], first[::-1], strict=False))
        if first and shape and shape != first and (same or not inward):
            raise RequestError(
                f"{name}: has the shape {shape}, the {names[0]} has {first}; give them one shape, or DataArrays, "
                "whose dims have names"
            )


def _axes(core: Mapping[int, str | tuple[str, ...]] | None, position: int) -> list[str]:
    names = (core or {}).get(position, ())
    return [names] if isinstance(names, str) else list(names)


def _named(given: Sequence[Any], own: Sequence[list[str]], names: Sequence[str], same: bool) -> list[Any]:
    """Give arrays the dims of the DataArrays beside them."""
    at = next(i for i, a in enumerate(given) if isinstance(a, xr.DataArray))
    dims = [d for d in given[at].dims if d not in own[at]]
    shape = tuple(given[at].sizes[d] for d in dims)
    made = []
    for a, axes, name in zip(given, own, names, strict=True):
        loop = np.ndim(a) - len(axes)
        if not isinstance(a, xr.DataArray) and loop > 0:
            _check_shapes([shape, np.shape(a)[:loop]], [names[at], name], same)
            a = xr.DataArray(a, dims=[*dims[len(dims) - loop :], *axes])
        made.append(a)
    return made
