"""Weights of a pool, learned from forecasts of several members whose truth is known."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from stgate.distributions.pools import PoolName

LEVELS = tuple((i + 0.5) / 10 for i in range(10))
"""Levels of the members' quantiles from which weights are learned: midpoints of equal shares."""
SHRINKAGE = (0.0, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
"""Penalties on the members' own factors that are tried."""
RIDGE = 1e-4
"""Penalty on the weight of the members' own scores."""
FIXED = 0.03
"""Penalty where there are too few blocks to try several."""
BLOCKS = 5
"""Largest number of blocks in time of the cross-validation."""
ELEMENTS = 3_000_000
"""Largest number of quantiles that weights are learned from; origins are thinned evenly."""


@dataclasses.dataclass(frozen=True)
class Learned:
    """Weights of a pool.

    Attributes:
        pool: The pool.
        weights: (member, lead), not negative, with sum one over the members.
        shrinkage: Penalty on the members' own factors; the larger, the more equal members of equal score are.
        blocks: Number of blocks of the cross-validation that chose pool and penalty; below two nothing was chosen.
        score: CRPS of the pool in the blocks left out of the learning, as a share of the members' mean CRPS, the mean
            over leads; NaN without cross-validation.
    """

    pool: PoolName
    weights: Tensor
    shrinkage: float
    blocks: int
    score: float


@dataclasses.dataclass(frozen=True)
class Cases:
    """Forecasts of one target with their truth, at some origins.

    Attributes:
        quantiles: (member, origin, lead, node, level), at `LEVELS`; NaN where a member lacks a forecast.
        truth: (origin, lead, node), NaN where missing.
        rows: (origin,), ascending rows of the origins, for blocks in time; members of a panel share rows.
    """

    quantiles: Tensor
    truth: Tensor
    rows: Tensor

    def __getitem__(self, chosen: Tensor) -> Cases:
        return Cases(self.quantiles[:, chosen], self.truth[chosen], self.rows[chosen])


def learn_weights(cases: Cases, pools: Sequence[PoolName]) -> Learned:
    """Learn the weights of a pool by lead: those of least CRPS, shrunk towards equal weights.

    Weights follow a power of the members' own CRPS at each lead, times a factor of each member whose logarithm is
    linear in that of the lead, so that weights change smoothly with it. The power is learned freely (zero is equal
    weights), the factors are penalised. The penalty, and the pool if several are given, are those of least CRPS in
    blocks in time that are left out in turn, with a horizon between a block and what is learned from.

    Args:
        cases: Forecasts with their truth.
        pools: Pools to choose from.
    """
    members, leads = cases.quantiles.shape[0], cases.quantiles.shape[2]
    known = torch.isfinite(cases.truth) & torch.isfinite(cases.quantiles).all(0).all(-1)
    kept = known.any(-1).any(-1)
    cases = cases[kept]
    equal = torch.full((members, leads), 1 / members)
    if members == 1 or not bool(kept.any()):
        return Learned(pools[0], equal, FIXED, 0, math.nan)
    objectives = {pool: OBJECTIVES[pool](cases) for pool in pools}
    folds = _folds(cases.rows, leads)
    best: tuple[float, PoolName, float] = (math.inf, pools[0], FIXED)
    if len(folds) >= 2:
        for pool, objective in objectives.items():
            for penalty, score in zip(SHRINKAGE, _cross_validated(objective, folds), strict=True):
                best = min(best, (score, pool, penalty))
    score, pool, penalty = best
    everything = torch.ones(len(cases.rows), dtype=torch.bool)
    fitted = objectives[pool].fit(everything, penalty, None)
    weights = weights_of(fitted, objectives[pool].skill(everything))
    return Learned(pool, weights, penalty, len(folds), score if len(folds) >= 2 else math.nan)


def weights_of(parameters: Tensor, skill: Tensor) -> Tensor:
    """Return weights (member, lead).

    Args:
        parameters: (1 + 2 * member,): the weight of the skill; a level of each member's logit; and its slope over the
            logarithm of the lead.
        skill: (member, lead), the logarithm of each member's own CRPS, with its sign changed.
    """
    members, leads = skill.shape
    place = torch.log(torch.arange(1, leads + 1, dtype=skill.dtype))
    place = 2 * place / place[-1] - 1 if leads > 1 else place
    level, slope = parameters[1:].view(2, members, 1)
    return torch.softmax(parameters[0] * skill + level + slope * place, 0)


class Objective(ABC):
    """CRPS of a pool as a function of its weights.

    Args:
        cases: Forecasts with their truth.
    """

    def __init__(self, cases: Cases) -> None:
        self.members, self.leads = cases.quantiles.shape[0], cases.quantiles.shape[2]

    @abstractmethod
    def crps(self, weights: Tensor, origins: Tensor) -> Tensor:
        """Return the mean CRPS of each lead, (lead,).

        Args:
            weights: (member, lead).
            origins: (origin,), True for the origins that count.
        """

    def relative(self, weights: Tensor, origins: Tensor, unit: Tensor) -> Tensor:
        """Return the CRPS as a share of a unit (lead,), the mean over leads that have cases."""
        share = self.crps(weights, origins) / unit
        return share[torch.isfinite(share)].mean()

    def alone(self, origins: Tensor) -> Tensor:
        """Return each member's own mean CRPS at each lead, (member, lead), the same for all pools."""
        alone = torch.eye(self.members, dtype=torch.float64).unsqueeze(-1).expand(-1, -1, self.leads)
        return torch.stack([self.crps(one, origins) for one in alone])

    def skill(self, origins: Tensor) -> Tensor:
        """Return the logarithm of each member's own CRPS with its sign changed, zero where there are no cases."""
        skill = -torch.log(self.alone(origins).clamp(min=1e-300))
        return torch.nan_to_num(skill - skill.mean(0))

    def fit(self, origins: Tensor, penalty: float, start: Tensor | None) -> Tensor:
        """Return the parameters of least penalised CRPS, (1 + 2 * member,).

        Args:
            origins: (origin,), True for the origins that are learned from.
            penalty: Penalty on the squares of levels and slopes.
            start: Parameters to start from; None starts from equal weights.
        """
        first = torch.zeros(1 + 2 * self.members, dtype=torch.float64) if start is None else start.clone()
        parameters = first.requires_grad_()
        unit, skill = self.alone(origins).mean(0), self.skill(origins)
        optimizer = torch.optim.LBFGS([parameters], max_iter=40, tolerance_change=1e-6, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimizer.zero_grad()
            size = penalty * parameters[1:].square().sum() + RIDGE * parameters[0].square()
            loss = self.relative(weights_of(parameters, skill), origins, unit) + size
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        with torch.enable_grad():
            optimizer.step(closure)  # type: ignore[no-untyped-call]
        return parameters.detach()


class QuantileObjective(Objective):
    """CRPS of a quantile pool: twice the mean pinball loss of the pooled quantiles."""

    def __init__(self, cases: Cases) -> None:
        super().__init__(cases)
        known = torch.isfinite(cases.truth) & torch.isfinite(cases.quantiles).all(0).all(-1)
        self.known = known.permute(1, 0, 2)  # (lead, origin, node)
        self.misses = torch.where(known[..., None], cases.truth[..., None] - cases.quantiles, 0.0)
        self.misses = self.misses.permute(2, 0, 1, 3, 4).contiguous()  # (lead, member, origin, node, level)
        self.levels = torch.tensor(LEVELS)

    def crps(self, weights: Tensor, origins: Tensor) -> Tensor:
        """Return the mean CRPS of each lead, (lead,)."""
        misses = self.misses if bool(origins.all()) else self.misses[:, :, origins]
        miss = torch.einsum("ml,lmonq->lonq", weights.to(misses), misses)
        loss = 2 * torch.maximum(self.levels * miss, (self.levels - 1) * miss).mean(-1)  # 0 where unknown
        return loss.sum((1, 2), dtype=torch.float64) / self.known[:, origins].sum((1, 2))


class LinearObjective(Objective):
    """CRPS of a linear pool: the weighted mean distance to the truth less half of that between members."""

    def __init__(self, cases: Cases) -> None:
        super().__init__(cases)
        members, origins, leads = cases.quantiles.shape[:3]
        known = torch.isfinite(cases.truth) & torch.isfinite(cases.quantiles).all(0).all(-1)
        self.known = known.sum(-1)  # (origin, lead)

        def summed(values: Tensor) -> Tensor:
            return torch.where(known, values, 0.0).sum(-1, dtype=torch.float64)

        self.distance = torch.stack([summed((q - cases.truth[..., None]).abs().mean(-1)) for q in cases.quantiles])
        self.between = torch.zeros(members, members, origins, leads, dtype=torch.float64)
        for i, one in enumerate(cases.quantiles):
            for j in range(i, members):
                other = cases.quantiles[j]
                apart = sum((one - other[..., k : k + 1]).abs().mean(-1) for k in range(other.shape[-1]))
                self.between[i, j] = self.between[j, i] = summed(torch.as_tensor(apart) / other.shape[-1])

    def crps(self, weights: Tensor, origins: Tensor) -> Tensor:
        """Return the mean CRPS of each lead, (lead,)."""
        distance, between = self.distance[:, origins].sum(1), self.between[:, :, origins].sum(2)
        made = (weights * distance).sum(0) - 0.5 * torch.einsum("il,ijl,jl->l", weights, between, weights)
        return made / self.known[origins].sum(0)


OBJECTIVES: dict[PoolName, type[Objective]] = {"quantile": QuantileObjective, "linear": LinearObjective}


def _folds(rows: Tensor, leads: int) -> list[tuple[Tensor, Tensor]]:
    """Return the origins that are learned from and those left out, for each block in time."""
    first, last = int(rows.min()), int(rows.max())
    span = last - first + 1
    count = min(BLOCKS, span // max(2 * leads, 2))  # a block holds two horizons
    folds = []
    for number in range(count):
        low, high = first + span * number // count, first + span * (number + 1) // count
        out = (rows >= low) & (rows < high)
        near = (rows > low - leads) & (rows < high + leads - 1)
        if bool(out.any()) and bool((~near).any()):
            folds.append((~near, out))
    return folds


def _cross_validated(objective: Objective, folds: Sequence[tuple[Tensor, Tensor]]) -> list[float]:
    """Return the relative CRPS in the blocks left out, for each penalty of `SHRINKAGE`."""
    scores = torch.zeros(len(SHRINKAGE))
    for learned, out in folds:
        unit, skill, found = objective.alone(out).mean(0), objective.skill(learned), None
        for index in reversed(range(len(SHRINKAGE))):  # from near equal weights on
            found = objective.fit(learned, SHRINKAGE[index], found)
            scores[index] += float(objective.relative(weights_of(found, skill), out, unit)) / len(folds)
    return scores.tolist()
