"""Arrays with masks in HDF5 files, `values` and `masks` (time, node, variable), the form of AirQualityBench."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core.indexing import ExplicitIndexer, IndexingSupport, LazilyIndexedArray, explicit_indexing_adapter

from stgate.errors import PanelError, RequestError, StoreError, did_you_mean
from stgate.io.frames import add_coords
from stgate.io.safe.probe import examine
from stgate.io.safe.reading import exists, reading
from stgate.io.safe.sizes import check_size
from stgate.io.times import count_times
from stgate.schema.panel import check_panel

VALUES, MASKS, NAMES = "values", "masks", "params"
"""Names of the data sets in a file: numbers, what of them was observed, and the names of the variables."""
YEAR = re.compile(r"(?<!\d)(1[6-9]|2[0-2])\d\d(?!\d)")


def holds_masked(path: str | os.PathLike[str]) -> bool:
    """Return True if an HDF5 file has arrays with masks.

    Args:
        path: The file.

    Raises:
        StoreError: The file cannot be read.
    """
    import h5py

    path = Path(path)
    if not exists(path):
        raise StoreError(f"{path}: no such file")
    with reading(path, "HDF5 file"):
        examine(path, "hdf5")
        with h5py.File(path, "r") as file:
            return all(isinstance(file.get(name), h5py.Dataset) for name in (VALUES, MASKS))


def read_masked(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    variables: Sequence[str] | None = None,
    start: str | None = None,
    freq: str = "h",
    coords: pd.DataFrame | None = None,
    rename: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
) -> xr.Dataset:
    """Read arrays with masks in HDF5 files, each a stretch of time, into a panel whose values stay in the files.

    Args:
        paths: The files, in any order; each is read when its values are used.
        variables: Variables to keep; None keeps all. Of files that do not name them, the names of all, in order.
        start: Time of the first row; None takes the first hour of the year in each file's name (`aq_compact_2021.h5`).
        freq: The time step.
        coords: Node coordinates: a table with a row for each node, in their order, indexed by label.
        rename: New names of variables, by their names in the files.
        units: Units by new variable name.

    Returns:
        A panel of lazy float32 variables, NaN where the mask says that nothing was observed. Nodes are numbered from 0
        without `coords`.

    Raises:
        StoreError: A file cannot be read, or is broken.
        PanelError: A file has no such arrays, or the files do not fit each other, or rows are absent between them.
        RequestError: There is no time to begin with, or no such variable.
    """
    import h5py

    parts = [Path(one) for one in ([paths] if isinstance(paths, str | os.PathLike) else paths)]
    starts = {path: start or _start(path) for path in parts}
    if start is not None and len(parts) > 1:
        raise RequestError(f"start {start}: of one file, and {len(parts)} are given; leave it out, or give one file")
    parts = sorted(parts, key=lambda path: str(starts[path]))
    found: list[tuple[Path, int]] = []
    shape: tuple[int, ...] = ()
    names: list[str] = []
    for path in parts:
        if not holds_masked(path):
            raise PanelError(
                f"{path}: holds no arrays `{VALUES}` and `{MASKS}`; see stgate data describe air_quality_bench"
            )
        with reading(path, "HDF5 file"), h5py.File(path, "r") as file:
            values, masks = file[VALUES], file[MASKS]
            if values.ndim != 3 or values.shape != masks.shape or values.dtype.kind not in "fiu":
                text = "x".join(map(str, values.shape))
                raise PanelError(
                    f"{path}: `{VALUES}` is {values.dtype} {text}; expected numbers (time, node, variable), shaped as "
                    f"`{MASKS}`"
                )
            check_size(path, sum(math.prod(one.shape) * one.dtype.itemsize for one in (values, masks)), loaded=False)
            own = [_text(one) for one in file[NAMES][()]] if NAMES in file else []
            if found and (values.shape[1:] != shape or own != names):
                raise PanelError(f"{path}: has other nodes or variables than {found[0][0]}; give files of one kind")
            shape, names = values.shape[1:], own
            found.append((path, values.shape[0]))
    names = names or list(variables or ())
    if len(names) != shape[1] or len(set(names)) < len(names):
        raise RequestError(f"variables: {found[0][0]} has {shape[1]}, and {len(names)} are named; name each, in order")
    times = [count_times(rows, str(starts[path]), freq) for path, rows in found]
    panel = xr.Dataset(
        coords={"time": np.concatenate([t.to_numpy() for t in times]), "node": np.arange(shape[0])},
        attrs={"Conventions": "CF-1.11"},
    )
    if coords is not None:
        if len(coords) != shape[0]:
            raise PanelError(
                f"`node`: the coordinates have {len(coords)} rows, the arrays {shape[0]} nodes; give a row each"
            )
        labels = coords.index if coords.index.is_unique else pd.RangeIndex(len(coords))
        panel = add_coords(panel.assign_coords(node=labels.to_numpy()), coords.set_axis(labels))
    new = dict(rename or {})
    for given, known in ((new, names), (units or {}, [new.get(name, name) for name in names])):
        if unknown := next((name for name in given if name not in known), None):
            raise RequestError(f"{unknown!r}: no such variable; {did_you_mean(unknown, known)}")
    kept = names if variables is None else list(variables)
    if unknown := next((name for name in kept if name not in names), None):
        raise RequestError(f"variables {unknown!r}: {did_you_mean(unknown, names)}")
    for name in kept:
        title = new.get(name, name)
        lazy = LazilyIndexedArray(_Masked(tuple(found), names.index(name), shape[0]))
        attrs = {"long_name": title, **({"units": units[title]} if units and title in units else {})}
        panel[title] = xr.Variable(("time", "node"), lazy, attrs)
    check_panel(panel, values=False)
    return panel


class _Masked(BackendArray):
    """A variable of several files, (time, node), read where it is indexed.

    Args:
        files: The files, each with its number of rows.
        number: Number of the variable.
        nodes: Number of nodes.
    """

    def __init__(self, files: tuple[tuple[Path, int], ...], number: int, nodes: int) -> None:
        self.files, self.number = files, number
        self.shape = (sum(rows for _, rows in files), nodes)
        self.dtype = np.dtype("float32")

    def __getitem__(self, key: ExplicitIndexer) -> Any:  # noqa: ANN401 (what xarray wraps)
        return explicit_indexing_adapter(key, self.shape, IndexingSupport.BASIC, self._read)

    def _read(self, key: tuple[int | slice, ...]) -> NDArray[np.float32]:
        rows = np.arange(self.shape[0])[key[0]]
        wanted = np.atleast_1d(rows)
        out = np.empty((len(wanted), self.shape[1]), np.float32)
        first = 0
        for path, count in self.files:
            inside = (wanted >= first) & (wanted < first + count)
            if inside.any():
                own = wanted[inside] - first
                out[inside] = self._of_file(path, int(own.min()), int(own.max()) + 1)[own - own.min()]
            first += count
        out = out[:, key[1]]
        return out if rows.ndim else out[0]

    def _of_file(self, path: Path, first: int, stop: int) -> NDArray[np.float32]:
        import h5py

        with reading(path, "HDF5 file"), h5py.File(path, "r") as file:
            values = file[VALUES][first:stop, :, self.number].astype("float32")
            observed = file[MASKS][first:stop, :, self.number].astype(bool)
        values = np.where(observed, values, np.float32("nan"))
        if np.isinf(values).any():
            row, node = np.argwhere(np.isinf(values))[0].tolist()
            raise PanelError(f"{path}: `{VALUES}` is infinite at row {first + row}, node {node}; mask it in `{MASKS}`")
        return values


def _start(path: Path) -> str:
    years = [found[0] for found in YEAR.finditer(path.stem)]
    if len(years) != 1:
        raise RequestError(f"{path.name}: names no year; give the time of the first row (start, --start)")
    return f"{years[0]}-01-01"


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
