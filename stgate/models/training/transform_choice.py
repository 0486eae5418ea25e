"""Choice of the targets' transforms from the training part, for `transforms="auto"`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from stgate.data.window_data import WindowData
from stgate.distributions.anomaly import Anomaly
from stgate.distributions.transforms import Log, Power, Rate, Transform
from stgate.errors import PanelError
from stgate.models.training.targets import TrainingTargets
from stgate.prediction.target_transforms import TargetTransforms
from stgate.schema.spec import PanelSpec

FOLDS = (0.5, 0.75)
"""Shares of the training part from which candidates learn; the quarter after each compares them."""
GAIN = 0.01
"""Relative gain in CRPS over no transform for which transforms are taken."""
RECENT = 8
"""Number of steps whose mean is a predictor."""
ENOUGH = 2**21
"""Number of entries (time, node) that are enough before a cut, and after it; of more the nearest are taken."""
MOST = 2**22
"""Number of values of the training part that are compared; of a larger one evenly spaced nodes are, all their times."""
NODES = 16
"""Number of nodes that are compared at least, where there are so many: the choice is that of all."""
LEVELS = torch.arange(1, 20, dtype=torch.float64) / 20
"""Quantile levels of the CRPS."""


@dataclasses.dataclass(frozen=True)
class TransformChoice:
    """Transforms chosen for a panel.

    Attributes:
        transforms: The transforms, in the order in which they are applied.
        scores: CRPS of the linear forecast of each candidate, in units of that without transforms; by its name.
    """

    transforms: tuple[Transform, ...]
    scores: dict[str, float]

    @property
    def report(self) -> str:
        """The choice in one line, with the way to another."""
        if not math.isfinite(self.scores["none"]):
            return (
                "transforms: none (the training part is too short to compare them); choose some by --model.transforms"
            )
        gain = 1 - self.scores[name_of(self.transforms)]
        why = f"CRPS {100 * gain:.1f} % lower than without in the second half of the training part"
        if not self.transforms:
            why = "none of those tried lowers the CRPS in the second half of the training part by 1 %"
        return f"transforms: {name_of(self.transforms)} ({why}); other ones by --model.transforms, or none by null"


def choose_transforms(data: WindowData) -> TransformChoice:
    """Choose transforms by the forecasts that a linear model makes with them within the training part.

    Each candidate learns from the first half of the training part, then from the first three quarters: its transforms,
    and for the first and the last lead a linear regression on the last values, their recent mean, the mean over nodes
    and the calendar. Normal quantiles of the transformed target are decoded and scored on the quarter that follows.
    The candidates are no transform, a logarithm, a square root and a fourth root, each with and without anomalies; the
    logarithm and the roots need values that are not negative, also in the later parts, which a last fit learns from,
    all but the test part. A static covariate called `population` adds each of them after a rate. Of a panel of many
    values evenly spaced nodes are compared.

    Args:
        data: The data of the fit.
    """
    sample = _Sample.of(data)
    before: list[Transform] = [Rate("population")] if "population" in data.static_covariates else []
    elementwise: list[list[Transform]] = [[]] if _negative_later(data) else [[], [Power(0.5)], [Power(0.25)], [Log()]]
    scores: dict[str, float] = {}
    best: tuple[Transform, ...] = ()
    lowest = reference = math.inf
    for first in ([], before) if before else ([],):
        for middle in elementwise:
            for last in ([], [Anomaly()]):
                chain = (*first, *middle, *last)
                try:
                    found = _crps(sample, chain)
                except PanelError:  # values that the transform does not take
                    continue
                if not chain:
                    reference = lowest = found
                scores[name_of(chain)] = found / reference
                if found < lowest * (1 - (GAIN if not best else 0.0)):
                    best, lowest = chain, found
    return TransformChoice(best, scores)


def _negative_later(data: WindowData) -> bool:
    """Tell if a target is negative between the training part and the test part."""
    series, targets = data.series, len(data.spec.targets)
    rows = series.blocks(data.parts.train[1], data.parts.test[0])
    return any(bool((series.read(first, last)[..., :targets] < 0).any()) for first, last in rows)


def name_of(transforms: Sequence[Transform]) -> str:
    """Return the names of transforms with their options, such as `[Power(0.5), Anomaly]`; `none` if there are none."""
    shown = []
    for transform in transforms:
        options = [repr(v) for v in transform.config()["init_args"].values() if isinstance(v, float | str)]
        shown.append(type(transform).__name__ + (f"({', '.join(options)})" if options else ""))
    return f"[{', '.join(shown)}]" if shown else "none"


@dataclasses.dataclass(frozen=True)
class _Sample:
    """The first rows of a training part, at some nodes.

    Attributes:
        part: The training part.
        chosen: (node,), numbers of the nodes.
        values: (member, time, node, target).
        time: (time,).
        calendar: (time, feature).
        edges: Row ranges that make up the rows.
    """

    part: TrainingTargets
    chosen: Tensor
    values: Tensor
    time: Tensor
    calendar: Tensor
    edges: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, data: WindowData) -> _Sample:
        """Read a sample of the training part into memory."""
        part, nodes, (start, stop) = TrainingTargets(data), len(data.spec.nodes), data.parts.train
        row = data.panel.sizes.get("member", 1) * len(data.spec.targets)
        among = min(nodes, max(MOST // (row * (stop - start)), NODES))
        chosen = torch.arange(among) * nodes // among
        values = torch.cat([block[:, :, chosen] for block, _ in part.blocks()], 1)
        edges = tuple((first - start, last - start) for first, last in data.series.blocks(start, stop))
        clock = data.series.clock[start:stop]
        return cls(part, chosen, values, clock.time, clock.calendar, edges)

    def first(self, count: int) -> _Sample:
        """Return the first rows of the sample."""
        edges = tuple((first, min(last, count)) for first, last in self.edges if first < count)
        return dataclasses.replace(self, values=self.values[:, :count], time=self.time[:count], edges=edges)

    @property
    def spec(self) -> PanelSpec:
        spec = self.part.spec
        return dataclasses.replace(spec, nodes=tuple(spec.nodes[i] for i in self.chosen.tolist()))

    def blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        for first, last in self.edges:
            yield self.values[:, first:last], self.time[first:last]

    def static(self, name: str) -> Tensor:
        return self.part.static(name)[self.chosen]


def _crps(sample: _Sample, chain: Sequence[Transform]) -> float:
    """Return the geometric mean of the CRPS over leads and targets, in the targets' units; infinite if unknown."""
    count, spec = len(sample.time), sample.spec
    losses: dict[tuple[int, int], list[Tensor]] = {}
    for share in FOLDS:
        cut, last = round(share * count), round((share + 1 - FOLDS[-1]) * count)
        transforms = TargetTransforms(chain, spec)
        transforms.learn(sample.first(cut))
        rows = max(ENOUGH // len(spec.nodes), 4 * RECENT)  # on either side of the cut
        first, last = max(0, cut - rows), min(last, cut + rows)
        values, time, calendar = sample.values[:, first:last], sample.time[first:last], sample.calendar[first:last]
        for lead in sorted({1, spec.horizon}):
            if cut - first > lead and last - first > lead + RECENT:
                for target, loss in _losses(transforms, values, time, calendar, lead, cut - first):
                    losses.setdefault((lead, target), []).append(loss)
    means = [float(torch.cat(found).mean()) for found in losses.values()]
    return math.exp(sum(math.log(max(m, 1e-30)) for m in means) / len(means)) if means else math.inf


def _losses(
    transforms: TargetTransforms, values: Tensor, time: Tensor, calendar: Tensor, lead: int, cut: int
) -> Iterator[tuple[int, Tensor]]:
    """Yield for each target the CRPS of each known entry after row `cut`, forecast a lead before from a fit before it.

    Args:
        transforms: Transforms that have learned from the rows before `cut`.
        values: (member, time, node, target).
        time: (time,).
        calendar: (time, feature).
        lead: Number of steps ahead.
        cut: Row at which the held-out entries begin.
    """
    encoded, ahead = transforms.encode_rows(values, time), transforms.bind(time[None, cut:])
    for target in range(values.shape[-1]):
        features, truth = _features(encoded[..., target], calendar, lead), encoded[:, lead:, :, target]
        known = ~(features.isnan().any(-1) | truth.isnan())
        fitted, held = known[:, : cut - lead], known[:, cut - lead :]
        if int(fitted.sum()) < 2 * features.shape[-1] or not bool(held.any()):
            continue
        weight, sigma = _regression(features[:, : cut - lead][fitted], truth[:, : cut - lead][fitted])
        location = (torch.nan_to_num(features[:, cut - lead :]).double() @ weight).float()
        loss = torch.zeros(int(held.sum()), dtype=torch.float64)
        own, later = ahead.of_target(target), values[:, cut:, :, target][held]
        for level in LEVELS:
            quantile = location + float(sigma * torch.special.ndtri(level))
            miss = (later - own.decode(quantile.unsqueeze(-1))[..., 0][held]).double()
            loss += 2 * torch.maximum(level * miss, (level - 1) * miss)
        yield target, loss / len(LEVELS)


def _features(values: Tensor, calendar: Tensor, lead: int) -> Tensor:
    """Return predictors of values (member, time, node) a lead later: (member, time - lead, node, feature)."""
    length = values.shape[1] - lead
    now = values[:, :length]
    before = torch.cat([now[:, :1], now[:, :-1]], 1)
    before = torch.where(before.isnan(), now, before)
    seen = (~now.isnan()).double()
    sums = torch.cumsum(torch.nan_to_num(now).double(), 1)
    counts = torch.cumsum(seen, 1)
    for running in (sums, counts):
        running[:, RECENT:] = running[:, RECENT:] - running[:, :-RECENT]
    recent = (sums / counts.clamp(min=1)).to(now)
    overall = now.nanmean(2, keepdim=True).expand_as(now)
    columns = [torch.ones_like(now), now, before, recent, overall]
    columns += [c[None, lead:, None].expand_as(now) for c in calendar.T]
    return torch.stack(columns, -1)


def _regression(features: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weights of a linear regression, and the standard deviation of its residuals, in float64."""
    x, y = features.double(), truth.double()
    gram = x.T @ x / len(x)
    weight = torch.linalg.solve(gram + 1e-6 * torch.eye(len(gram)).to(gram) * gram.diagonal().mean(), x.T @ y / len(x))
    return weight, (y - x @ weight).square().mean().sqrt()
