"""Normal scores: the standard normal value whose level is that of a value in a distribution, and back.

Beyond the outermost of `SCORES`, where levels are all but zero or one, both go on in straight lines: a value far out
has a large score, and an interval can reach it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from stgate.distributions.mixture import settled
from stgate.distributions.reshaped import SCORES
from stgate.distributions.ties import EDGE, level_in

FARTHEST = 1e4
"""Largest size of a score."""
ENDS = ((SCORES[1], SCORES[0]), (SCORES[-2], SCORES[-1]))
"""The two outermost scores at either end, the inner one first."""


def score_in(forecast: Distribution, truth: Tensor) -> Tensor:
    """Return the normal scores Φ⁻¹(F(y)) of values, where F is the forecast's distribution function.

    Args:
        forecast: A distribution of the shape of the truth.
        truth: Values, NaN where missing.

    Returns:
        Scores of the shape of the truth, NaN where it is missing.
    """
    score: Tensor = torch.special.ndtri(level_in(forecast, truth).double().clamp(EDGE, 1 - EDGE)).to(truth)
    for inner, outer in ENDS:
        far = score * outer >= outer * outer
        if not settled(far):
            end, slope = _line(forecast, inner, outer, truth)
            line = outer + (truth - end) / slope.clamp(min=torch.finfo(truth.dtype).tiny)
            score = torch.where(far & (slope > 0), line.clamp(-FARTHEST, FARTHEST), score)
    return score


def value_at(forecast: Distribution, score: Tensor) -> Tensor:
    """Return the values with some normal scores; infinite scores give infinite values.

    Args:
        forecast: A distribution.
        score: Normal scores, of the forecast's batch shape.
    """
    level = torch.special.ndtr(score.double().clamp(SCORES[0], SCORES[-1])).to(score)
    value = forecast.icdf(level)
    for inner, outer in ENDS:
        far = score * outer > outer * outer
        if not settled(far):
            end, slope = _line(forecast, inner, outer, value)
            value = torch.where(far, end + slope * (score - outer), value)
    return torch.where(torch.isinf(score), score, value)


def _line(forecast: Distribution, inner: float, outer: float, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return the value at the outermost score of an end, and the slope of values there.

    Args:
        forecast: A distribution.
        inner: The score before the outermost one.
        outer: The outermost score.
        like: A tensor of the wanted type.
    """
    levels = torch.special.ndtr(torch.tensor([inner, outer], dtype=torch.float64)).to(like)
    near, end = (forecast.icdf(level) for level in levels)
    return end, (end - near) / (outer - inner)
