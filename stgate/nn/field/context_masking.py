"""Context masking: training masks parts of the observed context, so that a network learns to work with any gaps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

MaskPattern = Literal["late", "stations", "entries", "own", "gaps"]
"""Patterns of context masking: latest lags of all stations, whole stations, single entries, the place's own values, and
runs of the place's own values around the entry."""
PATTERNS: tuple[MaskPattern, ...] = get_args(MaskPattern)


def mask_context(past: Tensor, horizon: int, patterns: Sequence[MaskPattern] = PATTERNS) -> tuple[Tensor, Tensor]:
    """Mask parts of the context of each window, by one of the patterns drawn at random.

    Args:
        past: Observed values, (batch, lag, node, target), NaN where missing.
        horizon: Number of leads of a forecast; the pattern `late` masks up to this many latest lags.
        patterns: Patterns to draw from: `late`, `stations`, `entries` or `own`.

    Returns:
        The values with masked entries set to NaN, and flags (batch,) of the windows with the pattern `own`, in which a
        place does not see its own values.
    """
    size, lags, nodes, _ = past.shape
    kind = drawn_patterns(size, patterns, past.device)
    age = torch.arange(lags - 1, -1, -1, device=past.device).view(1, -1, 1)
    late = age < ((horizon + 1.0) ** torch.rand((size, 1, 1), device=past.device)).floor()  # short leads more often
    share = torch.rand((size, 1, 1), device=past.device)
    nowhere = torch.rand((size, 1, nodes), device=past.device) < share
    some = torch.rand((size, lags, nodes), device=past.device) < share
    gone = (late & (kind == 0)) | (nowhere & (kind == 1)) | (some & (kind == 2))
    return past.masked_fill(gone.unsqueeze(-1), math.nan), (kind == 3).flatten()


def drawn_patterns(size: int, patterns: Sequence[MaskPattern], device: torch.device) -> Tensor:
    """Draw a pattern for each window: its position in `PATTERNS`, (batch, 1, 1).

    Args:
        size: Number of windows.
        patterns: Patterns to draw from.
        device: Device of the draws.
    """
    drawn = torch.randint(len(patterns), (size, 1, 1), device=device)
    kind = torch.zeros_like(drawn)
    for number, pattern in enumerate(patterns):  # no table, which would be copied to the device
        kind = torch.where(drawn == number, PATTERNS.index(pattern), kind)
    return kind
