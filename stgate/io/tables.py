"""Tables to pandas frames, by suffix: csv, parquet, feather, and pandas frames in HDF5. Nothing is unpickled."""

from __future__ import annotations

import codecs
import dataclasses
import math
import os
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd

from stgate.errors import PanelWarning, RequestError, StoreError
from stgate.io.paths import CSV as CSV
from stgate.io.paths import FEATHER, HDF, PARQUET, check_table
from stgate.io.paths import TABLES as TABLES
from stgate.io.paths import expand as expand
from stgate.io.paths import is_table as is_table
from stgate.io.safe.probe import examine
from stgate.io.safe.reading import reading, reason
from stgate.io.safe.sizes import check_size, check_unpacked
from stgate.schema.panel import some

NA = (
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA"),
    *("NULL", "NaN", "None", "n/a", "nan", "null"),
)
"""Texts that pandas takes for missing values."""


def stem(path: Path) -> str:
    """Return a file's name without its suffix, which is the station that the file is named after."""
    return path.name[: -len(next(suffix for suffix in TABLES if path.name.endswith(suffix)))]


@dataclasses.dataclass(frozen=True)
class Dialect:
    """Format of csv tables.

    Attributes:
        separator: Character between the columns.
        decimal: Decimal mark.
        header: The first row names the columns; if False, columns are numbered from 0.
        encoding: Text encoding.
        missing: Texts that mark missing values, in addition to those that pandas knows.
        thousands: Mark between groups of three digits; None if there is none.
    """

    separator: str = ","
    decimal: str = "."
    header: bool = True
    encoding: str = "utf-8-sig"
    missing: Sequence[str] = ()
    thousands: str | None = None


def load_frame(
    path: Path, dialect: Dialect | None = None, *, label: str | int | None = None, texts: Sequence[str] = ()
) -> pd.DataFrame:
    """Read a table into a frame; an index of times, which parquet and HDF5 keep, becomes the column `time`.

    Args:
        path: The file.
        dialect: Format of a csv table; None reads commas, decimal points and UTF-8.
        label: The column of node labels, by name or number. Labels stay text, which keeps leading zeros (`06037`).

        texts: Further columns of a csv table that stay text, such as those of times.

    Returns:
        The frame.

    Raises:
        StoreError: The file does not exist, is not a table or cannot be read, or a csv column appears twice.
        RequestError: The package that reads the file is not installed.
    """
    check_table(path)
    with reading(path, "table"):
        if path.name.endswith(HDF):
            frame = _hdf(path)
        elif path.name.endswith(PARQUET):
            _needed("pyarrow", path)
            held = import_module("pyarrow.parquet").read_metadata(path)
            check_size(path, held.num_rows * held.num_columns * 8)
            frame = _whole(pd.read_parquet(path, engine="pyarrow"), import_module("pyarrow.parquet").read_table, path)
        elif path.name.endswith(FEATHER):
            _needed("pyarrow", path)
            frame = _whole(pd.read_feather(path), import_module("pyarrow.feather").read_table, path)
        else:
            return _csv(path, dialect or Dialect(), label, texts)
        if isinstance(frame.index, pd.MultiIndex):
            return frame.reset_index()
        if isinstance(frame.index, pd.DatetimeIndex) or frame.index.name is not None:
            return frame.reset_index(names="time" if isinstance(frame.index, pd.DatetimeIndex) else frame.index.name)
        return frame


def _whole(frame: pd.DataFrame, read: Callable[..., Any], path: Path) -> pd.DataFrame:
    """Keep the digits of large whole numbers with missing ones among them, of which pandas makes floats."""
    for name in frame.columns[~frame.columns.duplicated(keep=False)]:
        if frame[name].dtype == "float64" and frame[name].abs().max() >= 2**53:
            held = read(path, columns=[name])[name]
            if "int" in str(held.type):
                frame[name] = pd.array(held.to_pylist(), dtype="UInt64" if "uint" in str(held.type) else "Int64")
    return frame


def _csv(path: Path, dialect: Dialect, label: str | int | None, texts: Sequence[str] = ()) -> pd.DataFrame:
    """Read a csv table.

    Raises:
        StoreError: A column appears twice, or the text has another encoding.
        RequestError: There is no such encoding.
    """
    try:
        codecs.lookup(dialect.encoding)
    except LookupError as error:
        raise RequestError(f"encoding {dialect.encoding!r}: unknown; give one such as latin-1") from error
    try:
        check_unpacked(path)
        return _decoded(path, dialect, label, texts)
    except UnicodeDecodeError as error:
        raise StoreError(
            f"{path}: not a readable table ({reason(error)}); give its --encoding, such as latin-1"
        ) from error
    except pd.errors.ParserError as error:
        raise StoreError(
            f"{path}: not a readable table ({reason(error)}); remove lines that are no rows, such as comments, or give "
            "its --separator"
        ) from error


def _decoded(path: Path, dialect: Dialect, label: str | int | None, texts: Sequence[str]) -> pd.DataFrame:
    options: dict[str, Any] = {"sep": dialect.separator, "encoding": dialect.encoding}
    first = pd.read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False, **options).iloc[0]
    _check_end(path, dialect, len(first))
    if dialect.header and first[first != ""].duplicated().any():
        twice = first[(first != "") & first.duplicated()].iloc[0]
        raise StoreError(f"{path}: column {twice!r} appears twice; rename one of them")
    names: dict[str, Any] = {} if dialect.header else {"header": None}
    column = first.iloc[label] if isinstance(label, int) and dialect.header else label
    key: Any = None
    if column is not None and (column in set(first) or not dialect.header):
        key = column if dialect.header else int(column)
        names["dtype"] = {key: str}
    kept = (
        [column for column in texts if column in set(first)]
        if dialect.header
        else [int(c) for c in texts if str(c).isdigit()]
    )
    names["dtype"] = {**names.get("dtype", {}), **dict.fromkeys(kept, str)}
    columns: list[Any] = [c or f"Unnamed: {i}" for i, c in enumerate(first)] if dialect.header else [*range(len(first))]
    named = len(columns)
    if dialect.header and (more := _columns_beyond(path, options)):  # pandas would take the first ones for labels
        columns += [f"Unnamed: {named + i}" for i in range(more)]
        names |= {"names": columns, "header": 0}
    marks: Any = list(dialect.missing)
    if key is not None:  # a station may be called NA
        names["keep_default_na"] = False
        marks = {**{c: [*NA, *marks] for c in columns if c != key}, key: [""]}
    table: pd.DataFrame = pd.read_csv(path, decimal=dialect.decimal, na_values=marks, **options, **names)
    if table.iloc[:, named:].notna().any(axis=None):
        raise StoreError(
            f"{path}: its rows have {table.shape[1]} columns, its first row names {named}; name each column there, "
            "remove what is beyond or lines above the names, or give --separator"
        )
    return table.iloc[:, :named].copy()  # one block of memory: pandas reads a wide table as one block a column


def _columns_beyond(path: Path, options: dict[str, Any]) -> int:
    """Return how many columns more than the names the first row of values has."""
    row = pd.read_csv(path, nrows=1, dtype=str, keep_default_na=False, **options)
    return 0 if row.empty or isinstance(row.index, pd.RangeIndex) else row.index.nlevels


def _check_end(path: Path, dialect: Dialect, columns: int) -> None:
    """Refuse a table that ends within a row, as one whose download or copy broke off.

    Args:
        path: The file; one that is compressed tells so itself.
        dialect: Its format.
        columns: Number of columns of its first row.

    Raises:
        StoreError: The last row has fewer columns and no end of line.
    """
    if path.suffix not in (".csv", ".txt") or "\n".encode(dialect.encoding)[-1:] != b"\n":
        return
    with path.open("rb") as file:
        file.seek(max(file.seek(0, os.SEEK_END) - 2**16, 0))
        row = file.read().rpartition(b"\n")[2].decode(dialect.encoding, "replace")
    if '"' in row or not row.strip():
        return
    if (found := row.count(dialect.separator) + 1) < columns:
        raise StoreError(
            f"{path}: ends within a row, which has {found} of {columns} columns: cut; get it again, or remove the row"
        )


def plain_labels(labels: pd.Series) -> pd.Series:
    """Turn labels that were read as text into whole numbers, where that loses no digits.

    >>> plain_labels(pd.Series(["7", "12"])).tolist(), plain_labels(pd.Series(["007", "12"])).tolist()
    ([7, 12], ['007', '12'])
    """
    if isinstance(labels.dtype, pd.CategoricalDtype):
        labels = labels.astype(labels.cat.categories.dtype)
    if labels.dtype.kind in "iuf" or not labels.dropna().map(lambda x: isinstance(x, str) and _plain(x)).all():
        return labels
    return labels.astype("int64") if labels.notna().all() else labels


def _plain(text: str) -> bool:
    return text.isascii() and text.isdigit() and str(int(text)) == text


def _hdf(path: Path) -> pd.DataFrame:
    """Read a frame that pandas wrote to HDF5 in its `fixed` format, without pandas, which would unpickle it."""
    h5py = _needed("h5py", path)
    examine(path, "hdf5")
    with h5py.File(path, "r") as file:
        frames = [group for group in (file, *file.values()) if isinstance(group, h5py.Group) and "axis0" in group]
        if len(frames) != 1:
            held = ", ".join(file) or "nothing"
            what = "several pandas frames" if frames else "no pandas frame in the fixed format"
            raise StoreError(f"{path}: holds {what} (it has {held}); write one with frame.to_hdf(..., format='fixed')")
        group = frames[0]
        stored = [one for one in group.values() if isinstance(one, h5py.Dataset)]
        check_size(path, sum(max(one.size, math.prod(one.chunks or ())) * one.dtype.itemsize for one in stored))
        columns, index = _axis(group["axis0"], path), _axis(group["axis1"], path)
        empty, parts = pd.DataFrame(index=index), []
        for name in [n for n in group if n.startswith("block") and n.endswith("_values")]:
            items = _axis(group[name.replace("_values", "_items")], path)
            kind = _text(group[name].attrs.get("value_type"))
            if group[name].dtype.kind not in "fiub":
                what = f"{path}: {some(items.tolist())} holds text as pickled objects, which are not read; left out"
                warnings.warn(what, PanelWarning, stacklevel=4)
                continue
            made = pd.DataFrame(group[name][()], index, items)
            if kind.startswith(("datetime64", "timedelta64")):
                dtype: Any = kind if "[" in kind else f"{kind}[ns]"
                made = made.astype(dtype)
            parts.append(made)
    return pd.concat(parts, axis=1)[[c for c in columns if any(c in part for part in parts)]] if parts else empty


def _text(value: object) -> str:
    """Return an attribute of HDF5 as text; empty where it is absent."""
    return value.decode() if isinstance(value, bytes) else str(value or "")


def _axis(stored: Any, path: Path) -> pd.Index:  # noqa: ANN401 (an h5py data set)
    values = stored[()]
    kind = _text(stored.attrs.get("kind"))
    if kind.startswith("datetime64"):
        unit = kind[len("datetime64") :].strip("[]") or "ns"
        return pd.DatetimeIndex(values.astype(f"datetime64[{unit}]"))
    if values.dtype.kind in "Siuf":
        labels: list[Any] = values.tolist()
        return pd.Index([x.decode("utf-8") if isinstance(x, bytes) else x for x in labels])
    raise StoreError(f"{path}: its labels are pickled ({values.dtype}), so they are not read; write it as parquet")


def _needed(package: str, path: Path) -> Any:  # noqa: ANN401 (a module)
    try:
        return import_module(package)
    except ImportError as error:
        raise RequestError(f"{path}: reading it needs {package}; pip install 'stgate[files]'") from error
