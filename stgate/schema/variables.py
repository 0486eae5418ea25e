"""Fixes of variables whose dimensions or type are not those of a panel: code that keeps each number."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr


def of_dims(panel: xr.Dataset, name: str) -> str:
    """Say what to do with the dimensions of a variable over time; empty where they are those of a panel.

    Args:
        panel: A dataset over time and node.
        name: The variable.
    """
    dims = tuple(map(str, panel.variables[name].dims))
    wanted = ("member", "time", "node") if "member" in dims else ("time", "node")
    if dims == wanted:
        return ""
    if other := [dim for dim in dims if dim not in wanted]:
        return f"its dims are {dims}, those of a panel are {wanted}; {apart(panel, other[0])}"
    alike = [str(n) for n, v in panel.data_vars.items() if v.dims == panel[name].dims]
    if "node" in dims:
        code = _assigned(alike, f".transpose{wanted}")
        return f"its dims are {dims}, those of a panel are {wanted}; turn them with {code}"
    code = _assigned(alike, ".broadcast_like(panel['node']).transpose(..., 'node')")
    return f"is over {' and '.join(dims)} alone; give it to every node with {code}"


def apart(dataset: xr.Dataset, dim: str, called: str = "panel") -> str:
    """Say how to make variables without a dimension of those with it.

    Args:
        dataset: A panel or a lattice.
        dim: The dimension.
        called: The name that the code gives to the dataset.
    """
    if dataset.sizes[dim] == 1:
        return f"take its single {dim} with {called}.squeeze({dim!r})"
    names = [str(name) for name, variable in dataset.data_vars.items() if dim in variable.dims]
    index = dataset.indexes.get(dim)
    by_label = index is not None and index.is_unique and not index.hasnans
    one, every = ("sel", f"{called}[{dim!r}].values") if by_label else ("isel", f"range({dataset.sizes[dim]})")
    labels = index if index is not None and by_label else range(dataset.sizes[dim])
    new = ("_", "__", " at ")
    between = next((b for b in new if not {f"{n}{b}{v}" for n in names for v in labels} & set(dataset.variables)), " ")
    made = f"f'{{n}}{between}{{v}}': {called}[n].{one}({{{dim!r}: v}}, drop=True) for n in {names} for v in {every}"
    code = f"{called}.drop_dims({dim!r}).assign({{{made}}})"
    # a comprehension sees the argument of a function wherever the code is evaluated
    return f"make a variable for each {dim} with {called}.pipe(lambda {called}: {code})"


def of_kind(panel: xr.Dataset, name: str, *, values: bool = True) -> str:
    """Say what to do with a variable over time that is no float; empty for floats.

    Args:
        panel: A dataset over time and node.
        name: The variable.
        values: Look at the values too, for the width that holds all digits of integers.
    """
    kind = panel.variables[name].dtype.kind
    if kind in "biu":
        return _of_integers(panel, name, values=values)
    if kind == "m":
        code = _assigned([name], " / pandas.Timedelta('1h')")
        return f"holds durations, not numbers; count their hours with {code}"
    if kind == "M":
        return f"holds dates, not numbers; drop it with panel.drop_vars({name!r})"
    if kind == "f" and panel.variables[name].dtype.itemsize > 8:
        return f"holds {panel[name].dtype}, wider than float64; cast it with {_assigned([name], '.astype(float)')}"
    if kind == "c":
        parts = f"{{{f'{name}_real'!r}: panel[{name!r}].real, {f'{name}_imag'!r}: panel[{name!r}].imag}}"
        return f"holds complex numbers; take their parts with panel.drop_vars({name!r}).assign({parts})"
    return "" if kind == "f" else _of_objects(panel, name)


def _of_objects(panel: xr.Dataset, name: str) -> str:
    """Say what to do with text and other objects; what is a number in them stays one."""
    flat = panel[name].values.reshape(-1)
    items = flat.tolist()
    numbers = [_number(item) for item in items]
    if None not in numbers:
        what = "text" if any(isinstance(item, str) for item in items) else "objects"
        return f"holds numbers as {what}; cast it with {_assigned([name], '.astype(float)')}"
    shown = items[numbers.index(None)]
    what = f"text ({shown[:40]!r})" if isinstance(shown, str) else f"objects ({type(shown).__name__})"
    if all(number is None or np.isnan(number) for number in numbers):
        return f"holds {what}, not numbers; drop it with panel.drop_vars({name!r})"
    flat_code = f"pandas.to_numeric(panel[{name!r}].values.ravel(), errors='coerce').reshape(panel[{name!r}].shape)"
    code = f"panel.assign({{{name!r}: panel[{name!r}].copy(data={flat_code})}})"
    return f"holds {what} among its numbers; make what is no number missing with {code}"


def _number(item: Any) -> float | None:  # noqa: ANN401 (an object)
    """Return an object as a float, None where it is no number."""
    if item is None:
        return float("nan")
    try:
        return float(item)
    except (TypeError, ValueError):
        return None


def _of_integers(panel: xr.Dataset, name: str, *, values: bool) -> str:
    """Say how to make floats of integers: of a width that holds each digit."""
    kind = panel[name].dtype
    width, low, high = _width(panel[name], values=values)
    if not width:
        words = f"holds {kind} of up to {len(str(max(-low, high)))} digits, of which floats hold 15"
        if high - low > 2**53:
            return f"{words}; leave it out, or make two variables of it before, of its first and its last digits"
        code = _assigned([name], f" - panel[{name!r}].min()).astype('float64')", "(")
        return f"{words}; measure it from its least value, {low}, with {code}"
    if values and (within := _within(panel[name])):
        return f"holds {kind}, not floats; cast it with {_assigned([name], f'{within}.astype({width!r})')}"
    alike = [str(n) for n, v in panel.data_vars.items() if "time" in v.dims and v.dtype.kind in "biu"]
    alike = [n for n in alike if _width(panel[n], values=values)[0] == width and not (values and _within(panel[n]))]
    return f"holds {kind}, not floats; cast it with {_assigned(alike, f'.astype({width!r})')}"


def _within(variable: xr.DataArray) -> str:
    """Return code that makes integers outside of their valid range missing; empty where there are none."""
    held = variable.attrs
    try:
        low, high = held.get("valid_range", (held.get("valid_min", -np.inf), held.get("valid_max", np.inf)))
        ends = [float(low), float(high)]
    except (TypeError, ValueError):
        return ""
    if variable.dtype.kind == "u":  # the range may be written in the signed type of the file
        ends = [end % 2 ** (8 * variable.dtype.itemsize) if -np.inf < end < 0 else end for end in ends]
    if variable.dtype.kind == "b" or not ((variable.values < ends[0]) | (variable.values > ends[1])).any():
        return ""
    known = f"panel[{str(variable.name)!r}]"
    checks = [f"({known} {sign} {end:.17g})" for sign, end in zip((">=", "<="), ends, strict=True) if np.isfinite(end)]
    return f".where({' & '.join(checks)})"


def _width(variable: xr.DataArray, *, values: bool) -> tuple[str, int, int]:
    """Return the floats that hold each digit of integers, empty if none does, and the ends of their range."""
    if variable.dtype.itemsize <= 2 or not values or not variable.size:
        return "float32" if variable.dtype.itemsize <= 2 else "float64", 0, 0
    low, high = int(variable.values.min()), int(variable.values.max())
    largest = max(-low, high)
    return "float32" if largest <= 2**24 else "float64" if largest <= 2**53 else "", low, high


def of_infinite(name: str) -> str:
    """Say how to make infinite values missing.

    Args:
        name: The variable.
    """
    finite = f".where(abs(panel[{name!r}]) < float('inf'))"
    return f"mark missing values with NaN, with {_assigned([name], finite)}"


def _assigned(names: list[str], does: str, before: str = "") -> str:
    """Return code that assigns variables anew; names need not be names of Python."""
    if len(names) == 1:
        return f"panel.assign({{{names[0]!r}: {before}panel[{names[0]!r}]{does}}})"
    # a comprehension sees the argument of a function wherever the code is evaluated
    return f"panel.pipe(lambda panel: panel.assign({{n: {before}panel[n]{does} for n in {names}}}))"
