"""Scores of torch distributions, one a forecast: the CRPS, and hits of the central interval."""

from __future__ import annotations

from functools import singledispatch

import torch
from torch import Tensor
from torch.distributions import Distribution, Normal


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
def crps_of(forecast: Distribution, observation: Tensor) -> Tensor:
    """Continuous ranked probability score of a distribution, one a forecast.

    A closed form where there is one, else twice the pinball loss, integrated over the level at 20 midpoints.

    Args:
        forecast: Distribution of any batch shape.
        observation: Truth of that shape, without NaN.

    Returns:
        Scores of that shape, in the target's units.
    """
    levels = (torch.arange(20, dtype=observation.dtype, device=observation.device) + 0.5) / 20
    miss = torch.stack([observation - forecast.icdf(level) for level in levels], -1)
    return 2 * torch.maximum(levels * miss, (levels - 1) * miss).mean(-1)


@crps_of.register
def _(forecast: Normal, observation: Tensor) -> Tensor:
    z = (observation - forecast.loc) / forecast.scale
    density = torch.exp(-0.5 * z.square()) * 0.3989422804014327
    return forecast.scale * (z * torch.erf(z * 0.7071067811865476) + 2 * density - 0.5641895835477563)
