"""Hiding of observations from a field in training: whole places, gaps, single entries, what a forecast lacks."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from stgate.nn.field.context_masking import MaskPattern, drawn_patterns


@dataclasses.dataclass
class Hidden:
    """Observations as a field sees them.

    Attributes:
        values: Values, (batch, step, node, target), NaN where missing or hidden from all.
        mine: True where a node's own values are hidden from its own entries, (batch, step, node).
        new: True for windows in which each place is taken for one that training has not seen, (batch,).
    """

    values: Tensor
    mine: Tensor
    new: Tensor


def hide(values: Tensor, now: int, horizon: int, patterns: Sequence[MaskPattern]) -> Hidden:
    """Hide observations by one of the patterns for each window, drawn at random.

    Args:
        values: Values, (batch, step, node, target), NaN where missing.
        now: Step of the entries that are estimated.
        horizon: Number of leads of a forecast.
        patterns: Patterns to draw from.
    """
    size, steps, nodes, _ = values.shape
    kind = drawn_patterns(size, patterns, values.device)
    age = (now - torch.arange(steps, device=values.device)).view(1, -1, 1)

    def drawn(*shape: int) -> Tensor:
        return torch.rand(shape, device=values.device)

    share = drawn(size, 1, 1)
    late = age < ((horizon + 1.0) ** drawn(size, 1, 1)).floor()
    nowhere = drawn(size, 1, nodes) < share
    some = drawn(size, steps, nodes) < share
    longest = max(now, steps - 1 - now, 1)
    before, after = (((longest + 2.0) ** drawn(size, 1, nodes)).floor() for _ in range(2))
    run = (age < before) & (age > -after)
    in_runs = run & (drawn(size, 1, nodes) < 0.5 * share)
    gone = (late & (kind == 0)) | (nowhere & (kind == 1)) | (some & (kind == 2)) | (in_runs & (kind == 4))
    new = (kind == 3).flatten()
    mine = (run & (kind == 4)) | new.view(-1, 1, 1) | (age == 0)
    return Hidden(values.masked_fill(gone.unsqueeze(-1), math.nan), mine.expand(size, steps, nodes), new)
