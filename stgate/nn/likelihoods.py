"""Likelihoods: what a network's raw outputs mean as a distribution in the target's own units."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import softplus

from stgate.configured import Configured
from stgate.errors import RequestError


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

    def loss(self, forecast: Distribution, truth: Tensor) -> Tensor:
        """What training minimises, entry by entry: the negative log-likelihood unless a family says otherwise."""
        made: Tensor = -forecast.log_prob(truth)
        return made


class Normal(Likelihood):
    """Normal(loc, scale) with scale = min_scale + softplus, both in units of the training data's spread.

    Args:
        min_scale: Lower bound of the standardised scale.
        beta: In training, weigh each entry's negative log-likelihood by its variance to this power: 0 is the likelihood
            itself, 1 gives the location the gradients of the squared error, so that it also learns where the spread is
            large.

    References:
        Seitzer et al. (2022), On the pitfalls of heteroscedastic uncertainty estimation with probabilistic neural
        networks. ICLR (beta).
    """

    parameters = 2

    def __init__(self, min_scale: float = 1e-3, beta: float = 0.0) -> None:
        if min_scale <= 0:
            raise RequestError(f"min_scale {min_scale:g}: must be above zero")
        if not 0 <= beta <= 1:
            raise RequestError(f"beta {beta:g}: between 0 and 1")
        self.min_scale, self.beta = min_scale, beta

    def __call__(self, raw: Tensor, center: Tensor, scale: Tensor) -> Distribution:
        """See `Likelihood`."""
        spread = self.min_scale + softplus(raw[..., 1])
        return torch.distributions.Normal(center + scale * raw[..., 0], scale * spread, validate_args=False)

    def loss(self, forecast: Distribution, truth: Tensor) -> Tensor:
        """See `Likelihood`."""
        losses = super().loss(forecast, truth)
        return losses if self.beta == 0 else losses * forecast.variance.detach() ** self.beta
