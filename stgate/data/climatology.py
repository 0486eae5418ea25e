"""Climatology for filling gaps: the mean of each variable by cell of the calendar, node by node."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from stgate.data.streaming import StoredSeries
from stgate.data.windows import Series
from stgate.panels.calendar import CELLS, cell_keys
from stgate.schema.spec import PanelSpec


def cell_means(series: Series | StoredSeries, spec: PanelSpec, rows: tuple[int, int]) -> Tensor:
    """Means of what is observed in the rows `[start, stop)`, by the cells of `Clock.cell`.

    A cell in which a node observed nothing takes the mean of a wider one: that hour in all months, then all times, then
    all nodes. For model time there is one cell, the mean of each node.

    Args:
        series: The panel.
        spec: Its spec.
        rows: Those of the training part.

    Returns:
        (cell, node, channel), float32; NaN where a channel is never observed.
    """
    sizes = [CELLS[key] for key in cell_keys(spec.step, spec.time)]
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
