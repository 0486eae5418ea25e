"""Distributions with another spread about their median, or without values below a bound."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions.constraints import Constraint

EDGE = 1e-6
"""Distance from zero and one that a level keeps."""


class Floored(Distribution):
    """Distribution whose probability below a bound lies on the bound.

    Args:
        base: The distribution.
        lowest: The bound.
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {}
    has_rsample = False

    def __init__(self, base: Distribution, lowest: float) -> None:
        self.base, self.lowest = base, lowest
        super().__init__(base.batch_shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """Mean of the base, not below the bound."""
        return self.base.mean.clamp(min=self.lowest)

    @property
    def variance(self) -> Tensor:
        """Variance of the base."""
        return self.base.variance

    def icdf(self, value: Tensor) -> Tensor:
        """Quantile of a level, a scalar or of the batch shape."""
        return self.base.icdf(value).clamp(min=self.lowest)

    def cdf(self, value: Tensor) -> Tensor:
        """Probability of a value at or below this one, zero below the bound."""
        return torch.where(value < self.lowest, 0.0, self.base.cdf(value))

    def log_prob(self, value: Tensor) -> Tensor:
        """Logarithm of the density above the bound, and of the base's density at it."""
        return self.base.log_prob(value)

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw samples, (*sample_shape, *batch_shape)."""
        return self.base.sample(torch.Size(sample_shape)).clamp(min=self.lowest)


class Widened(Distribution):
    """Distribution whose quantiles lie a factor farther from the median, in normal scores.

    Its quantile of level Φ(z) is that of level Φ(factor · z) of the base distribution, where Φ is the standard normal
    distribution function. A normal distribution gets `factor` times its standard deviation; bounds of the base hold.

    Args:
        base: The distribution.
        factor: Factor above zero, broadcast against the batch shape of the base.
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {}
    has_rsample = False

    def __init__(self, base: Distribution, factor: Tensor) -> None:
        self.base, self.factor = base, factor
        super().__init__(base.batch_shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """Mean of the base: a forecaster whose spread is wrong may be right in the mean."""
        return self.base.mean

    @property
    def variance(self) -> Tensor:
        """Variance of the base times the squared factor, exact for a normal distribution."""
        return self.base.variance * self.factor.square()

    def icdf(self, value: Tensor) -> Tensor:
        """Quantile of a level, a scalar or of the batch shape."""
        score = torch.special.ndtri(value.to(self.factor).clamp(EDGE, 1 - EDGE)) * self.factor
        level = torch.special.ndtr(score).clamp(EDGE, 1 - EDGE)
        return self.base.icdf(level.expand(self.batch_shape))

    def cdf(self, value: Tensor) -> Tensor:
        """Probability of a value at or below this one."""
        made: Tensor = torch.special.ndtr(self._score(value) / self.factor)
        return made

    def log_prob(self, value: Tensor) -> Tensor:
        """Logarithm of the density."""
        score = self._score(value)
        change = 0.5 * score.square() * (1 - 1 / self.factor.square()) - torch.log(self.factor)
        made: Tensor = self.base.log_prob(value) + change
        return made

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw samples, (*sample_shape, *batch_shape): quantiles of random levels."""
        shape = torch.Size(sample_shape)
        with torch.no_grad():
            levels = torch.rand(math.prod(shape), *self.batch_shape, device=self.factor.device)
            return torch.stack([self.icdf(level) for level in levels]).view(*shape, *self.batch_shape)

    def _score(self, value: Tensor) -> Tensor:
        score: Tensor = torch.special.ndtri(self.base.cdf(value).clamp(EDGE, 1 - EDGE))
        return score
