"""Blocks in time that are hidden from a fit: their values are masked, and all rows stay in place."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np
import xarray as xr

from stgate.data.window_data import WindowData
from stgate.errors import RequestError
from stgate.panels.split import Split

Rows = tuple[int, int]
"""A row range `[start, stop)`."""


def before_test(data: WindowData) -> WindowData:
    """Return a data module whose training part is all that comes before the test part.

    Args:
        data: The data.
    """
    stop = data.parts.test[0]
    return data.with_parts(Split((0, stop), (stop, stop), (stop, stop), data.parts.test))


def blocks_of(data: WindowData, folds: int) -> list[Rows]:
    """Cut the rows before the test part into blocks of equal length.

    Args:
        data: The data.
        folds: Number of blocks; fewer are made where a block could not hold a window and its horizon.

    Raises:
        RequestError: There are fewer than two folds, or the rows are too few for two blocks.
    """
    if folds < 2:
        raise RequestError(f"folds {folds}: must be at least 2")
    stop = data.parts.test[0]
    count = min(folds, stop // (data.window + data.horizon))
    if count < 2:
        raise RequestError(
            f"folds {folds}: the {stop} steps before the test part are too few for two blocks of a window of "
            f"{data.window} and a horizon of {data.horizon}; give a shorter window"
        )
    edges = np.linspace(0, stop, count + 1).round().astype(int).tolist()
    return list(itertools.pairwise(edges))


def hidden(panel: xr.Dataset, names: Iterable[str], rows: Rows) -> xr.Dataset:
    """Return a panel without the values of some variables in some rows: they are missing there.

    Args:
        panel: A panel.
        names: Variables to hide.
        rows: Row range `[start, stop)`.
    """
    kept = np.ones(panel.sizes["time"], bool)
    kept[slice(*rows)] = False
    mask = xr.DataArray(kept, dims="time")
    return panel.assign({name: panel[name].where(mask) for name in names if "time" in panel[name].dims})


def without(data: WindowData, rows: Rows) -> WindowData:
    """Return a data module to train on all rows before the test part but some, which are hidden.

    Hidden are the targets and the past covariates; future covariates are known ahead anyway.

    Args:
        data: The data.
        rows: Row range `[start, stop)`.
    """
    panel = hidden(data.panel, (*data.targets, *data.past_covariates), rows)
    return data.with_parts(before_test(data).parts, panel)
