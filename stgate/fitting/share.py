"""Share of a network's correction that is kept: as much as the validation part shows to be better than none."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from stgate.data.window_data import WindowData
from stgate.data.windows import to_device
from stgate.metrics.torch.distributions import crps_of
from stgate.prediction.evaluating import evaluation_mode
from stgate.prediction.predictor import Predictor
from stgate.schema.batch import Batch

Share = tuple[tuple[float, ...], ...]
"""Share of a network's correction at each lead, for each target; empty for all of it."""
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares that are compared; 0 is the linear part alone."""
BLOCKS = 10
"""Largest number of blocks in time whose gains tell how certain their mean is."""


@torch.no_grad()
def choose_share(predictor: Predictor, data: WindowData) -> Share:
    """Choose the share of a network's correction to its linear part, and set it.

    The best of many epochs is a little better on the validation part by chance, and not at all leads. At each lead and
    target the CRPS of each share is compared with that of the linear part in blocks in time. The share is taken whose
    gain exceeds its standard error by most, and none if no gain does.

    Args:
        predictor: A predictor whose network is trained.
        data: The data of the fit.

    Returns:
        The share of each lead, for each target; empty where all is kept for want of a linear part, or of data.
    """
    start, stop = data.parts.validation
    blocks = min(BLOCKS, (stop - start) // data.horizon)
    if not predictor.has_linear or blocks < 2:
        return ()
    shape = (data.horizon, len(data.spec.targets))
    sums, count = torch.zeros(len(SHARES), blocks, *shape, dtype=torch.float64), torch.zeros(shape)
    loader = cast(DataLoader[Batch], data.part_dataloader("validation"))
    with evaluation_mode(predictor):
        for raw in loader:
            batch = to_device(raw, predictor.device)
            block = ((batch["origin"][:, 1] + 1 - start) * blocks // (stop - start)).clamp(0, blocks - 1).cpu()
            for number, share in enumerate(SHARES):
                predictor.share.fill_(share)
                losses, seen = _losses(predictor, batch)
                sums[number].index_add_(0, block, losses)
            count += seen
    gain = (sums[0] - sums) * blocks / count.clamp(min=1)  # (share, block, lead, target), per case
    certain = gain.mean(1) - gain.std(1) / blocks**0.5
    chosen = torch.tensor(SHARES)[certain.argmax(0)]  # the first where several are equal: that of no gain is 0
    predictor.share.copy_(chosen[:, None, :, None])
    return tuple(tuple(row) for row in chosen.tolist())


def set_share(predictor: Predictor, share: Share) -> None:
    """Set the share that an earlier fit has chosen; all if it is empty.

    Args:
        predictor: A predictor.
        share: The share of each lead, for each target.
    """
    if predictor.has_linear:
        predictor.share.copy_(torch.tensor(share)[:, None, :, None] if share else torch.ones(()))


def _losses(predictor: Predictor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the CRPS, (batch, lead, target), summed over nodes, and the number of observed values, (lead, target)."""
    forecast, truth = predictor(batch), batch["target"]
    seen = ~torch.isnan(truth)
    losses = torch.where(seen, crps_of(forecast, torch.where(seen, truth, forecast.mean)), 0.0)
    return losses.sum(2).double().cpu(), seen.sum((0, 2)).cpu()
