"""Levels of observed values in forecasts that have an atom at the end of their range, such as zero of counts."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from stgate.distributions.transformed import Transformed

GOLDEN = 0.6180339887498949
"""Step of the evenly spread numbers that take the place of random ones."""
EDGE = 1e-6
"""Distance from zero and one that a level keeps."""


def level_in(forecast: Distribution, truth: Tensor) -> Tensor:
    """Return the level F(y) of observed values; a value at an atom gets one of the levels of the atom.

    A forecast that cannot go below zero puts all its probability below zero on zero. An observed zero then has no
    single level: all of those up to F(0) fit it. One of them is taken, evenly spread over the cases, so that the levels
    of a forecast that is right are uniform. The same holds at the upper end of the range.

    Args:
        forecast: A distribution of the shape of the truth.
        truth: Observed values, NaN where missing.

    Returns:
        Levels between zero and one, NaN where the truth is missing.

    References:
        Czado, Gneiting, Held (2009), Predictive model assessment for count data. Biometrics 65.
        doi:10.1111/j.1541-0420.2009.01191.x
    """
    known = torch.isfinite(truth)
    level = forecast.cdf(torch.where(known, truth, forecast.mean))
    if (found := atoms(forecast, truth, level)) is not None:
        (low, high), share = found, spread(truth)
        level = torch.where(low, level * share, torch.where(high, level + (1 - level) * share, level))
    return torch.where(known, level, torch.nan)


def encoded_truth(forecast: Transformed, truth: Tensor) -> Tensor:
    """Return encoded observed values; one at an atom becomes a value of the base distribution that decodes to it.

    Args:
        forecast: A transformed distribution of the shape of the truth.
        truth: Observed values, NaN where missing.
    """
    encoded = forecast.bound.encode(truth)
    if forecast.bound.affine:
        return encoded
    level = forecast.base.cdf(torch.where(torch.isfinite(encoded), encoded, forecast.base.mean))
    if (found := atoms(forecast, truth, level)) is None:
        return encoded
    (low, high), share = found, spread(truth)
    level = torch.where(low, level * share, level + (1 - level) * share).clamp(EDGE, 1 - EDGE)
    return torch.where(low | high, forecast.base.icdf(level), encoded)


def atoms(forecast: Distribution, truth: Tensor, level: Tensor) -> tuple[Tensor, Tensor] | None:
    """Tell which observed values lie at an atom at the lower and at the upper end of their forecast's range.

    Args:
        forecast: A distribution of the shape of the truth.
        truth: Observed values, NaN where missing.
        level: F(y) of each.

    Returns:
        Flags of the lower and of the upper end; None if no value is observed more than once as the lowest or highest.
    """
    seen = truth[torch.isfinite(truth)]
    if not len(seen):
        return None
    least, most = seen.min(), seen.max()
    if int((seen == least).sum()) < 2 and int((seen == most).sum()) < 2:
        return None
    half, upper = (forecast.icdf(p.clamp(EDGE, 1 - EDGE)) for p in (0.5 * level, 0.5 * (1 + level)))
    low = (truth == least) & (half >= truth)
    return low, (truth == most) & (upper <= truth) & ~low


def spread(values: Tensor) -> Tensor:
    """Return numbers evenly spread between zero and one, of the shape of the values, the same in each call."""
    number = torch.arange(1, values.numel() + 1, dtype=torch.float64, device=values.device)
    return (number * GOLDEN).frac().clamp(EDGE, 1 - EDGE).view(values.shape).to(values.dtype)
