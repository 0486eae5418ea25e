"""Statistics of single steps in the training part: size of changes, and covariance within a patch."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from stgate.data.scaling import Blocks
from stgate.nn.patches import Patches

ENOUGH = 2**19
"""Number of patches that is enough to estimate the covariance."""


Rows = tuple[int, int]
"""Row range `[start, stop)`."""


def typical_change(series: Blocks, rows: Rows, scale: Tensor) -> Tensor:
    """Compute the root mean square of the targets' changes over a step, in units of `scale`.

    Args:
        series: The panel as tensors.
        rows: Row range of the training part.
        scale: (target,), unit of the changes.

    Returns:
        (target,), 1 where it is unknown.
    """
    total, count = torch.zeros(len(scale), dtype=torch.float64), torch.zeros(len(scale), dtype=torch.int64)
    before: Tensor | None = None
    for values in _blocks(series, rows, len(scale)):
        values = values if before is None else torch.cat([before, values], 1)
        change = (values[:, 1:] - values[:, :-1]).flatten(0, 2) / scale
        total += torch.nansum(change.double().square(), 0)
        count += (~torch.isnan(change)).sum(0)
        before = values[:, -1:].clone()
    rms = (total / count.clamp(min=1)).sqrt().float()
    return torch.where(rms > 0, rms, 1.0)


def whitening(series: Blocks, rows: Rows, patches: Patches, center: Tensor, scale: Tensor, floor: float) -> Tensor:
    """Compute the map that makes the inputs of a patch uncorrelated and of unit variance.

    Smooth fields need it: neighbouring values are nearly equal, and their differences hold the derivatives.

    Args:
        series: The panel as tensors. Evenly spread steps are used, about half a million patches without gaps.
        rows: Row range of the training part.
        patches: The patches that nodes are cut into.
        center: (target,), subtracted first.
        scale: (target,), by which values are divided.
        floor: Share of the largest variance that is added to all variances, so that noise is not amplified.

    Returns:
        (input, input), to be multiplied from the right; the identity if there are too few patches.

    References:
        LeCun et al. (1998), Efficient backprop. In Neural networks: tricks of the trade.
    """
    size = patches.reach * len(scale)
    gram, count, row = torch.zeros(size, size, dtype=torch.float64), 0, 0
    members = len(series.read(rows[0], rows[0] + 1))
    every = max((rows[1] - rows[0]) * members * patches.count // ENOUGH, 1)
    for values in _blocks(series, rows, len(scale)):
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


def _blocks(series: Blocks, rows: Rows, targets: int) -> Iterator[Tensor]:
    for first, last in series.blocks(*rows):
        yield series.read(first, last)[..., :targets]
