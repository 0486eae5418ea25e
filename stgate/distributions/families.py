"""Continuous distributions that torch lacks, or whose quantiles it lacks. Densities carry gradients, levels do not.

Each can be a component of `stgate.distributions.Mixture`, which rebuilds it from its `arg_constraints` and `fixed`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.utils import broadcast_all

from stgate.distributions.incomplete_beta import student_cdf, student_quantile, student_quantiles
from stgate.metrics.torch.distributions import crps_unchecked, inside, median_of, quantiles_of, standardised


class StudentT(torch.distributions.StudentT):
    """Student t distribution of torch, with its distribution function and quantiles.

    Args:
        df: Degrees of freedom, above zero.
        loc: Location.
        scale: Scale, above zero.
        validate_args: Check the parameters, as torch does; None takes torch's default.
    """

    def __init__(
        self,
        df: Tensor | float,
        loc: Tensor | float = 0.0,
        scale: Tensor | float = 1.0,
        validate_args: bool | None = None,
    ) -> None:
        self.df, self.loc, self.scale = broadcast_all(df, loc, scale)
        # Torch's own checks its parameters whatever is asked: the host would wait for a device in each step.
        self._chi2 = torch.distributions.Chi2(self.df, validate_args=False)
        Distribution.__init__(self, self.df.shape, validate_args=validate_args)

    def cdf(self, value: Tensor) -> Tensor:
        """Probability of a value at or below this one."""
        return student_cdf((value - self.loc) / self.scale, self.df).to(self.loc.dtype)

    def icdf(self, value: Tensor) -> Tensor:
        """Quantile of a level, which is a scalar or of the batch shape."""
        if value.dim():
            return self.loc + self.scale * student_quantile(value, self.df).to(self.loc.dtype)
        return quantiles_of(self, value.unsqueeze(0))[0]


class ShiftedLogNormal(Distribution):
    """Shifted log-normal distribution: value + shift is log-normal.

    Args:
        loc: Mean of log(value + shift).
        scale: Standard deviation of log(value + shift), above zero.
        shift: Number added before the logarithm; all values lie above -shift.
        validate_args: Check the parameters, as torch does; None takes torch's default.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "loc": constraints.real,
        "scale": constraints.positive,
        "shift": constraints.real,
    }
    support = constraints.real

    def __init__(self, loc: Tensor, scale: Tensor, shift: Tensor, validate_args: bool | None = None) -> None:
        self.loc, self.scale, self.shift = broadcast_all(loc, scale, shift)
        self._shifted = torch.distributions.LogNormal(self.loc, self.scale, validate_args=False)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """Mean, of the batch shape."""
        made: Tensor = self._shifted.mean
        return made - self.shift

    @property
    def variance(self) -> Tensor:
        """Variance, of the batch shape."""
        made: Tensor = self._shifted.variance
        return made

    def log_prob(self, value: Tensor) -> Tensor:
        """Logarithm of the density."""
        made: Tensor = self._shifted.log_prob(value + self.shift)  # type: ignore[no-untyped-call]
        return made

    def cdf(self, value: Tensor) -> Tensor:
        """Probability of a value at or below this one."""
        shifted = (value + self.shift).clamp(min=torch.finfo(self.loc.dtype).tiny)
        made: Tensor = self._shifted.cdf(shifted)  # type: ignore[no-untyped-call]
        return made

    def icdf(self, value: Tensor) -> Tensor:
        """Quantile of a level, which is a scalar or of the batch shape."""
        made: Tensor = self._shifted.icdf(value)  # type: ignore[no-untyped-call]
        return made - self.shift

    def rsample(self, sample_shape: torch.Size | Sequence[int] = ()) -> Tensor:
        """Draw samples, (*sample_shape, *batch_shape)."""
        made: Tensor = self._shifted.rsample(torch.Size(sample_shape))
        return made - self.shift


class QuantileFunction(Distribution):
    """Distribution given by some of its quantiles: uniform between them, with exponential tails beyond.

    The density is continuous where a tail begins.

    Args:
        knots: Quantiles, (..., quantile), ascending.
        unit: Unit of the pinball loss, (...), such as the standard deviation of the training data.
        levels: Levels of the quantiles, ascending in (0, 1).
        validate_args: Not used; the parameters are not checked.

    References:
        Park, Robinson, Aubet et al. (2022), Learning quantile functions without quantile crossing for
        distribution-free time series forecasting. AISTATS (exponential tails).
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "knots": constraints.real_vector,
        "unit": constraints.positive,
    }
    support = constraints.real

    def __init__(self, knots: Tensor, unit: Tensor, levels: Sequence[float], validate_args: bool | None = None) -> None:
        self.knots, self.levels = knots, tuple(levels)
        self.unit = unit.expand(knots.shape[:-1])
        self._at = torch.tensor(self.levels, dtype=knots.dtype, device=knots.device)
        super().__init__(knots.shape[:-1], validate_args=False)

    @property
    def fixed(self) -> dict[str, Any]:
        """Options that are not tensors."""
        return {"levels": self.levels}

    @property
    def _tails(self) -> tuple[Tensor, Tensor]:
        """Mean lengths of the two tails, which keep the density continuous."""
        gaps, rises = self.knots.diff(dim=-1), self._at.diff()
        return self._at[0] * gaps[..., 0] / rises[0], (1 - self._at[-1]) * gaps[..., -1] / rises[-1]

    @property
    def mean(self) -> Tensor:
        """Mean, of the batch shape."""
        low, high = self._tails
        inner = (self._at.diff() * (self.knots[..., 1:] + self.knots[..., :-1]) / 2).sum(-1)
        outer = self._at[0] * (self.knots[..., 0] - low) + (1 - self._at[-1]) * (self.knots[..., -1] + high)
        return inner + outer

    @property
    def variance(self) -> Tensor:
        """Variance, of the batch shape."""
        low, high = self._tails
        knots = self.knots - self.mean.unsqueeze(-1)
        left, right = knots[..., :-1], knots[..., 1:]
        inner = (self._at.diff() * (left.square() + left * right + right.square()) / 3).sum(-1)
        below = self._at[0] * ((knots[..., 0] - low).square() + low.square())
        return inner + below + (1 - self._at[-1]) * ((knots[..., -1] + high).square() + high.square())

    def log_prob(self, value: Tensor) -> Tensor:
        """Logarithm of the density."""
        low, high = self._tails
        segment = self._segment(value).clamp(1, len(self.levels) - 1)
        gap = _pick(self.knots.diff(dim=-1), segment - 1)
        inner = torch.log(self._at.diff()[segment - 1] / gap)
        below = torch.log(self._at[0] / low) + (value - self.knots[..., 0]).clamp(max=0) / low
        above = torch.log((1 - self._at[-1]) / high) - (value - self.knots[..., -1]).clamp(min=0) / high
        made = torch.where(value < self.knots[..., 0], below, inner)
        return torch.where(value > self.knots[..., -1], above, made)

    def cdf(self, value: Tensor) -> Tensor:
        """Probability of a value at or below this one."""
        low, high = self._tails
        step = self._segment(value).clamp(1, len(self.levels) - 1)
        left, right = _pick(self.knots, step - 1), _pick(self.knots, step)
        inner = self._at[step - 1] + self._at.diff()[step - 1] * ((value - left) / (right - left)).clamp(0, 1)
        below = self._at[0] * torch.exp((value - self.knots[..., 0]).clamp(max=0) / low)
        above = 1 - (1 - self._at[-1]) * torch.exp(-(value - self.knots[..., -1]).clamp(min=0) / high)
        made = torch.where(value < self.knots[..., 0], below, inner)
        return torch.where(value > self.knots[..., -1], above, made)

    def icdf(self, value: Tensor) -> Tensor:
        """Quantile of a level, which is a scalar or of the batch shape."""
        low, high = self._tails
        level = value.to(self.knots).expand(self.batch_shape).contiguous()
        step = torch.searchsorted(self._at, level).clamp(1, len(self.levels) - 1)
        left, right = _pick(self.knots, step - 1), _pick(self.knots, step)
        made = left + (right - left) * (level - self._at[step - 1]) / self._at.diff()[step - 1]
        below = self.knots[..., 0] + low * torch.log((level / self._at[0]).clamp(max=1))
        above = self.knots[..., -1] - high * torch.log(((1 - level) / (1 - self._at[-1])).clamp(max=1))
        made = torch.where(level < self._at[0], below, made)
        return torch.where(level > self._at[-1], above, made)

    def sample(self, sample_shape: torch.Size | Sequence[int] = ()) -> Tensor:
        """Draw samples, (*sample_shape, *batch_shape)."""
        with torch.no_grad():
            shape = (*sample_shape, *self.batch_shape)
            levels = torch.rand(shape, dtype=self.knots.dtype, device=self.knots.device)
            knots = self.knots.expand(*shape, len(self.levels))
            return QuantileFunction(knots, self.unit, self.levels).icdf(levels)

    def pinball(self, value: Tensor) -> Tensor:
        """Twice the mean pinball loss of the knots, in units of `unit`; near the CRPS if there are many knots."""
        miss = (value.unsqueeze(-1) - self.knots) / self.unit.unsqueeze(-1)
        return 2 * torch.maximum(self._at * miss, (self._at - 1) * miss).mean(-1)

    def _segment(self, value: Tensor) -> Tensor:
        shape = torch.broadcast_shapes(value.shape, self.batch_shape)  # type: ignore[no-untyped-call]
        knots = self.knots.expand(*shape, len(self.levels)).contiguous()
        return torch.searchsorted(knots, value.expand(shape).unsqueeze(-1).contiguous()).squeeze(-1)


def _pick(values: Tensor, index: Tensor) -> Tensor:
    """Pick one entry of the last axis for each index, (...)."""
    return values.expand(*index.shape, values.shape[-1]).gather(-1, index.unsqueeze(-1)).squeeze(-1)


@median_of.register
def _(forecast: StudentT) -> Tensor:
    return forecast.loc


@crps_unchecked.register
@torch.no_grad()
def _(forecast: StudentT, observation: Tensor) -> Tensor:
    """CRPS of a Student t distribution in closed form, for more than one degree of freedom; below it is infinite."""
    y, df, loc, scale = (x.double() for x in (observation, forecast.df, forecast.loc, forecast.scale))
    z = standardised(y - loc, scale)
    gamma = torch.lgamma(df / 2 + 0.5) - torch.lgamma(df / 2)
    # (df + z²) times the density, without the square of a z that would overflow
    height = torch.exp(gamma - (df - 1) / 2 * torch.log1p((z / df.sqrt()).square())) * (df / math.pi).sqrt()
    tails = torch.exp(torch.lgamma(df - 0.5) - torch.lgamma(df) + 2 * gamma) / math.sqrt(math.pi)
    rest = scale * 2 * (height - df.sqrt() * tails) / (df - 1)
    made = (y - loc) * (2 * student_cdf(z, df) - 1) + rest
    return torch.where((df <= 1) & ~z.isnan(), torch.inf, made).to(observation)


@crps_unchecked.register
@torch.no_grad()
def _(forecast: torch.distributions.LogNormal, observation: Tensor) -> Tensor:
    return _crps_log_normal(forecast.loc, forecast.scale, observation)


@crps_unchecked.register
@torch.no_grad()
def _(forecast: ShiftedLogNormal, observation: Tensor) -> Tensor:
    return _crps_log_normal(forecast.loc, forecast.scale, observation + forecast.shift)


def _crps_log_normal(loc: Tensor, scale: Tensor, observation: Tensor) -> Tensor:
    y, loc, scale = (x.double() for x in (observation, loc, scale))
    z = standardised(y.clamp(min=0).log() - loc, scale)
    mean = loc + scale.square() / 2  # exp(mean) overflows where the product with a small probability does not
    rest = torch.exp(mean + torch.special.log_ndtr(z - scale))
    rest = rest - torch.exp(mean + torch.special.log_ndtr(-scale * math.sqrt(0.5)))
    made: Tensor = y * (2 * torch.special.ndtr(z) - 1) - 2 * rest
    return made.to(observation)


@quantiles_of.register
def _(forecast: StudentT, levels: Tensor) -> Tensor:
    return forecast.loc + forecast.scale * student_quantiles(levels, forecast.df).to(forecast.loc.dtype)


@inside.register
def _(forecast: StudentT, observation: Tensor, level: float) -> Tensor:
    return (forecast.cdf(observation) - 0.5).abs() <= level / 2
