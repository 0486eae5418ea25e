"""Readers that make one panel of tables, arrays and stores. No torch."""

from __future__ import annotations

import dataclasses
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import xarray as xr

from stgate.errors import PanelError, PanelWarning, RequestError, did_you_mean
from stgate.io import store
from stgate.io.calendars import convert_calendar
from stgate.io.cluster import map_blocks
from stgate.io.conventions import check_counted, honoured, with_time
from stgate.io.frames import LIMITS, PLACES, Marks, mark_missing, to_panel
from stgate.io.lattice import AXES, from_lattice
from stgate.io.numbers import as_numbers, numbers_of
from stgate.io.paths import check_panel_path
from stgate.io.safe.reading import reading
from stgate.io.tables import CSV, Dialect, expand, load_frame, plain_labels, stem
from stgate.io.times import count_times, parse_times
from stgate.schema.panel import check_panel


def open_panel(path: str | os.PathLike[str]) -> xr.Dataset:
    """Open a panel: netCDF (.nc), zarr (.zarr), or a long csv table with columns `time` and `node`.

    Args:
        path: The file. A lattice becomes a panel of its cells. Dates of climate models (cftime) become datetime64, as
            `stgate.io.convert_calendar` describes. Other tables need `stgate.io.read_tables`, which takes
            the roles of their columns, and arrays need `stgate.io.read_npz`.

    Returns:
        The checked panel.

    Raises:
        StoreError: The file cannot be read.
        PanelError: The file does not hold a panel.
    """
    if not isinstance(path, str) and not hasattr(path, "__fspath__"):
        what = type(path).__name__
        raise PanelError(f"a panel is an xarray.Dataset, or a file's path, got {what}; make one with stgate.to_panel")
    if str(path).endswith(CSV):
        return read_tables(path, node="node")
    check_panel_path(path)
    with reading(path, "panel"):
        opened = convert_calendar(honoured(with_time(store.open_dataset(path))))
        check_counted(opened)
        if "node" not in opened.dims and any(set(pair) <= set(opened.dims) for pair in AXES):
            return from_lattice(opened)
        check_panel(opened, regular=False)
        return opened


def open_within(
    path: xr.Dataset | str | os.PathLike[str], channels: Sequence[str], targets: Sequence[str], memory: float
) -> tuple[xr.Dataset, bool]:
    """Open a panel; leave the values of a zarr store in the store where their tensors would not fit into memory.

    Args:
        path: The file, or a panel, whose values in dask arrays are left there if they would not fit.
        channels: Variables to read.
        targets: The variables among them that are forecast; each also takes a tensor of steps since observed.
        memory: Bytes that the tensors may take.

    Returns:
        The panel, and True if its values are still in the store; those are unchecked.

    Raises:
        StoreError: The file cannot be read.
        PanelError: The file does not hold a panel.
    """

    def is_large(panel: xr.Dataset) -> bool:
        size = sum(panel[name].size for name in channels if name in panel)
        return "node" in panel.dims and 4 * size * (1 + len(targets) / max(len(channels), 1)) > memory

    if isinstance(path, xr.Dataset):
        waiting = [name for name, held in path.variables.items() if held.chunks is not None]
        lazy = any(name in channels for name in waiting) and is_large(path)
        used = [n for n in waiting if n in path.coords or "time" not in path[n].dims or (n in channels and not lazy)]
        return path.assign({name: path[name].compute() for name in used}), lazy
    if os.fspath(path).endswith(".zarr"):
        with reading(path, "panel"):
            panel = store.open_lazily(path)
            check_counted(panel)
            if is_large(panel):
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
    thousands: str | None = None,
    header: bool = True,
    encoding: str = "utf-8-sig",
    dask: str | None = None,
) -> xr.Dataset:
    """Read one table or several into one panel: csv, parquet, or pandas frames in HDF5.

    Tables have one of three layouts: *long* (a column of node labels: give `node`), *wide* (one column a node: give
    `name`, the variable's name), or *one file a station* (several files, with a `node` column or named after their
    station).

    Args:
        paths: A path, several paths, or a pattern such as `station_*.csv`. A csv file may be compressed.
        time: The column of times, or the columns (year, month, day, hour, minute) that form it together.
        node: The column of node labels, for long tables.
        name: The variable's name, for a wide table.
        variables: Columns to keep as variables; None keeps all but those of times, of nodes and in `drop`.
        drop: Columns to leave out.
        rename: New names of variables, by their names in the tables.
        units: Units by new variable name.
        coords: Node coordinates: a csv file whose first column is the node label, or a frame indexed by it.
        freq: A pandas frequency (`"h"`): rows are put on this regular grid, and absent rows become missing values.
        missing: Values that mark missing ones (`[-999]`), in all variables or by new name (`{"speed": [0]}`). For csv
            tables also texts (`["<LOD"]`).
        start: Time of the first row, for a wide table without times; its time step is `freq`.
        time_format: Format of the times in `strptime` notation (`"%d/%m/%Y %H:%M"`); None reads ISO 8601. Times with an
            offset become UTC.
        time_zone: Time zone of times without an offset (`"Europe/Berlin"`); they become UTC.
        separator: Character between the columns of csv tables.
        decimal: Decimal mark of csv tables.
        thousands: Mark between groups of three digits in csv tables; None if there is none.
        header: The first row of csv tables names the columns; if False, columns are numbered from 0.
        encoding: Text encoding of csv tables.
        dask: Read each file on a worker of a dask cluster: `local:N` for N processes of this machine, or the address of
            a scheduler, whose workers see the files. None reads them here, one after another.

    Returns:
        A checked panel, float32; the same one with and without a cluster.

    Raises:
        StoreError: A file does not exist or is not a table.
        PanelError: A column is missing or holds text, or times repeat or are uneven while `freq` is None.
        RequestError: Options contradict each other, or a package is not installed.
    """
    chosen = expand(paths)
    if node is not None and name is not None:
        raise RequestError("node and name: a long table needs node, a wide table needs name; give one of the two")
    if start is not None and (name is None or freq is None):
        raise RequestError("start: only used for a wide table; give name too, and freq for the step")
    if thousands == decimal:
        raise RequestError(f"thousands {thousands!r}: is the decimal mark too; give --decimal, or leave thousands out")
    texts = () if isinstance(missing, Mapping) else tuple(m for m in missing if isinstance(m, str))
    dialect = Dialect(separator, decimal, header, encoding, texts, thousands)
    more = f" and {len(chosen) - 1} more" if len(chosen) > 1 else ""
    with reading(f"{chosen[0]}{more}", "table"):
        work = _Tables(
            tuple(chosen), dialect, tuple(time), node, name, variables, drop, start, freq, time_format, time_zone
        )
        made = dict(map_blocks(work, range(len(chosen)), dask))
        frames = [made[number] for number in range(len(chosen))]
        for old, new in (rename or {}).items():
            if not any(old in part.columns for part in frames):
                raise PanelError(f"rename: no column {old!r}; {did_you_mean(old, map(str, frames[0].columns))}")
            if any(new in part.columns for part in frames):
                raise PanelError(f"rename: a column {new!r} exists already; choose another name for {old!r}")
        label = node or (None if name is not None else "node")
        if label is None and len(frames) > 1:
            raise RequestError("several wide tables: read them one by one and merge the panels; long ones need --node")
        if label is None:
            frame = frames[0].set_index("time")
        else:
            frame = pd.concat(frames, ignore_index=True).rename(columns=dict(rename or {}))
            frame[label] = plain_labels(frame[label])
        table = read_coords(Path(coords), dialect) if isinstance(coords, str | os.PathLike) else coords
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


@dataclasses.dataclass(frozen=True)
class _Tables:
    """Tables to read, by the options of `read_tables`."""

    paths: tuple[Path, ...]
    dialect: Dialect
    time: tuple[str, ...]
    node: str | None
    name: str | None
    variables: Sequence[str] | None
    drop: Sequence[str]
    start: str | None
    freq: str | None
    time_format: str | None
    time_zone: str | None

    def __call__(self, number: int) -> pd.DataFrame:
        """Return the rows of a file: their times, as `time`, node labels, and numbers."""
        path, node, time = self.paths[number], self.node, self.time
        decimal, thousands = self.dialect.decimal, self.dialect.thousands
        frame = load_frame(path, self.dialect, label=node, texts=time)
        frame.columns = frame.columns.map(str)
        if self.start is not None and self.freq is not None:
            if set(time) <= set(frame.columns):
                raise RequestError(f"start {self.start}: {path.name} has times, in {', '.join(time)}; leave it out")
            frame = frame.assign(time=count_times(len(frame), self.start, self.freq))
        _check_columns(frame, path, [*time, *([node] if node else []), *(self.variables or []), *self.drop])
        if self.time_format is None and len(time) == 1 and (decimal, thousands) != (".", None):  # it may be model time
            ways = pd.to_numeric(frame[time[0]], errors="coerce"), numbers_of(frame[time[0]], decimal, thousands)
            if any(numbers.notna().all() for numbers in ways):
                frame[time[0]] = as_numbers(frame[time[0]], time[0], path.name, decimal, thousands)
        form = {"time_format": self.time_format, "time_zone": self.time_zone}
        times = parse_times(frame, time, label=path.name, by=node, **form)
        kept = self.variables or _named(frame, [c for c in frame.columns if c not in {*time, node, *self.drop}], path)
        if not kept:
            raise PanelError(f"{path.name}: no variable is left beside times and nodes; leave out fewer columns")
        frame = frame[([node] if node else []) + list(kept)].assign(time=times)
        frame = frame.assign(**{c: as_numbers(frame[c], c, path.name, decimal, thousands) for c in kept})
        if node is None and self.name is None:  # one file a station, named after it
            if len(self.paths) == 1:
                raise RequestError(
                    f"{path}: layout unknown; give --node COLUMN for a long table, --name VARIABLE for a wide one"
                )
            frame = frame.assign(node=stem(path))
        return frame


def _named(frame: pd.DataFrame, columns: Sequence[str], path: Path) -> list[str]:
    """Leave out columns without a name: what follows the last separator of each row, or the numbers of the rows."""
    nameless = [c for c in columns if re.fullmatch(r"Unnamed: \d+", c)]
    if held := [c for c in nameless if frame[c].notna().any()]:
        number = list(frame.columns).index(held[0]) + 1
        warnings.warn(
            f"{path.name}: column {number} has no name; left out (name it, or take it with --variables)",
            PanelWarning,
            stacklevel=4,
        )
    return [c for c in columns if c not in nameless]


def read_coords(path: Path, dialect: Dialect) -> pd.DataFrame:
    """Read a table of node coordinates, indexed by its first column.

    Args:
        path: The table.
        dialect: Marks of a csv table.

    Raises:
        StoreError: The table cannot be read.
        PanelError: A coordinate is not a number.
    """
    with reading(path, "table of coordinates"):
        table = load_frame(path, dataclasses.replace(dialect, header=True), label=0)
        table = table[[table.columns[0], *_named(table, [str(c) for c in table.columns[1:]], path)]]
        for name in table.columns[1:]:
            if PLACES.get(str(name).lower()) in (*LIMITS, "x", "y"):  # others may be text
                table[name] = as_numbers(table[name], str(name), path.name, dialect.decimal, dialect.thousands)
            elif path.name.endswith(CSV) and not pd.api.types.is_numeric_dtype(table[name]):
                numbers = numbers_of(table[name], dialect.decimal, dialect.thousands)
                table[name] = numbers if (numbers.notna() == table[name].notna()).all() else table[name]
        return table.set_index(pd.Index(plain_labels(table.iloc[:, 0]), name=table.columns[0])).iloc[:, 1:]


def _check_columns(frame: pd.DataFrame, path: Path, wanted: Sequence[str]) -> None:
    columns = list(frame.columns)
    for column in wanted:
        if column not in columns:
            odd = len(columns) == 1 and any(mark in columns[0] for mark in ";\t")
            hint = "its columns are not separated by commas; give --separator" if odd else did_you_mean(column, columns)
            raise PanelError(f"{path.name}: no column {column!r}; {hint}")
