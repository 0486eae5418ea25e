"""Quantiles of a forecast: those of its own distribution, or calibrated ones."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor
from torch.distributions import Distribution

from stgate.distributions.normal_scores import score_in, value_at
from stgate.distributions.ties import encoded_truth
from stgate.distributions.transformed import Transformed
from stgate.errors import RequestError
from stgate.schema.levels import levels_of
from stgate.schema.words import CONFORMITY_SCORES as CONFORMITY_SCORES
from stgate.schema.words import ConformityScore as ConformityScore

REFITTED = "refitted on all"
"""Words in the method of a calibration after which the forecaster was fitted on all rows before the test part."""


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Conformal quantiles, fitted once and stored in the checkpoint.

    Attributes:
        method: A description of the method and of its calibration groups.
        conformity_score: `scaled`, `residual`, `quantile` or `distribution`.
        levels: Central-interval levels, ascending.
        edges: Steps since observed at which a further missingness group begins; none for a single group.
        quantiles: (missingness group, node or 1, level, lead, target), calibrated quantiles of the conformity score.
        n_observations: (lead, target), number of observed values that were scored.
        report: Lines on levels and groups that had too few values to stand by themselves.
        start: The first time of the calibration span.
        end: The last time of the calibration span.
    """

    method: str
    conformity_score: ConformityScore
    levels: tuple[float, ...]
    edges: tuple[int, ...]
    quantiles: Tensor
    n_observations: Tensor
    report: tuple[str, ...]
    start: str
    end: str

    def to_plain(self) -> dict[str, Any]:
        """Return plain containers and tensors, as a checkpoint holds them."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> Self:
        """Build a calibration from the values that `to_plain` returned."""
        options: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in values.items()}
        return cls(**options)

    def of_level(self, level: float, since: Tensor) -> Tensor:
        """Return the calibrated quantiles of one level.

        Args:
            level: A central-interval level.
            since: (batch, node), steps since each node was observed, at the origin.

        Returns:
            (batch, lead, node, target).

        Raises:
            RequestError: The calibration does not hold this level.
        """
        near = [i for i, have in enumerate(self.levels) if abs(have - level) < 1e-6]
        if not near:
            held = ", ".join(f"{h:g}" for h in self.levels)
            raise RequestError(f"level {level:g}: not calibrated; this checkpoint holds {held}")
        table = self.quantiles[:, :, near[0]].to(since.device, non_blocking=True)  # (group, node or 1, lead, target)
        group = torch.zeros_like(since, dtype=torch.int64)
        for edge in self.edges:  # `missing_groups`, on the device
            group = group + (since >= edge)
        node = torch.arange(group.shape[1], device=since.device) * (table.shape[1] > 1)
        return table[group, node].transpose(1, 2)


def own_interval(forecast: Distribution, level: float) -> tuple[Tensor, Tensor]:
    """Return the bounds of the forecast's own central interval, each of the distribution's batch shape."""
    lower, upper = (forecast.icdf(torch.tensor(q)) for q in ((1 - level) / 2, (1 + level) / 2))
    return lower, upper


def median_of(forecast: Distribution) -> Tensor:
    """Return the 0.5 quantile, of the distribution's batch shape."""
    return forecast.icdf(torch.tensor(0.5))


def conformity_scores(forecast: Distribution, truth: Tensor, kind: ConformityScore, levels: Sequence[float]) -> Tensor:
    """Compute conformity scores, large where the truth is far off.

    Args:
        forecast: A distribution of batch shape (batch, lead, node, target).
        truth: (batch, lead, node, target), NaN where missing.
        kind: One of `CONFORMITY_SCORES`.
        levels: Central-interval levels; `quantile` has scores of its own for each, the others one for all.

    Returns:
        (level or 1, batch, lead, node, target), NaN where the truth is missing.

    References:
        Romano, Patterson, Candès (2019), Conformalized quantile regression. NeurIPS.
        Chernozhukov, Wüthrich, Zhu (2021), Distributional conformal prediction. PNAS 118. doi:10.1073/pnas.2107794118
    """
    if isinstance(forecast, Transformed):
        return conformity_scores(forecast.base, encoded_truth(forecast, truth), kind, levels)
    if kind == "distribution":
        return score_in(forecast, truth).abs().unsqueeze(0)
    if kind == "quantile":
        own = [own_interval(forecast, level) for level in levels]
        return torch.stack([torch.maximum(lower - truth, truth - upper) for lower, upper in own])
    error = (truth - median_of(forecast)).abs()
    return (error / forecast.stddev if kind == "scaled" else error).unsqueeze(0)


def quantiles_of_forecast(
    forecast: Distribution,
    calibration: Calibration | None,
    since: Tensor,
    quantiles: Sequence[float],
    lowest: float = -math.inf,
) -> Tensor:
    """Compute the quantiles of a forecast.

    Args:
        forecast: A distribution of batch shape (batch, lead, node, target).
        calibration: The stored calibration; None for the forecast's own quantiles.
        since: (batch, node), steps since each node was observed, at the origin.
        quantiles: Quantile levels, ascending, 0.5 among them.
        lowest: Bound below which the likelihood has no density; of transformed targets, a transformed value.

    Returns:
        (batch, lead, node, target, quantile), ascending.

    Raises:
        RequestError: The calibration does not hold a level.
    """
    if isinstance(forecast, Transformed):
        encoded = quantiles_of_forecast(forecast.base, calibration, since, quantiles, lowest)
        return torch.stack([forecast.bound.decode(column) for column in encoded.unbind(-1)], -1)
    if calibration is None:
        return torch.stack([forecast.icdf(torch.tensor(q)) for q in quantiles], -1).clamp(min=lowest)
    kind = calibration.conformity_score
    middle = median_of(forecast)
    columns: dict[float, Tensor] = {0.5: middle}
    for level in levels_of(quantiles):
        half = calibration.of_level(level, since).to(middle)
        if kind == "quantile":
            lower, upper = own_interval(forecast, level)
            lower, upper = torch.minimum(lower - half, middle), torch.maximum(upper + half, middle)
        elif kind == "distribution":
            lower, upper = value_at(forecast, -half), value_at(forecast, half)
        else:
            half = half * forecast.stddev if kind == "scaled" else half
            lower, upper = middle - half, middle + half
        columns[round((1 - level) / 2, 6)], columns[round((1 + level) / 2, 6)] = lower, upper
    bounds = torch.stack([columns[round(q, 6)] for q in quantiles], -1)
    return (bounds.sort(-1).values if kind == "quantile" else bounds).clamp(min=lowest)
