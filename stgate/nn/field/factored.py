"""Rows that share parts: features of a time or a place are stored, and mapped by a linear layer, only once."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch.nn.functional import linear


@dataclasses.dataclass
class Factored:
    """Rows made of parts side by side: [part[index] for each part].

    Attributes:
        parts: Parts, each (entry, feature), whose entries are times, places or the rows themselves.
        indices: Entry of each row in each part, (row,); None where the entries are the rows.
    """

    parts: list[Tensor]
    indices: list[Tensor | None]

    def mapped(self, weight: Tensor, bias: Tensor) -> Tensor:
        """Compute `linear(self.rows(), weight, bias)` part by part.

        Args:
            weight: Weights, (out, feature).
            bias: Bias, (out,).

        Returns:
            Outputs, (row, out).
        """
        made: Tensor | None = None
        columns = torch.split(weight, [part.shape[-1] for part in self.parts], -1)
        for part, index, own in zip(self.parts, self.indices, columns, strict=True):
            if part.shape[-1]:
                term = _map_part(part, index, own, bias if made is None else None)
                made = term if made is None else made + term
        assert made is not None
        return made

    def rows(self) -> Tensor:
        """Gather the rows, (row, feature)."""
        pairs = zip(self.parts, self.indices, strict=True)
        return torch.cat([part if index is None else part.index_select(0, index) for part, index in pairs], -1)


def _map_part(part: Tensor, index: Tensor | None, weight: Tensor, bias: Tensor | None) -> Tensor:
    if index is None:
        return linear(part, weight, bias)
    if torch.compiler.is_compiling() or len(part) < len(index):  # the number of rows may be open
        return linear(part, weight, bias).index_select(0, index)
    return linear(part.index_select(0, index), weight, bias)
