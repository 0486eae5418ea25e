"""Arguments of scores as float64 of fitting shapes, and a function of arrays applied to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
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
    check_tables(arguments, own, names)
    given = [as_floats(a, name) for a, name in zip(arguments, names, strict=True)]
    check_core(given, own, names)
    if not any(isinstance(a, xr.DataArray) for a in given):
        _check_shapes([np.shape(a)[: np.ndim(a) - len(axes)] for a, axes in zip(given, own, strict=True)], names, same)
        return np.asarray(function(*given))
    check_labels([a for a in given if isinstance(a, xr.DataArray)], names)
    result: Any = xr.apply_ufunc(
        function,
        *_named(given, own, names, same),
        input_core_dims=own,
        output_core_dims=[[kept] if kept else []],
        dask="parallelized",
        output_dtypes=["float64"],
    )
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
            made.dtype.kind == "O"
            and all(isinstance(x, Real | Decimal | np.bool_) or x is None for x in np.asarray(made).flat)
        )
        if numbers:
            return made.astype("float64", copy=False)
        what = str(made.dtype)
    except (TypeError, ValueError, RuntimeError) as error:  # text in a table; a tensor with gradients
        what = str(error).splitlines()[0]
    raise RequestError(f"{name}: holds no real numbers ({what}); give floats, integers or booleans")


def _check_shapes(shapes: Sequence[tuple[int, ...]], names: Sequence[str], same: bool) -> None:
    """Refuse shapes that numpy would broadcast outwards: (n,) against (n, 1) pairs each value with each."""
    chief = 0 if shapes[0] else max(range(len(shapes)), key=lambda i: (len(shapes[i]), np.prod(shapes[i])))
    first = shapes[chief]
    for name, shape in zip(names, shapes, strict=True):
        if shape and shape != first and (same or not fits_within(shape, first)):
            raise RequestError(
                f"{name}: has the shape {shape}, the {names[chief]} has {first}; give them one shape, or DataArrays, "
                "whose dims have names"
            )


def fits_within(shape: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    """Tell if arrays of one shape are broadcast to another as it is.

    Args:
        shape: The shape.
        whole: The other shape.
    """
    return len(shape) <= len(whole) and all(a in (1, b) for a, b in zip(shape[::-1], whole[::-1], strict=False))


def length(values: Any, dim: str, axis: int, name: str = "forecast") -> int:  # noqa: ANN401 (an array or DataArray)
    """Return the number of entries along a dim that a score needs.

    Args:
        values: An array or a DataArray.
        dim: Name of the dim of a DataArray.
        axis: Number of the axis of an array, counted from the last, which is -1.
        name: Name of the argument, for the message.

    Raises:
        RequestError: There is no such dim or axis.
    """
    if isinstance(values, xr.DataArray):
        check_dims(values, [dim], name)
        return int(values.sizes[dim])
    shape = np.shape(as_floats(values, name))
    if len(shape) < -axis:
        raise RequestError(f"{name}: has the shape {shape}, which lacks the axis of `{dim}`; give arrays that have it")
    return int(shape[axis])


def check_dims(values: Any, dims: Sequence[str], name: str) -> None:  # noqa: ANN401 (anything)
    """Refuse what is no DataArray, or lacks dims that a score needs.

    Args:
        values: The argument.
        dims: Names of the dims.
        name: Name of the argument, for the message.

    Raises:
        RequestError: It is no DataArray, or a dim is missing.
    """
    if not isinstance(values, xr.DataArray):
        raise RequestError(f"{name}: no DataArray; give one over {' and '.join(f'`{d}`' for d in dims)}")
    for dim in dims:
        if dim not in values.dims:
            has = f"has {', '.join(f'`{d}`' for d in values.dims)}" if values.dims else "has no dims"
            raise RequestError(f"{name}: lacks the dim `{dim}` ({has}); give it one, or rename that which it is")


def check_core(given: Sequence[Any], own: Sequence[list[str]], names: Sequence[str]) -> None:
    """Refuse arguments without the axes along which a score is made, with other lengths there, or with too many.

    Args:
        given: The arguments.
        own: Names of the axes of each along which the score is made.
        names: Names of the arguments, for the messages.

    Raises:
        RequestError: An argument does not fit.
    """
    lengths: dict[str, int] = {}
    every = {dim for axes in own for dim in axes}
    for values, axes, name in zip(given, own, names, strict=True):
        named = isinstance(values, xr.DataArray)
        for dim in every.difference(axes).intersection(values.dims if named else ()):
            raise RequestError(f"{name}: has the dim `{dim}`, along which it is scored; select one entry, or rename it")
        if not named and not np.ndim(values) and any(np.ndim(v) for v, a in zip(given, own, strict=True) if a):
            continue  # one number for all entries
        for place, dim in enumerate(axes):
            count = length(values, dim, place - len(axes), name)
            if count == 0:
                raise RequestError(f"{name}: has no entries along `{dim}`; give at least one")
            if (other := lengths.setdefault(dim, count)) != count and (named or 1 not in (other, count)):
                raise RequestError(f"{name}: has {count} entries along `{dim}`, others have {other}; give as many")
            lengths[dim] = max(other, count)


def check_labels(given: Sequence[xr.DataArray], names: Sequence[str]) -> None:
    """Refuse DataArrays whose labels or lengths differ: xarray would leave out what only one of them has.

    Args:
        given: The DataArrays.
        names: Names of the arguments, for the message.

    Raises:
        RequestError: The labels or lengths along a dim differ.
    """
    try:
        xr.align(*given, join="exact", copy=False)
    except (xr.AlignmentError, ValueError, TypeError) as error:
        raise RequestError(
            f"{' and '.join(names)}: their labels differ; align them first, with xr.align(…, join='inner')"
        ) from error


def check_tables(given: Sequence[Any], own: Sequence[list[str]], names: Sequence[str]) -> None:
    """Refuse tables of pandas whose labels are not those of the others: values are paired by their positions.

    Rows that are merely numbered from 0 go with any labels but the same numbers in another order.

    Args:
        given: The arguments, of which some may be tables; arrays have the dims of the first DataArray.
        own: Names of the last axes of each, along which the score is made.
        names: Names of the arguments, for the message.

    Raises:
        RequestError: The labels along an axis differ.
    """
    if not any(isinstance(values, pd.Series | pd.DataFrame) for values in given):
        return
    first_named = next((i for i, values in enumerate(given) if isinstance(values, xr.DataArray)), -1)
    known: dict[int, tuple[str, pd.Index[Any]]] = {}
    for number, (values, axes, name) in enumerate(zip(given, own, names, strict=True)):
        labels: list[Any] = []
        if isinstance(values, pd.Series | pd.DataFrame):
            labels = list(values.axes)[: values.ndim - len(axes)]
        elif number == first_named:
            labels = [values.indexes.get(dim) for dim in values.dims if dim not in axes]
        for place, index in enumerate(reversed(labels)):
            if index is None:
                continue
            first, other = known.setdefault(place, (name, index))
            numbered = any(x.equals(pd.RangeIndex(len(x))) for x in (index, other))
            if len(other) != len(index) or index.equals(other) or (numbered and set(index) != set(other)):
                continue
            raise RequestError(
                f"{name}: its labels are not those of the {first}, or in another order; align them first, as with "
                "reindex, or give .to_numpy() of both where the order is the same"
            )


def check_level(level: Any, name: str) -> None:  # noqa: ANN401 (anything)
    """Refuse what is no share between 0 and 1.

    Args:
        level: The level.
        name: Name of the argument, for the message.

    Raises:
        RequestError: It is no number, or does not lie between 0 and 1.
    """
    number = np.ndim(level) == 0 and np.asarray(level).dtype.kind in "fiu"
    if not number or not 0 < float(level) < 1:
        shown = f" {level}" if number else ""
        raise RequestError(f"{name}{shown}: must be one number between 0 and 1, such as 0.9")


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
            if not dims:
                raise RequestError(
                    f"{name}: an array beside {names[at]}, which has no dims; give DataArrays, or arrays"
                )
            _check_shapes([shape, np.shape(a)[:loop]], [names[at], name], same)
            a = xr.DataArray(a, dims=[*dims[len(dims) - loop :], *axes])
        made.append(a)
    return made
