"""Lattices to panels and back: (time, lat, lon) or (time, y, x) to (time, node)."""

from __future__ import annotations

import warnings
from collections.abc import Hashable
from typing import Any

import numpy as np
import xarray as xr

from stgate.errors import PanelError, PanelWarning
from stgate.io.calendars import convert_calendar
from stgate.io.conventions import with_time, without_single
from stgate.schema.longitudes import is_longitude
from stgate.schema.panel import check_panel, number_label, some
from stgate.schema.variables import apart

AXES = (("lat", "lon"), ("latitude", "longitude"), ("y", "x"))
"""The pairs of dimensions that make a lattice, rows first."""
UNITS = {"lat": "degrees_north", "lon": "degrees_east"}


def from_lattice(dataset: xr.Dataset, *, keep_empty: bool = False) -> xr.Dataset:
    """Make a panel whose nodes are the cells of a lattice, row by row.

    Args:
        dataset: Variables over (member, time, lat, lon), in any order; `member` is optional, and `latitude`,
            `longitude` or `y`, `x` may take the place of `lat`, `lon`. Variables without time become node variables.
            Numbers over time alone, or over one axis of the lattice, are given to all cells.
        keep_empty: Keep cells in which nothing is ever observed, such as land in sea temperatures.

    Returns:
        A checked panel. Node labels are `row-value,column-value`; the nodes have the coordinates `lat`, `lon` (or `x`,
        `y`, unless their units are degrees) and `row`, `column`. `to_lattice` reverses it.

    Raises:
        PanelError: The dataset has no lattice, a variable has another dimension, or the result breaks the panel schema.

    >>> field = xr.Dataset({"t": (("time", "lat", "lon"), np.ones((3, 2, 2)))})
    >>> panel = from_lattice(field.assign_coords(time=[0.0, 1.0, 2.0], lat=[10.0, 20.0], lon=[0.0, 5.0]))
    >>> panel["node"].values.tolist()
    ['10,0', '10,5', '20,0', '20,5']
    """
    if not isinstance(dataset, xr.Dataset):
        raise PanelError(f"a lattice is an xarray.Dataset, got {type(dataset).__name__}; a DataArray has .to_dataset()")
    pair = next((p for p in AXES if set(p) <= set(dataset.dims)), None)
    if pair is None:
        wanted = " or ".join(f"({', '.join(p)})" for p in AXES)
        raise PanelError(f"the dataset has dims {some(dataset.dims)}; a lattice has {wanted}")
    for name in pair:
        if name not in dataset.coords:
            raise PanelError(f"`{name}`: the dimension has no coordinate; assign one with assign_coords({name}=…)")
    dataset = convert_calendar(without_single(with_time(dataset), (*pair, "time", "member")))
    rows, columns = (dataset[name].values for name in pair)
    outer = [str(d) for d in ("member", "time") if d in dataset.dims]
    variables: dict[Hashable, Any] = {}
    of_cells = _over_cells(dataset, pair, outer)
    for key, variable in of_cells.items():
        dims = [d for d in outer if d in variable.dims]
        values = variable.transpose(*dims, *pair).values
        variables[key] = ((*dims, "node"), values.reshape(*values.shape[: len(dims)], -1), variable.attrs)
    fields = [key for key in variables if set(pair) <= set(dataset[key].dims)]
    if not fields:
        raise PanelError(f"the dataset has no variable over ({', '.join(pair)})")
    row, column = (grid.ravel() for grid in np.indices((len(rows), len(columns))))
    turning = is_longitude("x", dataset[pair[1]].attrs) and not {"lat", "lon"} & set(dataset.variables)
    names = ("lat", "lon") if pair[0].startswith("lat") or turning else ("y", "x")
    labels = [f"{number_label(rows[r])},{number_label(columns[c])}" for r, c in zip(row, column, strict=True)]
    coords = {n: ("node", axis[at], _attrs(dataset[old], n)) for n, old, axis, at in zip(
        names, pair, (rows, columns), (row, column), strict=True)}  # fmt: skip
    kept = {n: c for n, c in dataset.coords.items() if set(c.dims) <= set(outer)}
    attrs = {**dataset.attrs, "lattice": " ".join(pair), f"lattice_{pair[0]}": rows, f"lattice_{pair[1]}": columns}
    panel = xr.Dataset(
        variables, {**kept, "node": labels, **coords, "row": ("node", row), "column": ("node", column)}, attrs
    )
    if not keep_empty:
        dynamic = [panel[n] for n in fields if "time" in panel[n].dims] or [panel[n] for n in fields]
        seen = np.any([v.notnull().any([d for d in v.dims if d != "node"]).values for v in dynamic], axis=0)
        panel = panel.isel(node=np.flatnonzero(seen))
    check_panel(panel, regular=False)
    return panel


def _over_cells(dataset: xr.Dataset, pair: tuple[str, ...], outer: list[str]) -> dict[Hashable, xr.DataArray]:
    """Return the variables of a lattice, each over all of its cells.

    Numbers over time alone, or over one axis, are the same in all cells along the others. What else is over time, but
    not over the lattice, is left out with a warning.

    Raises:
        PanelError: A variable over the lattice has another dimension.
    """
    made: dict[Hashable, xr.DataArray] = {}
    for key, variable in dataset.data_vars.items():
        odd = [str(d) for d in variable.dims if d not in (*outer, *pair)]
        absent = {d: dataset.sizes[d] for d in pair if d not in variable.dims}
        if not absent:
            if odd:
                either = "" if "time" in dataset.dims else "rename it if it is the time, or "
                fix = f"{either}{apart(dataset, odd[0], 'dataset')}"
                raise PanelError(f"`{key}`: has the dimension {odd[0]!r} of size {variable.sizes[odd[0]]}; {fix}")
            made[key] = variable
        elif variable.dims and not odd and variable.dtype.kind in "fiub":
            floats = variable if variable.dtype.kind == "f" else variable.astype("float64")
            made[key] = floats.expand_dims(absent).assign_attrs(variable.attrs)
        elif "time" in variable.dims and variable.dtype.kind in "fiub" and key not in _bounds(dataset):
            wide = f"has the dimension {odd[0]!r}, and is not over the lattice"
            warnings.warn(f"`{key}`: {wide}; left out", PanelWarning, stacklevel=3)
    return made


def _bounds(dataset: xr.Dataset) -> set[str]:
    """Return the names of the variables that hold bounds of coordinates, such as those of the time."""
    return {
        str(held["bounds"]) for v in dataset.variables.values() for held in (v.attrs, v.encoding) if "bounds" in held
    }


def to_lattice(panel: xr.Dataset) -> xr.Dataset:
    """Put a panel of a lattice's cells, or a forecast of one, back on the lattice.

    Args:
        panel: A panel or a forecast with the node coordinates `row` and `column`, which `from_lattice` adds.

    Returns:
        The variables with two dimensions in the place of `node`; cells without a node are missing.

    Raises:
        PanelError: The nodes are not from a lattice.
    """
    for name in ("row", "column"):
        if name not in panel.coords:
            raise PanelError(f"`{name}`: the nodes are not from a lattice; make the panel with stgate.from_lattice")
    names = ("lat", "lon") if "lat" in panel.coords else ("y", "x")
    pair = tuple(str(panel.attrs.get("lattice", " ".join(names))).split())
    axes, places = [], []
    for new, old, index in zip(pair, names, ("row", "column"), strict=True):
        axis = panel.attrs.get(f"lattice_{new}")
        if axis is None:  # a forecast, or a panel that lost its attributes: the rows and columns that have nodes
            axis, where = np.unique(panel[old].values, return_inverse=True)
        else:
            axis, where = np.atleast_1d(axis), panel[index].values
        axes.append(np.asarray(axis))
        places.append(where)
    shape = tuple(len(axis) for axis in axes)
    variables = {}
    for key, variable in panel.data_vars.items():
        if "node" not in variable.dims:
            variables[key] = variable.variable
            continue
        last = variable.transpose(..., "node")
        values = np.full((*last.shape[:-1], *shape), np.nan, np.result_type(last.dtype, np.float32))
        values[..., places[0], places[1]] = last.values
        at = variable.dims.index("node")
        stacked = xr.Variable((*last.dims[:-1], *pair), values, variable.attrs)
        variables[key] = stacked.transpose(*variable.dims[:at], *pair, *variable.dims[at + 1 :])
    coords = {n: c for n, c in panel.coords.items() if "node" not in c.dims}
    attrs = {k: v for k, v in panel.attrs.items() if not str(k).startswith("lattice")}
    axes_of = {new: (new, axis, panel[old].attrs) for new, old, axis in zip(pair, names, axes, strict=True)}
    return xr.Dataset(variables, {**coords, **axes_of}, attrs)


def lattice_shape(panel: xr.Dataset) -> tuple[int, ...] | None:
    """Return the numbers of rows and columns where the nodes are all cells of a lattice, row by row; else None."""
    if not {"row", "column"} <= set(panel.coords):
        return None
    row, column = (panel[name].values for name in ("row", "column"))
    shape = (int(row.max()) + 1, int(column.max()) + 1)
    whole = row.size == shape[0] * shape[1] and bool((row * shape[1] + column == np.arange(row.size)).all())
    return shape if whole else None


def _attrs(axis: xr.DataArray, name: str) -> dict[str, Any]:
    return {**({"units": UNITS[name]} if name in UNITS else {}), **axis.attrs}
