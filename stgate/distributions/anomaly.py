"""Anomalies: the deviation of a target from the climatology of its node, in units of the node's own scale."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from stgate._configured import check_options
from stgate.distributions.civil import even_months, even_time
from stgate.distributions.transforms import State, TrainingPart, Transform
from stgate.errors import RequestError, check_counts, did_you_mean
from stgate.panels.calendar import PERIODS
from stgate.schema.spec import PanelSpec

FOLDS = 4
"""Number of contiguous blocks of the training part that choose the shrinkage by cross-validation."""
SHRINKAGE = (0.0, 3.0, 30.0, 300.0, 3000.0, math.inf)
"""Numbers of observations that weigh as much as the mean over nodes; infinity takes that mean alone."""
TWICE = 1.9
"""Number of periods of a season that the training part must hold; below 2, for records that lack some weeks of it."""
PAIRS = 2
"""Number of harmonics of the year and of the day whose products let the daily cycle change with the season."""


class Anomaly(Transform):
    """Deviation from the climatology of each node, divided by the node's standard deviation around it.

    The climatology is a level and harmonics of the year, the week and the day. Each node's coefficients are shrunk
    towards their mean over nodes by as much as forecasts blocks of the training part best that were left out. Steps of
    calendar months are equally far apart, so that harmonics of the year fit them exactly.

    Args:
        by: Seasons of the climatology, some of `yearday`, `weekday` and `hour`. None takes those that the time step
            resolves and of which the training part holds two periods; an empty list takes the level alone.
        harmonics: Number of harmonics of each season, at least 1.

    Raises:
        RequestError: A season is unknown, or the number of harmonics is below 1.
    """

    affine: ClassVar[bool] = True

    def __init__(self, by: Sequence[str] | None = None, harmonics: int = 4) -> None:
        check_counts(harmonics=(harmonics, 1))
        check_options(Anomaly.__init__, locals())
        for name in by or ():
            if name not in PERIODS:
                raise RequestError(f"by {name!r}: {did_you_mean(name, PERIODS)}")
        self.by, self.harmonics = None if by is None else list(by), harmonics

    def shapes(self, spec: PanelSpec) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the coefficients, the scales, the frequencies and the flags of features in use."""
        size, nodes, targets = len(self._seasons(spec)), len(spec.nodes), len(spec.targets)
        features = 1 + 2 * size
        return {
            "used": (features,),
            "coefficients": (features, nodes, targets),
            "scale": (nodes, targets),
            "frequency": (size,),
            **({"months": ()} if spec.months else {}),
        }

    def _seasons(self, spec: PanelSpec) -> list[tuple[str, float]]:
        """Return the season and the angular frequency of each harmonic, in 1 / second; none for model time."""
        if spec.time == "model":
            return []
        found: dict[str, list[float]] = {}
        for name, period in PERIODS.items():
            if (self.by is None or name in self.by) and period >= 2 * spec.step:
                count = min(self.harmonics, int(period / spec.step / 2 + 1e-9))
                found[name] = [2 * math.pi * k / period for k in range(1, count + 1)]
        pairs = itertools.product(found.get("hour", [])[:PAIRS], found.get("yearday", [])[:PAIRS], (-1, 1))
        single = [(name, frequency) for name, all_of in found.items() for frequency in all_of]
        return single + [("yearday", day + sign * year) for day, year, sign in pairs]

    def learn(self, part: TrainingPart) -> State:
        """Fit the climatology of each node, and the standard deviation around it."""
        seasons = self._seasons(part.spec)
        frequency = torch.tensor([f for _, f in seasons], dtype=torch.float64)
        sums = _normal_equations(part, frequency)
        covered = [self.by is not None or sums.span + part.spec.step >= TWICE * PERIODS[name] for name, _ in seasons]
        used = torch.tensor([True, *covered, *covered])
        coefficients = _fit(sums, used)
        squares = _squared_errors(sums, coefficients).sum(0)  # (node, target)
        count = sums.count.sum(0)
        pooled = squares.sum(0) / count.sum(0).clamp(min=1)
        variance = (squares + FEW * pooled) / (count + FEW)
        scale = torch.where(variance > 0, variance, 1.0).sqrt()
        return {
            "used": used.float(),
            "coefficients": coefficients.permute(2, 0, 1).float(),
            "scale": scale.float(),
            "frequency": frequency,
            **({"months": torch.tensor(float(part.spec.months))} if part.spec.months else {}),
        }

    def bind(self, state: State, time: Tensor) -> Tensor:
        """Return the climatology and the scale of each time, node and target, (batch, step, node, target, 2)."""
        time = even_months(time) if "months" in state else time
        features = _features(time, state["frequency"]).to(state["coefficients"]) * state["used"]
        mean = torch.einsum("bsp,pnt->bsnt", features, state["coefficients"])
        return torch.stack([mean, state["scale"].expand_as(mean)], -1)

    def encode(self, values: Tensor, given: Tensor) -> Tensor:
        """Return the standardised anomaly."""
        return (values - given[..., 0]) / given[..., 1]

    def decode(self, values: Tensor, given: Tensor) -> Tensor:
        """Return the value of an anomaly."""
        return values * given[..., 1] + given[..., 0]

    def log_slope(self, values: Tensor, given: Tensor) -> Tensor:
        """Return minus the logarithm of the scale."""
        return -torch.log(given[..., 1]).expand_as(values)


FEW = 20.0
"""Number of observations that the standard deviation over all nodes counts in that of each node."""


@dataclasses.dataclass
class _Sums:
    """Normal equations of each fold: of features p, at node n, for target t."""

    gram: Tensor  # (fold, node, target, p, p)
    cross: Tensor  # (fold, node, target, p)
    square: Tensor  # (fold, node, target)
    count: Tensor  # (fold, node, target)
    span: float  # seconds from the first time to the last


def _features(time: Tensor, frequency: Tensor) -> Tensor:
    """Return 1, sines and cosines of times (…): (…, feature)."""
    phase = time.double().unsqueeze(-1) * frequency
    return torch.cat([torch.ones_like(time.double()).unsqueeze(-1), torch.sin(phase), torch.cos(phase)], -1)


def _normal_equations(part: TrainingPart, frequency: Tensor) -> _Sums:
    times = [even_time(time, part.spec) for _, time in part.blocks()]
    first, last = float(times[0][0]), float(times[-1][-1])
    size, nodes, targets = 1 + 2 * len(frequency), len(part.spec.nodes), len(part.spec.targets)
    gram = torch.zeros((FOLDS, nodes, targets, size, size), dtype=torch.float64)
    cross = torch.zeros((FOLDS, nodes, targets, size), dtype=torch.float64)
    square, count = (torch.zeros((FOLDS, nodes, targets), dtype=torch.float64) for _ in range(2))
    for values, time in part.blocks():
        time = even_time(time, part.spec)
        folds = ((time - first) / max(last - first, 1e-9) * FOLDS).long().clamp(max=FOLDS - 1)
        for fold in sorted(set(folds.tolist())):
            rows = folds == fold
            features = _features(time[rows], frequency)  # (time, p)
            outer = (features.unsqueeze(-1) * features.unsqueeze(-2)).flatten(1)
            for member in values[:, rows].double():
                seen = ~torch.isnan(member)
                filled = torch.where(seen, member, 0.0)
                flat, weight = filled.flatten(1), seen.double().flatten(1)  # (time, node * target)
                gram[fold] += (weight.T @ outer).view_as(gram[fold])
                cross[fold] += (flat.T @ features).view_as(cross[fold])
                square[fold] += flat.square().sum(0).view(nodes, targets)
                count[fold] += weight.sum(0).view(nodes, targets)
    return _Sums(gram, cross, square, count, last - first)


def _squared_errors(sums: _Sums, coefficients: Tensor) -> Tensor:
    """Return the sum of squared errors of coefficients (node, target, p), (fold, node, target)."""
    fitted = torch.einsum("fntpq,ntq->fntp", sums.gram, coefficients)
    return (sums.square - 2 * (sums.cross * coefficients).sum(-1) + (fitted * coefficients).sum(-1)).clamp(min=0)


def _fit(sums: _Sums, used: Tensor) -> Tensor:
    """Return coefficients (node, target, p), shrunk as cross-validation over the folds chooses."""
    best, chosen = math.inf, (0.0, math.inf)
    kept = [fold for fold in range(FOLDS) if sums.count[fold].sum() > 0]
    for level, season in itertools.product(SHRINKAGE, SHRINKAGE):
        if season < level or len(kept) < 2:
            continue
        error = 0.0
        for fold in kept:
            others = [f for f in kept if f != fold]
            coefficients = _solve(sums, others, used, level, season)
            error += float(_squared_errors(sums, coefficients)[fold].sum())
        if error < best * (1 - 1e-4):
            best, chosen = error, (level, season)
    return _solve(sums, kept, used, *chosen)


def _solve(sums: _Sums, folds: list[int], used: Tensor, level: float, season: float) -> Tensor:
    """Solve the normal equations of some folds, shrunk towards the coefficients of all nodes together.

    Args:
        sums: Normal equations.
        folds: Folds to add up.
        used: (p,), flags of the features in use; the first is the level.
        level: Shrinkage of the levels, in observations.
        season: Shrinkage of the other coefficients, in observations.

    Returns:
        (node, target, p).
    """
    count = sums.count[folds].sum(0)  # (node, target)
    gram = sums.gram[folds].sum(0)[..., used, :][..., used]  # (node, target, q, q), of the features in use
    cross = sums.cross[folds].sum(0)[..., used]
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype)
    # All nodes together: the season around each node's own mean, then the mean over nodes of their levels.
    known = count.clamp(min=1).unsqueeze(-1)
    share = gram[..., 0, :] / known  # mean of the features where the node is observed
    own = cross[..., :1] / known
    centred = gram - count[..., None, None] * share.unsqueeze(-1) * share.unsqueeze(-2)
    around = (cross - count.unsqueeze(-1) * share * own).sum(0)
    pooled = torch.linalg.solve(centred.sum(0) + 1e-6 * count.sum(0).clamp(min=1)[:, None, None] * eye, around)
    pooled[:, 0] = 0.0
    seen = (count > 0).double()
    levels = (own[..., 0] - (share * pooled).sum(-1)) * seen  # (node, target)
    pooled[:, 0] = levels.sum(0) / seen.sum(0).clamp(min=1)
    # Each node's deviation from these.
    weights = torch.full((gram.shape[-1],), season, dtype=gram.dtype)
    weights[0] = level
    free = torch.isfinite(weights)
    made = pooled.expand_as(cross).clone()
    if free.any():
        left = cross - torch.einsum("ntpq,tq->ntp", gram, pooled)
        damped = gram[..., free, :][..., free] + torch.diag(weights[free] + 1e-6)
        made[..., free] += torch.linalg.solve(damped, left[..., free])
    coefficients = torch.zeros((*count.shape, len(used)), dtype=gram.dtype)
    coefficients[..., used] = made
    return coefficients
