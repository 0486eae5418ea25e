"""The arrays of the traffic world: .npz files with `data` (time, node, channel)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from stgate.errors import PanelError, RequestError, StoreError, did_you_mean
from stgate.io.frames import Marks, mark_missing
from stgate.io.tables import BROKEN
from stgate.io.times import count_times
from stgate.schema.panel import check_panel


def read_npz(
    path: str | os.PathLike[str],
    variables: Sequence[str],
    *,
    start: str | None = None,
    freq: str | None = None,
    array: str = "data",
    missing: Marks = (),
    units: Mapping[str, str] | None = None,
) -> xr.Dataset:
    """Read the arrays of the traffic world, `data` (time, node, channel) in an `.npz`, as PEMS04 and PEMS08 come.

    Args:
        path: The file.
        variables: The names of the channels, in order.
        start: The time of the first row; without it the panel has model time, counted in steps.
        freq: The step (`"5min"`).
        array: The array's name in the file.
        missing: As in `read_tables`.
        units: Units by name.

    Returns:
        A checked panel, float32, with nodes numbered from 0.

    Raises:
        StoreError: The file cannot be read, or would have to be unpickled.
        PanelError: No such array, or not so many channels.
        RequestError: `start` without `freq`, or the other way round.
    """
    path = Path(path)
    if not path.exists():
        raise StoreError(f"{path}: no such file")
    if (start is None) != (freq is None):
        raise RequestError("start and freq: times need both; without either the panel has model time")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if array not in arrays:
                raise PanelError(f"{path.name}: no array {array!r}; {did_you_mean(array, arrays.files)}")
            values = arrays[array]
    except (ValueError, *BROKEN) as error:
        raise StoreError(f"{path}: not a readable .npz ({str(error).splitlines()[0][:100]})") from error
    values = values[..., None] if values.ndim == 2 else values
    if values.ndim != 3 or values.shape[2] != len(variables) or values.dtype.kind not in "fiu":
        shape = "x".join(map(str, values.shape))
        raise PanelError(f"{path.name}: {array} is {values.dtype} {shape}; expected (time, node, {len(variables)})")
    if start is not None and freq is not None:
        times = np.asarray(count_times(len(values), start, freq))
    else:
        times = np.arange(len(values), dtype=np.float64)
    told = {n: {"long_name": n, **({"units": units[n]} if units and n in units else {})} for n in variables}
    panel = xr.Dataset(
        {n: (("time", "node"), values[..., i].astype("float32"), told[n]) for i, n in enumerate(variables)},
        {"time": times, "node": np.arange(values.shape[1])},
        {"Conventions": "CF-1.11"},
    )
    if start is None:
        panel["time"].attrs = {"long_name": "step", "units": "1"}
    check_panel(panel)
    return mark_missing(panel, missing)
