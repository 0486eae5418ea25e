"""Imputation of missing inputs. One signature, `impute(values, cell, first, before=None)`.

Values are standardised, (batch, step, node, channel), NaN where missing. The result has no NaN and keeps observed
values. A network sees the mask beside it.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from stgate.errors import RequestError, did_you_mean


class Zero(nn.Module):
    """Imputation by zero, the training mean of the channel over all nodes."""

    def forward(self, values: Tensor, cell: Tensor, first: int, before: Tensor | None = None) -> Tensor:
        """Impute zero.

        Args:
            values: Standardised values, (batch, step, node, channel), NaN where missing.
            cell: Not used.
            first: Not used.
            before: Not used.

        Returns:
            Values of the same shape, without NaN.
        """
        return torch.nan_to_num(values, nan=0.0)


class Last(nn.Module):
    """Imputation by the last observation within the window; zero before the first one."""

    def forward(self, values: Tensor, cell: Tensor, first: int, before: Tensor | None = None) -> Tensor:
        """Impute the last observed value.

        Args:
            values: Standardised values, (batch, step, node, channel), NaN where missing.
            cell: Not used.
            first: Not used.
            before: Values of the step before the first, (batch, node, channel), without NaN; zeros when None.

        Returns:
            Values of the same shape, without NaN.
        """
        start = torch.zeros_like(values[:, :1]) if before is None else before.unsqueeze(1)
        longer = torch.cat([start, torch.nan_to_num(values, nan=0.0)], 1)
        steps = torch.arange(1, longer.shape[1], device=values.device).view(1, -1, 1, 1)
        newest = torch.where(torch.isnan(values), 0, steps).cummax(1).values
        return longer.gather(1, newest)


class Climatology(nn.Module):
    """Imputation by the training mean of the node and channel in the same cell of the calendar.

    Args:
        cells: Number of calendar cells, such as the hours of a day times the days of a week.
        nodes: Number of nodes.
        channels: Number of channels.
    """

    means: Tensor

    def __init__(self, cells: int, nodes: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("means", torch.zeros(cells, nodes, channels))

    def forward(self, values: Tensor, cell: Tensor, first: int, before: Tensor | None = None) -> Tensor:
        """Impute the mean of the calendar cell.

        Args:
            values: Standardised values, (batch, step, node, channel), NaN where missing.
            cell: Number of the calendar cell of each step, (batch, step).
            first: Number of the channel that comes first in `values`.
            before: Not used.

        Returns:
            Values of the same shape, without NaN.
        """
        means = self.means[..., first : first + values.shape[-1]]
        return torch.where(torch.isnan(values), means[cell], values)


ImputationName = Literal["zero", "last", "climatology"]
"""Names of the imputations in configs."""
IMPUTATIONS: tuple[ImputationName, ...] = get_args(ImputationName)


def make_imputation(name: ImputationName, cells: int, nodes: int, channels: int) -> nn.Module:
    """Make an imputation by its name.

    Args:
        name: Name of an imputation: `zero`, `last` or `climatology`.
        cells: Number of calendar cells.
        nodes: Number of nodes.
        channels: Number of channels.

    Raises:
        RequestError: There is no imputation of this name.
    """
    check_imputation(name)
    if name == "climatology":
        return Climatology(cells, nodes, channels)
    return Last() if name == "last" else Zero()


def check_imputation(name: str) -> None:
    """Refuse a name that no imputation has.

    Args:
        name: Name to check.

    Raises:
        RequestError: There is no imputation of this name.
    """
    if name not in IMPUTATIONS:
        raise RequestError(f"imputation {name!r}: {did_you_mean(name, IMPUTATIONS)}")
