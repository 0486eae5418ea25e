"""Fits that are taken up from a checkpoint: rows and optimizer have to be those of the fit that wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from stgate.data.window_data import WindowData
from stgate.errors import RequestError

if TYPE_CHECKING:
    from stgate.models.forecaster import Forecaster

ROWS = "rows"
"""Entry of a checkpoint that a trainer wrote: the first time of the training part, its last, and that of validation."""


def rows_of(data: WindowData) -> list[str]:
    """Return the times that bound the training and validation parts, as text: the first, the last of each.

    Args:
        data: The data of a fit.
    """
    times, parts = data.panel["time"].values, data.parts
    return [str(times[row]) for row in (parts.train[0], parts.train[1] - 1, parts.validation[1] - 1)]


def keep_rows(checkpoint: dict[str, Any], data: object) -> None:
    """Write the rows of its data into the checkpoint of a fit, which can be taken up.

    Args:
        checkpoint: The checkpoint.
        data: The trainer's data module, if it has one.
    """
    if "loops" in checkpoint and isinstance(data, WindowData):
        checkpoint[ROWS] = rows_of(data)


def check_rows(checkpoint: Mapping[str, Any], data: WindowData) -> None:
    """Refuse data whose training and validation parts are not those of the fit that wrote a checkpoint.

    What was trained on would be calibrated or tested on, and scores of one epoch are not comparable with the next.

    Args:
        checkpoint: The checkpoint; one of an earlier version holds no more than the last of these rows.
        data: The data that the fit is to go on with.

    Raises:
        RequestError: The parts differ.
    """
    held, now = checkpoint.get(ROWS), rows_of(data)
    if held is None:
        held = [*now[:2], checkpoint["stgate"]["seen"] or now[2]]
    if not all(same_time(old, new, data) for old, new in zip(held, now, strict=True)):
        ours, theirs = (", ".join(text.removesuffix(".000000000") for text in times) for times in (now, held))
        raise RequestError(
            f"--data.split: first and last step of the training part and last step of the validation part are {ours}, "
            f"those of the run {theirs}; give the times of its parts as --data.split, or begin another run with "
            "another --out"
        )


def same_time(old: str, new: str, data: WindowData) -> bool:
    """Return True if two times of a panel, as text, are the same."""
    kind = data.panel["time"].dtype
    return bool(np.array(old).astype(kind) == np.array(new).astype(kind))


def later(seen: str | None, time: Any) -> str:  # noqa: ANN401 (a datetime64, or a number of model time)
    """Return the later of the last time that training has seen and another time, as text.

    Args:
        seen: The last time that training has seen; None if it has seen none.
        time: The other time.
    """
    if seen is None or np.array(seen).astype(np.asarray(time).dtype) <= time:
        return str(time)
    return seen


def check_optimizer(checkpoint: Mapping[str, Any], forecaster: Forecaster) -> None:
    """Refuse an optimizer whose options are not those of the checkpoint's, which would be used in their place.

    Args:
        checkpoint: The checkpoint.
        forecaster: The forecaster whose fit goes on.

    Raises:
        RequestError: The options differ, or the checkpoint holds no optimizer.
    """
    states = checkpoint.get("optimizer_states")
    if not states:
        raise RequestError("ckpt_path: holds the weights only, and no fit can be taken up from it; give last.ckpt")
    optimizer, scheduled = forecaster.make_optimizer(), forecaster.has_scheduler  # which may change any option
    asked = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
    try:
        optimizer.load_state_dict({"state": {}, "param_groups": states[0]["param_groups"]})
    except ValueError as error:
        raise RequestError("optimizer: that of the checkpoint has other weights; begin another run") from error
    for group, given in zip(optimizer.param_groups, asked, strict=True):
        held = {**group, "lr": group.get("initial_lr", group.get("lr"))}
        for name, value in given.items():
            known = name in held and (scheduled or _plain(held[name]) == _plain(value))
            if not known:
                before = held.get(name, f"an optimizer without {name}")
                raise RequestError(
                    f"optimizer: {name} {value}, but the fit that is continued was begun with {before}; fit with its "
                    "optimizer, or begin another run"
                )


def _plain(value: Any) -> Any:  # noqa: ANN401
    """Return an option with lists for tuples, and numbers for tensors."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value
