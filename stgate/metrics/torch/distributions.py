"""Scores of torch distributions, one a forecast: the CRPS, and hits of the central interval."""

from __future__ import annotations

from functools import singledispatch

import torch
from torch import Tensor
from torch.distributions import Distribution, Normal

from stgate.errors import RequestError


@singledispatch
def inside(forecast: Distribution, observation: Tensor, level: float) -> Tensor:
    """Test that observations lie within the central interval of a level.

    Args:
        forecast: Distribution of any batch shape.
        observation: Truth of that shape, without NaN.
        level: Nominal coverage, in (0, 1).

    Returns:
        Flags of that shape.
    """
    lower, upper = (forecast.icdf(torch.tensor((1 + s * level) / 2)) for s in (-1, 1))
    return (observation >= lower) & (observation <= upper)


@singledispatch
def median_of(forecast: Distribution) -> Tensor:
    """Median of a distribution: the quantile of level 0.5, or the location of one that is symmetric.

    Args:
        forecast: Distribution of any batch shape.

    Returns:
        Medians of that shape.
    """
    made: Tensor = forecast.icdf(torch.tensor(0.5))
    return made


@median_of.register
def _(forecast: Normal) -> Tensor:
    return forecast.loc


@singledispatch
def quantiles_of(forecast: Distribution, levels: Tensor) -> Tensor:
    """Quantiles of some levels of a distribution.

    Args:
        forecast: Distribution of any batch shape.
        levels: Levels, (level,).

    Returns:
        Quantiles, (level, …).
    """
    return torch.stack([forecast.icdf(level) for level in levels])


def crps_of(forecast: Distribution, observation: Tensor) -> Tensor:
    """Continuous ranked probability score of a distribution, one a forecast.

    A closed form where there is one, else twice the pinball loss, integrated over the level at 20 midpoints.

    Args:
        forecast: Distribution of any batch shape.
        observation: Truth of that shape, without NaN.

    Returns:
        Scores of that shape, in the target's units.

    Raises:
        RequestError: A scale is negative, or missing where the location is known.
    """
    own = getattr(forecast, "components", forecast)
    if hasattr(own, "loc") and hasattr(own, "scale"):
        check_scale(own.loc, own.scale)
    return crps_unchecked(forecast, observation)


@singledispatch
def crps_unchecked(forecast: Distribution, observation: Tensor) -> Tensor:
    """Compute `crps_of` without a look at the scales, for which the host would wait for the device.

    Args:
        forecast: Distribution of any batch shape.
        observation: Truth of that shape, without NaN.

    Returns:
        Scores of that shape, in the target's units; NaN where a scale is negative.
    """
    levels = (torch.arange(20, dtype=observation.dtype, device=observation.device) + 0.5) / 20
    miss = observation.unsqueeze(-1) - quantiles_of(forecast, levels).movedim(0, -1)
    return 2 * torch.maximum(levels * miss, (levels - 1) * miss).mean(-1)


@crps_unchecked.register
def _(forecast: Normal, observation: Tensor) -> Tensor:
    apart = observation - forecast.loc
    z = standardised(apart, forecast.scale)
    density = torch.exp(-0.5 * z.square()) * 0.3989422804014327
    return apart * torch.erf(z * 0.7071067811865476) + forecast.scale * (2 * density - 0.5641895835477563)


def standardised(apart: Tensor, scale: Tensor) -> Tensor:
    """Divide distances by scales, without gradient; at a scale of 0 the limit, infinite unless the distance is 0 too.

    The expected distance a (2Φ(z) - 1) + 2σ φ(z) of z = a / σ has the derivative zero by z, so that gradients by a and
    by σ are exact and finite, also where σ is 0.

    Args:
        apart: Distances from the location.
        scale: Scales of 0 or more; below 0 and where it is NaN the result is NaN.
    """
    apart, scale = apart.detach(), scale.detach()
    z = torch.where(scale == 0, torch.sign(apart) * torch.inf, apart / scale)
    z = torch.where((apart == 0) & (scale >= 0), 0.0, z)
    return torch.where(scale >= 0, z, torch.nan)


def check_scale(loc: Tensor, scale: Tensor) -> None:
    """Refuse scales that are negative, or missing where the location is known.

    Args:
        loc: Locations.
        scale: Scales, of a shape that broadcasts against them.

    Raises:
        RequestError: There is such a scale.
    """
    if bool(((scale < 0) | (scale.isnan() & loc.isfinite())).any()):
        raise RequestError("scale: negative or missing; give distributions with scales of 0 or more")
