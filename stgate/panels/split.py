"""Chronological splits: training, validation, calibration, test, in this order and never shuffled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr

from stgate.errors import RequestError
from stgate.schema.panel import first_row
from stgate.schema.words import check_split, shown

PARTS = ("train", "validation", "calibration", "test")


class Split(NamedTuple):
    """Row ranges `[start, stop)` of the four parts along time."""

    train: tuple[int, int]
    validation: tuple[int, int]
    calibration: tuple[int, int]
    test: tuple[int, int]


def split_panel(panel: xr.Dataset, split: Sequence[float | str]) -> Split:
    """Split the time axis of a panel into training, validation, calibration and test, in this order.

    Args:
        panel: The panel.
        split: Four fractions (training, validation, calibration, test) that add up to 1, where 0 leaves a part out. Or
            three times, at which validation, calibration and test start.

    Returns:
        Row ranges; each part starts where the part before it ends.

    Raises:
        RequestError: The split has neither form, its times are out of order, or a time lies outside the panel.

    >>> import numpy as np, xarray as xr
    >>> split_panel(xr.Dataset(coords={"time": np.arange(10.0)}), [0.6, 0.2, 0.1, 0.1])
    Split(train=(0, 6), validation=(6, 8), calibration=(8, 9), test=(9, 10))
    """
    size = panel.sizes["time"]
    check_split(split)
    if len(split) == 4:
        shares = [float(s) for s in split]
        edges = [round(size * total) for total in np.cumsum(shares)]
        edges[-1] = size
    else:
        edges = [*_rows(panel, split), size]
    if sorted(edges) != edges:
        raise RequestError(f"split {shown(split)}: the times must be in order")
    starts = [0, *edges[:-1]]
    return Split(*zip(starts, edges, strict=True))


def _rows(panel: xr.Dataset, starts: Sequence[float | str]) -> list[int]:
    times = panel["time"].values
    rows = []
    for start in starts:
        try:
            row = first_row(panel, start)
        except ValueError as error:
            raise RequestError(f"split: {start!r} is not a time of this panel ({error})") from error
        if row in (0, len(times)):
            raise RequestError(f"split: {start} lies outside the panel, which spans {times[0]} to {times[-1]}")
        rows.append(row)
    return rows
