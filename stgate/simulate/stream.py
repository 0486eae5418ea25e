"""Where chunks of output go: into memory, or into a zarr store that a killed run can go on filling."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import uuid
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from stgate.errors import RequestError, SimulationWarning, StoreError
from stgate.simulate.describe import identity
from stgate.simulate.plan import Plan
from stgate.simulate.system import Array, Attrs
from stgate.store import ORDER, check_out

DIMS = ("member", "time", "node")
RESTART = "restart.npz"
TEMPORARY = ".restart.npz.tmp"


class Memory:
    """Chunks gathered in memory."""

    def __init__(self, plan: Plan) -> None:
        room = _memory()
        if room is not None and plan.nbytes > 0.8 * room:
            raise RequestError(
                f"the panel takes {plan.nbytes / 2**30:.1f} GiB and {room / 2**30:.1f} are free: "
                "stream it to a store, --out FILE.zarr"
            )
        shape = (plan.members, plan.outputs, plan.system.sites)
        self.arrays = {name: np.empty(shape, plan.dtype) for name in plan.system.variables}
        self.plan = plan

    def write(self, first: int, chunk: Array) -> None:
        """Keep a chunk, (time, member, variable, node)."""
        for index, array in enumerate(self.arrays.values()):
            array[:, first : first + len(chunk)] = chunk[:, :, index].transpose(1, 0, 2)

    def finish(self, panel: xr.Dataset) -> xr.Dataset:
        """The panel with its variables."""
        attrs = self.plan.system.variables
        return panel.assign({name: (DIMS, array, attrs[name]) for name, array in self.arrays.items()})


class Store:
    """Chunks streamed to a preallocated zarr store.

    It grows beside `out` as `out.partial` and takes the name when it is whole. After each chunk the exact internal
    states are saved, so that a run killed at any moment goes on from its last whole chunk and ends in the same bytes.
    """

    def __init__(self, plan: Plan, *, overwrite: bool, resume: bool) -> None:
        assert plan.out is not None
        self.plan, self.out = plan, plan.out
        self.partial = self.out.with_name(f"{self.out.name}.partial")
        if overwrite and resume:
            raise RequestError("--overwrite and --resume: one starts afresh, the other goes on; give one of them")
        self.whole = resume and (self.out / "zarr.json").is_file()
        check_out(self.out, overwrite=overwrite or self.whole, suffixes=(".zarr",))
        if self.whole:
            self._same(self.out)
        elif overwrite and self.partial.is_dir():
            shutil.rmtree(self.partial)
        elif self.partial.exists() and not resume:
            raise StoreError(
                f"--out {self.out}: a stopped run of it is there; --resume goes on, --overwrite starts anew"
            )
        elif resume and not self.partial.exists():
            text = f"--resume: no stopped run of {self.out} is there, so this one starts from the beginning"
            warnings.warn(text, SimulationWarning, stacklevel=4)

    def restart(self) -> tuple[int, Array] | None:
        """Outputs done and the internal states then, of a stopped run; None where there is none.

        Raises:
            RequestError: The stopped run had other parameters.
        """
        if not (self.partial / RESTART).is_file():
            if self.partial.exists():  # stopped before its first chunk was whole
                shutil.rmtree(self.partial)
            return None
        self._same(self.partial)
        with np.load(self.partial / RESTART, allow_pickle=False) as saved:
            return int(saved["done"]), saved["states"]

    def begin(self, panel: xr.Dataset) -> None:
        """Lay out the whole store: coordinates, attributes and empty variables."""
        plan = self.plan
        with warnings.catch_warnings():
            # Node labels may be strings; zarr 3 says that their on-disk form may still change.
            warnings.filterwarnings("ignore", message=".*(does not have a Zarr V3 specification|Consolidated).*")
            panel.assign_attrs({ORDER: "\n".join(plan.system.variables)}).to_zarr(
                self.partial,
                mode="w",
                consolidated=False,
                zarr_format=3,
                encoding={"time": {"chunks": (plan.outputs,)}},  # in one piece: else opening reads thousands of them
            )
        group = zarr.open_group(self.partial, mode="r+")
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
        group = zarr.open_group(self.partial, mode="r+")
        return [group[name] for name in self.plan.system.variables]

    def write(self, first: int, chunk: Array) -> None:
        """Write a chunk, (time, member, variable, node)."""
        for index, array in enumerate(self.arrays):
            array[:, first : first + len(chunk)] = np.ascontiguousarray(chunk[:, :, index].transpose(1, 0, 2))

    def save(self, done: int, states: Array) -> None:
        """Note that so many outputs are whole, and the internal states then."""
        buffer = io.BytesIO()
        np.savez(buffer, done=np.int64(done), states=states)
        temporary = self.partial / TEMPORARY
        temporary.write_bytes(buffer.getvalue())
        os.replace(temporary, self.partial / RESTART)

    def resume(self) -> None:
        """Go on with the store as it is, less the files that the kill left half-written (zarr's own are *.partial)."""
        for stray in [*self.partial.rglob("*.partial"), self.partial / TEMPORARY]:
            stray.unlink(missing_ok=True)
        self.arrays = self._open()

    def discard(self) -> None:
        """Remove what was written: the run blew up, and would again."""
        shutil.rmtree(self.partial, ignore_errors=True)

    def finish(self, attrs: Attrs) -> xr.Dataset:
        """Give the store its name, replacing an older one."""
        if attrs:
            zarr.open_group(self.partial, mode="r+").attrs.update(attrs)
        old = None
        if self.out.exists():
            old = self.out.with_name(f".{self.out.name}.{uuid.uuid4().hex[:8]}.old")
            os.rename(self.out, old)
        os.rename(self.partial, self.out)
        (self.out / RESTART).unlink()
        if old:
            shutil.rmtree(old)
        return self.opened()

    def opened(self) -> xr.Dataset:
        """The whole store, opened lazily."""
        with contextlib.suppress(FileNotFoundError):  # left by a run that was killed in its very last moment
            (self.out / RESTART).unlink()
        panel: xr.Dataset = xr.open_zarr(self.out, consolidated=False, chunks=None)
        panel.attrs.pop(ORDER, None)
        ordered: xr.Dataset = panel[list(self.plan.system.variables)]
        return ordered

    def _same(self, path: Path) -> None:
        stored = dict(zarr.open_group(path, mode="r").attrs)
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


def _memory() -> int | None:
    """Bytes of memory that a new array may take, where the system tells; what the page cache holds counts as free."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1])
    with contextlib.suppress(AttributeError, OSError, ValueError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None
