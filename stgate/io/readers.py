"""Readers: tables, arrays and stores become one panel. numpy, pandas and xarray only; no torch."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import xarray as xr

from stgate.errors import PanelError, RequestError, StoreError, did_you_mean
from stgate.io import store
from stgate.io.frames import Marks, mark_missing, to_panel
from stgate.io.lattice import AXES, from_lattice
from stgate.io.tables import CSV, Dialect, expand, is_table, load_frame, plain_labels, stem
from stgate.io.times import count_times, parse_times
from stgate.schema.panel import check_panel


def open_panel(path: str | os.PathLike[str]) -> xr.Dataset:
    """Open a panel: netCDF (.nc), zarr (.zarr), or a long csv table with columns `time` and `node`.

    Args:
        path: The file. A lattice becomes a panel of its cells (`stgate.from_lattice`). For tables that need telling
            what is what, see `read_tables`; for arrays, `read_npz`.

    Returns:
        The checked panel.

    Raises:
        StoreError: It cannot be read.
        PanelError: It is not a panel.
    """
    if str(path).endswith(CSV):
        return read_tables(path, node="node")
    if is_table(path) or str(path).endswith(".npz"):
        raise StoreError(f"{path}: make a panel of it with stgate data convert, which is told what is what")
    opened = store.open_dataset(path)
    if "node" not in opened.dims and any(set(pair) <= set(opened.dims) for pair in AXES):
        return from_lattice(opened)
    check_panel(opened, regular=False)
    return opened


def open_within(
    path: str | os.PathLike[str], channels: Sequence[str], targets: Sequence[str], memory: float
) -> tuple[xr.Dataset, bool]:
    """Open a panel; a zarr store whose tensors would take more than so many bytes is left in its store.

    Args:
        path: The file.
        channels: Variables that are wanted.
        targets: Those of them that are forecast: steps since observed are kept for each.
        memory: Bytes.

    Returns:
        The panel, and whether its values are still in the store; then they are unchecked.
    """
    if os.fspath(path).endswith(".zarr"):
        panel = store.open_lazily(path)
        size = sum(panel[name].size for name in channels if name in panel)
        if "node" in panel.dims and 4 * size * (1 + len(targets) / len(channels)) > memory:
            return panel, True
    return open_panel(path), False


def read_tables(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    time: Sequence[str] = ("time",),
    node: str | None = None,
    name: str | None = None,
    variables: Sequence[str] | None = None,
    drop: Sequence[str] = (),
    rename: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
    coords: str | os.PathLike[str] | pd.DataFrame | None = None,
    freq: str | None = None,
    missing: Marks | Sequence[float | str] = (),
    start: str | None = None,
    time_format: str | None = None,
    time_zone: str | None = None,
    separator: str = ",",
    decimal: str = ".",
    header: bool = True,
    encoding: str = "utf-8-sig",
) -> xr.Dataset:
    """Read one table or several into one panel: csv, parquet, or the HDF5 frames of the traffic world.

    Three layouts: *long* (a column of node labels: give `node`), *wide* (one column a node: give `name`, the
    variable's name), *one file a station* (several files, either with a `node` column, or named after their station).

    Args:
        paths: A path, several, or a pattern such as `station_*.csv`; compressed csv is fine.
        time: The column of times, or the several columns (year, month, day, hour, minute) that make it.
        node: The column of node labels.
        name: The variable's name, for a wide table.
        variables: Columns to keep as variables; all but times, nodes and `drop` when None.
        drop: Columns to leave out.
        rename: New names of variables.
        units: Units by (new) name.
        coords: Node coordinates: a csv whose first column is the node label, or a frame indexed by it.
        freq: Put the rows on this regular grid (`"h"`); absent rows become missing values.
        missing: Values that mark what is missing (`[-999]`), in all variables or by new name (`{"speed": [0]}`); of a
            csv table also texts (`["<LOD"]`).
        start: The time of the first row, for a wide table without times; `freq` is the step then.
        time_format: How times are written, as `strptime` has it (`"%d/%m/%Y %H:%M"`); ISO 8601 when None. Times with
            an offset become UTC.
        time_zone: Of the clock that the times were read from (`"Europe/Berlin"`); they become UTC.
        separator: Between the columns of csv tables.
        decimal: The decimal mark of csv tables.
        header: Whether the first row of csv tables names the columns; else they are numbered from 0.
        encoding: Of csv tables.

    Returns:
        A checked panel, float32.

    Raises:
        StoreError: A file does not exist or is no table.
        PanelError: A column is missing or holds text; times repeat, or are uneven and `freq` is None.
        RequestError: Options that contradict each other, or a package that is not installed.
    """
    chosen = expand(paths)
    if node is not None and name is not None:
        raise RequestError("node and name: a long table has a column of nodes, a wide one a name; give one of the two")
    if start is not None and (name is None or freq is None):
        raise RequestError("start: counts the rows of a wide table; give name, and freq for the step")
    texts = () if isinstance(missing, Mapping) else tuple(m for m in missing if isinstance(m, str))
    dialect = Dialect(separator, decimal, header, encoding, texts)
    frames = []
    for path in chosen:
        frame = load_frame(path, dialect, label=node)
        frame.columns = frame.columns.map(str)
        if start is not None and freq is not None:
            if set(time) <= set(frame.columns):
                raise RequestError(f"start {start}: {path.name} has times, in {', '.join(time)}; leave it out")
            frame = frame.assign(time=count_times(len(frame), start, freq))
        _check_columns(frame, path, [*time, *([node] if node else []), *(variables or []), *drop])
        times = parse_times(frame, time, label=path.name, time_format=time_format, time_zone=time_zone, by=node)
        kept = variables or [c for c in frame.columns if c not in {*time, node, *drop}]
        if not kept:
            raise PanelError(f"{path.name}: no variable is left beside times and nodes")
        frame = frame[([node] if node else []) + list(kept)].assign(time=times)
        if node is None and name is None:  # one file a station, named after it
            if len(chosen) == 1:
                raise RequestError(f"{path}: one table is long (give --node COLUMN) or wide (give --name VARIABLE)")
            frame = frame.assign(node=stem(path))
        frames.append(frame)
    for old, new in (rename or {}).items():
        if not any(old in part.columns for part in frames):
            raise PanelError(f"rename: no column {old!r}; {did_you_mean(old, map(str, frames[0].columns))}")
        if any(new in part.columns for part in frames):
            raise PanelError(f"rename: there is a column {new!r} already; choose another name for {old!r}")
    label = node or (None if name is not None else "node")
    if label is None and len(frames) > 1:
        raise RequestError("several wide tables: read them one by one and merge, or give --node for long ones")
    if label is None:
        frame = frames[0].set_index("time")
    else:
        frame = pd.concat(frames, ignore_index=True).rename(columns=dict(rename or {}))
        frame[label] = plain_labels(frame[label])
    table = _coords(Path(coords), dialect) if isinstance(coords, str | os.PathLike) else coords
    panel = to_panel(
        frame,
        name=name,
        time=None if label is None else "time",
        node=label,
        freq=None if start is not None else freq,
        coords=table,
        units=units,
    )
    numbers = missing if isinstance(missing, Mapping) else [m for m in missing if not isinstance(m, str)]
    return mark_missing(panel, numbers)


def _coords(path: Path, dialect: Dialect) -> pd.DataFrame:
    """A table of node coordinates, indexed by its first column."""
    table = load_frame(path, dataclasses.replace(dialect, header=True), label=0)
    return table.set_index(pd.Index(plain_labels(table.iloc[:, 0]), name=table.columns[0])).iloc[:, 1:]


def _check_columns(frame: pd.DataFrame, path: Path, wanted: Sequence[str]) -> None:
    columns = list(frame.columns)
    for column in wanted:
        if column not in columns:
            odd = len(columns) == 1 and any(mark in columns[0] for mark in ";\t")
            hint = "its columns are not separated by commas; give --separator" if odd else did_you_mean(column, columns)
            raise PanelError(f"{path.name}: no column {column!r}; {hint}")
