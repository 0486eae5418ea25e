"""Distribution of a target whose transform has a simpler distribution."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions.constraints import Constraint

from stgate.distributions.mixture import Mixture
from stgate.distributions.transforms import Transform
from stgate.metrics.torch.distributions import inside, median_of, quantiles_of

NODES = 21
"""Number of nodes of the Gauss-Hermite quadrature of moments."""


@dataclasses.dataclass(frozen=True)
class BoundTransforms:
    """Transforms with their parameters at certain times and nodes.

    Attributes:
        transforms: The transforms, in the order in which they encode.
        parameters: Parameters of each, (batch or 1, step or 1, node or 1, target or 1, parameter).
    """

    transforms: tuple[Transform, ...]
    parameters: tuple[Tensor, ...]

    @property
    def affine(self) -> bool:
        """True if all transforms are affine."""
        return all(transform.affine for transform in self.transforms)

    def encode(self, values: Tensor) -> Tensor:
        """Encode values, (…, batch, step, node, target)."""
        for transform, given in zip(self.transforms, self.parameters, strict=True):
            values = transform.encode(values, given)
        return values

    def outside(self, values: Tensor) -> Tensor:
        """Number the first transform that does not take a value, (…, batch, step, node, target); -1 if all take it."""
        found = torch.full_like(values, -1, dtype=torch.int64)
        for number, (transform, given) in enumerate(zip(self.transforms, self.parameters, strict=True)):
            found = torch.where((found < 0) & transform.outside(values, given), number, found)
            values = transform.encode(values, given)
        return found

    def decode(self, values: Tensor) -> Tensor:
        """Decode values, (…, batch, step, node, target)."""
        for transform, given in zip(reversed(self.transforms), reversed(self.parameters), strict=True):
            values = transform.decode(values, given)
        return values

    def log_slope(self, values: Tensor) -> Tensor:
        """Return the logarithm of the derivative of `encode` at values, (…, batch, step, node, target)."""
        total = torch.zeros_like(values)
        for transform, given in zip(self.transforms, self.parameters, strict=True):
            total = total + transform.log_slope(values, given)
            values = transform.encode(values, given)
        return total

    def first(self, steps: int) -> BoundTransforms:
        """Return the transforms at the first steps."""
        kept = tuple(p[:, :steps] if p.dim() == 5 and p.shape[1] > 1 else p for p in self.parameters)
        return BoundTransforms(self.transforms, kept)

    def of_target(self, place: int) -> BoundTransforms:
        """Return the transforms of one target, by its place among the targets."""
        kept = tuple(p[..., place : place + 1, :] if p.dim() > 1 and p.shape[-2] > 1 else p for p in self.parameters)
        return BoundTransforms(self.transforms, kept)


class Transformed(Distribution):
    """Distribution of values whose encoded form has the distribution `base`.

    Quantiles, levels and densities are exact. Moments are exact for affine transforms, and by Gauss-Hermite quadrature
    over the quantiles of `base` otherwise; those of a mixture are taken over its members.

    Args:
        base: Distribution of the encoded values, of batch shape (batch, step, node, target).
        bound: The transforms.
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {}
    has_rsample = False

    def __init__(self, base: Distribution, bound: BoundTransforms) -> None:
        self.base, self.bound = base, bound
        super().__init__(base.batch_shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """Mean, of the batch shape."""
        return self.bound.decode(self.base.mean) if self.bound.affine else self._moments[0]

    @property
    def variance(self) -> Tensor:
        """Variance, of the batch shape."""
        return self._moments[1] + self._moments[2]

    @property
    def aleatoric_variance(self) -> Tensor:
        """Mean of the members' variances; the whole variance if there are no members."""
        return self._moments[1]

    @property
    def epistemic_variance(self) -> Tensor:
        """Variance of the members' means; zero if there are no members."""
        return self._moments[2]

    @functools.cached_property
    def _moments(self) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, variance within the members and variance between them."""
        members = self.base.components if isinstance(self.base, Mixture) else self.base
        if self.bound.affine:
            middle = self.bound.decode(members.mean)
            slope = self.bound.decode(members.mean + 1) - middle
            within = members.variance * slope.square()
        else:
            points, weights = np.polynomial.hermite_e.hermegauss(NODES)
            share = torch.as_tensor(weights / weights.sum()).to(members.mean)
            levels = torch.special.ndtr(torch.as_tensor(points)).clamp(1e-7, 1 - 1e-7).to(members.mean)
            middle = torch.zeros_like(members.mean)
            square = torch.zeros_like(members.mean)
            centre = self.bound.decode(median_of(members))
            for quantile, weight in zip(quantiles_of(members, levels), share, strict=True):
                off = self.bound.decode(quantile) - centre
                middle, square = middle + weight * off, square + weight * off.square()
            within = (square - middle.square()).clamp(min=0)
            middle = middle + centre
        if not isinstance(self.base, Mixture):
            return middle, within, torch.zeros_like(within)
        return middle.mean(0), within.mean(0), middle.var(0, unbiased=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Logarithm of the density."""
        made: Tensor = self.base.log_prob(self.bound.encode(value)) + self.bound.log_slope(value)
        return made

    def cdf(self, value: Tensor) -> Tensor:
        """Probability of a value at or below this one."""
        made: Tensor = self.base.cdf(self.bound.encode(value))
        return made

    def icdf(self, value: Tensor) -> Tensor:
        """Quantile of a level, a scalar or of the batch shape."""
        return self.bound.decode(self.base.icdf(value))

    def sample(self, sample_shape: Any = ()) -> Tensor:  # noqa: ANN401 (torch's)
        """Draw samples, (*sample_shape, *batch_shape)."""
        with torch.no_grad():
            return self.bound.decode(self.base.sample(torch.Size(sample_shape)))


@inside.register
def _(forecast: Transformed, observation: Tensor, level: float) -> Tensor:
    """Test that observations lie within the central interval, by their encoded form."""
    made: Tensor = inside(forecast.base, forecast.bound.encode(observation), level)
    return made


@median_of.register
def _(forecast: Transformed) -> Tensor:
    return forecast.bound.decode(median_of(forecast.base))


@quantiles_of.register
def _(forecast: Transformed, levels: Tensor) -> Tensor:
    return torch.stack([forecast.bound.decode(quantile) for quantile in quantiles_of(forecast.base, levels)])
