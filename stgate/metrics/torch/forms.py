"""Scores for training as torchmetrics, kept as float64 sums and counts, so that each observation weighs the same.

Processes add up sums and counts, so that a mean over several processes is the mean over all their observations.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution
from torchmetrics import Metric

from stgate.metrics.torch.distributions import crps_unchecked, inside, median_of


class Mean(Metric):
    """Mean over all observed values of an epoch, not the mean of batch means; NaN when none was observed."""

    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def add(self, values: Tensor, observed: Tensor) -> None:
        """Add values where they are observed.

        Args:
            values: Values of any shape.
            observed: Mask of the same shape, True where a value counts.
        """
        # New tensors, not in place: after `trainer.validate` the states are inference tensors.
        self.total = self.total + torch.where(observed, values, 0.0).sum(dtype=torch.float64)
        self.count = self.count + observed.sum()

    def compute(self) -> Tensor:
        """Return the mean."""
        return torch.where(self.count > 0, self.total / self.count, torch.nan)


class MaskedMean(Mean):
    """Mean of values where they are observed."""

    def update(self, values: Tensor, observed: Tensor) -> None:
        """Add values where they are observed.

        Args:
            values: Values of any shape.
            observed: Mask of the same shape, True where a value counts.
        """
        self.add(values, observed)


class MeanAbsoluteError(Mean):
    """Mean absolute error of the forecast's median over observed values; a missing observation is NaN."""

    def update(self, observation: Tensor, forecast: Distribution) -> None:
        """Add a batch.

        Args:
            observation: Truth, (...), NaN where missing.
            forecast: Distribution of that batch shape.
        """
        filled, observed = _filled(observation, forecast)
        self.add((median_of(forecast) - filled).abs(), observed)


class RootMeanSquaredError(Mean):
    """Root mean squared error of the forecast's mean over observed values; a missing observation is NaN."""

    def update(self, observation: Tensor, forecast: Distribution) -> None:
        """Add a batch.

        Args:
            observation: Truth, (...), NaN where missing.
            forecast: Distribution of that batch shape.
        """
        filled, observed = _filled(observation, forecast)
        self.add((forecast.mean - filled).square(), observed)

    def compute(self) -> Tensor:
        """Return the root of the mean."""
        return super().compute().sqrt()


class Coverage(Mean):
    """Share of observations within the central interval of a level; missing ones (NaN) drop out.

    Args:
        level: Nominal coverage, in (0, 1).
    """

    def __init__(self, level: float = 0.9) -> None:
        super().__init__()
        self.level = level

    def update(self, observation: Tensor, forecast: Distribution) -> None:
        """Add a batch.

        Args:
            observation: Truth, (...), NaN where missing.
            forecast: Distribution of that batch shape.
        """
        filled, observed = _filled(observation, forecast)
        self.add(inside(forecast, filled, self.level).double(), observed)


class CRPS(Mean):
    """Mean continuous ranked probability score (`crps_of`) over observed values; a missing observation is NaN."""

    def update(self, observation: Tensor, forecast: Distribution) -> None:
        """Add a batch.

        Args:
            observation: Truth, (...), NaN where missing.
            forecast: Distribution of that batch shape.
        """
        filled, observed = _filled(observation, forecast)
        self.add(crps_unchecked(forecast, filled), observed)


class ValidPredictionTime(Mean):
    """Mean valid prediction time: the lead up to which the NRMSE of the forecast's mean stays below a threshold.

    A forecast that never reaches the threshold counts with its last observed lead, a lower bound.

    Args:
        threshold: NRMSE at which a forecast is no longer valid.
    """

    def __init__(self, threshold: float = 0.5) -> None:
        super().__init__()
        self.threshold = threshold

    def update(self, observation: Tensor, forecast: Distribution, sigma: Tensor, step: float = 1.0) -> None:
        """Add a batch.

        Args:
            observation: Truth, (batch, lead, node, target), NaN where missing.
            forecast: Distribution of that batch shape.
            sigma: (node, target), standard deviation of the training data.
            step: Time between two leads.
        """
        filled, observed = _filled(observation, forecast)
        squares = torch.where(observed, ((forecast.mean - filled) / sigma).square(), 0.0)
        count = observed.sum(2)
        nrmse = (squares.sum(2) / count.clamp(min=1)).sqrt()  # (batch, lead, target)
        known = count > 0
        missed = known & (nrmse >= self.threshold)
        leads = torch.arange(1, nrmse.shape[1] + 1, device=nrmse.device).view(1, -1, 1)
        first = torch.where(missed, leads, nrmse.shape[1] + 1).amin(1)  # (batch, target)
        last = torch.where(known, leads, 0).amax(1)
        steps = torch.where(missed.any(1), first - 1, last)
        self.add(steps * step, known[:, 0])


def _filled(observation: Tensor, forecast: Distribution) -> tuple[Tensor, Tensor]:
    """Replace missing observations by the forecast's mean; also return the mask of entries where neither is missing."""
    mean = forecast.mean.detach()
    observed = ~torch.isnan(observation) & ~torch.isnan(mean)
    return torch.where(observed, observation, mean), observed
