"""Conventions of files: the name of the time, sizes of one, valid ranges and flags of CF."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from stgate.errors import PanelError, PanelWarning
from stgate.io.dates import check_numbers
from stgate.schema.fills import FAR
from stgate.schema.panel import some

RANGE = ("valid_range", "valid_min", "valid_max")
"""Attributes that say which values are valid."""


NUMBER = "stgate_number"
"""Attribute of numbers in a file of ours that read like dates; when they are read it goes to the encoding."""
FLAGS = {"flag_values", "flag_masks"}
"""Attributes of variables that hold flags."""


def with_time(dataset: xr.Dataset) -> xr.Dataset:
    """Call the dimension of the time `time`, where exactly one dimension is one, such as `valid_time`.

    A dimension that carries one coordinate of dates, such as the steps of a GRIB file, gives way to it. A single time
    beside it, that of a model's run, becomes `init_time`.

    Args:
        dataset: A panel or a lattice as a file holds it.
    """
    if "time" in dataset.dims:
        return dataset
    found = [dim for dim in dataset.dims if dim in dataset.coords and _is_time(dataset[dim])]
    if not found:
        dated = [(dim, name) for dim in dataset.dims for name in _dates_along(dataset, dim)]
        if len(dated) == 1:
            (dim, name), *_ = dated
            dataset = dataset.swap_dims({dim: name}).drop_vars(str(dim), errors="ignore")
            found = [name]
    if len(found) != 1:
        return dataset
    if "time" in dataset.variables:
        dataset = dataset.rename(time="init_time")
    return dataset.rename({found[0]: "time"})


def _is_time(coord: xr.DataArray) -> bool:
    """Tell if a coordinate is the time, by its dates or its attributes."""
    dates = coord.dtype.kind == "M" or (coord.dtype.kind == "O" and hasattr(coord.values.flat[0], "calendar"))
    return dates or coord.attrs.get("standard_name") == "time" or coord.attrs.get("axis") == "T"


def _dates_along(dataset: xr.Dataset, dim: Hashable) -> list[Hashable]:
    """Return the names of the coordinates of dates along a dimension."""
    return [name for name, c in dataset.coords.items() if c.dims == (dim,) and c.dtype.kind == "M"]


def check_counted(dataset: xr.Dataset) -> None:
    """Refuse a time that holds dates as numbers, such as 20240131 or those of `day as %Y%m%d.%f`.

    Args:
        dataset: A panel or a lattice as a file holds it.

    Raises:
        PanelError: It does, and has no unit of model time.
    """
    times = dataset.get("time")
    if times is None or times.ndim != 1 or times.dtype.kind not in "fiu" or NUMBER in times.encoding:
        return
    unit = str(times.attrs.get("units", ""))
    if not unit or "%" in unit or "YYYY" in unit.upper():
        whole, index = np.floor(times.values.astype("float64")), "dataset.indexes['time']"
        hours = f" + pandas.to_timedelta({index} % 1, unit='D').round('s')" if (times.values != whole).any() else ""
        made = f"make dates of them with dataset.assign_coords(time=pandas.to_datetime({index}"
        fixes = f"{made}.astype('int64').astype(str){{1}}, format='{{0}}'){hours})", f"{made}, unit='{{}}'))"
        check_numbers(whole if "%" in unit else times.values, "`time`", fixes)


def without_single(dataset: xr.Dataset, kept: tuple[Hashable, ...]) -> xr.Dataset:
    """Drop dimensions of size 1, such as the one level of a surface field.

    Args:
        dataset: A lattice.
        kept: Dimensions that stay.
    """
    return dataset.squeeze([dim for dim, size in dataset.sizes.items() if size == 1 and dim not in kept])


def honoured(dataset: xr.Dataset) -> xr.Dataset:
    """Apply the CF attributes of variables: marks and values outside the valid range are missing, flags are no numbers.

    Args:
        dataset: A panel or a lattice as a file holds it.

    Returns:
        The dataset; a valid range is in the units of the values.

    Raises:
        PanelError: A valid range is no pair of numbers, or no value lies within it.
    """
    made: dict[str, xr.DataArray] = {}
    for name in list(dataset.data_vars):
        variable = _alone(dataset, name)
        if FLAGS & set(variable.attrs):
            _warn(f"`{name}`: holds flags, which are no numbers; left out")
            dataset = dataset.drop_vars(str(name))
            continue
        if variable.dtype.kind == "f" and (marked := declared_missing(variable) | _packed_marks(variable)).any():
            variable = made[str(name)] = variable.where(~marked)
        bounds = valid_bounds(variable)
        if bounds is None or variable.dtype.kind not in "fiu":
            continue
        values = variable.values
        outside = beyond(values, bounds)
        if values.dtype.kind in "iu":
            if not outside.any():
                continue  # what holds integers is refused elsewhere, and may be cast as it is
            values = _as_floats(str(name), values, outside)
        if outside.any() and (outside | np.isnan(values)).all():
            raise PanelError(f"`{name}`: no value lies within its valid range, {_words(bounds)}; correct it")
        attrs = {k: v for k, v in variable.attrs.items() if k not in RANGE} | {"valid_range": list(bounds)}
        if outside.any():
            count = int(outside.sum())
            _warn(f"`{name}`: {count:,} of its values, outside its valid range {_words(bounds)}, are missing")
        made[str(name)] = variable.copy(data=np.where(outside, np.nan, values))
        made[str(name)].attrs = attrs
    return dataset.assign(made)


def _alone(dataset: xr.Dataset, name: Hashable) -> xr.DataArray:
    """Return a variable without coordinates: to look them up among thousands of variables takes long."""
    alone = xr.DataArray(dataset.variables[name], name=name)
    alone.encoding = dataset.variables[name].encoding
    return alone


def _as_floats(name: str, values: NDArray[Any], outside: NDArray[np.bool_]) -> NDArray[np.floating]:
    """Return integers, some of them missing, as floats of a width that holds each digit of the others."""
    kept = values[~outside]
    largest = max(int(kept.max()), -int(kept.min())) if kept.size else 0
    if largest > 2**53:
        raise PanelError(f"`{name}`: holds whole numbers beyond 2**53, which floats round; subtract an offset")
    return values.astype("float32" if largest <= 2**24 else "float64")


def declared_missing(variable: xr.DataArray) -> xr.DataArray:
    """Tell which values a variable's attributes say are missing, where another type of the mark hid it from xarray.

    Args:
        variable: A decoded variable, or a part of one; xarray has seen the marks of packed ones.
    """
    held = {**variable.attrs, **variable.encoding}
    marks = [np.ravel(held[key]) for key in ("missing_value", "_FillValue") if key in held]
    packed = {"scale_factor", "add_offset"} & set(held)
    if packed:  # xarray has seen their numbers, but not their texts
        marks = [array for array in marks if array.dtype.kind in "OSU"]
    if not marks:
        return xr.zeros_like(variable, bool)
    numbers = pd.to_numeric(np.concatenate([array.astype("str") for array in marks]), errors="coerce")
    if packed:
        scale, offset = float(held.get("scale_factor", 1.0)), float(held.get("add_offset", 0.0))
        found = xr.zeros_like(variable, bool)
        for mark in numbers[np.isfinite(numbers)] * scale + offset:
            found |= abs(variable - mark) < abs(scale) / 2
        return found
    with np.errstate(over="ignore"):
        return variable.isin(numbers[np.isfinite(numbers)].astype(variable.dtype))


class PackedLimits:
    """The smallest and the largest packed integers, which mark missing values where they lie far from all others.

    They do so only where no mark is declared, and not where both ends are there: then the packing takes all integers.

    Args:
        variable: A decoded variable, of which only the encoding is looked at.
    """

    def __init__(self, variable: xr.DataArray) -> None:
        held = {**variable.attrs, **variable.encoding}
        self.scale, self.offset = (float(held.get(key, no)) for key, no in (("scale_factor", 1.0), ("add_offset", 0.0)))
        self.kind = np.dtype(held.get("dtype", "f4"))
        packed = {"scale_factor", "add_offset"} & set(held) and not {"missing_value", "_FillValue"} & set(held)
        self.possible = bool(packed and self.kind.kind in "iu" and self.kind.itemsize <= 4 and self.scale)
        self.ends: tuple[set[float], set[float]] = set(), set()
        self.low, self.high = np.inf, -np.inf

    def add(self, values: NDArray[np.floating]) -> None:
        """Look at values; all of them are to be added before the marks are asked for.

        Args:
            values: Some values of the variable.
        """
        if not self.possible:
            return
        limits = np.iinfo(self.kind)
        packed = ((values.astype("float64") - self.offset) / self.scale).round()
        below, above = np.isin(packed, [limits.min, limits.min + 1]), packed == limits.max
        for end, there in zip(self.ends, (below, above), strict=True):
            end.update(np.unique(values[there]).tolist())
        others = values[~(below | above | np.isnan(values))]
        if others.size:
            self.low, self.high = min(self.low, float(others.min())), max(self.high, float(others.max()))

    def marks(self) -> list[float]:
        """Return the values that mark missing ones."""
        if all(self.ends) or self.low > self.high:
            return []
        least = FAR * max(self.high - self.low, abs(self.scale))
        return [v for end in self.ends for v in sorted(end) if max(self.low - v, 0) + max(v - self.high, 0) > least]


def _packed_marks(variable: xr.DataArray) -> xr.DataArray:
    """Find the limits of packed integers where they lie far from all others, and no mark is declared."""
    limits = PackedLimits(variable)
    if not limits.possible:
        return xr.zeros_like(variable, bool)
    limits.add(variable.values)
    marked = variable.isin(limits.marks())
    if marked.any():
        _warn(
            f"`{variable.name}`: {int(marked.sum()):,} of its values, the limits of packed {limits.kind}, are missing"
        )
    return marked


def valid_bounds(variable: xr.DataArray) -> tuple[float, float] | None:
    """Return the smallest and the largest valid value of a variable, in the units of its values; None without any.

    Args:
        variable: A decoded variable; a range that is written in the type of packed values is in their units.

    Raises:
        PanelError: The attributes are no numbers, or the first lies above the second.
    """
    given = {name: variable.attrs[name] for name in RANGE if name in variable.attrs}
    if not given:
        return None
    if variable.encoding.get("_Unsigned") == "true":  # the range is written in the signed type of the file
        given = {name: _unsigned(np.asarray(held)) for name, held in given.items()}
    try:
        pair = [np.asarray(given[name]) for name in ("valid_min", "valid_max") if name in given]
        low, high = given.get("valid_range", (given.get("valid_min", -np.inf), given.get("valid_max", np.inf)))
        bounds = float(low), float(high)
    except (TypeError, ValueError) as error:
        raise PanelError(f"`{variable.name}`: its {some(given)} is no pair of numbers; correct or remove it") from error
    if np.isnan(bounds).any() or bounds[0] > bounds[1]:
        raise PanelError(f"`{variable.name}`: its {some(given)} is no range, {_words(bounds)}; correct or remove it")
    kinds = {array.dtype.kind for array in [*pair, np.asarray(given.get("valid_range", 0))]}
    return _unpacked(bounds, variable.encoding) if kinds <= {"i", "u"} else bounds


def _unsigned(values: NDArray[Any]) -> NDArray[Any]:
    """Return signed integers as the unsigned ones of the same bits; others as they are."""
    return values.view(f"u{values.dtype.itemsize}") if values.dtype.kind == "i" else values


def _unpacked(bounds: tuple[float, float], encoding: Mapping[Any, Any]) -> tuple[float, float]:
    """Return bounds of packed integers in the units of the values, wider by half a step for rounding."""
    scale, offset = float(encoding.get("scale_factor", 1.0)), float(encoding.get("add_offset", 0.0))
    if (scale, offset) == (1.0, 0.0):
        return bounds
    low, high = sorted(bound * scale + offset for bound in bounds)
    return low - abs(scale) / 2, high + abs(scale) / 2


def beyond(values: NDArray[np.floating], bounds: tuple[float, float]) -> NDArray[np.bool_]:
    """Tell which values lie outside of bounds; missing ones do not.

    Args:
        values: Values, any shape.
        bounds: The smallest and the largest valid value.
    """
    made: NDArray[np.bool_] = (values < bounds[0]) | (values > bounds[1])
    return made


def _words(bounds: tuple[float, float]) -> str:
    return f"{bounds[0]:g} to {bounds[1]:g}"


def _warn(message: str) -> None:
    warnings.warn(message, PanelWarning, stacklevel=4)
