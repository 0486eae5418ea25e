"""From a forecaster's distribution to the quantiles that it gives out: its own, or calibrated ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from stgate.calibration.groups import missing_groups
from stgate.errors import RequestError
from stgate.schema.forecast import levels_of

METHODS = ("scaled", "residual", "quantile", "distribution")
"""Conformity scores: |y - median| / spread, |y - median|, how far y lies outside the forecast's own interval, and how
far its level in the forecast's distribution is from a half, |F(y) - 1/2|."""
TAIL = 1e-6
"""Level beyond which no interval of a `distribution` calibration reaches."""


def bounds(forecast: Distribution, level: float) -> tuple[Tensor, Tensor]:
    """The forecast's own central interval."""
    lower, upper = (forecast.icdf(torch.tensor(q)) for q in ((1 - level) / 2, (1 + level) / 2))
    return lower, upper


def median_of(forecast: Distribution) -> Tensor:
    """The 0.5 quantile, of the distribution's batch shape."""
    return forecast.icdf(torch.tensor(0.5))


def conformity(forecast: Distribution, truth: Tensor, method: str, levels: Sequence[float]) -> Tensor:
    """Conformity scores, large where the truth is far off: (level, batch, lead, node, target), NaN where it is missing.

    Args:
        forecast: Of batch shape (batch, lead, node, target).
        truth: Of that shape.
        method: One of `METHODS`.
        levels: For `quantile`, each has scores of its own; the others give one for all.

    References:
        Romano, Patterson, Candès (2019), Conformalized quantile regression. NeurIPS.
        Chernozhukov, Wüthrich, Zhu (2021), Distributional conformal prediction. PNAS 118. doi:10.1073/pnas.2107794118
    """
    if method == "distribution":
        known = ~torch.isnan(truth)
        level = forecast.cdf(torch.where(known, truth, forecast.mean))
        return torch.where(known, (level - 0.5).abs(), torch.nan).unsqueeze(0)
    if method == "quantile":
        own = [bounds(forecast, level) for level in levels]
        return torch.stack([torch.maximum(lower - truth, truth - upper) for lower, upper in own])
    error = (truth - median_of(forecast)).abs()
    return (error / forecast.stddev if method == "scaled" else error).unsqueeze(0)


def quantiles_with(
    forecast: Distribution, calibration: dict[str, Any] | None, since: Tensor, quantiles: Sequence[float]
) -> Tensor:
    """Quantiles of a forecast.

    Args:
        forecast: Of batch shape (batch, lead, node, target).
        calibration: As `stgate.calibrate` stores it; None for the forecast's own quantiles.
        since: (batch, node), steps since the node was observed, at the origin.
        quantiles: Ascending, 0.5 among them.

    Returns:
        (batch, lead, node, target, quantile), ascending.

    Raises:
        RequestError: A level that the calibration does not hold.
    """
    if calibration is None:
        return torch.stack([forecast.icdf(torch.tensor(q)) for q in quantiles], -1)
    held, method = calibration["levels"], calibration["scores"]
    middle = median_of(forecast)
    columns: dict[float, Tensor] = {0.5: middle}
    for level in levels_of(quantiles):
        near = [i for i, have in enumerate(held) if abs(have - level) < 1e-6]
        if not near:
            raise RequestError(
                f"level {level:g}: not calibrated; this checkpoint holds {', '.join(f'{h:g}' for h in held)}"
            )
        half = _factors(calibration, near[0], since).to(middle)
        if method == "quantile":
            lower, upper = bounds(forecast, level)
            lower, upper = torch.minimum(lower - half, middle), torch.maximum(upper + half, middle)
        elif method == "distribution":
            reach = half.clamp(max=0.5 - TAIL)
            lower, upper = (
                torch.where(torch.isinf(half), sign * half, forecast.icdf(0.5 + sign * reach)) for sign in (-1, 1)
            )
        else:
            half = half * forecast.stddev if method == "scaled" else half
            lower, upper = middle - half, middle + half
        columns[round((1 - level) / 2, 6)], columns[round((1 + level) / 2, 6)] = lower, upper
    made = torch.stack([columns[round(q, 6)] for q in quantiles], -1)
    return made.sort(-1).values if method == "quantile" else made


def _factors(calibration: dict[str, Any], index: int, since: Tensor) -> Tensor:
    """(batch, lead, node, target), of one level."""
    table = calibration["factors"][:, :, index]  # (missingness group, node or 1, lead, target)
    group = torch.from_numpy(missing_groups(since.cpu().numpy(), calibration["edges"]))  # (batch, node)
    node = torch.arange(group.shape[1]) if table.shape[1] > 1 else torch.zeros(group.shape[1], dtype=torch.int64)
    return table[group, node].transpose(1, 2)  # type: ignore[no-any-return]
