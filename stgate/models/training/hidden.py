"""Estimates of entries that are hidden from a field: what chooses its best epoch, and what it has to beat."""

from __future__ import annotations

import dataclasses

import torch
from lightning.pytorch.strategies import Strategy
from torch import Tensor
from torch.distributions import Distribution

from stgate.data.windows import hash_seed
from stgate.nn.field.context_masking import MaskPattern
from stgate.nn.field.hiding import Hidden, hide
from stgate.prediction.field.kriged import KrigedFieldPredictor
from stgate.schema.batch import Batch


def hidden_estimates(predictor: KrigedFieldPredictor, batch: Batch) -> tuple[Distribution, Tensor, Hidden]:
    """Estimate the last step of windows from which entries are hidden, by the patterns that the field is fitted for.

    Forecasts are not among them. Withheld stations are hidden altogether, others in gaps; which, depends on the times
    of the windows alone.

    Args:
        predictor: A field that corrects a kriging.
        batch: Windows in raw units.

    Returns:
        The estimates; the truth of the entries that were hidden, (batch, 1, node, target), NaN elsewhere; and what the
        field saw.
    """
    targets, now = len(predictor.fitted_spec.targets), predictor.fitted_spec.window - 1
    values = batch["past"][..., :targets]
    if "after" in batch:
        values = torch.cat([values, batch["after"]], 1)
    patterns: list[MaskPattern] = [p for p in predictor.context_masking if p in ("own", "gaps")] or ["own", "gaps"]
    with torch.random.fork_rng(devices=[]):
        origins = batch["origins"] if "origins" in batch else batch["origin"].tolist()
        torch.manual_seed(hash_seed(*origins[0]))
        hidden = hide(values, now, 1, patterns)
    truth = batch["past"][:, now:, :, :targets]
    new = hidden.new.view(-1, 1, 1, 1)
    withheld = predictor.withheld.view(1, 1, -1, 1)
    truth = truth.masked_fill(new & ~withheld & withheld.any(), torch.nan)
    return predictor.estimate(batch, predictor.hidden_batch(batch, hidden)), truth, hidden


@dataclasses.dataclass
class HiddenReference:
    """Errors of two interpolations of the hidden entries: what a field has to beat.

    Attributes:
        spatial: Sum of the absolute errors of the mean of all other nodes at the time.
        temporal: Sum of the absolute errors of linear interpolation in time at the node, and of that mean where the
            node has no value in the window.
        count: Number of entries.
    """

    spatial: float | Tensor = 0.0
    temporal: float | Tensor = 0.0
    count: int | Tensor = 0

    @torch.no_grad()
    def update(self, hidden: Hidden, truth: Tensor, now: int) -> None:
        """Add the errors of a batch.

        Args:
            hidden: What the field saw.
            truth: Truth of the hidden entries, (batch, 1, node, target), NaN elsewhere.
            now: Step of the entries.
        """
        present = hidden.values[:, now]
        seen, filled = ~torch.isnan(present), torch.nan_to_num(present)
        others = seen.sum(1, keepdim=True) - seen.int()
        mean = (filled.sum(1, keepdim=True) - filled) / others.clamp(min=1)
        own = hidden.values.masked_fill(hidden.mine.unsqueeze(-1), torch.nan)
        between = torch.where(others > 0, mean, torch.nan)
        line = interpolated(own, now)
        line = torch.where(torch.isnan(line), between, line)
        known = ~(torch.isnan(truth[:, 0]) | torch.isnan(between) | torch.isnan(line))
        self.spatial = self.spatial + torch.where(known, (between - truth[:, 0]).abs(), 0.0).double().sum()
        self.temporal = self.temporal + torch.where(known, (line - truth[:, 0]).abs(), 0.0).double().sum()
        self.count = self.count + known.sum()

    def of_all(self, strategy: Strategy) -> HiddenReference:
        """Return the sums over all processes.

        Args:
            strategy: The trainer's strategy.
        """
        own = torch.tensor([self.spatial, self.temporal, self.count], dtype=torch.float64, device=strategy.root_device)
        spatial, temporal, count = strategy.reduce(own, reduce_op="sum").tolist()
        return HiddenReference(spatial, temporal, round(count))

    @property
    def line(self) -> str:
        """The errors in words."""
        spatial, temporal = (float(total) / max(int(self.count), 1) for total in (self.spatial, self.temporal))
        return f"val_hidden_mae to beat: mean of the other nodes {spatial:.4g}, interpolation in time {temporal:.4g}"

    def warning(self, error: float) -> str | None:
        """Return what to say of a field that is no better; None of a better one.

        Args:
            error: Mean absolute error of the field on the same entries.
        """
        spatial, temporal, count = float(self.spatial), float(self.temporal), int(self.count)
        if not count or error < min(spatial, temporal) / count:
            return None
        name = "the mean of the other nodes" if spatial <= temporal else "interpolation in time"
        return (
            f"val_hidden_mae {error:.4g} is no better than the {min(spatial, temporal) / count:.4g} of "
            f"{name}: try a longer context (data.context), more epochs, static covariates such as elevation, or "
            "other transforms"
        )


def interpolated(values: Tensor, now: int) -> Tensor:
    """Interpolate linearly in time between the last and the next value; the one of them where the other is missing.

    Args:
        values: Values, (batch, step, node, target), NaN where missing.
        now: Step at which they are interpolated.

    Returns:
        (batch, node, target), NaN where there is no value.
    """
    steps = torch.arange(values.shape[1], device=values.device).view(1, -1, 1, 1)
    seen = ~torch.isnan(values)
    before = torch.where(seen & (steps < now), steps, -1).amax(1, keepdim=True)
    after = torch.where(seen & (steps > now), steps, values.shape[1]).amin(1, keepdim=True)
    first, last = before < 0, after == values.shape[1]
    left = values.gather(1, before.clamp(min=0)).masked_fill(first, 0.0)
    right = values.gather(1, after.clamp(max=values.shape[1] - 1)).masked_fill(last, 0.0)
    share = torch.where(first, 1.0, torch.where(last, 0.0, (now - before) / (after - before).clamp(min=1)))
    return torch.where(first & last, torch.nan, (1 - share) * left + share * right)[:, 0]
