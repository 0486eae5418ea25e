"""Rows that share parts: what belongs to a time or a place is held, and goes through a linear map, once."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch.nn.functional import linear


@dataclasses.dataclass
class Factored:
    """The rows [part[index] for each part], side by side.

    Attributes:
        parts: (entry, feature) each, entries being times, places or the rows themselves.
        indices: (row,) each, the entry that a row takes; None where entries are rows.
    """

    parts: list[Tensor]
    indices: list[Tensor | None]

    def mapped(self, weight: Tensor, bias: Tensor) -> Tensor:
        """`linear(self.rows(), weight, bias)`: (row, out)."""
        made: Tensor | None = None
        columns = torch.split(weight, [part.shape[-1] for part in self.parts], -1)
        for part, index, own in zip(self.parts, self.indices, columns, strict=True):
            if part.shape[-1]:
                term = _spread(part, index, own, bias if made is None else None)
                made = term if made is None else made + term
        assert made is not None
        return made

    def rows(self) -> Tensor:
        """(row, feature)."""
        pairs = zip(self.parts, self.indices, strict=True)
        return torch.cat([part if index is None else part.index_select(0, index) for part, index in pairs], -1)


def _spread(part: Tensor, index: Tensor | None, weight: Tensor, bias: Tensor | None) -> Tensor:
    if index is None:
        return linear(part, weight, bias)
    if len(part) < len(index):
        return linear(part, weight, bias).index_select(0, index)
    return linear(part.index_select(0, index), weight, bias)
