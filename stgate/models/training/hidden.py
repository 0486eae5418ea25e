"""Estimates of entries that are hidden from a field: what chooses its best epoch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from stgate.data.windows import hash_seed
from stgate.nn.field.hiding import hide
from stgate.prediction.field.kriged import KrigedFieldPredictor
from stgate.schema.batch import Batch


def hidden_estimates(predictor: KrigedFieldPredictor, batch: Batch) -> tuple[Distribution, Tensor]:
    """Estimate the last step of windows from which entries are hidden, by the patterns that the field is fitted for.

    Forecasts are not among them. Withheld stations are hidden altogether, others in gaps; which, depends on the times
    of the windows alone.

    Args:
        predictor: A field that corrects a kriging.
        batch: Windows in raw units.

    Returns:
        The estimates, and the truth of the entries that were hidden, (batch, 1, node, target); NaN elsewhere.
    """
    targets, now = len(predictor.fitted_spec.targets), predictor.fitted_spec.window - 1
    values = batch["past"][..., :targets]
    if "after" in batch:
        values = torch.cat([values, batch["after"]], 1)
    patterns = [p for p in predictor.context_masking if p in ("own", "gaps")] or ["own", "gaps"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(hash_seed(*batch["origin"][0].tolist()))
        hidden = hide(values, now, 1, patterns)  # type: ignore[arg-type]
    truth = batch["past"][:, now:, :, :targets]
    new = hidden.new.view(-1, 1, 1, 1)
    if predictor.withheld.any():
        truth = truth.masked_fill(new & ~predictor.withheld.view(1, 1, -1, 1), torch.nan)
    return predictor.estimate(batch, predictor.hidden_batch(batch, hidden)), truth
