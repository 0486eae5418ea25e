"""Fits by several processes: each takes its share of every batch, and the fit is that of one process."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import lightning as L
import torch
from torch import Tensor

from stgate.data.window_data import WindowData
from stgate.data.windows import hash_seed
from stgate.errors import FitWarning, RequestError
from stgate.prediction.predictor import Predictor
from stgate.schema.batch import Batch


class SharedBatches(L.LightningModule):
    """Base of forecasters that share the batches of a fit with other processes (Lightning's `ddp`).

    Each process loads the same batches in the same order. In training the data module gives it its share of each
    batch's windows; in validation and in tests it takes every n-th batch whole. One process takes all.
    """

    predictor: Predictor

    @property
    def processes(self) -> tuple[int, int]:
        """The number of this process among those of the trainer, and how many there are."""
        trainer = self._trainer
        return (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)

    def join(self, data: WindowData) -> None:
        """Share batches with the trainer's other processes; a sampler of Lightning's would repeat windows.

        Args:
            data: The trainer's data module.

        Raises:
            RequestError: The forecaster is fitted in closed form.
        """
        data.processes = self.processes
        _, count = self.processes
        if count == 1:
            return
        self.trainer._accelerator_connector.use_distributed_sampler = False
        if self.trainer.state.fn == "fit":
            check_processes(self, count)
            if data.batch_size < count:
                warnings.warn(
                    f"batch_size {data.batch_size}: a batch has fewer windows than the {count} processes, of which "
                    "some wait; give a larger batch_size, or fewer processes",
                    FitWarning,
                    stacklevel=2,
                )

    def evaluates(self, number: int) -> bool:
        """Return True if this process scores a batch of a validation or a test.

        Args:
            number: Number of the batch.
        """
        rank, count = self.processes
        return number % count == rank

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> int | None:
        """Seed each batch by (seed, step), so that a resumed fit draws the same dropout; processes draw their own."""
        rank, _ = self.processes
        seed_devices(hash_seed(self.predictor.seed or 0, self.global_step, *([rank] if rank else [])))
        return None


def seed_devices(seed: int) -> None:
    """Seed the generators of torch that are in use; `torch.manual_seed` looks at those of all backends, for 1 ms.

    Args:
        seed: The seed.
    """
    if torch.accelerator.is_available():
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


def check_processes(forecaster: L.LightningModule, count: int) -> None:
    """Refuse to fit a forecaster in closed form by several processes, which would all do the same.

    Args:
        forecaster: A forecaster.
        count: Number of processes.

    Raises:
        RequestError: The forecaster has no steps to share.
    """
    if count > 1 and not forecaster.automatic_optimization:
        name = type(forecaster).__name__
        raise RequestError(f"devices: {count} processes, but {name} is fitted in closed form, by one; give devices 1")


def of_all_processes(forecaster: SharedBatches, loss: Tensor, observed: Tensor) -> Tensor:
    """Scale the loss of a share so that its mean over the processes is the mean over all observed targets of a batch.

    Args:
        forecaster: The forecaster.
        loss: Mean loss over the observed targets of this process's share, a scalar.
        observed: Number of these targets.

    Returns:
        A scalar; NaN in all processes where the loss of any is not finite.
    """
    _, count = forecaster.processes
    if count == 1:
        return loss
    sums = torch.stack([observed.double(), (~torch.isfinite(loss.detach())).double()])
    total, infinite = forecaster.trainer.strategy.reduce(sums.clone(), reduce_op="sum").unbind()
    share = count * sums[0] / total.clamp(min=1)
    return loss * torch.where(infinite > 0, torch.nan, share).to(loss.dtype)


def reaching_all(forecaster: SharedBatches, loss: Tensor) -> Tensor:
    """Return a loss whose gradient reaches every weight in every process, as zero where it does not depend on it.

    Processes exchange the gradient of a weight once it is there; one without a gradient would be waited for.

    Args:
        forecaster: The forecaster.
        loss: The loss, a scalar.
    """
    if forecaster.processes[1] == 1:
        return loss
    weights: Iterable[Tensor] = (weight for weight in forecaster.parameters() if weight.requires_grad)
    reaching: Tensor = _Reaching.apply(loss, *weights)  # type: ignore[no-untyped-call]
    return reaching


class _Reaching(torch.autograd.Function):
    """A value that passes its gradient on, and none to the weights beside it."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, *weights: Tensor) -> Tensor:  # noqa: ANN401
        """Return the value."""
        ctx.weights = len(weights)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """Return the gradient of the value, and no others."""
        return outer, *[None] * ctx.weights
