"""Anomalies: the deviation of a target from the climatology of its node, in units of the node's own scale."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
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
MOST = 2**24
"""Numbers of the normal equations by which cross-validation chooses; of more nodes it takes evenly spaced ones."""
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
        span, folds, whole = _normal_equations(part, frequency)
        covered = [self.by is not None or span + part.spec.step >= TWICE * PERIODS[name] for name, _ in seasons]
        used = torch.tensor([True, *covered, *covered])
        kept = [fold for fold in folds if fold.count.sum() > 0]
        parts = [whole] if whole else kept or folds
        coefficients = _shrunk(_merged(parts, used), used, *_shrinkage(kept, used))
        squares = torch.stack([_squared_errors(sums, coefficients) for sums in parts]).sum(0)  # (node, target)
        count = torch.stack([sums.count for sums in parts]).sum(0)
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
TOGETHER = 2**22
"""Numbers of normal equations that are worked on at once."""


class _Sums:
    """Normal equations: of features p, at node n, for target t.

    Args:
        nodes: Number of nodes.
        targets: Number of targets.
        size: Number of features.

    Attributes:
        gram: (node, target, p, p).
        cross: (node, target, p).
        square: (node, target).
        count: (node, target).
    """

    def __init__(self, nodes: int, targets: int, size: int) -> None:
        self.gram = torch.zeros((nodes, targets, size, size), dtype=torch.float64)
        self.cross = torch.zeros((nodes, targets, size), dtype=torch.float64)
        self.square, self.count = (torch.zeros((nodes, targets), dtype=torch.float64) for _ in range(2))

    def add(self, values: Tensor, features: Tensor) -> None:
        """Add times: values (time, node, target), NaN where missing, and features (time, p)."""
        seen = ~torch.isnan(values)
        flat, weight = (part.double().flatten(1) for part in (torch.where(seen, values, 0.0), seen))
        outer = (features.unsqueeze(-1) * features.unsqueeze(-2)).flatten(1)
        self.gram.view(flat.shape[1], -1).addmm_(weight.T, outer)
        self.cross.view(flat.shape[1], -1).addmm_(flat.T, features)
        self.square += flat.square().sum(0).view_as(self.square)
        self.count += weight.sum(0).view_as(self.count)


def _features(time: Tensor, frequency: Tensor) -> Tensor:
    """Return 1, sines and cosines of times (…): (…, feature)."""
    phase = time.double().unsqueeze(-1) * frequency
    return torch.cat([torch.ones_like(time.double()).unsqueeze(-1), torch.sin(phase), torch.cos(phase)], -1)


def _normal_equations(part: TrainingPart, frequency: Tensor) -> tuple[float, list[_Sums], _Sums | None]:
    """Sum the normal equations of a training part.

    Returns:
        Seconds from the first time to the last; the sums of each fold; and those of all folds and nodes, where they
        are so many that those of the folds are of evenly spaced nodes.
    """
    times = [even_time(time, part.spec) for _, time in part.blocks()]
    first, last = float(times[0][0]), float(times[-1][-1])
    size, nodes, targets = 1 + 2 * len(frequency), len(part.spec.nodes), len(part.spec.targets)
    among = min(nodes, max(MOST // (FOLDS * targets * size**2), 1))
    chosen = torch.arange(among) * nodes // among
    by_fold = [_Sums(among, targets, size) for _ in range(FOLDS)]
    whole = _Sums(nodes, targets, size) if among < nodes else None
    for values, time in part.blocks():
        time = even_time(time, part.spec)
        folds = ((time - first) / max(last - first, 1e-9) * FOLDS).long().clamp(max=FOLDS - 1)
        features = _features(time, frequency)  # (time, p)
        for member in values:
            if whole:
                whole.add(member, features)
                member = member[:, chosen]
            for fold in sorted(set(folds.tolist())):
                rows = folds == fold
                by_fold[fold].add(member[rows], features[rows])
    return last - first, by_fold, whole


def _squared_errors(sums: _Sums, coefficients: Tensor) -> Tensor:
    """Return the sum of squared errors of coefficients (node, target, p), (node, target)."""
    fitted = torch.einsum("ntpq,ntq->ntp", sums.gram, coefficients)
    return (sums.square - 2 * (sums.cross * coefficients).sum(-1) + (fitted * coefficients).sum(-1)).clamp(min=0)


@dataclasses.dataclass(frozen=True)
class _Merged:
    """Normal equations of some folds together, of the features q in use, and the coefficients of all nodes together."""

    gram: Tensor  # (node, target, q, q)
    cross: Tensor  # (node, target, q)
    count: Tensor  # (node, target)
    pooled: Tensor  # (target, q)


def _shrinkage(folds: list[_Sums], used: Tensor) -> tuple[float, float]:
    """Choose the shrinkage of the levels and of the other coefficients by cross-validation over folds."""
    tried = [(level, season) for level, season in itertools.product(SHRINKAGE, SHRINKAGE) if level <= season]
    errors = dict.fromkeys(tried, 0.0)
    for left_out in folds if len(folds) > 1 else []:
        others = _merged([fold for fold in folds if fold is not left_out], used)
        for level, season in tried:
            coefficients = _shrunk(others, used, level, season)
            errors[level, season] += float(_squared_errors(left_out, coefficients).sum())
    best, chosen = math.inf, (0.0, math.inf)
    for pair, error in errors.items() if len(folds) > 1 else []:
        if error < best * (1 - 1e-4):
            best, chosen = error, pair
    return chosen


def _merged(folds: list[_Sums], used: Tensor) -> _Merged:
    """Add up normal equations of some folds; the first feature is the level, which is always in use."""
    count = torch.stack([fold.count for fold in folds]).sum(0)  # (node, target)
    cross = torch.stack([fold.cross[..., used] for fold in folds]).sum(0)
    gram = folds[0].gram[..., used, :][..., used]
    for fold in folds[1:]:
        gram += fold.gram[..., used, :][..., used]
    # All nodes together: the season around each node's own mean, then the mean over nodes of their levels.
    known = count.clamp(min=1).unsqueeze(-1)
    share = gram[..., 0, :] / known  # mean of the features where the node is observed
    own = cross[..., :1] / known
    centred = torch.zeros_like(gram[0])  # (target, q, q)
    for one, nodes, mean in _split(gram, count[..., None, None], share):
        centred += (one - nodes * mean.unsqueeze(-1) * mean.unsqueeze(-2)).sum(0)
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype)
    around = (cross - count.unsqueeze(-1) * share * own).sum(0)
    pooled = torch.linalg.solve(centred + 1e-6 * count.sum(0).clamp(min=1)[:, None, None] * eye, around)
    pooled[:, 0] = 0.0
    seen = (count > 0).double()
    levels = (own[..., 0] - (share * pooled).sum(-1)) * seen  # (node, target)
    pooled[:, 0] = levels.sum(0) / seen.sum(0).clamp(min=1)
    return _Merged(gram, cross, count, pooled)


def _shrunk(sums: _Merged, used: Tensor, level: float, season: float) -> Tensor:
    """Solve normal equations, shrunk towards the coefficients of all nodes together.

    Args:
        sums: Normal equations.
        used: (p,), flags of the features in use.
        level: Shrinkage of the levels, in observations.
        season: Shrinkage of the other coefficients, in observations.

    Returns:
        (node, target, p).
    """
    weights = torch.full((sums.gram.shape[-1],), season, dtype=sums.gram.dtype)
    weights[0] = level
    free = torch.isfinite(weights)
    made = sums.pooled.expand_as(sums.cross).clone()
    if free.any():
        for gram, cross, own in _split(sums.gram, sums.cross, made):
            left = cross - torch.einsum("ntpq,tq->ntp", gram, sums.pooled)
            damped = gram[..., free, :][..., free] + torch.diag(weights[free] + 1e-6)
            own[..., free] += torch.linalg.solve(damped, left[..., free])
    coefficients = torch.zeros((*sums.count.shape, len(used)), dtype=sums.gram.dtype)
    coefficients[..., used] = made
    return coefficients


def _split(gram: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Cut tensors along their nodes into pieces of not too many numbers of normal equations."""
    nodes = max(TOGETHER // max(gram[0].numel(), 1), 1)
    return zip(*(torch.split(tensor, nodes) for tensor in (gram, *others)), strict=True)
