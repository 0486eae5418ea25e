"""Distributions with another spread and other tails, or without values below a bound."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions.constraints import Constraint

SCORES = (-4.25, -3.25, -2.5, -2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.25, 4.25)
"""Normal scores at which the levels of a reshaped distribution are given."""
NODES = 21
"""Number of nodes of the Gauss-Hermite quadrature of a variance."""
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


class Reshaped(Distribution):
    """Distribution whose quantiles are those of a base distribution at other levels.

    Its quantile of level Φ(z) is that of level Φ(g(z)) of the base, where Φ is the distribution function of a standard
    normal value and g is piecewise linear. With g(z) = 2 z a normal distribution gets twice its standard deviation; a g
    that is steeper on the right gives a longer upper tail. Bounds of the base hold.

    Args:
        base: The distribution.
        curve: Values of g at `SCORES`, ascending, (…, score); without the last dimension it is broadcast against the
            batch shape of the base.
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {}
    has_rsample = False

    def __init__(self, base: Distribution, curve: Tensor) -> None:
        self.base, self.curve = base, curve
        super().__init__(base.batch_shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """Mean of the base: a forecaster whose spread is wrong may be right in the mean."""
        return self.base.mean

    @property
    def variance(self) -> Tensor:
        """Variance of the base times that of g of a standard normal value, exact for a normal distribution."""
        points, weights = np.polynomial.hermite_e.hermegauss(NODES)
        share = torch.as_tensor(weights / weights.sum()).to(self.curve)
        made = torch.stack([curve_at(self.curve, torch.tensor(float(z)).to(self.curve)) for z in points], -1)
        factor = (made.square() * share).sum(-1) - (made * share).sum(-1).square()
        return self.base.variance * factor

    def icdf(self, value: Tensor) -> Tensor:
        """Quantile of a level, a scalar or of the batch shape."""
        score = curve_at(self.curve, torch.special.ndtri(value.to(self.curve).clamp(EDGE, 1 - EDGE)))
        level = torch.special.ndtr(score).clamp(EDGE, 1 - EDGE)
        return self.base.icdf(level.expand(self.batch_shape))

    def cdf(self, value: Tensor) -> Tensor:
        """Probability of a value at or below this one."""
        made: Tensor = torch.special.ndtr(curve_inverse(self.curve, self._score(value))[0])
        return made

    def log_prob(self, value: Tensor) -> Tensor:
        """Logarithm of the density."""
        score = self._score(value)
        own, slope = curve_inverse(self.curve, score)
        made: Tensor = self.base.log_prob(value) + 0.5 * (score.square() - own.square()) - torch.log(slope)
        return made

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw samples, (*sample_shape, *batch_shape): quantiles of random levels."""
        shape = torch.Size(sample_shape)
        with torch.no_grad():
            levels = torch.rand(math.prod(shape), *self.batch_shape, device=self.curve.device)
            return torch.stack([self.icdf(level) for level in levels]).view(*shape, *self.batch_shape)

    def _score(self, value: Tensor) -> Tensor:
        score: Tensor = torch.special.ndtri(self.base.cdf(value).clamp(EDGE, 1 - EDGE))
        return score


def curve_at(curve: Tensor, score: Tensor, scores: Sequence[float] = SCORES) -> Tensor:
    """Return g at normal scores; beyond the outermost ones that are given it goes on in a straight line.

    Args:
        curve: Values of g at `scores`, (…, score).
        score: Normal scores, broadcast against the curve without its last dimension.
        scores: Normal scores at which g is given, ascending.
    """
    made = curve[..., 0]
    for k, low, high in _pieces(len(scores)):
        step = scores[k + 1] - scores[k]
        share = ((score - scores[k]) / step).clamp(low, high)
        made = made + (curve[..., k + 1] - curve[..., k]) * share
    return made


def curve_inverse(curve: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Return the normal scores at which g takes some values, and the slope of g there.

    Args:
        curve: Values of g at `SCORES`, ascending, (…, score).
        value: Values, broadcast against the curve without its last dimension.
    """
    score, slope = torch.full_like(value, SCORES[0]), torch.zeros_like(value)
    for k, low, high in _pieces(len(SCORES)):
        step, rise = SCORES[k + 1] - SCORES[k], curve[..., k + 1] - curve[..., k]
        score = score + step * ((value - curve[..., k]) / rise).clamp(low, high)
        slope = torch.where((value >= curve[..., k]) | (slope == 0), rise / step, slope)
    return score, slope


def _pieces(scores: int) -> Iterator[tuple[int, float, float]]:
    """Yield the number of each piece of a curve, and the shares of it between which it holds."""
    last = scores - 2
    yield from ((k, 0.0 if k else -math.inf, 1.0 if k < last else math.inf) for k in range(last + 1))
