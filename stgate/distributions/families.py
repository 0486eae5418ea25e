"""Distributions that torch lacks, or whose quantiles it lacks. Densities carry gradients, quantiles and levels do not.

Each can be a component of `stgate.distributions.Mixture`, which rebuilds it from its `arg_constraints` and `fixed`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import scipy.special
import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.utils import broadcast_all

from stgate.metrics.crps_closed import lognormal as crps_lognormal
from stgate.metrics.crps_closed import student_t as crps_student_t
from stgate.metrics.torch.distributions import check_scale, crps_of, inside


class StudentT(torch.distributions.StudentT):
    """Student t distribution of torch, with its distribution function and quantiles (by scipy)."""

    def cdf(self, value: Tensor) -> Tensor:
        """Probability of a value at or below this one."""
        return _by_scipy(scipy.special.stdtr, self.df, (value - self.loc) / self.scale)

    def icdf(self, value: Tensor) -> Tensor:
        """Quantile of a level, which is a scalar or of the batch shape."""
        if value.dim() == 0 and float(value) == 0.5:
            return self.loc
        return self.loc + self.scale * _by_scipy(scipy.special.stdtrit, self.df, value)


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
        r = 1 / self.dispersion.double()
        return _by_scipy(_counts_up_to, value.double(), r, r / (r + self._mean.double()))

    def icdf(self, value: Tensor) -> Tensor:
        """Smallest count whose cumulative probability reaches a level, which is a scalar or of the batch shape."""
        level = value.double().clamp(max=1 - 1e-12)  # a level of 1 has no count
        high = (self.mean.double() + 10 * self.variance.double().sqrt() + 10).ceil()
        for _ in range(ROUNDS):
            short = self.exact_cdf(high) < level
            if not bool(short.any()):
                break
            high = torch.where(short, 2 * high, high)
        found = least_count(self.exact_cdf, level, torch.full_like(high, -1.0), high)
        return torch.where(self.mean.isnan(), torch.nan, found.clamp(min=0)).to(self.mean.dtype)

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

    def sample(self, sample_shape: torch.Size | Sequence[int] = ()) -> Tensor:
        """Draw samples, (*sample_shape, *batch_shape)."""
        counts = super().sample(sample_shape)
        with torch.no_grad():
            return torch.where(torch.rand_like(counts) < self.inflation, 0.0, counts)


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


ROUNDS = 200
"""Largest number of times that bounds of a count are halved or doubled."""


def least_count(cdf: Callable[[Tensor], Tensor], level: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Smallest whole number at which a distribution function reaches a level, by bisection.

    Args:
        cdf: The distribution function.
        level: Level in (0, 1), a scalar or of the shape of the bounds.
        low: Whole numbers below the result.
        high: Whole numbers at or above the result.

    Returns:
        Whole numbers, of the shape of the bounds, float64.
    """
    low, high = low.double(), high.double()  # beyond 2**24 counts are farther apart in float32
    for _ in range(ROUNDS):
        if not bool((high - low > torch.clamp(1e-15 * high, min=1.0)).any()):
            break
        middle = torch.floor(low + (high - low) / 2)
        reached = cdf(middle) >= level
        low, high = torch.where(reached, low, middle), torch.where(reached, middle, high)
    return high


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


@crps_of.register
def _(forecast: StudentT, observation: Tensor) -> Tensor:
    check_scale(forecast.loc, forecast.scale)
    return _by_scipy(crps_student_t, observation, forecast.df, forecast.loc, forecast.scale)


@crps_of.register
def _(forecast: torch.distributions.LogNormal, observation: Tensor) -> Tensor:
    check_scale(forecast.loc, forecast.scale)
    return _by_scipy(crps_lognormal, observation, forecast.loc, forecast.scale)


@crps_of.register
def _(forecast: ShiftedLogNormal, observation: Tensor) -> Tensor:
    check_scale(forecast.loc, forecast.scale)
    return _by_scipy(crps_lognormal, observation + forecast.shift, forecast.loc, forecast.scale)


def _counts_up_to(value: np.ndarray, r: np.ndarray, success: np.ndarray) -> np.ndarray:
    """Compute P(X ≤ value) for X ~ NB(r, success), a regularised incomplete beta function."""
    made = scipy.special.betainc(r, np.maximum(np.floor(value), 0) + 1, success)
    return np.where(value < 0, 0.0, made)


def _by_scipy(function: Callable[..., Any], *given: Tensor) -> Tensor:
    """Apply a function of arrays to tensors; the result has their device and precision."""
    made = function(*(x.detach().cpu().double().numpy() for x in given))
    return torch.as_tensor(np.asarray(made)).to(given[0])
