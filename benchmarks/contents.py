"""Contents of results, compared bit for bit: panels, forecasts, checkpoints, folders of runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import xarray as xr

FILES = ("best.ckpt", "last.ckpt", "metrics.csv", "hparams.yaml", "config.yaml")


def contents(path: Path) -> Any:
    """Return what a result holds, without the times at which it was made; None where there is none.

    Raises:
        Exception: It is not whole.
    """
    if not path.exists():
        return None
    if path.suffix == ".ckpt":
        held = torch.load(path, weights_only=True)
        return {name: held.get(name) for name in ("state_dict", "optimizer_states", "epoch", "global_step", "stgate")}
    if path.name == "metrics.csv":
        return pd.read_csv(path)
    if path.suffix == ".yaml":
        return path.read_text(encoding="utf-8")
    if path.name == "run":
        return {name: contents(path / name) for name in FILES}
    with xr.open_dataset(path, engine="netcdf4" if path.suffix == ".nc" else "zarr") as dataset:
        loaded = dataset.load()
    loaded.attrs.pop("history", None)
    return loaded


def same(one: Any, other: Any) -> bool:
    """Return whether two contents are equal, bit for bit."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one.nan_to_num(), other.nan_to_num())
    if isinstance(one, xr.Dataset):
        return bool(one.identical(other))
    if isinstance(one, pd.DataFrame):
        return bool(one.equals(other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other) or (one != one and other != other)


def hidden(folder: Path) -> list[str]:
    """Return the names of what a run has to remove: hidden, temporary or partial files and folders."""
    odd = re.compile(r"\..*|.*\.(tmp|old|partial)")
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if odd.fullmatch(path.name))
