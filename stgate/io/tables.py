"""Files to pandas frames, by suffix: csv, parquet, and the HDF5 frames of the traffic world. Nothing is unpickled."""

from __future__ import annotations

import dataclasses
import glob
import lzma
import os
import zipfile
import zlib
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stgate.errors import RequestError, StoreError

CSV = (".csv", ".csv.gz", ".csv.xz", ".csv.zip", ".txt", ".txt.gz")
PARQUET = (".parquet", ".pq")
HDF = (".h5", ".hdf5", ".hdf")
TABLES = (*CSV, *PARQUET, *HDF)
BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
"""What reading a download that broke off raises."""


def expand(paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[Path]:
    """The files of a path, of several, or of patterns such as `station_*.csv`, each pattern's in order.

    Raises:
        RequestError: None was given.
        StoreError: A pattern matches nothing.
    """
    chosen: list[Path] = []
    for path in [paths] if isinstance(paths, str | os.PathLike) else list(paths):
        text = os.fspath(path)
        if glob.has_magic(text) and not Path(path).exists():
            found = sorted(glob.glob(text))
            if not found:
                raise StoreError(f"{text}: matches no file")
            chosen += map(Path, found)
        else:
            chosen.append(Path(path))
    if not chosen:
        raise RequestError("no files: give at least one table")
    return chosen


def is_table(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a table by its name."""
    return str(path).endswith(TABLES)


def stem(path: Path) -> str:
    """A file's name without its suffix: the station it is named after."""
    return path.name[: -len(next(suffix for suffix in TABLES if path.name.endswith(suffix)))]


@dataclasses.dataclass(frozen=True)
class Dialect:
    """How csv tables are written.

    Attributes:
        separator: Between the columns.
        decimal: The decimal mark.
        header: Whether the first row names the columns; else they are numbered from 0.
        encoding: Of the text.
        missing: Texts that mark what is missing, beside those that pandas knows.
    """

    separator: str = ","
    decimal: str = "."
    header: bool = True
    encoding: str = "utf-8-sig"
    missing: Sequence[str] = ()


def load_frame(path: Path, dialect: Dialect | None = None, *, label: str | int | None = None) -> pd.DataFrame:
    """A table as a frame; an index of times, which parquet and HDF5 keep, becomes the column `time`.

    Args:
        path: The file.
        dialect: Of a csv table.
        label: The column of node labels, by name or number: they stay text where a number would lose zeros (`06037`).

    Raises:
        StoreError: No such file, no table, or one that cannot be read; a csv column that stands twice.
        RequestError: The package that reads it is not installed.
    """
    if not path.exists():
        raise StoreError(f"{path}: no such file")
    if not is_table(path):
        raise StoreError(f"{path}: not a table by its name (one of {', '.join(TABLES)})")
    try:
        if path.name.endswith(HDF):
            frame = _hdf(path)
        elif path.name.endswith(PARQUET):
            _needed("pyarrow", path)
            frame = pd.read_parquet(path, engine="pyarrow")
        else:
            return _csv(path, dialect or Dialect(), label)
    except LookupError as error:
        raise RequestError(f"encoding {(dialect or Dialect()).encoding!r}: not known; write it as latin-1") from error
    except RequestError:
        raise
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError, *BROKEN) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].strip()
        hint = "; give its --encoding, such as latin-1" if isinstance(error, UnicodeDecodeError) else ""
        raise StoreError(f"{path}: not a readable table ({reason}){hint}") from error
    if isinstance(frame.index, pd.MultiIndex):
        return frame.reset_index()
    if isinstance(frame.index, pd.DatetimeIndex) or frame.index.name is not None:
        return frame.reset_index(names="time" if isinstance(frame.index, pd.DatetimeIndex) else frame.index.name)
    return frame


def _csv(path: Path, dialect: Dialect, label: str | int | None) -> pd.DataFrame:
    options: dict[str, Any] = {"sep": dialect.separator, "encoding": dialect.encoding}
    first = pd.read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False, **options).iloc[0]
    if dialect.header and first[first != ""].duplicated().any():
        twice = first[(first != "") & first.duplicated()].iloc[0]
        raise StoreError(f"{path}: column {twice!r} stands twice; rename one of them")
    names: dict[str, Any] = {} if dialect.header else {"header": None}
    column = first.iloc[label] if isinstance(label, int) and dialect.header else label
    if column is not None and (column in set(first) or not dialect.header):
        key = column if dialect.header else int(column)
        names["dtype"] = {key: str}
    marks = list(dialect.missing)
    table: pd.DataFrame = pd.read_csv(path, decimal=dialect.decimal, na_values=marks, **options, **names)
    return table.copy()  # in one piece: a wide table comes as a block a column


def plain_labels(labels: pd.Series) -> pd.Series:
    """Labels that were read as text as whole numbers, where that loses nothing.

    >>> plain_labels(pd.Series(["7", "12"])).tolist(), plain_labels(pd.Series(["007", "12"])).tolist()
    ([7, 12], ['007', '12'])
    """
    if labels.dtype.kind in "iuf" or not labels.dropna().map(lambda x: isinstance(x, str) and _plain(x)).all():
        return labels
    return labels.astype("int64") if labels.notna().all() else labels


def _plain(text: str) -> bool:
    return text.isascii() and text.isdigit() and str(int(text)) == text


def _hdf(path: Path) -> pd.DataFrame:
    """A frame that pandas wrote to HDF5 in its `fixed` format, read by its layout: pandas itself would unpickle."""
    h5py = _needed("h5py", path)
    with h5py.File(path, "r") as file:
        frames = [group for group in (file, *file.values()) if isinstance(group, h5py.Group) and "axis0" in group]
        if len(frames) != 1:
            held = ", ".join(file) or "nothing"
            what = "several pandas frames" if frames else "no pandas frame in the fixed format"
            raise StoreError(f"{path}: holds {what} (it has {held}); write one with frame.to_hdf(..., format='fixed')")
        group = frames[0]
        columns, index = _axis(group["axis0"], path), _axis(group["axis1"], path)
        frame = pd.DataFrame(np.full((len(index), len(columns)), np.nan), index, columns)
        for name in [n for n in group if n.startswith("block") and n.endswith("_values")]:
            if group[name].dtype.kind not in "fiub":
                continue  # text, as pickled objects
            items = _axis(group[name.replace("_values", "_items")], path)
            frame[items] = group[name][()]
    return frame


def _axis(stored: Any, path: Path) -> pd.Index:  # noqa: ANN401 (an h5py data set)
    values = stored[()]
    kind = stored.attrs.get("kind", b"")
    kind = kind.decode() if isinstance(kind, bytes) else str(kind)
    if kind.startswith("datetime64"):
        unit = kind[len("datetime64") :].strip("[]") or "ns"
        return pd.DatetimeIndex(values.astype(f"datetime64[{unit}]"))
    if values.dtype.kind in "Siuf":
        labels: list[Any] = values.tolist()
        return pd.Index([x.decode("utf-8") if isinstance(x, bytes) else x for x in labels])
    raise StoreError(f"{path}: its labels are stored as {values.dtype}, which only a pickle tells; write it as parquet")


def _needed(package: str, path: Path) -> Any:  # noqa: ANN401 (a module)
    try:
        return import_module(package)
    except ImportError as error:
        raise RequestError(f"{path}: reading it needs {package}; pip install 'stgate[files]'") from error
