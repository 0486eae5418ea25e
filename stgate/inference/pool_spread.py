"""Spreads of the members of a pool: how much wider each has to be for its own intervals to hold."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from stgate.distributions.ties import spread, whole, within_cells

SCORES = tuple(0.5 * i for i in range(-6, 7))
"""Normal scores of the members' quantiles from which spreads and weights are learned."""
GRID = tuple(0.5 * math.erfc(-score / math.sqrt(2)) for score in SCORES)
"""Levels of these quantiles."""
LARGEST = 4.0
"""Largest normal score of an observed value, beyond the outermost quantiles."""
RANGE = (0.5, 2.0)
"""Smallest and largest factor."""


def normal_scores(quantiles: Tensor, truth: Tensor) -> Tensor:
    """Return the normal scores of observed values, Φ⁻¹(F(y)), NaN where a value or a quantile is missing.

    Between quantiles they are interpolated. Where a value has several levels, as at an atom or of a whole number, one
    of them is taken, evenly spread over the cases.

    Args:
        quantiles: (…, level), at the levels of `GRID`.
        truth: (…), NaN where missing.
    """
    scores, share = torch.tensor(SCORES, dtype=quantiles.dtype), spread(truth)
    found, below, upto = _interpolated(quantiles, within_cells(truth.unsqueeze(-1)).squeeze(-1))
    if bool(whole(truth.unsqueeze(-1))):
        top = _interpolated(quantiles, torch.full_like(truth, 0.5))[0]
        found = torch.where(truth == 0, torch.special.ndtri(share * torch.special.ndtr(top)), found)
    else:
        edge = torch.cat([torch.tensor([-LARGEST]), scores, torch.tensor([LARGEST])]).to(scores)
        low = torch.special.ndtr(edge[torch.where(below == 0, 0, below + 1)])
        high = torch.special.ndtr(edge[torch.where(upto == len(SCORES), len(SCORES) + 1, upto)])
        found = torch.where(upto > below + 1, torch.special.ndtri(low + share * (high - low)), found)
    known = torch.isfinite(truth) & torch.isfinite(quantiles).all(-1)
    return torch.where(known, found.clamp(-LARGEST, LARGEST), torch.nan)


def _interpolated(quantiles: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return normal scores by interpolation, and the numbers of quantiles below a value, and not above it."""
    scores = torch.tensor(SCORES, dtype=quantiles.dtype)
    below, upto = (quantiles < value.unsqueeze(-1)).sum(-1), (quantiles <= value.unsqueeze(-1)).sum(-1)
    right = below.clamp(1, len(SCORES) - 1)  # the quantile at or above the value, or the outermost pair
    ends = [torch.gather(quantiles, -1, (right - shift).unsqueeze(-1)).squeeze(-1) for shift in (1, 0)]
    step = (ends[1] - ends[0]).clamp(min=1e-12)
    found = scores[right - 1] + (scores[right] - scores[right - 1]) * (value - ends[0]) / step
    return found.clamp(-LARGEST, LARGEST), below, upto


def spreads_of(quantiles: Tensor, truth: Tensor) -> Tensor:
    """Return the factor by which each member's spread has to grow, (member, lead).

    It is the ratio of the mean absolute normal score to that of a standard normal, and the logarithm of it is linear
    in that of the lead.

    Args:
        quantiles: (member, origin, lead, node, level), at the levels of `GRID`.
        truth: (origin, lead, node), NaN where missing.
    """
    members, _, leads = quantiles.shape[:3]
    size = torch.stack([normal_scores(one, truth).abs().nanmean((0, 2)) for one in quantiles])  # (member, lead)
    logs = torch.log(size.clamp(min=1e-3).double() * math.sqrt(math.pi / 2))
    place = torch.log(torch.arange(1, leads + 1, dtype=torch.float64))
    made = torch.zeros(members, leads, dtype=torch.float64)
    for one, known in zip(range(members), torch.isfinite(logs), strict=True):
        count = int(known.sum())
        if count:
            columns = torch.stack([torch.ones_like(place), place], 1)[:, : min(count, 2)]
            solved = torch.linalg.lstsq(columns[known], logs[one, known].unsqueeze(1)).solution
            made[one] = (columns @ solved).squeeze(1)
    return made.exp().clamp(*RANGE).float()


def at_levels(quantiles: Tensor, factor: Tensor, levels: Sequence[float]) -> Tensor:
    """Return quantiles of widened members by interpolation, (…, level).

    Args:
        quantiles: (…, level), at the levels of `GRID`.
        factor: Factors of the spreads, broadcast against the shape without levels.
        levels: Levels of the result.
    """
    columns = []
    for level in levels:
        score = factor * torch.special.ndtri(torch.tensor(level, dtype=torch.float64)).to(quantiles)
        place = ((score - SCORES[0]) / (SCORES[1] - SCORES[0])).clamp(0, len(SCORES) - 1)
        left = place.floor().clamp(max=len(SCORES) - 2)
        index = left.long().unsqueeze(-1).expand(*quantiles.shape[:-1], 1)
        ends = [torch.gather(quantiles, -1, index + shift) for shift in (0, 1)]
        columns.append(torch.lerp(ends[0], ends[1], (place - left).unsqueeze(-1)))
    return torch.cat(columns, -1)
