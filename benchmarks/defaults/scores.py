"""Scores of forecasts that are given by 23 quantiles and a mean: the same for all forecasters, on the same cases."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

QUANTILES = np.array([0.01, 0.025, *np.arange(1, 20) / 20, 0.975, 0.99])
"""Quantile levels of every forecast."""
INTERVALS = (0.5, 0.8, 0.9, 0.95)
"""Levels of the central intervals whose coverage is reported."""
MEDIAN = int(np.argmin(np.abs(QUANTILES - 0.5)))


@dataclasses.dataclass(frozen=True)
class Made:
    """Forecasts of the scored part.

    Attributes:
        quantiles: Quantiles, (lead, time, node, quantile); the leads are the horizons of the record, the times the
            valid times.
        mean: Mean, (lead, time, node).
        seconds: CPU seconds of fit and forecasts.
    """

    quantiles: NDArray[np.float32]
    mean: NDArray[np.float32]
    seconds: float = 0.0

    @property
    def finite(self) -> NDArray[np.bool_]:
        """True where the forecast is complete, (lead, time, node)."""
        return np.isfinite(self.quantiles).all(-1) & np.isfinite(self.mean)


def of_residuals(centre: Floats, residuals: Floats) -> tuple[Floats, Floats]:
    """Return mean and quantiles of a centre plus empirical residuals.

    Args:
        centre: Centres of the forecasts, any shape.
        residuals: Quantiles of the residuals at `QUANTILES`; they broadcast against (..., quantile).
    """
    return centre, centre[..., None] + residuals


def pinball(truth: Floats, quantiles: Floats) -> Floats:
    """Return the CRPS of each case: twice the mean pinball loss over the quantile levels.

    Args:
        truth: Observed values, (case,).
        quantiles: Quantiles, (case, quantile).
    """
    miss = truth[:, None] - quantiles
    return 2 * np.maximum(QUANTILES * miss, (QUANTILES - 1) * miss).mean(-1)


def covered(truth: Floats, quantiles: Floats) -> dict[str, float]:
    """Return the share of cases inside each central interval.

    A value that several quantiles equal lies at all the levels between them, and a whole number at those of all values
    that are rounded to it, zero at those of all values below 1/2. One of these levels counts, evenly spread over the
    cases.

    Args:
        truth: Observed values, (case,).
        quantiles: Quantiles, (case, quantile).
    """
    share = (np.arange(1, len(truth) + 1) * 0.6180339887498949) % 1
    low, high = levels_of(truth, quantiles)
    if (truth == np.round(truth)).all() and (truth >= 0).all():
        low, high = (levels_of(truth + end, quantiles).mean(0) for end in (-0.5, 0.5))
        low = np.where(truth == 0, 0.0, low)
    level = low + share * (high - low)
    return {
        f"{100 * one:g}": float((np.abs(level - 0.5) <= one / 2).mean()) if len(truth) else np.nan for one in INTERVALS
    }


def levels_of(values: Floats, quantiles: Floats) -> Floats:
    """Return the lowest and the highest level of values by interpolation between quantiles, (2, case).

    Args:
        values: Values, (case,).
        quantiles: Quantiles, (case, quantile).
    """
    found, rows, last = [], np.arange(len(values)), len(QUANTILES) - 1
    for side in (-1, 1):
        below = (quantiles < values[:, None] + side * 1e-6).sum(1)
        right = np.clip(below, 1, last)
        ends = [quantiles[rows, right - 1], quantiles[rows, right]]
        place = np.clip((values - ends[0]) / np.maximum(ends[1] - ends[0], 1e-12), 0, 1)
        inner = QUANTILES[right - 1] + place * (QUANTILES[right] - QUANTILES[right - 1])
        found.append(np.where(below == 0, 0.0, np.where(below > last, 1.0, inner)))
    return np.sort(np.stack(found), 0)


def scored(
    truth: Floats, made: Made, cases: NDArray[np.bool_], seen: NDArray[np.bool_], leads: tuple[int | str, ...]
) -> Any:
    """Return the scores of a forecaster, by lead.

    Args:
        truth: Observed values of the scored part, (time, node).
        made: The forecasts.
        cases: True for the cases that count, (lead, time, node).
        seen: True where the node was observed at the origin, (lead, time, node).
        leads: Leads in steps, in the order of the forecasts, or other names of them.
    """
    found = {}
    for index, lead in enumerate(leads):
        here = cases[index]
        y, mean = truth[here], made.mean[index][here].astype(np.float64)
        quantiles = made.quantiles[index][here].astype(np.float64)
        found[str(lead)] = {
            "n": int(here.sum()),
            "n, observed at the origin": int((here & seen[index]).sum()),
            "n, not observed at the origin": int((here & ~seen[index]).sum()),
            "crps": float(pinball(y, quantiles).mean()),
            "mae": float(np.abs(y - quantiles[:, MEDIAN]).mean()),
            "rmse": float(((y - mean) ** 2).mean() ** 0.5),
            "coverage": covered(y, quantiles),
            "coverage, observed at the origin": covered(y[seen[index][here]], quantiles[seen[index][here]]),
            "coverage, not observed at the origin": covered(y[~seen[index][here]], quantiles[~seen[index][here]]),
        }
    return found


def mean_of(scores: list[Any]) -> Any:
    """Return the mean over seeds of nested scores.

    Args:
        scores: Scores of each seed, with the same keys.
    """
    if isinstance(scores[0], dict):
        return {key: mean_of([s[key] for s in scores]) for key in scores[0]}
    return float(np.mean(scores)) if isinstance(scores[0], float) else scores[0]


def shared_cases(truth: Floats, forecasts: dict[str, list[Made]]) -> NDArray[np.bool_]:
    """Return True for the cases that are observed and that every forecaster has, (lead, time, node).

    Args:
        truth: Observed values of the scored part, (time, node).
        forecasts: Forecasts by name, one for each seed.
    """
    finite = [made.finite for seeds in forecasts.values() for made in seeds]
    return np.isfinite(truth)[None] & np.logical_and.reduce(finite)
