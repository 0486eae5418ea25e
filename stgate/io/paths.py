"""Paths of stores and results: what names and folders tell. Commands ask it first, so it imports no numpy."""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from stgate.errors import RequestError, StoreError, did_you_mean
from stgate.io.safe.reading import exists
from stgate.io.safe.temporaries import check_name, sweep, temporary_for

SUFFIXES = (".nc", ".zarr")
CSV = (".csv", ".csv.gz", ".csv.xz", ".csv.zip", ".txt", ".txt.gz")
PARQUET = (".parquet", ".pq")
FEATHER = (".feather", ".arrow")
HDF = (".h5", ".hdf5", ".hdf")
TABLES = (*CSV, *PARQUET, *FEATHER, *HDF)
STOPPED = "not all of it is written: a run that is still going, or was stopped; continue it with --resume"


def check_stored(path: str | os.PathLike[str]) -> Path:
    """Refuse a path that cannot be that of a netCDF file or zarr store.

    Args:
        path: The file or store; its suffix names the format.

    Returns:
        The path.

    Raises:
        StoreError: The file does not exist, or has another suffix.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise StoreError(f"{path}: the suffix {path.suffix or '(none)'} is not one of {', '.join(SUFFIXES)}")
    if not exists(path):
        raise StoreError(f"{path}: no such file; {_neighbour(path)}")
    return path


def is_table(path: str | os.PathLike[str]) -> bool:
    """Return True if a file is a table by its suffix."""
    return str(path).endswith(TABLES)


def expand(paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[Path]:
    """Return the files of a path, of several paths, or of patterns.

    Args:
        paths: Paths, or patterns such as `station_*.csv`.

    Returns:
        The files, those of each pattern in alphabetical order.

    Raises:
        RequestError: No path is given.
        StoreError: A pattern matches nothing.
    """
    chosen: list[Path] = []
    for path in [paths] if isinstance(paths, str | os.PathLike) else list(paths):
        text = os.fspath(path)
        if glob.has_magic(text) and not os.path.exists(path):
            found = sorted(glob.glob(text))
            if not found:
                raise StoreError(f"{text}: matches no file")
            chosen += map(Path, found)
        else:
            chosen.append(Path(path))
    if not chosen:
        raise RequestError("no files: give at least one table")
    return chosen


def check_table(path: Path) -> None:
    """Refuse a path that cannot be that of a table.

    Args:
        path: The file.

    Raises:
        StoreError: The file does not exist, or has another suffix.
    """
    if not exists(path):
        raise StoreError(f"{path}: no such file")
    if not is_table(path):
        raise StoreError(f"{path}: not a table; its suffix is not one of {', '.join(TABLES)}")


def check_panel_path(path: str | os.PathLike[str]) -> None:
    """Refuse a path that cannot be that of a panel: netCDF, zarr, or a long csv table.

    Args:
        path: The file.

    Raises:
        StoreError: The file does not exist, or has another suffix.
    """
    if str(path).endswith(CSV):
        for one in expand(path):
            check_table(one)
    elif is_table(path) or str(path).endswith(".npz"):
        raise StoreError(f"{path}: not a panel; make one with stgate data convert, which takes the roles of columns")
    else:
        check_stored(path)


def check_out(path: str | os.PathLike[str], *, overwrite: bool, suffixes: tuple[str, ...] = SUFFIXES) -> Path:
    """Refuse a result's path that cannot be written, before any work is done.

    Args:
        path: Path of the result.
        overwrite: Accept a path that exists.
        suffixes: Suffixes of the formats that can be written.

    Returns:
        The path.

    Raises:
        StoreError: The suffix is unknown, the folder does not exist, or the file exists and `overwrite` is False.
    """
    path = Path(path)
    if path.suffix not in suffixes:
        raise StoreError(f"--out {path}: the suffix must name the format, one of {', '.join(suffixes)}")
    try:
        check_name(path)
    except StoreError as error:
        raise StoreError(f"--out {error}") from error
    if os.path.exists(path) and not overwrite:
        raise StoreError(f"--out {path}: exists; give another name, or --overwrite")
    if path.suffix == ".zarr" and os.path.lexists(path) and not path.is_dir():  # also a link to nowhere
        raise StoreError(f"--out {path}: a file has this name, and a folder does not replace it; give another name")
    if path.is_dir() and not (path.suffix == ".zarr" and (path / "zarr.json").is_file()):
        raise StoreError(
            f"--out {path}: a folder that is not a zarr store, so it is not overwritten; give another name"
        )
    check_folder(path.parent)
    sweep(path.parent)
    return path


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be written to.

    Args:
        folder: The folder; where it does not exist, its nearest existing parent is checked.

    Raises:
        StoreError: The folder is not writable.
    """
    try:
        while not folder.exists():
            folder = folder.parent
    except OSError as error:  # such as a name that is too long
        raise StoreError(f"--out: the folder {folder} cannot be made ({error.strerror}); choose another one") from error
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise StoreError(f"--out: the folder {folder} is not writable; choose another folder")


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`. It replaces `path` when the block succeeds and is removed when it fails."""
    with temporary_for(path) as temporary:
        yield temporary


def history(command: str) -> str:
    """Return a line for the CF attribute `history`: the time, the version and the command."""
    import datetime

    from stgate._version import __version__

    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"{now} stgate {__version__} {command}"


def cards_folder() -> Path:
    """Return the folder of the data-set cards: in the wheel, or in the checkout of an editable install.

    Raises:
        StoreError: Neither folder exists.
    """
    from importlib import resources  # takes a while

    packaged = Path(str(resources.files("stgate"))) / "cards"
    checkout = Path(str(resources.files("stgate"))).parent / "datasets"
    for folder in (packaged, checkout):
        if folder.is_dir():
            return folder
    raise StoreError("the data-set cards are missing from this installation; install stgate again")


def config_path(name: str) -> Path:
    """Find a config.

    Args:
        name: Path of a file, or name of a packaged config.

    Returns:
        The config's path.

    Raises:
        StoreError: The name is neither a file nor a packaged config.
    """
    from importlib import resources  # takes a while

    if os.path.isfile(name):
        return Path(name)
    folder = Path(str(resources.files("stgate"))) / "configs"
    known = sorted(p.stem for p in folder.glob("*.yaml"))
    if name in known:
        return folder / f"{name}.yaml"
    raise StoreError(f"--config {name}: neither a file nor a packaged config; {did_you_mean(name, known)}")


def partial_of(out: Path) -> Path:
    """Return the folder beside a store in which it grows.

    Args:
        out: The store.
    """
    return out.with_name(f"{out.name}.partial")


def _neighbour(path: Path) -> str:
    if os.path.isdir(partial_of(path)):
        return STOPPED
    if not os.path.isdir(path.parent):
        return f"the folder {path.parent} does not exist either"
    names = sorted(p.name for p in path.parent.iterdir() if p.suffix in SUFFIXES)
    if not names:
        return f"{path.parent} holds no {' or '.join(SUFFIXES)}"
    return did_you_mean(path.name, names) if len(names) <= 8 else f"{path.parent} holds {len(names)} others"
