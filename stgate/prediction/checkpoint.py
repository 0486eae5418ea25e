"""Checkpoint files: read without running code from them, migrated to today's format, written in one step."""

from __future__ import annotations

import contextlib
import os
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from stgate._version import __version__
from stgate.errors import CheckpointError
from stgate.io import store
from stgate.io.safe.reading import reading
from stgate.prediction.migrations import FORMAT, migrate
from stgate.prediction.parts import options_of
from stgate.prediction.plain import KEY as KEY
from stgate.prediction.plain import check_sections, look, refusal
from stgate.prediction.predictor import Predictor
from stgate.prediction.registry import PREDICTORS
from stgate.schema.spec import PanelSpec
from stgate.schema.units import other_units

LARGEST = 10**8
"""Largest whole number among the options of a checkpoint: sizes of networks, numbers of rows and epochs."""
PREFIX = "predictor."
"""Beginning of the weights' names: the LightningModule holds the predictor under it."""


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint of any format without running code from it (`weights_only=True`).

    Args:
        path: The file.

    Returns:
        The checkpoint in today's format.

    Raises:
        StoreError: There is no such file.
        CheckpointError: The file is not a checkpoint of stgate, holds a pickled object, or has a later format.
    """
    path = Path(path)
    look(path)
    with reading(path, "checkpoint", CheckpointError, named=True):
        try:
            checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise refusal(path) from error
        check_sections(checkpoint, path)
        ours = checkpoint[KEY]
        weights, options = checkpoint["state_dict"], checkpoint["hyper_parameters"]
        tensors = isinstance(weights, dict) and all(isinstance(value, torch.Tensor) for value in weights.values())
        if not (tensors and isinstance(options, dict) and isinstance(ours["class"], str)):
            raise CheckpointError(
                f"{path}: not a readable checkpoint; its weights, options or class are of other types"
            )
        migrate(checkpoint)
        return checkpoint


def write_checkpoint(checkpoint: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a checkpoint in one step, never a part of it."""
    with store.atomic(Path(path)) as temporary:
        torch.save(checkpoint, temporary)


def section_of(predictor: Predictor) -> dict[str, Any]:
    """Return the entry `KEY` of a checkpoint of this predictor."""
    return {"format": FORMAT, "class": predictor.name, "version": __version__, **predictor.to_plain()}


def options_in(checkpoint: dict[str, Any], path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the options of the forecaster in a checkpoint, with their parts.

    Args:
        checkpoint: A checkpoint in today's format.
        path: The file, for the message.

    Raises:
        CheckpointError: The options are not those of a forecaster.
    """
    with reading(path, "checkpoint", CheckpointError, named=True):
        options = options_of(checkpoint["hyper_parameters"])
        for name, value in options.items():
            if isinstance(value, int) and value > LARGEST:
                raise CheckpointError(f"{path}: its option {name} is {value:,}, far above any use; fit the model again")
        return options


def restore(
    predictor: Predictor, checkpoint: dict[str, Any], path: str | os.PathLike[str], changed: dict[str, Any]
) -> None:
    """Give a new predictor the spec, calibration and weights of a checkpoint.

    Args:
        predictor: A predictor made with the checkpoint's options.
        checkpoint: A checkpoint in today's format.
        path: The file, for the message.
        changed: Options that differ from the checkpoint's, for the message.

    Raises:
        CheckpointError: The weights do not fit.
    """
    with reading(path, "checkpoint", CheckpointError):
        predictor.name = checkpoint[KEY]["class"]
        predictor.plain_options = dict(checkpoint["hyper_parameters"])
        take(predictor, checkpoint, path)
        weights = {k.removeprefix(PREFIX): v for k, v in checkpoint["state_dict"].items() if k.startswith(PREFIX)}
        try:
            predictor.load_state_dict(weights)
        except RuntimeError as error:
            given = ", ".join(f"{name} {value!r}" for name, value in changed.items())
            fix = "give the options of the fit" if given else "fit the model again"
            raise CheckpointError(f"{path}: its weights do not fit {given or 'this version'}; {fix}") from error


def take(predictor: Predictor, checkpoint: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Give a predictor the spec and calibration of a checkpoint, and build the network that its weights fit.

    Args:
        predictor: A predictor made with the checkpoint's options.
        checkpoint: A checkpoint in today's format.
        path: The file, for the message.

    Raises:
        CheckpointError: An entry is not one of a forecaster, or the network would be far larger than the weights.
    """
    with reading(path, "checkpoint", CheckpointError, named=True), _no_larger(checkpoint, path):
        predictor.restore(checkpoint[KEY])


@contextlib.contextmanager
def _no_larger(checkpoint: dict[str, Any], path: str | os.PathLike[str]) -> Iterator[None]:
    """Refuse to build a network that is far larger than a checkpoint's weights, before its memory is used.

    Args:
        checkpoint: A checkpoint in today's format. A language model, and what classes of users hold, is not in it.
        path: The file, for the message.

    Raises:
        CheckpointError: The options of the checkpoint are not those of its weights.
    """
    ours, made = checkpoint[KEY], 0
    most = 2**20 + 10 * sum(w.numel() for w in checkpoint["state_dict"].values() if isinstance(w, torch.Tensor))
    if max(ours["spec"]["window"], ours["spec"]["horizon"]) > most:
        raise CheckpointError(f"{path}: its window or horizon is far longer than its weights tell; fit the model again")
    thread = threading.get_ident()

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal made
        made += 0 if parameter is None or threading.get_ident() != thread else parameter.numel()
        if made > most:
            raise CheckpointError(
                f"{path}: its options make a network far larger than its weights; fit the model again"
            )

    whole = ours["class"] in PREDICTORS and not ours.get("language")
    handle = register_module_parameter_registration_hook(count) if whole else None
    try:
        yield
    finally:
        if handle is not None:
            handle.remove()


def write_calibrated(
    predictor: Predictor, source: str | os.PathLike[str], path: str | os.PathLike[str], *, resumable: bool = True
) -> None:
    """Rewrite a checkpoint with the calibrations that its predictor has now.

    Args:
        predictor: A predictor that was loaded from the checkpoint.
        source: Path of the checkpoint.
        path: Path to write to; it may be the same.
        resumable: Keep the trainer's state, so that the fit can be resumed.
    """
    checkpoint = read_checkpoint(source)
    calibrations = {name: value for name, value in predictor.to_plain().items() if name.endswith("calibration")}
    checkpoint[KEY] |= calibrations
    needed = ("state_dict", "hyper_parameters", "pytorch-lightning_version", KEY)
    write_checkpoint(checkpoint if resumable else {k: v for k, v in checkpoint.items() if k in needed}, path)


def difference(fitted: PanelSpec, data: PanelSpec) -> str:
    """Describe the first entry in which a fitted spec and the data's differ, as an error message."""
    old, new, key = fitted.to_dict(), data.to_dict(), fitted.differences(data)[0]
    if key == "units":
        odd = other_units(fitted.units, data.units)
        old[key], new[key] = ({name: spec.units[name] for name in odd} for spec in (fitted, data))
    return (
        f"{key}: the checkpoint was fitted with {_short(old[key])}, the data have {_short(new[key])}; make them agree"
    )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
