"""Levels of observed values that have several: those at the end of a forecast's range, and whole numbers."""

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
    """Return the level F(y) of observed values; where a value has several levels, one of them.

    A forecast that cannot go below zero puts all its probability below zero on zero. An observed zero then has no
    single level: all of those up to F(0) fit it. One of them is taken, evenly spread over the cases, so that the levels
    of a forecast that is right are uniform. The same holds at the upper end of the range. Whole numbers, such as
    counts, have the levels from F(y - 1/2) to F(y + 1/2), and zero all those up to F(1/2).

    Args:
        forecast: A distribution of the shape of the truth.
        truth: Observed values, (…, target), NaN where missing.

    Returns:
        Levels between zero and one, NaN where the truth is missing.

    References:
        Czado, Gneiting, Held (2009), Predictive model assessment for count data. Biometrics 65.
        doi:10.1111/j.1541-0420.2009.01191.x
    """
    known = torch.isfinite(truth)
    value, half = torch.where(known, truth, forecast.mean), 0.5 * whole(truth)
    level = forecast.cdf(value)
    ends = _levels_at_ends(forecast, truth, level)
    if bool(half.any()):
        low, high = forecast.cdf(value - half), forecast.cdf(value + half)
        level = torch.where(half > 0, low + spread(truth) * (high - low), level)
    return torch.where(known, level if ends is None else torch.where(torch.isnan(ends), level, ends), torch.nan)


def encoded_truth(forecast: Transformed, truth: Tensor) -> Tensor:
    """Return encoded observed values; where a value has several levels, one that has one of them.

    Args:
        forecast: A transformed distribution of the shape of the truth.
        truth: Observed values, (…, target), NaN where missing.
    """
    encoded = forecast.bound.encode(within_cells(truth))
    if forecast.bound.affine:
        return encoded
    level = forecast.base.cdf(torch.where(torch.isfinite(encoded), encoded, forecast.base.mean))
    ends = _levels_at_ends(forecast, truth, level)
    if ends is None:
        return encoded
    inner = forecast.base.icdf(torch.nan_to_num(ends, nan=0.5).clamp(EDGE, 1 - EDGE))
    return torch.where(torch.isnan(ends), encoded, inner)


def whole(truth: Tensor) -> Tensor:
    """Return True for each target whose observed values are whole numbers from zero on, such as counts, (target,).

    Args:
        truth: Observed values, (…, target), NaN where missing.
    """
    rows = truth.reshape(-1, truth.shape[-1])
    known = torch.isfinite(rows)
    fits = (rows == rows.round()) & (rows >= 0)
    return (fits | ~known).all(0) & (known.sum(0) > 1)


def within_cells(truth: Tensor) -> Tensor:
    """Spread whole numbers evenly over the cells that are rounded to them; leave other targets as they are.

    Args:
        truth: Observed values, (…, target), NaN where missing.
    """
    return truth + torch.where(whole(truth), spread(truth) - 0.5, 0.0)


def _levels_at_ends(forecast: Distribution, truth: Tensor, level: Tensor) -> Tensor | None:
    """Return levels of values at an end of their forecast's range, NaN elsewhere; None if there are no such values.

    Args:
        forecast: The forecast in units of the truth.
        truth: Observed values, (…, target).
        level: Level of each.
    """
    rows, share, counts = truth.reshape(-1, truth.shape[-1]), spread(truth), whole(truth)
    known = torch.isfinite(rows)
    least = rows.masked_fill(~known, torch.inf).amin(0)
    most = rows.masked_fill(~known, -torch.inf).amax(0)
    zero = counts & (truth == 0)
    tied = ~counts & (((rows == least).sum(0) > 1) | ((rows == most).sum(0) > 1))
    found = torch.full_like(level, torch.nan)
    if not bool(zero.any()) and not bool(tied.any()):
        return None
    if bool(zero.any()):
        found = torch.where(zero, forecast.cdf(torch.full_like(truth, 0.5)) * share, found)
    if bool(tied.any()):
        half, upper = (forecast.icdf(p.clamp(EDGE, 1 - EDGE)) for p in (0.5 * level, 0.5 * (1 + level)))
        low, high = tied & (truth == least) & (half >= truth), tied & (truth == most) & (upper <= truth)
        found = torch.where(low, level * share, torch.where(high, level + (1 - level) * share, found))
    return found


def spread(values: Tensor) -> Tensor:
    """Return numbers evenly spread between zero and one, of the shape of the values, the same in each call."""
    number = torch.arange(1, values.numel() + 1, dtype=torch.float64, device=values.device)
    return (number * GOLDEN).frac().clamp(EDGE, 1 - EDGE).view(values.shape).to(values.dtype)
