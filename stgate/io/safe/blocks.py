"""A dataset that is written to a zarr store in blocks of rows, in any order and by any process; it can be resumed."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from stgate.errors import ForecastWarning, StgateWarning
from stgate.io.paths import STOPPED
from stgate.io.safe.archive import load_arrays
from stgate.io.safe.growing import RUN as DESCRIPTION
from stgate.io.safe.growing import GrowingStore, nan_text
from stgate.io.safe.zarr_folder import ZarrFolder
from stgate.io.store import ORDER, RUN, UNFINISHED, open_lazily, quiet_zarr, with_marks

BEGUN = "begun"
"""File that is there once the store holds coordinates and empty variables."""


class BlockStore(GrowingStore):
    """A zarr store of a dataset whose rows along one dimension are written in blocks.

    What is known of a block that is done, or half done, is in a file of arrays of its own, beside the store. It is
    written after the block's values, in one step: a block without its file is written again.
    """

    warning: ClassVar[type[StgateWarning]] = ForecastWarning

    def begun(self) -> bool:
        """Return whether a block has been written."""
        return (self.partial / BEGUN).is_file() and any(self.partial.glob("[0-9]*.npz"))

    def described(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Return what determined the bytes of a whole store, from its attributes."""
        return dict(json.loads(attrs.get(RUN, "{}")))

    def started(self) -> bool:
        """Return whether the store can be continued; else remove what a kill before its beginning has left."""
        if (self.partial / BEGUN).is_file():
            self.tidy()
            return True
        self.empty(but=DESCRIPTION)
        return False

    def begin(
        self, sample: xr.Dataset, axis: Mapping[Hashable, Any], dim: str, size: int, chunks: Mapping[Hashable, int]
    ) -> None:
        """Create the whole store: coordinates, attributes and empty variables.

        Args:
            sample: The dataset with a single row.
            axis: Coordinates over the rows that are known in advance, of all rows.
            dim: Dimension of the rows.
            size: Number of rows.
            chunks: Largest number of entries of a chunk along some dimensions, such as the rows of a block.
        """
        grown = grown_of(sample, dim, axis)
        fixed = with_marks(sample.drop_vars([*grown, *axis]).assign_coords(axis)).drop_encoding()
        marks = {ORDER: "\n".join(map(str, sample.data_vars)), UNFINISHED: STOPPED}
        marks[RUN] = json.dumps(self.identity)
        with quiet_zarr():
            fixed.assign_attrs(marks).to_zarr(
                self.folder,
                mode="w",
                consolidated=False,
                zarr_format=3,
                encoding={n: {"chunks": c.shape} for n, c in fixed.coords.items() if c.size},  # else in many pieces
            )
        group = zarr.open_group(self.folder, mode="r+")
        late = [name for name in grown if name in sample.coords]
        named = " ".join([*str(group.attrs.get("coordinates", "")).split(" "), *late]).strip()
        group.attrs.update({"coordinates": named} if named else {})
        for name in grown:
            variable = sample[name].variable
            shape = tuple(size if d == dim else n for d, n in zip(variable.dims, variable.shape, strict=True))
            floats = variable.dtype.kind == "f"
            group.create_array(
                name,
                shape=shape,
                chunks=tuple(min(chunks.get(d, n), n) for d, n in zip(variable.dims, shape, strict=True)),
                dtype=variable.dtype.name,
                fill_value=float("nan") if floats else 0,
                dimension_names=[str(d) for d in variable.dims],
                attributes={**variable.attrs, **({"_FillValue": nan_text(variable.dtype.name)} if floats else {})},
            )
        self.put(BEGUN, b"")

    def notes(self) -> dict[int, list[str]]:
        """Return the names of the arrays in the file of each block that has one."""
        return {int(path.stem): _names(path) for path in self.partial.glob("[0-9]*.npz")}

    def read(self) -> xr.Dataset:
        """Open the store at `out` lazily."""
        return open_lazily(self.out)


def grown_of(dataset: xr.Dataset, dim: str, axis: Mapping[Hashable, Any] | Sequence[Hashable]) -> list[str]:
    """Return the names of the variables that are written in blocks.

    Args:
        dataset: The dataset, or some rows of it.
        dim: Dimension of the rows.
        axis: Coordinates over the rows that are known in advance.
    """
    return [str(name) for name, held in dataset.variables.items() if dim in held.dims and name not in axis]


def write_rows(partial: Path, rows: xr.Dataset, names: Sequence[str], dim: str, first: int) -> None:
    """Write rows of the variables of a store that has begun.

    Args:
        partial: Folder in which the store grows.
        rows: The rows.
        names: Variables to write.
        dim: Dimension of the rows.
        first: Number of the first row.
    """
    group: Any = zarr.open_group(ZarrFolder(partial / "data"), mode="r+")
    for name in names:
        variable = rows[name].variable
        where = slice(first, first + variable.sizes[dim])
        group[name][tuple(where if d == dim else slice(None) for d in variable.dims)] = variable.values


def note_of(partial: Path, number: int) -> dict[str, NDArray[Any]]:
    """Read the file of a block.

    Args:
        partial: Folder in which the store grows.
        number: Number of the block.
    """
    return load_arrays(_path(partial, number))


def write_note(partial: Path, number: int, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write the file of a block in one step.

    Args:
        partial: Folder in which the store grows.
        number: Number of the block.
        arrays: What is known of it.
    """
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    path = _path(partial, number)
    temporary = path.with_suffix(f".{os.getpid()}.partial")  # a worker taken for dead may write the same block
    temporary.write_bytes(buffer.getvalue())
    os.replace(temporary, path)


def _path(partial: Path, number: int) -> Path:
    return partial / f"{number:08d}.npz"


def _names(path: Path) -> list[str]:
    with np.load(path, allow_pickle=False) as held:
        return list(held.files)
