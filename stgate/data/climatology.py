"""Climatology for imputation: the mean of each variable by calendar cell, node by node."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from stgate.data.encoded import EncodedSeries
from stgate.data.streaming import StoredSeries
from stgate.data.windows import Series
from stgate.panels.calendar import CELLS, cell_keys
from stgate.schema.spec import PanelSpec


def cell_means(series: Series | StoredSeries | EncodedSeries, spec: PanelSpec, rows: tuple[int, int]) -> Tensor:
    """Compute the mean of the observed values in each calendar cell, node by node.

    A node without observed values in a cell takes the mean of a wider cell: that hour in all months, then all times,
    then all nodes. For model time there is one cell, the mean of each node.

    Args:
        series: The panel as tensors.
        spec: The panel's spec.
        rows: Row range `[start, stop)` of the training part.

    Returns:
        (cell, node, channel), float32; cells are numbered as in `Clock.cell`. NaN where a channel is never observed.
    """
    sizes = [CELLS[key] for key in cell_keys(spec.time_step)]
    shape = (len(spec.nodes), len(spec.channels))
    total = torch.zeros((math.prod(sizes), *shape), dtype=torch.float64)
    count = torch.zeros_like(total)
    for start, stop in series.blocks(*rows):
        values, cell = series.read(start, stop), series.clock.cell[start:stop]
        for member in values:
            seen = ~torch.isnan(member)
            total.index_add_(0, cell, torch.where(seen, member, 0.0).double())
            count.index_add_(0, cell, seen.double())
    total, count = total.view(*sizes, *shape), count.view(*sizes, *shape)
    # From wide cells to narrow ones: all nodes and times, all times, all months, and the cell itself.
    means = torch.full_like(total, torch.nan)
    for depth in range(len(sizes) + 1, -1, -1):
        wide = list(range(depth))
        mean = total.sum(wide, keepdim=True) / count.sum(wide, keepdim=True) if wide else total / count
        means = torch.where(torch.isnan(mean), means, mean)
    return means.view(-1, *shape).float()
