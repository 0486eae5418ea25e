"""Statistics of single steps in the training part: how far values move, how those that a patch sees vary together."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from stgate.data.modules import WindowData
from stgate.nn.patches import Patches

ENOUGH = 2**19
"""Patches at which the covariance is known well enough."""


def step_spread(data: WindowData, scale: Tensor) -> Tensor:
    """Root mean square of the targets' changes from one step to the next, in units of `scale`; 1 where it is unknown.

    Args:
        data: Its training part is read.
        scale: (target,).

    Returns:
        (target,).
    """
    total, count = torch.zeros(len(scale), dtype=torch.float64), torch.zeros(len(scale), dtype=torch.int64)
    for values in _blocks(data):
        change = (values[:, 1:] - values[:, :-1]).flatten(0, 2) / scale
        total += torch.nansum(change.double().square(), 0)
        count += (~torch.isnan(change)).sum(0)
    spread = (total / count.clamp(min=1)).sqrt().float()
    return torch.where(spread > 0, spread, 1.0)


def whitening(data: WindowData, patches: Patches, center: Tensor, scale: Tensor, floor: float) -> tuple[Tensor, Tensor]:
    """The map after which what a patch sees is uncorrelated and of unit variance.

    Smooth fields need it: their neighbours are nearly alike, and what distinguishes them is what a derivative is.

    Args:
        data: Its training part is read from the start, until it has given half a million patches without a gap.
        patches: How nodes are cut.
        center: (target,), taken off before.
        scale: (target,), divided by.
        floor: Variances are raised by this share of the largest, so that noise is not blown up.

    Returns:
        (seen, seen), to be multiplied from the right, and the variances (seen,) of the directions that its columns
        scale; the identity and ones where patches are too few.

    References:
        LeCun et al. (1998), Efficient backprop. In Neural networks: tricks of the trade.
    """
    size = patches.reach * len(scale)
    gram, count = torch.zeros(size, size, dtype=torch.float64), 0
    for values in _blocks(data):
        stride = max(values.shape[0] * values.shape[1] * patches.count // ENOUGH, 1)
        seen = patches.surround((values[:, ::stride] - center) / scale).flatten(0, 2).double()
        seen = seen[~torch.isnan(seen).any(-1)]
        gram += seen.T @ seen
        count += len(seen)
        if count >= ENOUGH:
            break
    if count < 2 * size:
        return torch.eye(size), torch.ones(size)
    variances, directions = torch.linalg.eigh(gram / count)
    scales: Tensor = (variances.clamp(min=0) + floor * variances.max()).sqrt()
    return (directions / scales).float(), variances.float()


def _blocks(data: WindowData) -> Iterator[Tensor]:
    start, stop = data.parts.train
    targets = len(data.spec.targets)
    for first, last in data.series.blocks(start, stop):
        yield data.series.read(first, last)[..., :targets]
