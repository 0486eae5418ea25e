"""A zarr store that grows beside its final place, and can be continued after a kill."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import numpy as np
import xarray as xr
import zarr

from stgate._memory import size_text
from stgate.errors import RequestError, StgateError, StgateWarning, StoreError
from stgate.io.paths import check_out, partial_of
from stgate.io.safe.lock import FolderLock, locked
from stgate.io.safe.reading import reading
from stgate.io.safe.temporaries import check_name
from stgate.io.safe.zarr_folder import ZarrFolder
from stgate.io.store import UNFINISHED, quiet_zarr

TEMPORARY = ".unfinished"
RUN = "run.json"
OLD = "replaced"


class GrowingStore(ABC):
    """A store that is written piece by piece, by one run at a time.

    It grows beside `out`, in `out.partial`, and is renamed to `out` when it is whole. A run that is killed at any
    moment can be resumed; its options must then be those that began it.

    Args:
        out: The store.
        identity: What determines the run's bytes, by name, in plain values; a resumed run must have the same.
        nbytes: Number of bytes that the store will take.
        overwrite: Replace an existing store.
        resume: Continue a stopped run.

    Raises:
        RequestError: The options contradict one another, or the stopped run has other options.
        StoreError: The store exists, cannot be streamed to, or does not fit on the disk.
    """

    warning: ClassVar[type[StgateWarning]] = StgateWarning
    """Class of the warning that there is nothing to resume."""
    hopeless: ClassVar[tuple[type[StgateError], ...]] = ()
    """Errors that would come again, so that what the run has written is removed."""

    def __init__(self, out: Path, identity: Mapping[str, Any], nbytes: float, *, overwrite: bool, resume: bool) -> None:
        self.out, self.identity = out, dict(identity)
        self.partial = partial_of(out)
        self.data = self.partial / "data"
        self.folder = ZarrFolder(self.data)
        self.lock: FolderLock | None = None
        if self.out.suffix != ".zarr":
            raise StoreError(f"out {self.out}: must be a .zarr store; for another format write the result afterwards")
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
            warnings.warn(text, self.warning, stacklevel=5)
        room = shutil.disk_usage(self.out.parent).free
        if not stopped and nbytes > room:
            raise StoreError(
                f"--out {self.out}: needs {size_text(nbytes)}, {size_text(room)} are free; give another place"
            )
        self._claim(afresh=overwrite or not stopped)

    @abstractmethod
    def begun(self) -> bool:
        """Return whether anything has been written that a resumed run would use."""

    def described(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Return what determined the bytes of a whole store, from its attributes."""
        return attrs

    def _is_whole(self) -> bool:
        """Return whether the store is that of the run to resume, and not one that a stopped run was to replace."""
        if not (self.out / "zarr.json").is_file() or self.data.exists():
            return False
        return not (self.partial / RUN).is_file() or self._stored().items() >= self.identity.items()

    def _stored(self) -> dict[str, Any]:
        with reading(self.out, "zarr store", hint="; replace it with --overwrite"):
            return self.described(dict(zarr.open_group(self.out, mode="r").attrs))

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
            self.empty()
        self.put(RUN, json.dumps(self.identity).encode())

    def put(self, name: str, content: bytes) -> None:
        """Write a file of the run, beside the store, in one step.

        Args:
            name: Its name.
            content: Its bytes.
        """
        temporary = self.partial / TEMPORARY
        temporary.write_bytes(content)
        os.replace(temporary, self.partial / name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remove the files of a run that would fail again, or that was refused before it began."""
        if kind:
            self.folder.leave()
        if (
            kind
            and issubclass(kind, StgateError)
            and not self.whole
            and (issubclass(kind, self.hopeless) or not self.begun())
        ):
            shutil.rmtree(self.partial, ignore_errors=True)
        if self.lock:
            self.lock.release()

    def empty(self, but: str = "") -> None:
        """Remove all that the run has written.

        Args:
            but: Name of a file that stays.
        """
        for path in self.partial.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != but:
                path.unlink()

    def tidy(self) -> None:
        """Remove the files that a kill left half-written (*.partial): what goes on keeps the rest."""
        for stray in [*self.data.rglob("*.partial"), self.partial / TEMPORARY]:
            stray.unlink(missing_ok=True)

    def finish(self, attrs: Mapping[str, Any]) -> xr.Dataset:
        """Rename the store to `out`, in place of an older one.

        Args:
            attrs: Attributes to add.

        Returns:
            The store, opened lazily.
        """
        with quiet_zarr():
            group = zarr.open_group(self.folder, mode="r+", use_consolidated=False)
            held = {name: value for name, value in dict(group.attrs).items() if name != UNFINISHED}
            group.attrs.put({**held, **attrs})
            zarr.consolidate_metadata(self.folder)  # xarray looks for it, and complains where there is none
        if self.out.exists():  # a folder cannot be replaced in one step: move it first
            os.rename(self.out, self.partial / OLD)
        os.rename(self.data, self.out)
        shutil.rmtree(self.partial)
        return self.opened()

    def opened(self) -> xr.Dataset:
        """Open the whole store lazily."""
        if self.partial.is_dir() and not self.data.exists():  # left by a run that was killed just before its end
            shutil.rmtree(self.partial)
        return self.read()

    @abstractmethod
    def read(self) -> xr.Dataset:
        """Open the store at `out`."""

    def _same(self, path: Path, stored: dict[str, Any]) -> None:
        for name, value in self.identity.items():
            if stored.get(name) != value:
                raise RequestError(
                    f"--resume: the run in {path} has {name} {stored.get(name)}, this one {value}; "
                    "give its options, or another --out"
                )


def nan_text(dtype: str) -> str:
    """Return NaN as xarray writes it among a zarr array's attributes.

    Args:
        dtype: Type of the array.
    """
    from xarray.backends.zarr import FillValueCoder

    return str(FillValueCoder.encode(float("nan"), np.dtype(dtype)))
