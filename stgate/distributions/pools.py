"""Weighted pools of distributions of different families: of their quantiles, or of their distribution functions."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal, cast

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions.constraints import Constraint

from stgate.distributions.mixture import TOLERANCE, looks, next_step, settled
from stgate.distributions.tabulated import Tabulated

PoolName = Literal["quantile", "linear"]
"""Names of the pools."""
NODES = 21
"""Number of nodes of the Gauss-Hermite quadrature of a quantile pool's variance."""
BISECTIONS = 24
"""Number of halvings of the interval of levels in which the level of a value is sought."""
WIDTH = 1e-5
"""Width of the interval, as a share of the distance of the components' quantiles, in which a jump is found."""


class Pool(Distribution):
    """Base of the pools: distributions of one batch shape, of any families, with weights.

    Where a component is missing (its median is NaN), its weight goes to the others.

    Args:
        components: Distributions of one batch shape.
        weights: Weights that are not negative and sum to one over the components; (component, …), broadcast against the
            batch shape.
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {}
    has_rsample = False

    def __init__(self, components: Sequence[Distribution], weights: Tensor) -> None:
        self.components, self._given = tuple(components), weights
        super().__init__(self.components[0].batch_shape, validate_args=False)

    @functools.cached_property
    def weights(self) -> Tensor:
        """Weights of the components that are there, (component, *batch); NaN where none is."""
        there = torch.stack([torch.isfinite(one.icdf(torch.tensor(0.5))) for one in self.components])
        kept = torch.where(there, self._given, 0.0)
        total = kept.sum(0)
        equal = there / there.sum(0)  # where the weights of all that are there are zero; NaN where none is
        return torch.where(there.all(0), self._given, torch.where(total > 0, kept / total, equal))

    def pooled(self, value: Callable[[Distribution], Tensor]) -> Tensor:
        """Return the weighted mean of a value over the components, of the batch shape.

        Args:
            value: Function of a component.
        """
        total = torch.zeros(())
        for one, weight in zip(self.components, self.weights, strict=True):
            total = total + torch.where(weight != 0, weight * value(one), 0.0)  # NaN weights stay
        return total

    @property
    def mean(self) -> Tensor:
        """Mean, the weighted mean of the components' means in either pool."""
        return self.pooled(lambda one: one.mean)


class QuantilePool(Pool):
    """Pool whose quantile of each level is the weighted mean of the components' quantiles (Vincentization).

    It keeps the shape and the width of its components where they disagree on the location.

    References:
        Lichtendahl, Grushka-Cockayne, Winkler (2013), Is it better to average probabilities or quantiles? Management
        Science 59. doi:10.1287/mnsc.1120.1667
    """

    @functools.cached_property
    def variance(self) -> Tensor:
        """Variance, of the batch shape, by quadrature over the quantiles."""
        points, weights = np.polynomial.hermite_e.hermegauss(NODES)
        centre = self.icdf(torch.tensor(0.5))
        levels = torch.special.ndtr(torch.as_tensor(points)).clamp(1e-7, 1 - 1e-7).to(centre)
        first, second = torch.zeros_like(centre), torch.zeros_like(centre)
        for level, weight in zip(levels, (weights / weights.sum()).tolist(), strict=True):
            off = self.icdf(level) - centre
            first, second = first + weight * off, second + weight * off.square()
        return (second - first.square()).clamp(min=0)

    def icdf(self, value: Tensor) -> Tensor:
        """Quantile of a level, which is a scalar or of the batch shape."""
        return self.pooled(lambda one: one.icdf(value.to(one.mean) if value.dim() == 0 else value))

    def cdf(self, value: Tensor) -> Tensor:
        """Probability of a value at or below this one, by bisection of the level."""
        levels = torch.stack([one.cdf(value.expand(self.batch_shape)) for one in self.components])
        used = self.weights > 0
        low, high = torch.where(used, levels, 1.0).amin(0), torch.where(used, levels, 0.0).amax(0)
        tiny = torch.finfo(low.dtype).eps
        for _ in range(BISECTIONS):
            if settled(high > low):
                break
            middle = 0.5 * (low + high)
            below = self.icdf(middle.clamp(tiny, 1 - tiny)) <= value
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return torch.where(torch.isnan(self.weights[0]), torch.nan, 0.5 * (low + high))

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw samples, (*sample_shape, *batch_shape): the pool's quantiles of random levels."""
        shape, tiny = torch.Size(sample_shape), torch.finfo(torch.float32).eps
        with torch.no_grad():
            levels = torch.rand(shape.numel(), *self.batch_shape, device=self.weights.device).clamp(tiny, 1 - tiny)
            return torch.stack([self.icdf(level) for level in levels]).view(*shape, *self.batch_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Logarithm of the density: the inverse of the weighted mean of the components' inverse densities."""
        tiny = torch.finfo(torch.float32).eps
        level = self.cdf(value).clamp(tiny, 1 - tiny)
        return -torch.log(self.pooled(lambda one: torch.exp(-one.log_prob(one.icdf(level)))))


class LinearPool(Pool):
    """Pool whose distribution function is the weighted mean of the components' distribution functions: their mixture.

    It is wider than its components where they disagree on the location.
    """

    @property
    def variance(self) -> Tensor:
        """Variance, of the batch shape."""
        return self.pooled(lambda one: one.variance + one.mean.square()) - self.mean.square()

    def cdf(self, value: Tensor) -> Tensor:
        """Probability of a value at or below this one."""
        return self.pooled(lambda one: one.cdf(value.expand(self.batch_shape)))

    def icdf(self, value: Tensor) -> Tensor:
        """Quantile of a level, a scalar or of the batch shape, by Chandrupatla's method between the components' own.

        Args:
            value: Level in (0, 1).
        """
        own = torch.stack([one.icdf(value.to(one.mean) if value.dim() == 0 else value) for one in self.components])
        used = self.weights > 0
        low = torch.where(used, own, torch.inf).amin(0)
        high = torch.where(used, own, -torch.inf).amax(0)
        rounding = 4 * torch.finfo(low.dtype).eps * torch.maximum(low.abs(), high.abs())
        width = WIDTH * (high - low) + rounding  # two neighbouring numbers cannot come closer
        found = _solved(self, value.to(low).expand(low.shape), low, high, width)
        return torch.where(torch.isnan(self.weights[0]), torch.nan, found)

    def cells(self, chosen: Tensor) -> LinearPool | None:
        """Return the pools of some cells, (cell,); None where a component cannot be cut.

        Args:
            chosen: Mask of the batch shape.
        """
        if not all(isinstance(one, Tabulated) for one in self.components):
            return None
        cut = LinearPool([cast(Tabulated, one).cells(chosen) for one in self.components], self.weights[:, chosen])
        cut.__dict__["weights"] = cut._given  # those of components that are missing have gone to the others
        return cut

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw samples, each from a component chosen at random: (*sample_shape, *batch_shape)."""
        shape = torch.Size(sample_shape)
        with torch.no_grad():
            drawn = torch.stack([one.sample(shape) for one in self.components])
            draw = torch.rand(*shape, *self.batch_shape, device=self.weights.device)
            chosen = (self.weights.cumsum(0).view(-1, *[1] * len(shape), *self.batch_shape) < draw).sum(0)
            chosen = chosen.clamp(max=len(self.components) - 1)
            return drawn.gather(0, chosen.unsqueeze(0)).squeeze(0)

    def log_prob(self, value: Tensor) -> Tensor:
        """Logarithm of the weighted mean of the components' densities."""
        each = torch.stack([one.log_prob(value.expand(self.batch_shape)) for one in self.components])
        return torch.logsumexp(torch.where(self.weights > 0, each + self.weights.log(), -torch.inf), 0)


def _solved(pool: LinearPool, level: Tensor, low: Tensor, high: Tensor, width: Tensor) -> Tensor:
    """Return the least values whose probability reaches the levels, by Chandrupatla's method.

    Where the distribution function jumps over a level, that is the upper end of the interval that has shrunk.

    Args:
        pool: The pool.
        level: Levels, of its batch shape.
        low: Values at which the probability is below the level, or reaches it just there.
        high: Values at which the probability reaches the level.
        width: Width of the interval in which a jump is found.
    """
    f1, f2 = pool.cdf(low) - level, pool.cdf(high) - level
    x1, x2, x3, f3, t = low, high, low, f1, torch.full_like(low, 0.5)
    found = torch.where((f1 >= 0) | (f1.abs() <= f2.abs()), low, high)
    best = torch.where(f1 >= 0, 0.0, torch.minimum(f1.abs(), f2.abs()))  # a component may jump at the lower end
    open_ = (best > TOLERANCE) & ((x2 - x1).abs() > width)  # NaN counts as solved
    for _ in range(60):
        if settled(open_):
            break
        if looks(open_) and 2 * int(open_.sum()) < open_.numel() and (cut := pool.cells(open_)) is not None:
            parts = (level, torch.minimum(x1, x2), torch.maximum(x1, x2), width)
            found = torch.where((best > TOLERANCE) & ~open_, torch.maximum(x1, x2), found)
            found[open_] = _solved(cut, *(part[open_] for part in parts))
            return found
        x = torch.where(open_, x1 + t * (x2 - x1), found)
        f = pool.cdf(x) - level
        better = open_ & (f.abs() <= best)
        found, best = torch.where(better, x, found), torch.where(better, f.abs(), best)
        same = (f < 0) == (f1 < 0)
        x3, f3 = (
            torch.where(open_, torch.where(same, x1, x2), x3),
            torch.where(open_, torch.where(same, f1, f2), f3),
        )
        x2, f2 = torch.where(open_ & ~same, x1, x2), torch.where(open_ & ~same, f1, f2)
        x1, f1 = torch.where(open_, x, x1), torch.where(open_, f, f1)
        t = next_step(x1, x2, x3, f1, f2, f3)
        open_ = (best > TOLERANCE) & ((x2 - x1).abs() > width)
    return torch.where((best > TOLERANCE) & (x1 != x2), torch.maximum(x1, x2), found)


POOLS: dict[PoolName, type[Pool]] = {"quantile": QuantilePool, "linear": LinearPool}
"""The pools by name."""
