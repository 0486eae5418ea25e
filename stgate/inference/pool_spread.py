"""Spreads and tails of the members of a pool: how each has to be reshaped for its own intervals to hold."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from stgate.distributions.reshaped import SCORES, curve_at
from stgate.distributions.ties import spread, whole, within_cells

GRID = tuple(0.5 * math.erfc(-score / math.sqrt(2)) for score in SCORES)
"""Levels of the members' quantiles from which spreads and weights are learned."""
LARGEST = 4.7
"""Largest normal score of an observed value, beyond the outermost quantiles."""
RANGE = (0.5, 2.0)
"""Smallest and largest factor of a spread."""
BEYOND = 50
"""Number of cases beyond a quantile with which it counts half; the other half is that of a normal shape."""
STEEP = 0.02
"""Least slope of a curve."""


def grid_scores(quantiles: Tensor, truth: Tensor) -> Tensor:
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


def curves_of(quantiles: Tensor, truth: Tensor) -> Tensor:
    """Return the curve by which each member's normal scores have to be reshaped, at `SCORES`, (member, lead, score).

    A curve is a factor of the spread at each lead, times a shape that all leads share: the quantiles of the normal
    scores of observed values, in units of the factor. Where few values lie beyond them they are drawn
    towards those of a normal distribution, or to a tail that goes on in proportion to a normal one.

    Args:
        quantiles: (member, origin, lead, node, level), at the levels of `GRID`.
        truth: (origin, lead, node), NaN where missing.
    """
    scores = torch.stack([grid_scores(one, truth) for one in quantiles])
    factors = _factors(scores)
    shapes = torch.stack([_shape(own / factor[:, None]) for own, factor in zip(scores, factors, strict=True)])
    return factors[..., None] * shapes[:, None]


def _factors(scores: Tensor) -> Tensor:
    """Return the factor by which each member's spread has to grow, (member, lead).

    It is the ratio of the mean absolute normal score to that of a standard normal, and the logarithm of it is linear
    in that of the lead.

    Args:
        scores: Normal scores of observed values, (member, origin, lead, node), NaN where missing.
    """
    members, _, leads, _ = scores.shape
    size = scores.clamp(SCORES[0] - 1, SCORES[-1] + 1).abs().nanmean((1, 3))  # (member, lead)
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


def _shape(scores: Tensor) -> Tensor:
    """Return quantiles of scores at the levels of `GRID`, ascending, (score,).

    Args:
        scores: Normal scores in units of the spread's factor, NaN where missing.
    """
    known = scores[torch.isfinite(scores)]
    made = torch.tensor(SCORES, dtype=scores.dtype)
    if not len(known):
        return made
    levels = torch.tensor(GRID, dtype=scores.dtype)
    found = torch.quantile(known, levels)
    beyond = len(known) * torch.minimum(levels, 1 - levels)
    share = beyond / (beyond + BEYOND)
    middle = len(SCORES) // 2
    for k in (*range(middle, len(SCORES)), *reversed(range(middle))):
        inner = k - 1 if k > middle else k + 1
        goes_on = made[k] * (made[inner] / SCORES[inner] if abs(SCORES[inner]) >= 1 else 1.0)  # in proportion
        made[k] = torch.lerp(goes_on, found[k], share[k])
    rise = STEEP * torch.tensor(SCORES, dtype=scores.dtype)
    return torch.cummax(made - rise, 0).values + rise


def at_levels(quantiles: Tensor, curve: Tensor, levels: Sequence[float]) -> Tensor:
    """Return quantiles of reshaped members by interpolation, (…, level).

    Args:
        quantiles: (…, level), at the levels of `GRID`.
        curve: Curves at `SCORES`, (…, score), broadcast against the quantiles.
        levels: Levels of the result.
    """
    columns, knots = [], torch.tensor(SCORES, dtype=quantiles.dtype)
    for level in levels:
        score = curve_at(curve, torch.special.ndtri(torch.tensor(level, dtype=torch.float64)).to(quantiles))
        left = (torch.searchsorted(knots, score.contiguous()) - 1).clamp(0, len(SCORES) - 2)
        share = ((score - knots[left]) / (knots[left + 1] - knots[left])).clamp(0, 1).unsqueeze(-1)
        index = left.unsqueeze(-1).expand(*quantiles.shape[:-1], 1)
        ends = [torch.gather(quantiles, -1, index + shift) for shift in (0, 1)]
        columns.append(torch.lerp(ends[0], ends[1], share))
    return torch.cat(columns, -1)
