"""Likelihoods: what a network's raw outputs mean as a distribution in the target's own units."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import softplus

from stgate._configured import Configured
from stgate.distributions import families as distributions
from stgate.errors import RequestError, check_number, did_you_mean
from stgate.schema.forecast import quantiles_of

LEAST = 1e-6
"""Lower bound of numbers that must be above zero."""

LinkName = Literal["softplus", "exp"]
"""Names of the link functions of a scale."""


class Likelihood(Configured, ABC):
    """A family of distributions; it has options but no weights.

    Attributes:
        parameters: Raw network outputs a target needs; the first one is the location, in standardised units.
        support: Values that it gives a density to: `real`, `positive`, or `count` (0, 1, 2, …).
    """

    parameters: int
    support: ClassVar[Literal["real", "positive", "count"]] = "real"

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

    @property
    def lowest(self) -> float:
        """The bound below which it gives no density, nor any interval."""
        return -math.inf if self.support == "real" else 0.0

    def check(self, targets: Sequence[str], least: Tensor, whole: Tensor) -> None:
        """Refuse targets with values to which this family gives no density; here counts that are none.

        Args:
            targets: Their names.
            least: (target,), the smallest observed value of each.
            whole: (target,), whether all are whole numbers.

        Raises:
            RequestError: Naming the target.
        """
        kind = type(self).__name__
        for name, low, counted in zip(targets, least.tolist(), whole.tolist(), strict=True):
            if self.support == "count" and (low < 0 or not counted):
                what = f"values of {low:g}" if low < 0 else "values that are no whole numbers"
                raise RequestError(f"likelihood {kind}: `{name}` has {what}; it takes counts (0, 1, 2, …) only")


class Normal(Likelihood):
    """Normal(loc, scale), both in units of the training data's spread.

    Args:
        min_scale: Lower bound of the standardised scale, which is min_scale + softplus(raw), or + exp(raw).
        beta: In training, weigh each entry's negative log-likelihood by its variance to this power: 0 is the likelihood
            itself, 1 gives the location the gradients of the squared error, so that it also learns where the spread is
            large.
        link: `softplus` or `exp`.

    References:
        Seitzer et al. (2022), On the pitfalls of heteroscedastic uncertainty estimation with probabilistic neural
        networks. ICLR (beta).
    """

    parameters = 2

    def __init__(self, min_scale: float = 1e-3, beta: float = 0.0, link: LinkName = "softplus") -> None:
        _check_min_scale(min_scale)
        if not 0 <= beta <= 1:
            raise RequestError(f"beta {beta:g}: between 0 and 1")
        if link not in LINKS:
            raise RequestError(f"link {link!r}: {did_you_mean(link, LINKS)}")
        self.min_scale, self.beta, self.link = min_scale, beta, link

    def __call__(self, raw: Tensor, center: Tensor, scale: Tensor) -> Distribution:
        """See `Likelihood`."""
        spread = self.min_scale + LINKS[self.link](raw[..., 1])
        return torch.distributions.Normal(center + scale * raw[..., 0], scale * spread, validate_args=False)

    def loss(self, forecast: Distribution, truth: Tensor) -> Tensor:
        """See `Likelihood`."""
        losses = super().loss(forecast, truth)
        return losses if self.beta == 0 else losses * forecast.variance.detach() ** self.beta


class StudentT(Likelihood):
    """Student's t with location, scale and degrees of freedom (above two) from the network: for outliers.

    Args:
        min_scale: Lower bound of the standardised scale.
    """

    parameters = 3

    def __init__(self, min_scale: float = 1e-3) -> None:
        _check_min_scale(min_scale)
        self.min_scale = min_scale

    def __call__(self, raw: Tensor, center: Tensor, scale: Tensor) -> Distribution:
        """See `Likelihood`."""
        spread = self.min_scale + softplus(raw[..., 1])
        df = 2.01 + 10 * softplus(raw[..., 2])  # to begin with about 9
        return distributions.StudentT(df, center + scale * raw[..., 0], scale * spread, validate_args=False)


class LogNormal(Likelihood):
    """Log-normal, for positive quantities whose spread grows with them, such as concentrations.

    Its median is softplus of the location, in units of the training data's spread: where it is well above zero the
    location is the median.

    Args:
        min_scale: Lower bound of the standard deviation of the logarithm, which is min_scale + softplus(raw).
        shift: Added before the logarithm, in the target's own units: above zero it lets values be zero, and small ones
            matter less. Intervals begin at zero all the same.
    """

    parameters = 2
    support = "positive"

    def __init__(self, min_scale: float = 1e-3, shift: float = 0.0) -> None:
        _check_min_scale(min_scale)
        check_number("shift", shift)
        if shift < 0:
            raise RequestError(f"shift {shift:g}: zero, or above it")
        self.min_scale, self.shift = min_scale, shift

    def __call__(self, raw: Tensor, center: Tensor, scale: Tensor) -> Distribution:
        """See `Likelihood`."""
        loc = (_positive(raw[..., 0], center, scale) + self.shift).log()
        spread = self.min_scale + softplus(raw[..., 1])
        if self.shift:
            return distributions.ShiftedLogNormal(loc, spread, torch.full_like(loc, self.shift), validate_args=False)
        return torch.distributions.LogNormal(loc, spread, validate_args=False)

    def check(self, targets: Sequence[str], least: Tensor, whole: Tensor) -> None:
        """See `Likelihood`."""
        for name, low in zip(targets, least.tolist(), strict=True):
            if low < 0 or (low == 0 and not self.shift):
                mend = " only; a shift (in its own units) lets them be zero" if low == 0 else ""
                said = "those above zero" if not self.shift else "those of zero or above"
                raise RequestError(f"likelihood LogNormal: `{name}` has values of {low:g}; it takes {said}{mend}")


class NegativeBinomial(Likelihood):
    """Negative binomial, for counts: variance = mean + shape mean².

    The mean is softplus of the location, in units of the training data's spread; the shape is softplus(raw).

    References:
        Saad et al. (2024), Scalable spatiotemporal prediction with Bayesian neural fields. Nature Communications 15.
    """

    parameters = 2
    support = "count"

    def __call__(self, raw: Tensor, center: Tensor, scale: Tensor) -> Distribution:
        """See `Likelihood`."""
        return distributions.NegativeBinomial(
            _positive(raw[..., 0], center, scale), softplus(raw[..., 1]) + LEAST, validate_args=False
        )


class ZeroInflatedNegativeBinomial(Likelihood):
    """As `NegativeBinomial`, with further zeros of probability sigmoid(raw)."""

    parameters = 3
    support = "count"

    def __call__(self, raw: Tensor, center: Tensor, scale: Tensor) -> Distribution:
        """See `Likelihood`."""
        mean, dispersion = _positive(raw[..., 0], center, scale), softplus(raw[..., 1]) + LEAST
        return distributions.ZeroInflatedNegativeBinomial(
            mean, dispersion, torch.sigmoid(raw[..., 2]), validate_args=False
        )


class Quantiles(Likelihood):
    """Quantiles of any distribution, fitted by the pinball loss; they do not cross.

    Between them the density is even, beyond them it falls off exponentially.

    Args:
        levels: Central-interval levels whose bounds are fitted, with the median.

    References:
        Koenker, Bassett (1978), Regression quantiles. Econometrica 46. doi:10.2307/1913643
    """

    def __init__(self, levels: Sequence[float] = (0.2, 0.5, 0.8, 0.9, 0.95)) -> None:
        self.levels = list(levels)
        self.parameters = len(quantiles_of(self.levels))
        if self.parameters < 3:
            raise RequestError("levels: give at least one, such as 0.9")

    def __call__(self, raw: Tensor, center: Tensor, scale: Tensor) -> Distribution:
        """See `Likelihood`."""
        levels = quantiles_of(self.levels)
        half = len(levels) // 2
        gaps = softplus(raw[..., 1:]) / half + 1e-4
        below = -gaps[..., :half].cumsum(-1).flip(-1)
        offsets = torch.cat([below, torch.zeros_like(gaps[..., :1]), gaps[..., half:].cumsum(-1)], -1)
        knots = center.unsqueeze(-1) + scale.unsqueeze(-1) * (raw[..., :1] + offsets)
        return distributions.QuantileFunction(knots, scale, levels)

    def loss(self, forecast: Distribution, truth: Tensor) -> Tensor:
        """Twice the mean pinball loss, in units of the training data's spread."""
        assert isinstance(forecast, distributions.QuantileFunction)
        return forecast.pinball(truth)


LINKS: dict[LinkName, Callable[[Tensor], Tensor]] = {"softplus": softplus, "exp": torch.exp}
"""Functions from raw outputs to positive numbers, by their names in configs."""


def _positive(location: Tensor, center: Tensor, scale: Tensor) -> Tensor:
    """A smooth positive function (softplus) of a location whose zero is that of the target, in its own units."""
    return scale * (softplus(location + center / scale) + LEAST)


def _check_min_scale(min_scale: float) -> None:
    if min_scale <= 0:
        raise RequestError(f"min_scale {min_scale:g}: must be above zero")
