"""Likelihoods: families of distributions, made from a network's raw outputs in the target's own units."""

from __future__ import annotations

import math
import statistics
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import softplus

from stgate._configured import Configured, check_options
from stgate.distributions import counts
from stgate.distributions import families as distributions
from stgate.errors import RequestError
from stgate.schema.forecast import quantiles_of

LEAST = 1e-6
"""Lower bound of numbers that must be above zero."""

LinkName = Literal["softplus", "exp"]
"""Names of the link functions of a scale."""


class Likelihood(Configured, ABC):
    """Family of distributions of the targets; it has options but no weights.

    Attributes:
        parameters: Number of network outputs for each target; the first one is the location, in standardised units.
        support: Values that have a density: `real`, `positive`, or `count` (0, 1, 2, …).
        spread_at_zero: About the standard deviation, in units of the scale, where all raw outputs are zero.
    """

    parameters: int
    spread_at_zero: float = 1.0
    support: ClassVar[Literal["real", "positive", "count"]] = "real"

    @abstractmethod
    def __call__(self, raw: Tensor, center: Tensor, scale: Tensor) -> Distribution:
        """Make the distribution of the targets in their own units.

        Args:
            raw: Outputs of the network, (..., target, parameter), in standardised units.
            center: Centres of the targets, (target,), added after scaling.
            scale: Scales of the targets, (target,), by which standardised values are multiplied.

        Returns:
            A distribution of batch shape (..., target).
        """

    def loss(self, forecast: Distribution, truth: Tensor) -> Tensor:
        """Loss of each entry that training minimises: the negative log-likelihood unless a family defines another.

        Args:
            forecast: Distribution of batch shape (...).
            truth: Truth, (...), without NaN.

        Returns:
            Losses, (...).
        """
        made: Tensor = -forecast.log_prob(truth)
        return made

    @property
    def lowest(self) -> float:
        """Bound below which no value has a density and no interval reaches."""
        return -math.inf if self.support == "real" else 0.0

    @property
    def takes(self) -> str:
        """Values that have a density, in words."""
        return {"real": "any number", "positive": "values above zero only", "count": "counts (0, 1, 2, …) only"}[
            self.support
        ]

    def allowed(self, values: Tensor) -> Tensor:
        """Flags of the values that have a density.

        Args:
            values: Values in the targets' own units, without NaN.

        Returns:
            Flags, of the shape of the values.
        """
        if self.support == "positive":
            return values > 0
        if self.support == "count":
            return (values >= 0) & (values == values.floor())
        return torch.ones_like(values, dtype=torch.bool)

    def check(self, targets: Sequence[str], least: Tensor, whole: Tensor) -> None:
        """Refuse targets with values to which this family gives no density.

        Args:
            targets: Names of the targets.
            least: Smallest observed value of each target, (target,).
            whole: Flags of the targets whose values are all whole numbers, (target,).

        Raises:
            RequestError: A target has such values; the message names it.
        """
        kind = type(self).__name__
        for name, low, counted in zip(targets, least, whole.tolist(), strict=True):
            fractions = self.support == "count" and not counted and low >= 0
            if fractions or not self.allowed(low):
                what = "that are no whole numbers" if fractions else f"of {low.item():g}"
                raise RequestError(f"likelihood {kind}: `{name}` has values {what}; it takes {self.takes}")


class Normal(Likelihood):
    """Normal distribution, its location and scale in units of the training data's standard deviation.

    Args:
        min_scale: Lower bound of the standardised scale, above zero; the scale is min_scale + link(raw).
        beta: Power of the variance by which training weighs each entry's negative log-likelihood, from 0 to 1. 0 is the
            plain likelihood. 1 gives the location the gradients of the squared error, so that it also learns where the
            variance is large.
        link: Function from the network's output to the scale, `softplus` or `exp`.

    References:
        Seitzer et al. (2022), On the pitfalls of heteroscedastic uncertainty estimation with probabilistic neural
        networks. ICLR (beta).
    """

    parameters = 2

    def __init__(self, min_scale: float = 1e-3, beta: float = 0.0, link: LinkName = "softplus") -> None:
        check_options(Normal.__init__, locals())
        _check_min_scale(min_scale)
        if not 0 <= beta <= 1:
            raise RequestError(f"beta {beta:g}: must lie between 0 and 1")
        self.min_scale, self.beta, self.link = min_scale, beta, link
        self.spread_at_zero = float(LINKS[link](torch.zeros(())))

    def __call__(self, raw: Tensor, center: Tensor, scale: Tensor) -> Distribution:
        """Make the distribution of the targets in their own units.

        Args:
            raw: Outputs of the network, (..., target, parameter), in standardised units.
            center: Centres of the targets, (target,), added after scaling.
            scale: Scales of the targets, (target,), by which standardised values are multiplied.

        Returns:
            A distribution of batch shape (..., target).
        """
        standardised = self.min_scale + LINKS[self.link](raw[..., 1])
        return torch.distributions.Normal(center + scale * raw[..., 0], scale * standardised, validate_args=False)

    def loss(self, forecast: Distribution, truth: Tensor) -> Tensor:
        """Loss of each entry that training minimises: negative log-likelihood times the variance to the power of beta.

        Args:
            forecast: Distribution of batch shape (...).
            truth: Truth, (...), without NaN.

        Returns:
            Losses, (...).
        """
        losses = super().loss(forecast, truth)
        return losses if self.beta == 0 else losses * forecast.variance.detach() ** self.beta


class StudentT(Likelihood):
    """Student t distribution, robust to outliers; location, scale and degrees of freedom (above 2) are learned.

    Args:
        min_scale: Lower bound of the standardised scale, above zero; the scale is min_scale + softplus(raw).
    """

    parameters = 3
    spread_at_zero = math.log(2)  # softplus of zero

    def __init__(self, min_scale: float = 1e-3) -> None:
        check_options(StudentT.__init__, locals())
        _check_min_scale(min_scale)
        self.min_scale = min_scale

    def __call__(self, raw: Tensor, center: Tensor, scale: Tensor) -> Distribution:
        """Make the distribution of the targets in their own units.

        Args:
            raw: Outputs of the network, (..., target, parameter), in standardised units.
            center: Centres of the targets, (target,), added after scaling.
            scale: Scales of the targets, (target,), by which standardised values are multiplied.

        Returns:
            A distribution of batch shape (..., target).
        """
        standardised = self.min_scale + softplus(raw[..., 1])
        df = 2.01 + 10 * softplus(raw[..., 2])  # about 9 at the start of training
        return distributions.StudentT(df, center + scale * raw[..., 0], scale * standardised, validate_args=False)


class LogNormal(Likelihood):
    """Log-normal distribution, for positive quantities whose errors grow with them, such as concentrations.

    The median is softplus of the location, in units of the training data's standard deviation. It is nearly the
    location itself where that is well above zero.

    Args:
        min_scale: Lower bound of the standard deviation of the logarithm, above zero; it is min_scale + softplus(raw).
        shift: Number added before the logarithm, zero or above, in the target's own units. Above zero it allows values
            of zero and gives small values less weight. Intervals still begin at zero.
    """

    parameters = 2
    support = "positive"

    def __init__(self, min_scale: float = 1e-3, shift: float = 0.0) -> None:
        check_options(LogNormal.__init__, locals())
        _check_min_scale(min_scale)
        if shift < 0:
            raise RequestError(f"shift {shift:g}: must not be negative")
        self.min_scale, self.shift = min_scale, shift

    def __call__(self, raw: Tensor, center: Tensor, scale: Tensor) -> Distribution:
        """Make the distribution of the targets in their own units.

        Args:
            raw: Outputs of the network, (..., target, parameter), in standardised units.
            center: Centres of the targets, (target,), added after scaling.
            scale: Scales of the targets, (target,), by which standardised values are multiplied.

        Returns:
            A distribution of batch shape (..., target).
        """
        loc = (_positive(raw[..., 0], center, scale) + self.shift).log()
        deviation = self.min_scale + softplus(raw[..., 1])
        if self.shift:
            return distributions.ShiftedLogNormal(loc, deviation, torch.full_like(loc, self.shift), validate_args=False)
        return torch.distributions.LogNormal(loc, deviation, validate_args=False)

    @property
    def takes(self) -> str:
        """Values that have a density, in words."""
        if self.shift:
            return "values of zero or above"
        return f"{super().takes}; a shift (in its own units) allows zero"

    def allowed(self, values: Tensor) -> Tensor:
        """Flags of the values that have a density: those above zero, and with a shift zero.

        Args:
            values: Values in the targets' own units, without NaN.

        Returns:
            Flags, of the shape of the values.
        """
        return values >= 0 if self.shift else super().allowed(values)


class NegativeBinomial(Likelihood):
    """Negative binomial distribution of counts, with variance mean + dispersion mean².

    The mean is softplus of the location, in units of the training data's standard deviation. The dispersion is
    softplus(raw).

    References:
        Saad et al. (2024), Scalable spatiotemporal prediction with Bayesian neural fields. Nature Communications 15.
    """

    parameters = 2
    support = "count"

    def __call__(self, raw: Tensor, center: Tensor, scale: Tensor) -> Distribution:
        """Make the distribution of the targets in their own units.

        Args:
            raw: Outputs of the network, (..., target, parameter), in standardised units.
            center: Centres of the targets, (target,), added after scaling.
            scale: Scales of the targets, (target,), by which standardised values are multiplied.

        Returns:
            A distribution of batch shape (..., target).
        """
        return counts.NegativeBinomial(
            _positive(raw[..., 0], center, scale), softplus(raw[..., 1]) + LEAST, validate_args=False
        )


class ZeroInflatedNegativeBinomial(Likelihood):
    """Zero-inflated negative binomial distribution of counts: an extra zero with probability sigmoid(raw).

    The other counts are negative binomial, with variance mean + dispersion mean². Their mean is softplus of the
    location, in units of the training data's standard deviation. The dispersion is softplus(raw).
    """

    parameters = 3
    support = "count"

    def __call__(self, raw: Tensor, center: Tensor, scale: Tensor) -> Distribution:
        """Make the distribution of the targets in their own units.

        Args:
            raw: Outputs of the network, (..., target, parameter), in standardised units.
            center: Centres of the targets, (target,), added after scaling.
            scale: Scales of the targets, (target,), by which standardised values are multiplied.

        Returns:
            A distribution of batch shape (..., target).
        """
        mean, dispersion = _positive(raw[..., 0], center, scale), softplus(raw[..., 1]) + LEAST
        return counts.ZeroInflatedNegativeBinomial(mean, dispersion, torch.sigmoid(raw[..., 2]), validate_args=False)


class Quantiles(Likelihood):
    """Quantiles of any distribution, fitted by the pinball loss; they do not cross.

    The density is uniform between two quantiles and falls off exponentially beyond the outermost ones.

    Args:
        levels: Levels in (0, 1) of the central intervals whose bounds are fitted, beside the median; at least one.

    References:
        Koenker, Bassett (1978), Regression quantiles. Econometrica 46. doi:10.2307/1913643
    """

    def __init__(self, levels: Sequence[float] = (0.2, 0.5, 0.8, 0.9, 0.95)) -> None:
        check_options(Quantiles.__init__, locals())
        self.levels = list(levels)
        self.parameters = len(quantiles_of(self.levels))
        if self.parameters < 3:
            raise RequestError("levels: give at least one, such as 0.9")
        self.spread_at_zero = math.log(2) / statistics.NormalDist().inv_cdf((1 + max(self.levels)) / 2)

    def __call__(self, raw: Tensor, center: Tensor, scale: Tensor) -> Distribution:
        """Make the distribution of the targets in their own units.

        Args:
            raw: Outputs of the network, (..., target, parameter), in standardised units.
            center: Centres of the targets, (target,), added after scaling.
            scale: Scales of the targets, (target,), by which standardised values are multiplied.

        Returns:
            A distribution of batch shape (..., target).
        """
        levels = quantiles_of(self.levels)
        half = len(levels) // 2
        gaps = softplus(raw[..., 1:]) / half + 1e-4
        below = -gaps[..., :half].cumsum(-1).flip(-1)
        offsets = torch.cat([below, torch.zeros_like(gaps[..., :1]), gaps[..., half:].cumsum(-1)], -1)
        knots = center.unsqueeze(-1) + scale.unsqueeze(-1) * (raw[..., :1] + offsets)
        return distributions.QuantileFunction(knots, scale, levels)

    def loss(self, forecast: Distribution, truth: Tensor) -> Tensor:
        """Loss of each entry that training minimises: twice the mean pinball loss, in standardised units.

        Args:
            forecast: Distribution of batch shape (...).
            truth: Truth, (...), without NaN.

        Returns:
            Losses, (...).
        """
        assert isinstance(forecast, distributions.QuantileFunction)
        return forecast.pinball(truth)


LINKS: dict[LinkName, Callable[[Tensor], Tensor]] = {"softplus": softplus, "exp": torch.exp}
"""Functions from raw outputs to positive numbers, by their names in configs."""


def _positive(location: Tensor, center: Tensor, scale: Tensor) -> Tensor:
    """Map a location to a positive number in the target's own units, by softplus from the target's own zero."""
    return scale * (softplus(location + center / scale) + LEAST)


def _check_min_scale(min_scale: float) -> None:
    if min_scale <= 0:
        raise RequestError(f"min_scale {min_scale:g}: must be above zero")
