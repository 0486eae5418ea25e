"""Hiding: what training takes away of what was observed, so that a network learns to do with whatever is there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

MaskPattern = Literal["late", "stations", "entries", "own"]
"""Patterns of context masking: latest lags of all stations, whole stations, single entries, the place's own values."""
PATTERNS: tuple[MaskPattern, ...] = get_args(MaskPattern)


def mask_context(past: Tensor, horizon: int, patterns: Sequence[MaskPattern] = PATTERNS) -> tuple[Tensor, Tensor]:
    """What was observed (batch, lag, node, target), of which each window hides some by one of the patterns.

    The second one says (batch,) in which windows a node sees nothing of its own.
    """
    size, lags, nodes, _ = past.shape
    kinds = torch.tensor([PATTERNS.index(pattern) for pattern in patterns], device=past.device)
    kind = kinds[torch.randint(len(kinds), (size, 1, 1), device=past.device)]
    age = torch.arange(lags - 1, -1, -1, device=past.device).view(1, -1, 1)
    late = age < ((horizon + 1.0) ** torch.rand((size, 1, 1), device=past.device)).floor()  # short leads more often
    share = torch.rand((size, 1, 1), device=past.device)
    nowhere = torch.rand((size, 1, nodes), device=past.device) < share
    some = torch.rand((size, lags, nodes), device=past.device) < share
    gone = (late & (kind == 0)) | (nowhere & (kind == 1)) | (some & (kind == 2))
    return past.masked_fill(gone.unsqueeze(-1), math.nan), (kind == 3).flatten()
