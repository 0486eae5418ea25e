"""Fills: what stands in for a missing input. One signature, `fill(values, cell, first, before=None)`.

Values are standardised, (batch, step, node, channel), NaN where missing; what comes back has none, and what was
observed as it was. A network sees the mask beside it.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from stgate.errors import RequestError, did_you_mean


class Zero(nn.Module):
    """Zero: the training mean of the channel over all nodes."""

    def forward(self, values: Tensor, cell: Tensor, first: int, before: Tensor | None = None) -> Tensor:
        """Zero where missing."""
        return torch.nan_to_num(values, nan=0.0)


class Last(nn.Module):
    """The last observation carried forward from within the window; zero before the first."""

    def forward(self, values: Tensor, cell: Tensor, first: int, before: Tensor | None = None) -> Tensor:
        """The last value where missing.

        Args:
            values: (batch, step, node, channel).
            cell: Not used.
            first: Not used.
            before: (batch, node, channel), filled, the step before the first.
        """
        start = torch.zeros_like(values[:, :1]) if before is None else before.unsqueeze(1)
        longer = torch.cat([start, torch.nan_to_num(values, nan=0.0)], 1)
        steps = torch.arange(1, longer.shape[1], device=values.device).view(1, -1, 1, 1)
        newest = torch.where(torch.isnan(values), 0, steps).cummax(1).values
        return longer.gather(1, newest)


class Climatology(nn.Module):
    """The training mean of that node and channel in that cell of the calendar; see `stgate.data.climatology`.

    Args:
        cells: How many cells there are.
        nodes: How many nodes.
        channels: How many channels.
    """

    means: Tensor

    def __init__(self, cells: int, nodes: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("means", torch.zeros(cells, nodes, channels))

    def forward(self, values: Tensor, cell: Tensor, first: int, before: Tensor | None = None) -> Tensor:
        """The mean where missing.

        Args:
            values: (batch, step, node, channel).
            cell: (batch, step).
            first: Which channel the first of `values` is.
            before: Not used.
        """
        means = self.means[..., first : first + values.shape[-1]]
        return torch.where(torch.isnan(values), means[cell], values)


ImputationName = Literal["zero", "last", "climatology"]
"""Names of the imputations in configs."""
IMPUTATIONS: tuple[ImputationName, ...] = get_args(ImputationName)


def make_imputation(name: ImputationName, cells: int, nodes: int, channels: int) -> nn.Module:
    """A fill by name.

    Raises:
        RequestError: No fill of this name.
    """
    check_imputation(name)
    if name == "climatology":
        return Climatology(cells, nodes, channels)
    return Last() if name == "last" else Zero()


def check_imputation(name: str) -> None:
    """Refuse a name that no fill has.

    Raises:
        RequestError: No fill of this name.
    """
    if name not in IMPUTATIONS:
        raise RequestError(f"imputation {name!r}: {did_you_mean(name, IMPUTATIONS)}")
