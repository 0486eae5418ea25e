"""Equal-weight mixture of the distributions that several members predict."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, Normal
from torch.distributions.constraints import Constraint

from stgate.distributions.counts import NegativeBinomial, count_inside, crps_of_members
from stgate.metrics.torch.distributions import crps_unchecked, inside, standardised

CHUNK = 2**14
"""Number of mixtures whose quantiles are solved at once; with some tens of members they fit the processor's cache."""
ROUNDS, STEPS = 30, 16
"""Largest number of steps of Chandrupatla's method, and their number in a graph."""
HALVINGS = 60
"""Largest number of times that the bounds of a count are halved."""
TOLERANCE = 1e-6
"""Tolerance of the distribution function at a quantile; rounding in float32 is a tenth of it."""


class Mixture(Distribution):
    """Equal-weight mixture over the first axis of its components.

    Its quantiles are exact. The mean of the members' quantiles would be another distribution, whose intervals are much
    too narrow where members disagree.

    Args:
        components: Distributions of batch shape (member, ...) with a distribution function and quantiles.
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {}
    has_rsample = False

    def __init__(self, components: Distribution) -> None:
        self.components = components
        super().__init__(components.batch_shape[1:], validate_args=False)

    @property
    def members(self) -> int:
        """Number of members."""
        return self.components.batch_shape[0]

    @property
    def mean(self) -> Tensor:
        """Mean of the members' means."""
        return self.components.mean.mean(0)

    @property
    def aleatoric_variance(self) -> Tensor:
        """Mean of the members' variances, which more data would not reduce."""
        return self.components.variance.mean(0)

    @property
    def epistemic_variance(self) -> Tensor:
        """Variance of the members' means, due to their disagreement."""
        return self.components.mean.var(0, unbiased=False)

    @property
    def variance(self) -> Tensor:
        """Sum of the aleatoric and the epistemic variance."""
        return self.aleatoric_variance + self.epistemic_variance

    def cdf(self, value: Tensor) -> Tensor:
        """Mean of the members' distribution functions."""
        return self.components.cdf(value.expand(self.batch_shape)).mean(0)

    def log_prob(self, value: Tensor) -> Tensor:
        """Logarithm of the mean of the members' densities."""
        each = self.components.log_prob(value.expand(self.batch_shape))
        return torch.logsumexp(each, 0) - math.log(self.members)

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw samples, each from a member chosen at random: (*sample_shape, *batch_shape)."""
        with torch.no_grad():
            drawn = self.components.sample(torch.Size(sample_shape))  # (*sample, member, ...)
            axis = len(sample_shape)
            shape = (*sample_shape, 1, *self.batch_shape)
            chosen = torch.randint(self.members, shape, device=drawn.device)
            return drawn.gather(axis, chosen).squeeze(axis)

    def icdf(self, value: Tensor) -> Tensor:
        """Quantile of a level, by Chandrupatla's method between the least and the largest quantile of the members.

        Args:
            value: Level in (0, 1), a scalar or of the batch shape.

        Returns:
            Quantiles of the batch shape, at which the distribution function equals the level to 1e-5. For counts, the
            smallest count that reaches the level.

        References:
            Chandrupatla (1997), A new hybrid quadratic/bisection algorithm. doi:10.1016/S0965-9978(96)00051-8
        """
        batch = self.components.batch_shape
        flat = _made_of(
            self.components,
            lambda p: p.expand(*batch, *p.shape[len(batch) :]).reshape(batch[0], -1, *p.shape[len(batch) :]),
        )
        level = value.expand(self.batch_shape).flatten() if value.dim() else value
        if _counts(self.components):
            own = flat.icdf(level.to(flat.mean).expand(flat.batch_shape) if value.dim() else level.to(flat.mean))
            found = least_count(Mixture(flat).cdf, level, own.amin(0) - 1, own.amax(0))
            return found.to(own.dtype).view(self.batch_shape)
        if torch.compiler.is_compiling():  # the number of mixtures is open
            return _solve(flat, level).view(self.batch_shape)
        chunks = (slice(i, i + CHUNK) for i in range(0, flat.batch_shape[1], CHUNK))
        parts = [_solve(_part(flat, chunk), level[chunk] if value.dim() else level) for chunk in chunks]
        return torch.cat(parts).view(self.batch_shape)


def _solve(components: Distribution, level: Tensor) -> Tensor:
    """Solve for the quantile of each mixture, (member, mixture), at one level or at a level for each mixture."""
    level = level.to(components.mean)
    own = components.icdf(level.expand(components.batch_shape) if level.dim() else level)
    low, high = own.amin(0), own.amax(0)
    found = 0.5 * (low + high)
    sought = torch.arange(found.shape[0], device=found.device)
    # The first guess is the quantile of a normal of the same mean and variance.
    mean = components.mean.mean(0)
    deviation = (components.variance.mean(0) + components.mean.var(0, unbiased=False)).sqrt()
    guess = (mean + torch.special.ndtri(level) * deviation - low) / (high - low)
    t = torch.nan_to_num(guess, nan=0.5).clamp(0.02, 0.98)
    x1, x2 = low, high
    f1, f2 = (components.cdf(x).mean(0) - level for x in (low, high))
    x3, f3 = x1, f1
    traced = torch.compiler.is_compiling()  # a graph has a fixed number of steps, and solves all mixtures in each
    open_ = torch.ones_like(found, dtype=torch.bool)
    for _ in range(STEPS if traced else ROUNDS):
        x = x1 + t * (x2 - x1)
        f = components.cdf(x).mean(0) - level
        if traced:
            found = torch.where(open_, x, found)
        else:
            found[sought] = torch.where(open_, x, found[sought])
        same = (f < 0) == (f1 < 0)
        x3, f3 = torch.where(same, x1, x2), torch.where(same, f1, f2)
        x2, f2 = torch.where(same, x2, x1), torch.where(same, f2, f1)
        x1, f1 = x, f
        open_ = open_ & (f.abs() > TOLERANCE)  # NaN counts as solved: there is nothing to find
        if traced:
            t = next_step(x1, x2, x3, f1, f2, f3)
            continue
        if settled(open_):
            break
        if looks(open_) and int(open_.sum()) < 0.7 * len(sought):
            sought, components = sought[open_], _part(components, open_)
            x1, x2, x3, f1, f2, f3 = (v[open_] for v in (x1, x2, x3, f1, f2, f3))
            level = level[open_] if level.dim() else level
            open_ = torch.ones_like(sought, dtype=torch.bool)
        t = next_step(x1, x2, x3, f1, f2, f3)
    return found


def looks(values: Tensor) -> bool:
    """Tell if the host may look at values: on the CPU. Elsewhere it would wait for the device; a graph has no look."""
    return values.device.type == "cpu" and not torch.compiler.is_compiling()


def settled(open_: Tensor) -> bool:
    """Tell if an iteration may end early: the host may look, and no value is open.

    Args:
        open_: Flags of the values that are still sought.
    """
    return looks(open_) and not bool(open_.any())


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
    for _ in range(HALVINGS):
        if settled(high - low > torch.clamp(1e-15 * high, min=1.0)):
            break
        middle = torch.floor(low + (high - low) / 2)
        reached = cdf(middle) >= level
        low, high = torch.where(reached, low, middle), torch.where(reached, middle, high)
    return high


def next_step(x1: Tensor, x2: Tensor, x3: Tensor, f1: Tensor, f2: Tensor, f3: Tensor) -> Tensor:
    """Next position between x1 and x2: by inverse quadratic interpolation where it is safe, else the middle."""
    xi, phi = (x1 - x2) / (x3 - x2), (f1 - f2) / (f3 - f2)
    safe = (phi.square() < xi) & ((1 - phi).square() < 1 - xi)
    quadratic = f1 / (f1 - f2) * f3 / (f3 - f2) + (x3 - x1) / (x2 - x1) * f1 / (f1 - f3) * f2 / (f2 - f3)
    return torch.where(safe & torch.isfinite(quadratic), quadratic, 0.5).clamp(1e-4, 1 - 1e-4)


@inside.register
def _(forecast: Mixture, observation: Tensor, level: float) -> Tensor:
    """Compare the cumulative probability of the observation with the level, which needs no quantile."""
    if _counts(forecast.components):
        return count_inside(forecast, observation, level)
    return (forecast.cdf(observation) - 0.5).abs() <= level / 2


@crps_unchecked.register
def _(forecast: Mixture, observation: Tensor) -> Tensor:
    """CRPS of a mixture: a closed form for normal components and nearly one for counts, else from quantiles."""
    components = forecast.components
    if isinstance(components, NegativeBinomial):
        return crps_of_members(components, observation)
    if not isinstance(components, Normal):
        distribution: Callable[[Distribution, Tensor], Tensor] = crps_unchecked.dispatch(Distribution)
        return distribution(forecast, observation)
    loc, scale = components.loc, components.scale
    between = 2 / math.sqrt(math.pi) * scale.sum(0)  # of each member and itself
    tiny = torch.finfo(scale.dtype).tiny  # the root of a sum of squares has no gradient at zero
    for member in range(forecast.members - 1):  # a row of pairs at a time: all at once would take members² the room
        later = slice(member + 1, None)
        pairs = _expected_absolute(loc[later] - loc[member], torch.hypot(scale[later].clamp(min=tiny), scale[member]))
        between = between + 2 * pairs.sum(0)
    return _expected_absolute(observation - loc, scale).mean(0) - 0.5 * between / forecast.members**2


def _expected_absolute(loc: Tensor, scale: Tensor) -> Tensor:
    """Compute E|X| for X ~ N(loc, scale²)."""
    z = standardised(loc, scale)
    return loc * torch.erf(z * math.sqrt(0.5)) + scale * math.sqrt(2 / math.pi) * torch.exp(-0.5 * z.square())


def _part(flat: Distribution, part: slice | Tensor) -> Distribution:
    return _made_of(flat, lambda p: p[:, part])


def _made_of(components: Distribution, change: Callable[[Tensor], Tensor]) -> Distribution:
    """Make the same family with changed parameters."""
    parameters: dict[str, Any] = {name: change(getattr(components, name)) for name in components.arg_constraints}
    return type(components)(**parameters, **getattr(components, "fixed", {}), validate_args=False)


def sample_of(forecast: Distribution, truth: Tensor, count: int) -> tuple[Distribution, Tensor]:
    """Return about some number of entries, evenly spread and not all of one node, lead or target.

    Args:
        forecast: A distribution that could be the component of a mixture.
        truth: Values of its batch shape.
        count: Number of entries.

    Returns:
        The distribution and the values of these entries, (entry,).
    """
    total = truth.numel()
    step = max(total // count, 1)
    while math.gcd(step, total) > 1:
        step += 1
    kept = _made_of(forecast, lambda p: p.expand(truth.shape).reshape(-1)[::step])
    return kept, truth.reshape(-1)[::step]


def _counts(components: Distribution) -> bool:
    support = components.support
    return bool(support is not None and support.is_discrete)
