"""Statistics of single steps in the training part: how far values move, how those that a patch sees vary together."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from stgate.data.window_data import WindowData
from stgate.nn.patches import Patches

ENOUGH = 2**19
"""Patches from which the covariance is known well enough."""


def step_spread(data: WindowData, scale: Tensor) -> Tensor:
    """Root mean square of the targets' changes from one step to the next, in units of `scale`; 1 where it is unknown.

    Args:
        data: Its training part is read.
        scale: (target,).

    Returns:
        (target,).
    """
    total, count = torch.zeros(len(scale), dtype=torch.float64), torch.zeros(len(scale), dtype=torch.int64)
    before: Tensor | None = None
    for values in _blocks(data):
        values = values if before is None else torch.cat([before, values], 1)
        change = (values[:, 1:] - values[:, :-1]).flatten(0, 2) / scale
        total += torch.nansum(change.double().square(), 0)
        count += (~torch.isnan(change)).sum(0)
        before = values[:, -1:].clone()
    spread = (total / count.clamp(min=1)).sqrt().float()
    return torch.where(spread > 0, spread, 1.0)


def whitening(data: WindowData, patches: Patches, center: Tensor, scale: Tensor, floor: float) -> Tensor:
    """The map after which what a patch sees is uncorrelated and of unit variance.

    Smooth fields need it: their neighbours are nearly alike, and what distinguishes them is what a derivative is.

    Args:
        data: Of its training part, evenly spread steps that hold about half a million patches; those without a gap.
        patches: How nodes are cut.
        center: (target,), taken off before.
        scale: (target,), divided by.
        floor: Variances are raised by this share of the largest, so that noise is not blown up.

    Returns:
        (seen, seen), to be multiplied from the right; the identity where patches are too few.

    References:
        LeCun et al. (1998), Efficient backprop. In Neural networks: tricks of the trade.
    """
    size = patches.reach * len(scale)
    gram, count, row = torch.zeros(size, size, dtype=torch.float64), 0, 0
    start, stop = data.parts.train
    every = max((stop - start) * len(data.series.observed) * patches.count // ENOUGH, 1)
    for values in _blocks(data):
        chosen = values[:, -row % every :: every]
        row += values.shape[1]
        seen = patches.surround((chosen - center) / scale).flatten(0, 2).double()
        seen = seen[~torch.isnan(seen).any(-1)]
        gram += seen.T @ seen
        count += len(seen)
    if count < 2 * size:
        return torch.eye(size)
    variances, directions = torch.linalg.eigh(gram / count)
    scales = (variances.clamp(min=0) + floor * variances.max()).sqrt()
    white: Tensor = (directions / scales).float()
    return white


def _blocks(data: WindowData) -> Iterator[Tensor]:
    start, stop = data.parts.train
    targets = len(data.spec.targets)
    for first, last in data.series.blocks(start, stop):
        yield data.series.read(first, last)[..., :targets]
