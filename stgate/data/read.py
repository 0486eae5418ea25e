"""Readers: tables and stores become one panel. numpy, pandas and xarray only; no torch."""

from __future__ import annotations

import lzma
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import xarray as xr

from stgate import store
from stgate.errors import PanelError, RequestError, StoreError, did_you_mean
from stgate.panel import check_panel
from stgate.tables import to_panel

BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
"""What reading a download that broke off raises."""
TABLES = (".csv", ".csv.gz", ".csv.xz", ".csv.zip", ".txt")


def open_panel(path: str | os.PathLike[str]) -> xr.Dataset:
    """Open a panel: netCDF (.nc), zarr (.zarr), or a long csv table with columns `time` and `node`.

    Args:
        path: The file. For tables that need telling what is what, see `read_csv`.

    Returns:
        The checked panel.

    Raises:
        StoreError: It cannot be read.
        PanelError: It is not a panel.
    """
    if _is_table(path):
        return read_csv(path, time=["time"], node="node")
    panel = store.open_dataset(path)
    check_panel(panel, regular=False)
    return panel


def read_csv(
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
    time_format: str | None = None,
) -> xr.Dataset:
    """Read one csv table or several into one panel.

    Three layouts: *long* (a column of node labels: give `node`), *wide* (one column a node: give `name`, the
    variable's name), *one file a station* (several files, either with a `node` column, or named after their station).

    Args:
        paths: A path or several; compressed files are fine.
        time: The column of times, or the several columns (year, month, day, hour, minute) that make it.
        node: The column of node labels.
        name: The variable's name, for a wide table.
        variables: Columns to keep as variables; all but times, nodes and `drop` when None.
        drop: Columns to leave out.
        rename: New names of variables.
        units: Units by (new) name.
        coords: Node coordinates: a csv whose first column is the node label, or a frame indexed by it.
        freq: Put the rows on this regular grid (`"h"`); absent rows become missing values.
        time_format: How times are written, as `strptime` has it (`"%d/%m/%Y %H:%M"`); ISO 8601 when None. Times with
            an offset become UTC.

    Returns:
        A checked panel, float32.

    Raises:
        StoreError: A file does not exist or is no table.
        PanelError: A column is missing or holds text; times repeat, or are uneven and `freq` is None.
    """
    chosen = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if not chosen:
        raise RequestError("no files: give at least one csv table")
    if node is not None and name is not None:
        raise RequestError("node and name: a long table has a column of nodes, a wide one a name; give one of the two")
    frames = []
    for path in chosen:
        frame = _tidy(
            _load(Path(path)), Path(path), time=time, node=node, variables=variables, drop=drop, time_format=time_format
        )
        if node is None and name is None:  # one file a station, named after it
            if len(chosen) == 1:
                raise RequestError(f"{path}: one table is long (give --node COLUMN) or wide (give --name VARIABLE)")
            frame = frame.assign(node=_stem(Path(path)))
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
    table = _load(Path(coords)) if isinstance(coords, str | os.PathLike) else coords
    if isinstance(coords, str | os.PathLike) and table is not None:
        table = table.set_index(table.columns[0])
    return to_panel(
        frame, name=name, time=None if label is None else "time", node=label, freq=freq, coords=table, units=units
    )


def _tidy(
    frame: pd.DataFrame,
    path: Path,
    time: Sequence[str],
    node: str | None,
    variables: Sequence[str] | None,
    drop: Sequence[str],
    time_format: str | None,
) -> pd.DataFrame:
    """The table with one `time` column, the node column and the variables."""
    columns = [str(c) for c in frame.columns]
    for wanted in (*time, *([node] if node else []), *(variables or []), *drop):
        if wanted not in columns:
            odd = len(columns) == 1 and any(mark in columns[0] for mark in ";\t")
            hint = "its columns are not separated by commas" if odd else did_you_mean(wanted, columns)
            raise PanelError(f"{path.name}: no column {wanted!r}; {hint}")
    times = _times(frame, list(time), path, time_format)
    kept = variables or [c for c in columns if c not in {*time, node, *drop}]
    if not kept:
        raise PanelError(f"{path.name}: no variable is left beside times and nodes")
    return frame[([node] if node else []) + list(kept)].assign(time=times)


def _times(frame: pd.DataFrame, columns: list[str], path: Path, time_format: str | None) -> pd.Series:
    """One column of times: parsed, put together from parts, or model time as numbers."""
    if len(columns) == 1 and pd.api.types.is_numeric_dtype(frame[columns[0]]):
        return frame[columns[0]].astype("float64")
    try:
        if len(columns) == 1:
            parsed = pd.to_datetime(frame[columns[0]], format=time_format or "ISO8601", utc=True)
            return parsed.dt.tz_localize(None)
        return pd.to_datetime(frame[columns].rename(columns=str.lower))
    except (ValueError, TypeError) as error:
        shown = ", ".join(repr(value) for value in frame[columns].iloc[0])
        hint = "give --time-format, as in '%d/%m/%Y %H:%M', or write 2016-03-01T12:00"
        raise PanelError(
            f"{path.name}: column {', '.join(columns)} is not a time (it starts {shown}); {hint}"
        ) from error


def _load(path: Path) -> pd.DataFrame:
    if not path.exists():
        raise StoreError(f"{path}: no such file")
    if not _is_table(path):
        raise StoreError(f"{path}: not a table by its name (one of {', '.join(TABLES)})")
    try:
        return pd.read_csv(path)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, *BROKEN) as error:
        raise StoreError(f"{path}: not a readable table ({str(error).splitlines()[0].strip()})") from error


def _is_table(path: str | os.PathLike[str]) -> bool:
    return str(path).endswith(TABLES)


def _stem(path: Path) -> str:
    return path.name[: -len(next(suffix for suffix in TABLES if path.name.endswith(suffix)))]
