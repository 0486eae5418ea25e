"""Likelihoods: what a network's raw outputs mean as a distribution in the target's own units."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import softplus

from stgate.configured import Configured


class Likelihood(Configured, ABC):
    """A family of distributions; it has options but no weights.

    Attributes:
        parameters: Raw network outputs a target needs; the first one is the location, in standardised units.
    """

    parameters: int

    @abstractmethod
    def __call__(self, raw: Tensor, center: Tensor, scale: Tensor) -> Distribution:
        """The distribution in own units.

        Args:
            raw: (..., target, parameter), in standardised units.
            center: (target,), added after scaling.
            scale: (target,), multiplies.

        Returns:
            A distribution of batch shape (..., target).
        """


class Normal(Likelihood):
    """Normal(loc, scale) with scale = min_scale + softplus, both in units of the training data's spread.

    Args:
        min_scale: Lower bound of the standardised scale.
    """

    parameters = 2

    def __init__(self, min_scale: float = 1e-3) -> None:
        self.min_scale = min_scale

    def __call__(self, raw: Tensor, center: Tensor, scale: Tensor) -> Distribution:
        """See `Likelihood`."""
        spread = self.min_scale + softplus(raw[..., 1])
        return torch.distributions.Normal(center + scale * raw[..., 0], scale * spread, validate_args=False)
