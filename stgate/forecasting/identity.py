"""Identity of a predictor: digits that differ as soon as its forecasts may."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch

from stgate.prediction.predictor import Predictor


def calibration_of(predictor: Predictor) -> str:
    """Return digits of all that a checkpoint holds of a predictor besides its weights: calibrations, spec and options.

    Args:
        predictor: A fitted predictor.
    """
    digest = hashlib.sha256()
    _add(digest, {**predictor.to_plain(), "class": predictor.name, "options": predictor.plain_options})
    return digest.hexdigest()[:12]


def _add(digest: Any, value: Any) -> None:  # noqa: ANN401 (hashlib has no name for it; plain containers)
    if isinstance(value, Mapping):
        for name in sorted(value, key=str):
            digest.update(f"{name}:".encode())
            _add(digest, value[name])
    elif isinstance(value, list | tuple):
        digest.update(f"{len(value)} of".encode())
        for one in value:
            _add(digest, one)
    elif isinstance(value, torch.Tensor):
        digest.update(f"{tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    else:
        digest.update(repr(value).encode())
