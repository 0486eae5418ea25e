"""Stores of the chunks of output: memory, or a zarr store that a killed run can continue."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import xarray as xr
import zarr

from stgate._memory import free_memory, size_text
from stgate.errors import RequestError, SimulationError, SimulationWarning, StoreError
from stgate.io.paths import STOPPED
from stgate.io.safe.archive import load_arrays
from stgate.io.safe.growing import RUN, GrowingStore, nan_text
from stgate.io.safe.reading import reading
from stgate.io.store import ORDER, UNFINISHED, quiet_zarr
from stgate.simulate.describe import identity
from stgate.simulate.plan import Plan
from stgate.simulate.system import Array

DIMS = ("member", "time", "node")
RESTART = "restart.npz"


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


class Store(GrowingStore):
    """Chunks streamed to a preallocated zarr store.

    After each chunk, and within a chunk that takes long, the exact internal states are saved. A run that is killed at
    any moment can therefore be resumed and ends in the same bytes. No other process can write the store meanwhile.

    Args:
        plan: Plan of the run.
        overwrite: Replace an existing store.
        resume: Continue a stopped run.

    Raises:
        RequestError: The options contradict one another, or the stopped run has other options.
        StoreError: The store exists, cannot be streamed to, or does not fit on the disk.
    """

    warning = SimulationWarning
    hopeless = (SimulationError,)

    def __init__(self, plan: Plan, *, overwrite: bool, resume: bool) -> None:
        assert plan.out is not None
        self.plan = plan
        super().__init__(plan.out, identity(plan), plan.nbytes, overwrite=overwrite, resume=resume)

    def begun(self) -> bool:
        """Return whether states have been saved."""
        return (self.partial / RESTART).is_file()

    def restart(self) -> tuple[int, Array, Array] | None:
        """Read a stopped run: outputs in the store, rows of the next chunk, and internal states; None if new."""
        if not self.begun():
            self.empty(but=RUN)  # stopped before anything was saved
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

    def begin(self, panel: xr.Dataset) -> None:
        """Create the whole store: coordinates, attributes and empty variables.

        Args:
            panel: Panel without variables.
        """
        plan = self.plan
        with quiet_zarr():
            panel.assign_attrs({ORDER: "\n".join(plan.system.variables), UNFINISHED: STOPPED}).to_zarr(
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
                attributes={**attrs, "_FillValue": nan_text(plan.dtype), **({"coordinates": coords} if coords else {})},
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
        self.put(RESTART, buffer.getvalue())

    def resume(self) -> None:
        """Continue with the store as it is."""
        self.tidy()
        self.arrays = self._open()

    def read(self) -> xr.Dataset:
        """Open the store at `out` lazily."""
        panel: xr.Dataset = xr.open_zarr(self.out, consolidated=False, chunks=None)
        panel.attrs.pop(ORDER, None)
        ordered: xr.Dataset = panel[list(self.plan.system.variables)]
        return ordered
