"""Checks of what a command that forecasts is given, before torch is loaded: words, files, and the names in them."""

from __future__ import annotations

import argparse

from stgate._memory import memory_limit
from stgate.io.names import check_variables
from stgate.prediction.plain import channels_of, look, spec_of
from stgate.schema.levels import quantiles_of
from stgate.schema.words import check_time


def check_inputs(given: argparse.Namespace) -> None:
    """Refuse options and files of which it is sure that the work would refuse them, in the same words.

    Args:
        given: Options of the command: `panel`, `checkpoint`, `levels`, `max_memory`, and `start` and `end` if it has
            them.

    Raises:
        RequestError: An option is out of range, or no time.
        StoreError: A file does not exist or cannot be read.
        CheckpointError: The checkpoint is none.
    """
    spec = spec_of(look(given.checkpoint))
    memory_limit(given.max_memory)
    check_variables(given.panel, channels_of(spec))
    for name in ("start", "end"):
        check_time(name, getattr(given, name, None))
    if given.levels is not None:
        quantiles_of(given.levels)
