"""Distributions given by a table of their quantiles: fast where many quantiles and levels are asked for."""

from __future__ import annotations

import functools
import itertools
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions.constraints import Constraint

from stgate.distributions.reshaped import SCORES

KNOTS = tuple(sorted({*SCORES, *((low + high) / 2 for low, high in itertools.pairwise(SCORES))}))
"""Normal scores at which quantiles are tabulated."""
EDGE = 1e-7
"""Distance from zero and one that a level keeps."""


class Tabulated(Distribution):
    """Distribution whose quantiles are tabulated at `KNOTS`; between them they are linear in the normal score.

    For a normal distribution this is exact. An atom is a part of the table that is flat.

    Args:
        base: The distribution; its moments, density and samples are used as they are.
        values: (*batch, knot), quantiles of the levels Φ(knot), ascending. None asks the base for them.
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {}
    has_rsample = False

    def __init__(self, base: Distribution, values: Tensor | None = None) -> None:
        self.base = base
        if values is None:
            levels = torch.special.ndtr(torch.tensor(KNOTS, dtype=torch.float64)).float()
            values = torch.stack([base.icdf(level) for level in levels], -1)
        self.values = values
        super().__init__(values.shape[:-1], validate_args=False)

    @functools.cached_property
    def mean(self) -> Tensor:
        """Mean of the base."""
        return self.base.mean

    @functools.cached_property
    def variance(self) -> Tensor:
        """Variance of the base."""
        return self.base.variance

    def log_prob(self, value: Tensor) -> Tensor:
        """Logarithm of the density of the base."""
        return self.base.log_prob(value)

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw samples of the base, (*sample_shape, *batch_shape)."""
        return self.base.sample(torch.Size(sample_shape))

    def icdf(self, value: Tensor) -> Tensor:
        """Quantile of a level, a scalar or of the batch shape."""
        knots = torch.tensor(KNOTS, dtype=torch.float64, device=self.values.device)
        score = torch.special.ndtri(value.double().clamp(EDGE, 1 - EDGE))
        left = (torch.searchsorted(knots, score.contiguous()) - 1).clamp(0, len(KNOTS) - 2)
        share = ((score - knots[left]) / (knots[left + 1] - knots[left])).to(self.values)
        low, high = (self._at(left + shift) for shift in (0, 1))
        return torch.lerp(low, high, share)

    def cdf(self, value: Tensor) -> Tensor:
        """Probability of a value at or below this one."""
        asked = value.expand(self.batch_shape)
        right = torch.searchsorted(self.values, asked.unsqueeze(-1).contiguous(), right=True).squeeze(-1)
        right = right.clamp(1, len(KNOTS) - 1)
        low, high = self._at(right - 1), self._at(right)
        knots = torch.tensor(KNOTS, dtype=self.values.dtype, device=self.values.device)
        share = (asked - low) / (high - low)  # infinite or NaN where the table is flat up to its end
        flat = torch.where(asked >= high, torch.inf, -torch.inf)
        score = knots[right - 1] + (knots[right] - knots[right - 1]) * torch.where(high > low, share, flat)
        known = torch.isfinite(low) & torch.isfinite(high) & torch.isfinite(asked)
        made: Tensor = torch.special.ndtr(torch.where(known, score, torch.nan))
        return made

    def cells(self, chosen: Tensor) -> Tabulated:
        """Return the distributions of some cells, (cell,).

        Args:
            chosen: Mask of the batch shape, or indices of cells that are in a row already.
        """
        return Tabulated(self.base, self.values[chosen])

    def _at(self, index: Tensor) -> Tensor:
        """Return the values at some knots: one for all cells, or one for each."""
        if index.dim() == 0:
            return self.values[..., int(index)]
        return torch.gather(self.values, -1, index.unsqueeze(-1)).squeeze(-1)
