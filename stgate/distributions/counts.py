"""Distributions of counts. Densities carry gradients, quantiles, levels and scores do not.

Each can be a component of `stgate.distributions.Mixture`, which rebuilds it from its `arg_constraints`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.utils import broadcast_all

from stgate.distributions.incomplete_beta import (
    RAISED,
    gauss,
    mean_difference,
    negative_binomial_between,
    negative_binomial_first,
    negative_binomial_levels,
    negative_binomial_quantile,
)
from stgate.metrics.torch.distributions import crps_unchecked, inside

NODES = 32
"""Number of nodes of the integral in the score of a mixture."""


class NegativeBinomial(Distribution):
    """Negative binomial distribution of counts, with variance mean + dispersion mean².

    Args:
        mean: Mean count, above zero.
        dispersion: Dispersion, above zero; towards zero the counts become Poisson.
        validate_args: Check the parameters, as torch does; None takes torch's default.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "mean": constraints.positive,
        "dispersion": constraints.positive,
    }
    support = constraints.nonnegative_integer

    def __init__(self, mean: Tensor, dispersion: Tensor, validate_args: bool | None = None) -> None:
        self._mean, self.dispersion = broadcast_all(mean, dispersion)
        super().__init__(self._mean.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """Mean, of the batch shape."""
        return self._mean

    @property
    def variance(self) -> Tensor:
        """Variance, of the batch shape."""
        return self._mean + self.dispersion * self._mean.square()

    def log_prob(self, value: Tensor) -> Tensor:
        """Logarithm of a count's probability; in double precision inside, where large terms cancel."""
        k, mean, dispersion = (x.double() for x in broadcast_all(value, self._mean, self.dispersion))
        r = 1 / dispersion
        made = torch.lgamma(k + r) - torch.lgamma(r) - torch.lgamma(k + 1)
        made = made - r * torch.log1p(mean * dispersion) + k * (torch.log(mean) - torch.log(mean + r))
        return made.to(self._mean.dtype)

    def cdf(self, value: Tensor) -> Tensor:
        """Probability of a count at or below this one."""
        return self.exact_cdf(value).to(self._mean.dtype)

    def exact_cdf(self, value: Tensor) -> Tensor:
        """Probability of a count at or below this one, float64: large counts differ by less than float32 holds."""
        return negative_binomial_levels(value, self._mean, self.dispersion)[0]

    def smooth_cdf(self, value: Tensor | None) -> Tensor:
        """Probability of a count at or below a real number of 16 and more, or with None below each of the first 16."""
        if value is None:
            return negative_binomial_first(self._mean, self.dispersion)
        return negative_binomial_between(value, self._mean, self.dispersion)

    def icdf(self, value: Tensor) -> Tensor:
        """Smallest count whose cumulative probability reaches a level, which is a scalar or of the batch shape."""
        level = value.double().to(self._mean.device, non_blocking=True)
        return negative_binomial_quantile(level, self._mean, self.dispersion).to(self._mean.dtype)

    def sample(self, sample_shape: torch.Size | Sequence[int] = ()) -> Tensor:
        """Draw samples: Poisson counts whose means are drawn from a gamma distribution."""
        with torch.no_grad():
            r = 1 / self.dispersion
            means = torch.distributions.Gamma(r, r / self._mean, validate_args=False).sample(torch.Size(sample_shape))
            return torch.poisson(means)


class ZeroInflatedNegativeBinomial(NegativeBinomial):
    """Zero-inflated negative binomial: an extra zero with probability `inflation`, else a negative binomial count.

    Args:
        count_mean: Mean of the negative binomial counts, above zero.
        dispersion: Dispersion of the negative binomial counts, above zero.
        inflation: Probability of an extra zero, in (0, 1).
        validate_args: Check the parameters, as torch does; None takes torch's default.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "count_mean": constraints.positive,
        "dispersion": constraints.positive,
        "inflation": constraints.unit_interval,
    }

    def __init__(
        self, count_mean: Tensor, dispersion: Tensor, inflation: Tensor, validate_args: bool | None = None
    ) -> None:
        self.count_mean, dispersion, self.inflation = broadcast_all(count_mean, dispersion, inflation)
        super().__init__(self.count_mean, dispersion, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """Mean, of the batch shape."""
        return (1 - self.inflation) * self.count_mean

    @property
    def variance(self) -> Tensor:
        """Variance, of the batch shape."""
        return (1 - self.inflation) * (super().variance + self.inflation * self.count_mean.square())

    def log_prob(self, value: Tensor) -> Tensor:
        """Logarithm of a count's probability."""
        counted = torch.log1p(-self.inflation) + super().log_prob(value)
        return torch.where(value == 0, torch.logaddexp(self.inflation.log(), counted), counted)

    def exact_cdf(self, value: Tensor) -> Tensor:
        """Probability of a count at or below this one, float64: large counts differ by less than float32 holds."""
        inflation = self.inflation.double()
        return torch.where(value < 0, 0.0, inflation + (1 - inflation) * super().exact_cdf(value))

    def smooth_cdf(self, value: Tensor | None) -> Tensor:
        """Probability of a count at or below a real number of 16 and more, or with None below each of the first 16."""
        inflation = self.inflation.double()
        return inflation + (1 - inflation) * super().smooth_cdf(value)

    def icdf(self, value: Tensor) -> Tensor:
        """Smallest count whose cumulative probability reaches a level, which is a scalar or of the batch shape."""
        level, inflation = value.double().to(self._mean.device, non_blocking=True), self.inflation.double()
        return super().icdf((level - inflation) / (1 - inflation))

    def sample(self, sample_shape: torch.Size | Sequence[int] = ()) -> Tensor:
        """Draw samples, (*sample_shape, *batch_shape)."""
        counts = super().sample(sample_shape)
        with torch.no_grad():
            return torch.where(torch.rand_like(counts) < self.inflation, 0.0, counts)


def count_inside(forecast: Distribution, observation: Tensor, level: float) -> Tensor:
    """Test that counts lie within the central interval of a level.

    Args:
        forecast: Distribution of counts, of any batch shape.
        observation: Counts of that shape, without NaN.
        level: Nominal coverage, in (0, 1).

    Returns:
        Flags of that shape, from the cumulative probabilities of the count and of the next smaller one.
    """
    return (forecast.cdf(observation) >= (1 - level) / 2) & (forecast.cdf(observation - 1) < (1 + level) / 2)


inside.register(NegativeBinomial, count_inside)


@crps_unchecked.register
@torch.no_grad()
def _(forecast: NegativeBinomial, observation: Tensor) -> Tensor:
    between = mean_difference(forecast._mean, forecast.dispersion)
    return (distance(forecast, observation) - 0.5 * between).to(observation)


@crps_unchecked.register
@torch.no_grad()
def _(forecast: ZeroInflatedNegativeBinomial, observation: Tensor) -> Tensor:
    mean, zero = forecast.count_mean.double(), forecast.inflation.double()
    between = (1 - zero).square() * mean_difference(mean, forecast.dispersion) + 2 * zero * (1 - zero) * mean
    return (distance(forecast, observation) - 0.5 * between).to(observation)


def distance(forecast: NegativeBinomial, value: Tensor) -> Tensor:
    """Return E|X - value| of counts X, float64.

    Args:
        forecast: Distribution of any batch shape.
        value: Values of that shape.
    """
    level, chance = negative_binomial_levels(value, forecast._mean, forecast.dispersion)
    mean, dispersion, value = forecast._mean.double(), forecast.dispersion.double(), value.double()
    below = mean * (level - chance * (1 + value.floor() * dispersion))  # E X where X ≤ value
    own = value * (2 * level - 1) + mean - 2 * below
    if not isinstance(forecast, ZeroInflatedNegativeBinomial):
        return own
    return torch.lerp(own, value.abs(), forecast.inflation.double())


@torch.no_grad()
def crps_of_members(members: NegativeBinomial, observation: Tensor) -> Tensor:
    """Compute the CRPS of equal-weight mixtures of counts: E|X - y| - Σ F (1 - F).

    The first terms of the sum are added up; the others are integrated by Gauss's rule with `NODES` nodes.

    Args:
        members: Distributions of batch shape (member, …).
        observation: Truth, (…), without NaN.

    Returns:
        Scores, (…).
    """
    first = members.smooth_cdf(None).mean(1)
    mean, deviation = members._mean.double(), (members._mean + members.dispersion * members._mean.square()).sqrt()
    low = (mean - 8 * deviation).amin(0).clamp(min=RAISED - 0.5)
    long = 8 + 32 * members.dispersion.double().sqrt().clamp(max=1)  # in deviations; up to 40 where the tail is long
    width = ((mean + long * deviation).amax(0) - low).clamp(min=0)
    flat = members.smooth_cdf(low.expand(members.batch_shape)).mean(0)  # the level from the last of the first to there
    between = (first * (1 - first)).sum(0) + (low - RAISED + 0.5) * flat * (1 - flat)
    for point, share in zip(*gauss(NODES), strict=True):
        level = members.smooth_cdf((low + point * width).expand(members.batch_shape)).mean(0)
        between = between + share * width * level * (1 - level)
    return (distance(members, observation.expand(members.batch_shape)).mean(0) - between).to(observation)
