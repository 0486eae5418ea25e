"""Local kriging: a Gaussian process over space and time, conditioned on the nearest observations of each entry."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

JITTER = 1e-4
"""Share of the total variance that is added to the diagonal of the covariance, for stable solutions."""


@dataclasses.dataclass
class Around:
    """Observations around entries, padded to one number of points.

    Attributes:
        gap: Position of each point less that of the entry, in typical distances, (row, point, axis).
        trend: Trend features of each point less those of the entry, standardised, (row, point, feature).
        lag: Time of each point less that of the entry, in steps, (row, point).
        own: True for points at the place of the entry itself, (row, point).
        place: Number of the place of each point, (row, point).
        values: Values of the points, anything where missing, (row, point).
        there: True where a point is observed, (row, point).
    """

    gap: Tensor
    trend: Tensor
    lag: Tensor
    own: Tensor
    place: Tensor
    values: Tensor
    there: Tensor


class LocalKriging(nn.Module):
    """Gaussian process of one target, conditioned on the nearest observations in space and time.

    The covariance is a sum of four terms, each with an exponential decay in time: a constant common to all places, a
    linear trend in the features of places, a process that decays with distance (exponential and Matérn 3/2 mixed), and
    a deviation of each place. Noise comes on top. The estimate at an entry never uses the entry itself.

    Args:
        axes: Number of axes of positions.
        features: Number of trend features.

    References:
        Chilès, Delfiner (2012), Geostatistics: modeling spatial uncertainty. Wiley.
    """

    def __init__(self, axes: int, features: int) -> None:
        super().__init__()
        self.variance = nn.Parameter(torch.tensor([0.0, 0.0, -2.0, -2.0]))  # common, process, own, noise: logarithms
        self.slope = nn.Parameter(torch.full((features,), -2.0))
        self.length = nn.Parameter(torch.tensor(1.5))
        self.relief = nn.Parameter(torch.full((features,), -3.0))
        self.smooth = nn.Parameter(torch.zeros(()))
        self.decay = nn.Parameter(torch.tensor([2.0, 1.5, 2.0]))  # common, process, own: logarithms of steps

    def forward(self, around: Around) -> tuple[Tensor, Tensor]:
        """Estimate entries from the observations around them.

        Args:
            around: Observations around the entries.

        Returns:
            Mean and standard deviation of each entry, (row,).
        """
        lag, there = around.lag, around.there
        own = {name: value.to(lag.dtype) for name, value in self.named_parameters()}
        between = (lag.unsqueeze(-1) - lag.unsqueeze(-2)).abs()
        same = around.place.unsqueeze(-1) == around.place.unsqueeze(-2)
        far = torch.cat([around.gap, around.trend * softplus(own["relief"])], -1)
        straight = far.square().sum(-1)
        product = far @ far.transpose(-1, -2)
        apart = (straight.unsqueeze(-1) + straight.unsqueeze(-2) - 2 * product).clamp(min=1e-8).sqrt()
        trend = around.trend * torch.exp(0.5 * own["slope"])
        covariance = _covariance(own, apart, between, same, trend @ trend.transpose(-1, -2))
        noise = torch.exp(own["variance"][3])
        total = torch.exp(own["variance"][:3]).sum() + noise
        eye = torch.eye(lag.shape[-1], dtype=lag.dtype, device=lag.device)
        pair = there.unsqueeze(-1) & there.unsqueeze(-2)
        covariance = torch.where(pair, covariance, eye * total) + (noise + JITTER * total) * eye
        cross = _covariance(own, (straight + 1e-8).sqrt(), lag.abs(), around.own, torch.zeros_like(lag)) * there
        factor, failed = torch.linalg.cholesky_ex(covariance)
        if torch.compiler.is_compiling() or failed.device.type != "cpu" or failed.any():  # no wait
            # Stations that nearly share a position, in single precision.
            more = 100 * JITTER * total * (failed > 0)[:, None, None] * eye
            factor, failed = torch.linalg.cholesky_ex(covariance + more)
            factor = factor.masked_fill((failed > 0)[:, None, None], math.nan)
        both = torch.stack([torch.where(there, around.values, 0.0), cross], -1)
        white = torch.linalg.solve_triangular(factor, both, upper=False)
        mean = (white[..., 0] * white[..., 1]).sum(-1)
        variance = total - white[..., 1].square().sum(-1)
        return mean, variance.clamp(min=float(JITTER)).sqrt()


def _covariance(own: dict[str, Tensor], apart: Tensor, between: Tensor, same: Tensor, trend: Tensor) -> Tensor:
    """Return the covariance of distances, lags, flags of the same place, and products of trend features."""
    common, process, alone = torch.exp(own["variance"][:3])
    decay = [torch.exp(-between * torch.exp(-time)) for time in own["decay"]]
    near = apart * torch.exp(-own["length"])
    root = math.sqrt(3) * near
    mix = torch.sigmoid(own["smooth"])
    shape = mix * torch.exp(-near) + (1 - mix) * (1 + root) * torch.exp(-root)
    made: Tensor = (common + trend) * decay[0] + process * shape * decay[1] + alone * same * decay[2]
    return made


NEIGHBOURS, BESIDE, AT_OWN = 12, 6, 4
"""Numbers of neighbours at the time of an entry, one step beside it, and at the place's own last and next values."""


@dataclasses.dataclass
class Entries:
    """Entries to estimate.

    Attributes:
        now: Step of the entries in their windows.
        which: Window of each entry, (row,).
        place: Node of each entry, (row,).
    """

    now: int
    which: Tensor
    place: Tensor


def nearest_observed(values: Tensor, entries: Entries, near: Tensor, count: int = NEIGHBOURS) -> Tensor:
    """Return the nearest neighbours that are observed at the time of each entry, then others, (row, count).

    Args:
        values: Values, (batch, step, node), NaN where missing.
        entries: The entries.
        near: Neighbours of each node, nearest first, -1 for none, (node, candidate).
        count: Largest number of neighbours.
    """
    candidates = near[entries.place]
    seen = ~torch.isnan(values[:, entries.now])
    there = seen[entries.which.unsqueeze(-1), candidates.clamp(min=0)] & (candidates >= 0)
    order = torch.argsort((~there).to(torch.uint8), dim=-1, stable=True)[:, :count]
    return candidates.gather(-1, order)


def around_entries(
    values: Tensor, mine: Tensor, entries: Entries, chosen: Tensor, position: Tensor, trend: Tensor
) -> Around:
    """Gather the observations around entries: neighbours now, one step before and after, and around own values.

    These are the last and the next value of the place itself, with those of its neighbours at the same time.

    Args:
        values: Values, (batch, step, node), NaN where missing or hidden from all.
        mine: True where a node's values are hidden from its own entries, (batch, step, node).
        entries: The entries.
        chosen: Neighbours of each entry, -1 for none, (row, neighbour).
        position: Positions in typical distances, (node, axis).
        trend: Trend features, (node, feature).
    """
    now, which, place = entries.now, entries.which, entries.place
    steps = torch.arange(values.shape[1], device=values.device)
    own = values[which, :, place].masked_fill(mine[which, :, place], math.nan)  # (row, step)
    seen = ~torch.isnan(own)
    before = torch.where(seen & (steps < now), steps, -1).amax(-1)
    after = torch.where(seen & (steps > now), steps, len(steps)).amin(-1)
    sides = torch.stack([before, after], 1)
    node, step = [chosen], [torch.full_like(chosen, now)]
    for beside, side in ((now - 1, before), (now + 1, after)):
        few, fewer = chosen[:, :BESIDE], chosen[:, :AT_OWN]
        node += [few, fewer]
        # A time beside the entry, or outside the window, is left out: -1.
        apart = torch.where((side == beside) | (side < 0) | (side == len(steps)), -1, side)
        step += [torch.full_like(few, beside if 0 <= beside < len(steps) else -1), apart[:, None].expand_as(fewer)]
    nodes = torch.cat([*node, place[:, None], place[:, None]], 1)
    times = torch.cat([*step, torch.where(sides == len(steps), -1, sides)], 1)
    at, when = nodes.clamp(min=0), times.clamp(min=0)
    found = torch.cat([values[which.unsqueeze(-1), when[:, :-2], at[:, :-2]], own.gather(1, when[:, -2:])], 1)
    there = ~torch.isnan(found) & (nodes >= 0) & (times >= 0)
    same = torch.zeros_like(there)
    same[:, -2:] = True
    gap, slope = (x[at] - x[place].unsqueeze(1) for x in (position, trend))
    return Around(gap, slope, (when - now).to(gap), same, at, torch.nan_to_num(found).to(gap), there)
