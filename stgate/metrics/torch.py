"""torchmetrics forms for training: float64 sums and counts, so that unequal batches weigh what they hold."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric


class MaskedMean(Metric):
    """The mean of all observed values seen in an epoch, not the mean of batch means; NaN when none was observed."""

    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, values: Tensor, observed: Tensor) -> None:
        """Add values of any shape where `observed` is true."""
        # New tensors, not in place: after `trainer.validate` the states are inference tensors.
        self.total = self.total + torch.where(observed, values, 0.0).sum(dtype=torch.float64)
        self.count = self.count + observed.sum()

    def compute(self) -> Tensor:
        """The mean."""
        return torch.where(self.count > 0, self.total / self.count, torch.nan)
