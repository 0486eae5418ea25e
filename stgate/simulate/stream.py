"""Stores of the chunks of output: memory, or a zarr store that a killed run can continue."""

from __future__ import annotations

import io
import json
import os
import shutil
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import xarray as xr
import zarr

from stgate._memory import free_memory, size_text
from stgate.errors import RequestError, SimulationError, SimulationWarning, StgateError, StoreError
from stgate.io.safe.archive import load_arrays
from stgate.io.safe.lock import FolderLock, locked
from stgate.io.safe.reading import reading
from stgate.io.safe.temporaries import check_name
from stgate.io.safe.zarr_folder import ZarrFolder
from stgate.io.store import ORDER, check_out, quiet_zarr
from stgate.simulate.describe import identity
from stgate.simulate.plan import Plan
from stgate.simulate.system import Array, Attrs

DIMS = ("member", "time", "node")
RESTART = "restart.npz"
TEMPORARY = ".unfinished"
RUN = "run.json"
OLD = "replaced"


class Memory:
    """Chunks gathered in memory.

    Args:
        plan: Plan of the run.

    Raises:
        RequestError: The panel does not fit in memory.
    """

    def __init__(self, plan: Plan) -> None:
        room = free_memory()
        if room is not None and plan.nbytes > 0.8 * room:
            raise RequestError(
                f"the panel takes {size_text(plan.nbytes)} and {size_text(room)} of memory are free: "
                "stream it to a store, --out FILE.zarr"
            )
        shape = (plan.members, plan.outputs, plan.system.sites)
        self.arrays = {name: np.empty(shape, plan.dtype) for name in plan.system.variables}
        self.plan = plan

    def write(self, first: int, chunk: Array) -> None:
        """Keep a chunk.

        Args:
            first: Number of the first output of the chunk.
            chunk: Values, (time, member, variable, node).
        """
        for index, array in enumerate(self.arrays.values()):
            array[:, first : first + len(chunk)] = chunk[:, :, index].transpose(1, 0, 2)

    def finish(self, panel: xr.Dataset) -> xr.Dataset:
        """Add the variables to the panel.

        Args:
            panel: Panel without variables.
        """
        attrs = self.plan.system.variables
        return panel.assign({name: (DIMS, array, attrs[name]) for name, array in self.arrays.items()})


class Store:
    """Chunks streamed to a preallocated zarr store.

    It grows beside `out`, in `out.partial`, and is renamed to `out` when it is whole. After each chunk, and within a
    chunk that takes long, the exact internal states are saved. A run that is killed at any moment can therefore be
    resumed and ends in the same bytes. No other process can write the store at the same time.

    Args:
        plan: Plan of the run.
        overwrite: Replace an existing store.
        resume: Continue a stopped run.

    Raises:
        RequestError: The options contradict one another, or the stopped run has other options.
        StoreError: The store exists, cannot be streamed to, or does not fit on the disk.
    """

    def __init__(self, plan: Plan, *, overwrite: bool, resume: bool) -> None:
        assert plan.out is not None
        self.plan, self.out = plan, plan.out
        self.partial = self.out.with_name(f"{self.out.name}.partial")
        self.data = self.partial / "data"
        self.folder = ZarrFolder(self.data)
        self.lock: FolderLock | None = None
        if self.out.suffix != ".zarr":
            raise StoreError(f"out {self.out}: must be a .zarr store; for another format write the panel afterwards")
        if overwrite and resume:
            raise RequestError("--overwrite and --resume: one replaces the run, the other continues it; give one")
        check_name(self.out)
        stopped = self.partial.exists()
        if (self.partial / OLD).exists() and not self.out.exists():
            self._give_back()
        self.whole = resume and self._is_whole()
        check_out(self.out, overwrite=overwrite or self.whole or (resume and stopped), suffixes=(".zarr",))
        if self.whole:
            self._same(self.out, self._stored())
            return
        if stopped and not (overwrite or resume):
            raise StoreError(
                f"--out {self.out}: holds a stopped run; continue it with --resume, or replace it with --overwrite"
            )
        if resume and not stopped:
            text = f"--resume: {self.out} has no stopped run, so this one starts from the beginning"
            warnings.warn(text, SimulationWarning, stacklevel=4)
        room = shutil.disk_usage(self.out.parent).free
        if not stopped and plan.nbytes > room:
            raise StoreError(
                f"--out {self.out}: needs {size_text(plan.nbytes)}, {size_text(room)} are free; give another place"
            )
        self._claim(afresh=overwrite or not stopped)

    def _is_whole(self) -> bool:
        """Return whether the store is that of the run to resume, and not one that a stopped run was to replace."""
        if not (self.out / "zarr.json").is_file() or self.data.exists():
            return False
        return not (self.partial / RUN).is_file() or self._stored().items() >= identity(self.plan).items()

    def _stored(self) -> dict[str, Any]:
        with reading(self.out, "zarr store", hint="; replace it with --overwrite"):
            return dict(zarr.open_group(self.out, mode="r").attrs)

    def _give_back(self) -> None:
        """Put a store back that was about to be replaced when the run was killed."""
        lock = locked(self.partial)
        if self.data.exists() and not self.out.exists():
            os.rename(self.partial / OLD, self.out)
        lock.release()

    def _claim(self, *, afresh: bool) -> None:
        described = self.partial / RUN
        if not afresh and described.is_file():
            with reading(described, "description of a run", hint="; replace the run with --overwrite"):
                self._same(self.partial, json.loads(described.read_text(encoding="utf-8")))
        self.lock = locked(self.partial)
        if afresh:
            self._empty()
        self._put(RUN, json.dumps(identity(self.plan)).encode())

    def _put(self, name: str, content: bytes) -> None:
        """Write a file of ours in one step."""
        temporary = self.partial / TEMPORARY
        temporary.write_bytes(content)
        os.replace(temporary, self.partial / name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remove the files of a run that blew up, which it would do again, or that was refused before it began."""
        if kind:
            self.folder.leave()
        fixable = kind and issubclass(kind, StgateError) and not self.whole
        if kind and fixable and (issubclass(kind, SimulationError) or not (self.partial / RESTART).is_file()):
            shutil.rmtree(self.partial, ignore_errors=True)
        if self.lock:
            self.lock.release()

    def restart(self) -> tuple[int, Array, Array] | None:
        """Read a stopped run: outputs in the store, rows of the next chunk, and internal states; None if new."""
        if not (self.partial / RESTART).is_file():
            self._empty(but=RUN)  # stopped before anything was saved
            return None
        path, plan = self.partial / RESTART, self.plan
        with reading(path, "state of a stopped run", hint="; replace the run with --overwrite"):
            try:
                saved = load_arrays(path)
            except StoreError as error:
                raise StoreError(f"{error}; replace the run with --overwrite") from error
            done, held, states = int(saved["done"]), saved["held"], saved["states"]
            fits = held.shape[1:] == (plan.members, len(plan.system.variables), plan.system.sites)
            if not (fits and 0 <= done <= plan.outputs and len(held) <= plan.chunk and len(states) == plan.members):
                raise StoreError(f"{path}: its arrays do not fit the run; replace the run with --overwrite")
            return done, held, states

    def _empty(self, but: str = "") -> None:
        for path in self.partial.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != but:
                path.unlink()

    def begin(self, panel: xr.Dataset) -> None:
        """Create the whole store: coordinates, attributes and empty variables.

        Args:
            panel: Panel without variables.
        """
        plan = self.plan
        with quiet_zarr():
            panel.assign_attrs({ORDER: "\n".join(plan.system.variables)}).to_zarr(
                self.folder,
                mode="w",
                consolidated=False,
                zarr_format=3,
                encoding={"time": {"chunks": (plan.outputs,)}},  # in one piece: else opening reads thousands of them
            )
        group = zarr.open_group(self.folder, mode="r+")
        coords = " ".join(str(c) for c in panel.coords if c not in panel.dims)
        for name, attrs in plan.system.variables.items():
            group.create_array(
                name,
                shape=(plan.members, plan.outputs, plan.system.sites),
                chunks=(plan.members, plan.chunk, plan.system.sites),
                dtype=plan.dtype,
                compressors=None,  # chaos compresses by a few per cent only
                fill_value=float("nan"),
                dimension_names=DIMS,
                attributes={**attrs, "_FillValue": _nan(plan.dtype), **({"coordinates": coords} if coords else {})},
            )
        self.arrays = self._open()

    def _open(self) -> list[Any]:
        group = zarr.open_group(self.folder, mode="r+")
        return [group[name] for name in self.plan.system.variables]

    def write(self, first: int, chunk: Array) -> None:
        """Write a chunk.

        Args:
            first: Number of the first output of the chunk.
            chunk: Values, (time, member, variable, node).
        """
        for index, array in enumerate(self.arrays):
            array[:, first : first + len(chunk)] = np.ascontiguousarray(chunk[:, :, index].transpose(1, 0, 2))

    def save(self, done: int, held: Array, states: Array) -> None:
        """Save the state of the run.

        Args:
            done: Number of outputs in the store.
            held: Rows of the next chunk so far, (time, member, variable, node).
            states: Internal states after these rows, (member, internal size).
        """
        buffer = io.BytesIO()
        np.savez(buffer, done=np.int64(done), held=held, states=states)
        self._put(RESTART, buffer.getvalue())

    def resume(self) -> None:
        """Continue with the store as it is, without the files that the kill left half-written (*.partial)."""
        for stray in [*self.data.rglob("*.partial"), self.partial / TEMPORARY]:
            stray.unlink(missing_ok=True)
        self.arrays = self._open()

    def finish(self, attrs: Attrs) -> xr.Dataset:
        """Rename the store to `out`, in place of an older one.

        Args:
            attrs: Attributes to add.
        """
        if attrs:
            zarr.open_group(self.folder, mode="r+").attrs.update(attrs)
        with quiet_zarr():  # xarray looks for it, and complains where there is none
            zarr.consolidate_metadata(self.folder)
        if self.out.exists():  # a folder cannot be replaced in one step: move it first
            os.rename(self.out, self.partial / OLD)
        os.rename(self.data, self.out)
        shutil.rmtree(self.partial)
        return self.opened()

    def opened(self) -> xr.Dataset:
        """Open the whole store lazily."""
        if self.partial.is_dir() and not self.data.exists():  # left by a run that was killed just before its end
            shutil.rmtree(self.partial)
        panel: xr.Dataset = xr.open_zarr(self.out, consolidated=False, chunks=None)
        panel.attrs.pop(ORDER, None)
        ordered: xr.Dataset = panel[list(self.plan.system.variables)]
        return ordered

    def _same(self, path: Path, stored: dict[str, Any]) -> None:
        for name, value in identity(self.plan).items():
            if stored.get(name) != value:
                raise RequestError(
                    f"--resume: the run in {path} has {name} {stored.get(name)}, this one {value}; "
                    "give its options, or another --out"
                )


def _nan(dtype: str) -> str:
    """NaN as xarray writes it among a zarr array's attributes."""
    from xarray.backends.zarr import FillValueCoder

    return str(FillValueCoder.encode(float("nan"), np.dtype(dtype)))
