"""Readers of files and what they read: each has a small valid file, and ways to edit it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from fuzz.mutations import (
    Edit,
    compressed,
    edit_arrays,
    edit_bytes,
    edit_members,
    edit_npy_header,
    edit_store,
    edit_structure,
    edit_text,
)
from helpers import make_forecast, make_panel

import stgate
from stgate.io import open_forecast, open_panel, read_npz, read_tables, store


@dataclasses.dataclass(frozen=True)
class Reader:
    """A reader of one kind of file.

    Attributes:
        name: File name of the valid file.
        make: Writes the valid file.
        read: Reads a file.
        edits: Ways to edit it, drawn with equal chances.
    """

    name: str
    make: Callable[[Path], Any]
    read: Callable[[Path], Any]
    edits: tuple[Edit, ...]


def _panel() -> xr.Dataset:
    return make_panel(steps=8, nodes=("a", "b"))


def _write(make: Callable[[], xr.Dataset]) -> Callable[[Path], Any]:
    return lambda path: store.write(make(), path)


def _classic(path: Path) -> None:
    panel = _panel().drop_encoding()
    panel.assign_coords(node=[0, 1]).to_netcdf(path, engine="netcdf4", format="NETCDF3_64BIT_OFFSET")


def _lattice() -> xr.Dataset:
    values = np.arange(5 * 2 * 3, dtype="float32").reshape(5, 2, 3)
    axes = {"time": pd.date_range("2020-01-01", periods=5, freq="6h"), "lat": [50.0, 51.0], "lon": [8.0, 9.0, 10.0]}
    return xr.Dataset({"t2m": (("time", "lat", "lon"), values, {"units": "K"})}, axes)


def _frame() -> pd.DataFrame:
    times = pd.date_range("2020-01-01", periods=12, freq="h")
    return pd.DataFrame({"time": times.repeat(2), "node": ["a", "b"] * 12, "y": np.arange(24) / 7, "n": range(24)})


def _opened(path: Path) -> xr.Dataset:
    return read_tables(path, node="node")


def _csv(path: Path) -> None:
    _frame().to_csv(path, index=False)


def _hdf(path: Path) -> None:
    _frame().set_index("time")[["y", "n"]].iloc[::2].to_hdf(path, key="x")


def _npz(path: Path) -> None:
    np.savez(path, data=np.arange(8 * 2 * 1.0).reshape(8, 2, 1), other=np.arange(3))


def _online(path: Path) -> None:
    from stgate.calibration import OnlineConformal

    state = OnlineConformal([0.5, 0.9], leads=2, cells=3, window=4)
    state.save(path)


def _load_online(path: Path) -> Any:
    from stgate.calibration import OnlineConformal

    return OnlineConformal.load(path)


def _card(path: Path) -> None:
    path.write_bytes((store.cards_folder() / "beijing_air" / "card.yaml").read_bytes())


def _read_card(path: Path) -> Any:
    from stgate.io.catalog import check_card, read_yaml

    card = read_yaml(path)
    check_card(card, path.parent / "beijing_air" / path.name)
    return card


def _config(path: Path) -> None:
    path.write_bytes((Path(stgate.__file__).parent / "configs" / "air-quality-gated-rnn.yaml").read_bytes())


def _read_config(path: Path) -> Any:
    from stgate.commands.fit.arguments import prepare

    return prepare("fit", ["--config", str(path)])


def _checkpoint(path: Path) -> None:
    import lightning as L
    from helpers import QUIET, make_data

    trainer = L.Trainer(max_epochs=1, accelerator="cpu", limit_train_batches=1, limit_val_batches=1, **QUIET)
    trainer.fit(stgate.GatedRNN(hidden=2), make_data())
    trainer.save_checkpoint(path)


_STORE = (edit_store,)
_ARRAYS = (edit_members, edit_npy_header, edit_arrays, edit_bytes)
_HDF = (edit_structure, edit_bytes)
READERS = {
    "panel, netCDF-4": Reader("a.nc", _write(_panel), open_panel, (edit_bytes,)),
    "panel, classic netCDF": Reader("a.nc", _classic, open_panel, (edit_bytes,)),
    "panel, structured netCDF-4": Reader("a.nc", _write(_panel), open_panel, (edit_structure,)),
    "panel, zarr": Reader("a.zarr", _write(_panel), open_panel, _STORE),
    "lattice, structured netCDF-4": Reader("a.nc", _write(_lattice), open_panel, (edit_structure,)),
    "lattice, zarr": Reader("a.zarr", _write(_lattice), open_panel, _STORE),
    "forecast, structured netCDF-4": Reader("a.nc", _write(make_forecast), open_forecast, _HDF),
    "forecast, zarr": Reader("a.zarr", _write(make_forecast), open_forecast, _STORE),
    "csv": Reader("a.csv", _csv, _opened, (edit_text, edit_text, edit_bytes)),
    "csv, compressed": Reader("a.csv.gz", _csv, _opened, (edit_bytes, compressed(edit_text), compressed(edit_bytes))),
    "parquet": Reader("a.parquet", lambda path: _frame().to_parquet(path), _opened, (edit_bytes,)),
    "HDF5 table": Reader("a.h5", _hdf, lambda path: read_tables(path, name="y"), _HDF),
    "npz": Reader(
        "a.npz", _npz, lambda path: read_npz(path, ["y"]), (edit_members, edit_npy_header, edit_arrays, edit_bytes)
    ),
    "online state": Reader("a.npz", _online, _load_online, (edit_members, edit_npy_header, edit_arrays, edit_bytes)),
    "card": Reader("card.yaml", _card, _read_card, (edit_text, edit_text, edit_bytes)),
    "config": Reader("a.yaml", _config, _read_config, (edit_text, edit_text, edit_bytes)),
    "checkpoint": Reader("a.ckpt", _checkpoint, stgate.load, (edit_members, edit_bytes)),
}
"""Readers by name."""
