"""Stores: open netCDF and zarr by suffix, write atomically, find the packaged configs and cards."""

from __future__ import annotations

import contextlib
import os
import re
import warnings
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from xarray.coders import CFTimedeltaCoder

from stgate.errors import StoreError
from stgate.io.calendars import exact_dates
from stgate.io.conventions import NUMBER
from stgate.io.paths import STOPPED, check_stored
from stgate.io.paths import atomic as atomic
from stgate.io.paths import cards_folder as cards_folder
from stgate.io.paths import check_folder as check_folder
from stgate.io.paths import check_out as check_out
from stgate.io.paths import config_path as config_path
from stgate.io.paths import history as history
from stgate.io.safe import probe
from stgate.io.safe.reading import reading, reason
from stgate.io.safe.sizes import check_arrays, check_files
from stgate.schema.forecast import as_forecast, check_forecast, check_layout, outline
from stgate.schema.units import NAMES

ORDER = "stgate_variables"
"""Attribute of a zarr store that keeps the order of the variables; zarr itself does not."""
RUN = "stgate_run"
"""Attribute of a zarr store that keeps what determined its bytes, for a run that is resumed."""
UNFINISHED = "stgate_unfinished"
"""Attribute of a zarr store that a run has not finished."""
OURS = (ORDER, RUN)
CHUNK = 2**22
"""Bytes of a chunk of a forecast's values, before they are compressed."""
DURATIONS = {
    **{"week": 604800e9, "weeks": 604800e9, "d": 86400e9, "h": 3600e9, "min": 60e9, "s": 1e9},
    **{"milliseconds": 1e6, "ms": 1e6, "microseconds": 1e3, "us": 1e3, "nanoseconds": 1.0, "ns": 1.0},
}
"""Nanoseconds of the units of durations in files of other tools."""


def open_dataset(path: str | os.PathLike[str]) -> xr.Dataset:
    """Load a netCDF file or zarr store without checking its content.

    Args:
        path: The file or store; its suffix names the format.

    Returns:
        The dataset, in memory.

    Raises:
        StoreError: The file does not exist, has another suffix, or cannot be read.
    """
    path = check_stored(path)
    with reading(path, "zarr store" if path.suffix == ".zarr" else "netCDF file", named=True):
        if path.suffix == ".zarr":
            raw = _opened(path)
            _check_digits(path, raw)
            return exact_dates(arranged(_decoded(raw)).load())
        probe.examine(path, "netcdf")
        with xr.open_dataset(path, engine="netcdf4", decode_cf=False, create_default_indexes=False) as raw:
            check_arrays(path, raw)
            _check_digits(path, raw)
            return exact_dates(_decoded(raw).load())


def _opened(path: Path, *, loaded: bool = True) -> xr.Dataset:
    """Open a zarr store, whose files and sizes are checked; nothing of its values is read."""
    check_files(path)
    raw: xr.Dataset = xr.open_zarr(path, consolidated=False, chunks=None, decode_cf=False, create_default_indexes=False)
    if UNFINISHED in raw.attrs:
        raise StoreError(f"{path}: {STOPPED}")
    check_arrays(path, raw, loaded=loaded)
    return raw


def _decoded(raw: xr.Dataset) -> xr.Dataset:
    """Decode a dataset; only what was written as durations or dates is one, not every number with units of time."""
    numbers = [str(name) for name, variable in raw.variables.items() if NUMBER in variable.attrs]
    times: Any = dict.fromkeys(numbers, False) if numbers else True
    try:
        opened: xr.Dataset = xr.decode_cf(
            raw, decode_times=times, decode_timedelta=CFTimedeltaCoder(decode_via_units=False)
        )
    except ValueError as error:
        if found := re.search(r"unable to decode time units '(.*?)' with (.*?)\. Try", str(error)):
            raise StoreError(
                f"dates of {found[1]!r} with {found[2]} are not read; open the file with decode_times=False, and write "
                "dates, or numbers whose units do not say since"
            ) from error
        raise
    for name in numbers:
        opened[name].encoding[NUMBER] = opened[name].attrs.pop(NUMBER)
    return opened


def _check_digits(path: Path, raw: xr.Dataset) -> None:
    """Refuse whole numbers that would be rounded where a mark of missing values, or a scale, makes them floats."""
    for name in raw.data_vars:
        variable = raw.variables[name]
        marks = [variable.attrs[key] for key in ("_FillValue", "missing_value") if key in variable.attrs]
        dated = " since " in str(variable.attrs.get("units", "")) or "timedelta64" in str(variable.attrs.get("dtype"))
        scaled = bool(marks) or "scale_factor" in variable.attrs
        if scaled and not dated and variable.dtype in ("int64", "uint64"):
            known = variable.values[~np.isin(variable.values, marks)]
            if known.size and max(int(known.max()), -int(known.min())) > 2**53:
                raise StoreError(
                    f"{path}: `{name}` holds whole numbers beyond 2**53, which floats round; subtract an offset"
                )


def with_marks(dataset: xr.Dataset) -> xr.Dataset:
    """Mark numbers whose units read like those of dates, and model time; dates need no units.

    Args:
        dataset: A dataset to be written.
    """
    made: dict[str, xr.Variable] = {}
    for name, variable in dataset.variables.items():
        attrs = variable.attrs
        if variable.dtype.kind in "fiub" and (name == "time" or "since" in str(attrs.get("units", ""))):
            made[str(name)] = dataset[name].variable.copy(deep=False)
            made[str(name)].attrs = attrs | {NUMBER: 1}
        elif variable.dtype.kind in "mM" and {"units", "calendar"} & set(attrs):
            made[str(name)] = dataset[name].variable.copy(deep=False)
            made[str(name)].attrs = {key: held for key, held in attrs.items() if key not in ("units", "calendar")}
    return dataset.assign_coords({n: v for n, v in made.items() if n in dataset.coords}).assign(
        {n: v for n, v in made.items() if n not in dataset.coords}
    )


def _check_attributes(dataset: xr.Dataset) -> None:
    """Refuse attributes that would be applied to numbers when they are read, since these are as they are meant."""
    for name, variable in dataset.variables.items():
        if variable.dtype.kind not in "fiu":
            continue
        for key, neutral in (("scale_factor", 1), ("add_offset", 0), ("missing_value", None), ("_FillValue", None)):
            held: Any = variable.attrs.get(key)
            numbers = np.asarray(held).dtype.kind in "fiu"
            if numbers and (held != neutral if neutral is not None else np.isin(variable.values, held).any()):
                raise StoreError(
                    f"`{name}`: its attribute {key!r}, {held!s}, would be applied to its values when they are read; "
                    f"apply it, and remove it with del panel[{str(name)!r}].attrs[{key!r}]"
                )


def _with_durations(forecast: xr.Dataset) -> xr.Dataset:
    """Decode the lead times of other tools: numbers beside dates, with the units of a duration."""
    lead, dates = forecast.coords.get("lead_time"), forecast.coords.get("init_time")
    if lead is None or dates is None or dates.dtype.kind != "M" or lead.dtype.kind not in "fiu":
        return forecast
    name = str(lead.attrs.get("units")).lower()
    if (unit := DURATIONS.get(NAMES.get(name, name))) is None:
        return forecast
    values = (lead.values * unit).round().astype("timedelta64[ns]")
    attrs = {name: value for name, value in lead.attrs.items() if name != "units"}
    return forecast.assign_coords(lead_time=(lead.dims, values, attrs))


def arranged(opened: xr.Dataset) -> xr.Dataset:
    """Return a store with its variables in order, without the attributes that are there for the package itself.

    Args:
        opened: The store.
    """
    order = str(opened.attrs.get(ORDER, "")).split("\n")
    ordered = opened[[n for n in order if n in opened] + [n for n in opened.data_vars if n not in order]]
    ordered.attrs = {name: value for name, value in opened.attrs.items() if name not in OURS}
    return ordered


def open_lazily(path: str | os.PathLike[str]) -> xr.Dataset:
    """Open a zarr store lazily: its values are read when they are used.

    Args:
        path: The store.

    Returns:
        The dataset, whose values are in the store.

    Raises:
        StoreError: The store does not exist or cannot be read.
    """
    path = check_stored(path)
    with reading(path, "zarr store", named=True):
        return exact_dates(arranged(_decoded(_opened(path, loaded=False))))


def open_forecast(path: str | os.PathLike[str]) -> xr.Dataset:
    """Open a forecast, a hindcast or a reconstruction and check it.

    Args:
        path: The file: netCDF (`.nc`) or zarr (`.zarr`).

    Returns:
        The checked forecast.

    Raises:
        StoreError: The file cannot be read.
        ForecastError: The file does not hold a forecast.
    """
    with reading(path, "forecast"):
        forecast = _with_durations(open_dataset(path))
        check_forecast(as_forecast(forecast))
        return forecast


def open_forecast_lazily(path: str | os.PathLike[str]) -> xr.Dataset:
    """Open a forecast, a hindcast or a reconstruction whose values need not fit into memory.

    Args:
        path: The file: netCDF (`.nc`), which is loaded, or zarr (`.zarr`), whose values are read when they are used.

    Returns:
        The forecast, whose layout is checked, and whose values are not; `encoding["source"]` is the path.

    Raises:
        StoreError: The file cannot be read.
        ForecastError: The file does not hold a forecast.
    """
    with reading(path, "forecast"):
        forecast = _with_durations(open_lazily(path) if Path(path).suffix == ".zarr" else open_dataset(path))
        check_layout(as_forecast(outline(forecast)))
        forecast.encoding["source"] = os.fspath(path)
        return forecast


def write(dataset: xr.Dataset, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write a dataset as netCDF or zarr. The write is atomic: to a temporary name first, which is then renamed.

    Args:
        dataset: A panel, a forecast or any other dataset.
        path: Path of the result; its suffix, `.nc` or `.zarr`, names the format.
        overwrite: Replace an existing file.

    Returns:
        The path.

    Raises:
        StoreError: The suffix is unknown, the folder does not exist, or the file exists and `overwrite` is False.
    """
    path = check_out(path, overwrite=overwrite)
    _check_attributes(dataset)
    dataset = with_marks(dataset).drop_encoding()
    with _writing(path), atomic(path) as temporary:
        if path.suffix == ".nc":
            coding = {
                n: {"zlib": True, "complevel": 1}
                for n, v in dataset.data_vars.items()
                if v.dtype.kind == "f" and v.ndim
            }
            dataset.to_netcdf(temporary, engine="netcdf4", encoding=coding)
        else:
            from stgate.io.safe.zarr_folder import zarr_folder  # zarr takes a while to import

            with quiet_zarr(), zarr_folder(temporary) as folder:
                ordered = dataset.assign_attrs({ORDER: "\n".join(map(str, dataset.data_vars))})
                ordered.to_zarr(folder, consolidated=True, zarr_format=3, encoding=_chunks(ordered))
    probe.trust(path)
    return path


def _chunks(dataset: xr.Dataset) -> dict[Hashable, dict[str, tuple[int, ...]]]:
    """Return chunks of some origins of a forecast, so that its origins can be read one after the other."""
    made: dict[Hashable, dict[str, tuple[int, ...]]] = {}
    for name, variable in dataset.data_vars.items():
        if "init_time" in variable.dims and variable.size and variable.chunks is None:
            rows = max(CHUNK * variable.sizes["init_time"] // variable.nbytes, 1)
            sizes = {**variable.sizes, "init_time": min(rows, variable.sizes["init_time"])}
            made[name] = {"chunks": tuple(sizes[dim] for dim in variable.dims)}
    return made


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn what libraries say of labels and attributes that files do not hold into an error of ours."""
    try:
        yield
    except (TypeError, ValueError, KeyError) as error:
        raise StoreError(
            f"--out {path}: files do not hold all of it ({reason(error)}); make texts of labels and attributes"
        ) from error


@contextlib.contextmanager
def quiet_zarr() -> Iterator[None]:
    """Silence zarr's warnings that its format 3 does not specify strings and consolidated metadata yet."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(does not have a Zarr V3 specification|Consolidated).*")
        yield
