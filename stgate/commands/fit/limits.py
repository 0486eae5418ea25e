"""Options of the trainer that Lightning takes without a word, or that end in an error of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stgate.errors import RequestError

if TYPE_CHECKING:
    pass

LEAST = {
    "max_epochs": -1,
    "max_steps": -1,
    "min_epochs": 0,
    "min_steps": 0,
    "num_sanity_val_steps": -1,
    "check_val_every_n_epoch": 1,
    "accumulate_grad_batches": 1,
    "log_every_n_steps": 0,
    "gradient_clip_val": 0,
}
"""Smallest values that mean something; -1 is for no limit."""


def check_trainer_given(given: object) -> None:
    """Refuse what is given in the place of the trainer's options, as by `trainer: null` in a config.

    Args:
        given: The options.

    Raises:
        RequestError: They are no options.
    """
    from jsonargparse import Namespace

    if not isinstance(given, Namespace):
        raise RequestError(f"--trainer {'null' if given is None else given}: write its options as `name: value`")


def check_trainer(options: Mapping[str, Any]) -> None:
    """Refuse options with which a fit would fit nothing, keep nothing, or do something else than they say.

    Args:
        options: Options of the trainer, by name.

    Raises:
        RequestError: An option is out of range; the message names it.
    """
    for name, least in LEAST.items():
        value = options.get(name)
        if isinstance(value, int | float) and value < least:
            raise RequestError(f"--trainer.{name} {value}: must be at least {least}")
    for name in ("max_epochs", "max_steps", "limit_train_batches"):
        if options.get(name) == 0:
            raise RequestError(f"--trainer.{name} 0: nothing would be fitted; leave it out")
    if options.get("val_check_interval") == 0:
        raise RequestError("--trainer.val_check_interval 0: must be above zero; limit_val_batches 0 validates nothing")
    if isinstance(options.get("val_check_interval"), str | Mapping):  # for which Lightning stops no fit early
        raise RequestError("--trainer.val_check_interval: expected a number of batches, or a share of them; no time")
    time = options.get("max_time")
    if isinstance(time, str) and not re.fullmatch(r"\d+:\d+:\d+:\d+", time):
        raise RequestError(f"--trainer.max_time {time}: must be days:hours:minutes:seconds, such as 00:01:30:00")
    if options.get("enable_checkpointing") is False:
        raise RequestError(
            "--trainer.enable_checkpointing false: a fit keeps its best and last epochs in --out, from which it is "
            "calibrated and resumed; leave it out"
        )


def check_seed(seed: int | bool | None) -> None:
    """Refuse a seed that numpy does not take.

    Args:
        seed: The seed; True for any, False for none.

    Raises:
        RequestError: The seed is missing, is negative, or has more than 32 bits.
    """
    if seed is None or not 0 <= seed < 2**32:
        raise RequestError(f"--seed_everything {seed}: must lie between 0 and {2**32 - 1}")
