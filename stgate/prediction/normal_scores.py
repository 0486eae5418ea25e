"""Normal scores: how far a value lies from a forecast's median, in standard deviations of a normal distribution."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from stgate.distributions.reshaped import SCORES
from stgate.prediction.intervals import ConformityScore, conformity_scores, median_of


def nodes_of(kind: ConformityScore) -> tuple[float, ...]:
    """Return the normal scores at which a forecast's quantiles are given for online intervals.

    Args:
        kind: The predictor's conformity score. For `scaled` the median and one standard deviation more say all; others
            have a shape of their own.
    """
    return (0.0, 1.0) if kind == "scaled" else SCORES


def quantiles_at(forecast: Distribution, kind: ConformityScore) -> Tensor:
    """Return values of a forecast at the normal scores of `nodes_of`, (batch, lead, node, target, score).

    Args:
        forecast: A distribution of batch shape (batch, lead, node, target), in units of the transformed targets.
        kind: The predictor's conformity score.
    """
    if kind == "scaled":
        middle = median_of(forecast)
        return torch.stack([middle, middle + forecast.stddev], -1)
    levels = torch.special.ndtr(torch.tensor(SCORES, dtype=torch.float64)).float()
    return torch.stack([forecast.icdf(level) for level in levels], -1)


def normal_scores(forecast: Distribution, truth: Tensor, kind: ConformityScore) -> Tensor:
    """Return the sizes of the normal scores of observed values, (batch, lead, node, target), NaN where missing.

    Args:
        forecast: A distribution of batch shape (batch, lead, node, target).
        truth: Observed values in its units.
        kind: The predictor's conformity score. `scaled` is the error in standard deviations; the score of others is
            Φ⁻¹(F(y)), where F is the forecast's distribution function and Φ that of a standard normal value.
    """
    return conformity_scores(forecast, truth, "scaled" if kind == "scaled" else "distribution", ())[0]
