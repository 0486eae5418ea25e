"""Files: open netCDF and zarr by suffix, write atomically, find the packaged configs and cards."""

from __future__ import annotations

import contextlib
import datetime
import os
import shutil
import uuid
import warnings
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import xarray as xr

from stgate.errors import StoreError, did_you_mean
from stgate.schema.forecast import as_forecast, check_forecast

SUFFIXES = (".nc", ".zarr")
ORDER = "stgate_variables"
"""An attribute of zarr stores that keeps the order of the variables, which zarr does not."""


def open_dataset(path: str | os.PathLike[str]) -> xr.Dataset:
    """Open a netCDF file or zarr store as it is; timedeltas come back as timedeltas.

    Raises:
        StoreError: No such file, another suffix, or not a readable file.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise StoreError(f"{path}: the suffix {path.suffix or '(none)'} is not one of {', '.join(SUFFIXES)}")
    if not path.exists():
        raise StoreError(f"{path}: no such file; {_neighbour(path)}")
    try:
        if path.suffix == ".zarr":
            opened: xr.Dataset = xr.open_zarr(path, consolidated=False, chunks=None, decode_timedelta=True).load()
            order = str(opened.attrs.pop(ORDER, "")).split("\n")
            return opened[[n for n in order if n in opened] + [n for n in opened.data_vars if n not in order]]
        with xr.open_dataset(path, engine="netcdf4", decode_timedelta=True) as lazy:
            loaded: xr.Dataset = lazy.load()
            return loaded
    except (OSError, ValueError, KeyError, RuntimeError) as error:  # RuntimeError: what HDF5 and zstd raise
        kind = "zarr store" if path.suffix == ".zarr" else "netCDF file"
        raise StoreError(f"{path}: not a readable {kind} ({_first_line(error)})") from error


def open_lazily(path: str | os.PathLike[str]) -> xr.Dataset:
    """Open a zarr store whose values are read when they are asked for.

    Raises:
        StoreError: No such store, or not a readable one.
    """
    path = Path(path)
    if not path.exists():
        raise StoreError(f"{path}: no such file; {_neighbour(path)}")
    try:
        opened: xr.Dataset = xr.open_zarr(path, consolidated=False, chunks=None, decode_timedelta=True)
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(f"{path}: not a readable zarr store ({_first_line(error)})") from error
    opened.attrs.pop(ORDER, None)
    return opened


def open_forecast(path: str | os.PathLike[str]) -> xr.Dataset:
    """Open a forecast, a hindcast or a reconstruction and check it.

    Raises:
        StoreError: It cannot be read.
        ForecastError: It is not a forecast.
    """
    forecast = open_dataset(path)
    check_forecast(as_forecast(forecast))
    return forecast


def check_out(path: str | os.PathLike[str], *, overwrite: bool, suffixes: tuple[str, ...] = SUFFIXES) -> Path:
    """Refuse, before any work is done, a result's path that cannot be written.

    Raises:
        StoreError: The suffix is not known, the folder does not exist, or the file exists and `overwrite` is off.
    """
    path = Path(path)
    if path.suffix not in suffixes:
        raise StoreError(f"--out {path}: the suffix names the format, one of {', '.join(suffixes)}")
    if path.exists() and not overwrite:
        raise StoreError(f"--out {path}: exists; give another name, or --overwrite")
    if path.is_dir() and not (path.suffix == ".zarr" and (path / "zarr.json").is_file()):
        raise StoreError(f"--out {path}: a folder that is no zarr store, so --overwrite leaves it alone; rename one")
    if not path.parent.is_dir():
        raise StoreError(f"--out {path}: the folder {path.parent} does not exist; make it with mkdir -p {path.parent}")
    check_folder(path.parent)
    return path


def write(dataset: xr.Dataset, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write a dataset as netCDF or zarr, by suffix: to a temporary name, then renamed, so that no half is ever seen.

    Raises:
        StoreError: See `check_out`.
    """
    path = check_out(path, overwrite=overwrite)
    with atomic(path) as temporary:
        if path.suffix == ".nc":
            coding = {
                n: {"zlib": True, "complevel": 1}
                for n, v in dataset.data_vars.items()
                if v.dtype.kind == "f" and v.ndim
            }
            dataset.to_netcdf(temporary, engine="netcdf4", encoding=coding)
        else:
            with quiet_zarr():
                ordered = dataset.assign_attrs({ORDER: "\n".join(map(str, dataset.data_vars))})
                ordered.drop_encoding().to_zarr(temporary, consolidated=True, zarr_format=3)
    return path


@contextlib.contextmanager
def quiet_zarr() -> Iterator[None]:
    """Without what zarr says of its format 3: that strings and consolidated metadata have no specification yet."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(does not have a Zarr V3 specification|Consolidated).*")
        yield


def check_folder(folder: Path) -> None:
    """Refuse a folder in which nothing can be written, it or its nearest existing parent.

    Raises:
        StoreError: Not writable.
    """
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise StoreError(f"--out: nothing can be written in {folder}; choose another folder")


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; it takes `path`'s place when the block ends well, and is removed when not."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        if path.is_dir() and not path.is_symlink():  # a folder cannot be replaced in one step: move it away first
            old = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.old")
            os.rename(path, old)
            os.rename(temporary, path)
            shutil.rmtree(old)
        else:
            os.replace(temporary, path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)


def history(command: str) -> str:
    """A CF `history` line: when, by what."""
    from stgate._version import __version__

    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"{now} stgate {__version__} {command}"


def cards_folder() -> Path:
    """Where the data-set cards are: in the wheel, or in the checkout of an editable install.

    Raises:
        StoreError: Neither is there.
    """
    packaged = Path(str(resources.files("stgate"))) / "cards"
    checkout = Path(str(resources.files("stgate"))).parent / "datasets"
    for folder in (packaged, checkout):
        if folder.is_dir():
            return folder
    raise StoreError("the data-set cards are missing from this installation; install stgate again")


def config_path(name: str) -> Path:
    """A config by packaged name or by path.

    Raises:
        StoreError: Neither a file nor a packaged name.
    """
    if Path(name).is_file():
        return Path(name)
    folder = Path(str(resources.files("stgate"))) / "configs"
    known = sorted(p.stem for p in folder.glob("*.yaml"))
    if name in known:
        return folder / f"{name}.yaml"
    raise StoreError(f"--config {name}: neither a file nor a packaged config; {did_you_mean(name, known)}")


def _neighbour(path: Path) -> str:
    if not path.parent.is_dir():
        return f"the folder {path.parent} does not exist either"
    names = sorted(p.name for p in path.parent.iterdir() if p.suffix in SUFFIXES)
    if not names:
        return f"{path.parent} holds no {' or '.join(SUFFIXES)}"
    return did_you_mean(path.name, names) if len(names) <= 8 else f"{path.parent} holds {len(names)} others"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
