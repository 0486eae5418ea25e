"""Arrays in `.npz` files, `data` (time, node, channel), which is the form of public traffic data."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from stgate.errors import PanelError, RequestError, StoreError
from stgate.io.frames import Marks, mark_missing
from stgate.io.safe.archive import load_array
from stgate.io.safe.reading import exists, reading
from stgate.io.times import count_times
from stgate.schema.panel import check_panel
from stgate.schema.precision import narrowed


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
    """Read an array (time, node, channel) in an `.npz` file, such as PEMS04 and PEMS08, into a panel.

    Args:
        path: The file.
        variables: Names of the channels, in order; they become the panel's variables.
        start: Time of the first row; None gives the panel model time, counted in steps.
        freq: The time step, such as `"5min"`; give it together with `start`.
        array: The array's name in the file.
        missing: Values that mark missing ones (`[-999]`), in all variables or by variable name (`{"speed": [0]}`).
        units: Units by variable name.

    Returns:
        A checked panel, float32, with nodes numbered from 0.

    Raises:
        StoreError: The file cannot be read, or holds pickled objects.
        PanelError: The file has no such array, or the array has another number of channels.
        RequestError: Only one of `start` and `freq` is given.
    """
    path = Path(path)
    if not exists(path):
        raise StoreError(f"{path}: no such file")
    if (start is None) != (freq is None):
        raise RequestError("start and freq: only one is given; give both, or neither for model time")
    with reading(path, ".npz"):
        values = load_array(path, array)
        values = values[..., None] if values.ndim == 2 else values
        if values.ndim != 3 or values.shape[2] != len(variables) or values.dtype.kind not in "fiu":
            shape = "x".join(map(str, values.shape))
            raise PanelError(f"{path.name}: {array} is {values.dtype} {shape}; expected (time, node, {len(variables)})")
        if values.dtype.kind in "iu" and values.size and max(int(values.max()), -int(values.min())) > 2**53:
            raise PanelError(
                f"{path.name}: {array} holds whole numbers beyond 2**53, which floats round; subtract an offset"
            )
        if start is not None and freq is not None:
            times = np.asarray(count_times(len(values), start, freq))
        else:
            times = np.arange(len(values), dtype=np.float64)
        attrs = {n: {"long_name": n, **({"units": units[n]} if units and n in units else {})} for n in variables}
        panel = xr.Dataset(
            {
                n: (
                    ("time", "node"),
                    narrowed(values[..., i].astype("float64"), integers=values.dtype.kind in "iu"),
                    attrs[n],
                )
                for i, n in enumerate(variables)
            },
            {"time": times, "node": np.arange(values.shape[1])},
            {"Conventions": "CF-1.11"},
        )
        if start is None:
            panel["time"].attrs = {"long_name": "step", "units": "1"}
        check_panel(panel)
        return mark_missing(panel, missing)
