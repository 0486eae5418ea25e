"""Evaluation of a predictor: without gradients, and with the warnings that forecasts deserve."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from stgate.data.bounds import watched
from stgate.errors import RequestError
from stgate.prediction.predictor import Predictor


@contextlib.contextmanager
def evaluation_mode(predictor: Predictor) -> Iterator[None]:
    """Evaluate without gradients, and warn of covariates out of bounds; the mode is restored afterwards."""
    if predictor.network is not None and predictor.scaler.center.dtype != torch.float32:
        kind = str(predictor.scaler.center.dtype).removeprefix("torch.")
        raise RequestError(
            f"{predictor.name}: was converted to {kind}, forecasts need float32; load its checkpoint again"
        )
    was_training = predictor.training
    predictor.eval()
    try:
        with torch.no_grad(), watched(predictor):
            yield
    finally:
        predictor.train(was_training)
