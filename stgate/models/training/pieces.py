"""Pieces of a training batch, whose gradients are computed one after another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from stgate.inference.pieces import cut, windows_of
from stgate.schema.batch import Batch

if TYPE_CHECKING:
    from stgate.models.forecaster import Forecaster


def pieces_of(forecaster: Forecaster, batch: Batch) -> list[Batch]:
    """Cut an encoded batch into pieces whose size follows from the network, and so is the same in each fit.

    A batch stays whole with layers that normalise by the statistics of a batch, and in half precision (`16-mixed`),
    whose small gradients vanish unless the loss is scaled first. The gradients of the pieces add up to those of the
    whole batch, to rounding. What is drawn in an evaluation, such as dropout and noise, is drawn for each piece: other
    draws than for the whole batch, the same in each fit of one seed.

    Args:
        forecaster: A forecaster in training mode.
        batch: Windows, whose targets are encoded.
    """
    device = batch["time"].device.type
    if torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.float16:
        return [batch]
    network, epoch = forecaster.predictor.built, forecaster.current_epoch  # a curriculum may change with the epoch
    return cut(batch, windows_of(network, batch, forecaster.training_forward, epoch))
