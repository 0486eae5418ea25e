"""Loading of predictors from checkpoints, without Lightning."""

from __future__ import annotations

import os
from typing import Any, Protocol, runtime_checkable

import torch

from stgate.errors import CheckpointError, RequestError
from stgate.io.safe.reading import reading
from stgate.prediction.checkpoint import KEY, options_in, read_checkpoint, restore
from stgate.prediction.predictor import Predictor
from stgate.prediction.registry import check_options, make_predictor, signature_of


@runtime_checkable
class Holder(Protocol):
    """An object that holds a predictor, such as a forecaster of `stgate.models`."""

    predictor: Predictor


Model = Predictor | Holder | str | os.PathLike[str]
"""A fitted forecaster of `stgate.models`, its predictor, or a checkpoint's path."""


def load(path: str | os.PathLike[str], *, device: str | torch.device = "cpu", **changed: Any) -> Predictor:  # noqa: ANN401
    """Load the predictor in a checkpoint, of any forecaster; no code in the file is run.

    Args:
        path: Path of the checkpoint.
        device: Device of the weights.
        **changed: Options that differ from those of the fit, such as the new folder of a language model.

    Returns:
        A fitted predictor in evaluation mode, which `stgate.forecast`, `backtest`, `reconstruct`, `free_run` and
        `calibrate` take. To train it further, use `load_from_checkpoint` of its class in `stgate.models`.

    Raises:
        StoreError: There is no such file.
        CheckpointError: The file is not a forecaster's checkpoint, its class is not imported, or changed options do not
            fit the weights.
        RequestError: There is no such option.
    """
    checkpoint = read_checkpoint(path)
    name, options = checkpoint[KEY]["class"], options_in(checkpoint, path)
    check_options(name, signature_of(name).parameters, changed)
    with reading(path, "checkpoint", CheckpointError, named=not changed):
        predictor = make_predictor(name, options | changed)
    restore(predictor, checkpoint, path, changed)
    return predictor.to(device).eval()


def predictor_of(model: Model) -> Predictor:
    """Return the predictor of a forecaster, of a checkpoint's path, or the predictor itself.

    Args:
        model: A forecaster, a predictor, or a path.

    Raises:
        RequestError: It is none of these.
    """
    if isinstance(model, Predictor):
        return model
    if isinstance(model, str | os.PathLike):
        return load(model)
    if not isinstance(model, Holder):
        raise RequestError(f"model: is a {type(model).__name__}; give a fitted forecaster or a checkpoint's path")
    return model.predictor
