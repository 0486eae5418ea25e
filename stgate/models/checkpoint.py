"""Checkpoints: what is read, how safely, and which class it belongs to."""

from __future__ import annotations

import inspect
import os
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from stgate.errors import CheckpointError, RequestError, StoreError, did_you_mean
from stgate.io import store
from stgate.schema.spec import PanelSpec

KEY = "stgate"
"""Where a Lightning checkpoint keeps what is ours: class, version, spec, calibration, seed, cases, seen."""


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint without running code from it (`weights_only=True`).

    Raises:
        StoreError: No such file.
        CheckpointError: Not a checkpoint of stgate, or one that carries a pickled object.
    """
    path = Path(path)
    if not path.is_file():
        raise StoreError(f"{path}: no such checkpoint")
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: refused, it carries a pickled object or is no checkpoint; fit it again"
        ) from error
    except Exception as error:  # torch answers a file of another kind with whatever its unpickler stumbles over
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path}: not a checkpoint ({reason[:80]})") from error
    ours = checkpoint.get(KEY) if isinstance(checkpoint, dict) else None
    whole = isinstance(ours, dict) and {"class", "spec", "calibration", "seed", "cases", "seen"} <= ours.keys()
    if not whole or not {"state_dict", "hyper_parameters"} <= checkpoint.keys():
        raise CheckpointError(f"{path}: a checkpoint, but not one of an stgate forecaster")
    return checkpoint


def write_checkpoint(checkpoint: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a checkpoint in one step: never half of it."""
    with store.atomic(Path(path)) as temporary:
        torch.save(checkpoint, temporary)


def find_class(name: str, base: type[Any]) -> type[Any]:
    """A forecaster of `stgate.models`, or an imported subclass of `base`, by its name; nothing else is imported.

    Raises:
        CheckpointError: There is none.
    """
    from stgate import models

    if name in models.__all__:
        getattr(models, name)  # imports it
    known = {c.__name__: c for c in (base, *subclasses(base))}
    if name not in known:
        raise CheckpointError(f"model {name!r}: no such class is imported; {did_you_mean(name, known)}")
    return known[name]


def make(kind: type[Any], checkpoint: dict[str, Any], families: dict[str, Any], changed: dict[str, Any]) -> Any:  # noqa: ANN401 (one of that class)
    """An instance of a class with the options that a checkpoint holds.

    Args:
        kind: The class.
        checkpoint: From `read_checkpoint`.
        families: Options that are objects, and what makes them of what is stored.
        changed: Options that take others' place.

    Raises:
        RequestError: There is no such option.
    """
    kept = {k: v for k, v in checkpoint["hyper_parameters"].items() if not k.startswith("_")}
    known = list(inspect.signature(kind).parameters)
    for name in changed:
        if name not in known:
            raise RequestError(f"{name}: no option of {kind.__name__}; {did_you_mean(name, known)}")
    made = {name: family.from_config(kept[name]) for name, family in families.items() if kept.get(name)}
    return kind(**kept | made | changed)


def subclasses(base: type[Any]) -> Iterable[type[Any]]:
    """All subclasses, depth first."""
    for child in base.__subclasses__():
        yield child
        yield from subclasses(child)


def difference(fitted: PanelSpec, data: PanelSpec) -> str:
    """The first entry in which a fitted spec and the data differ, as an error message."""
    old, new = fitted.to_dict(), data.to_dict()
    key = next(k for k in old if old[k] != new[k])
    return (
        f"{key}: the checkpoint was fitted with {_short(old[key])}, the data have {_short(new[key])}; make them agree"
    )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
