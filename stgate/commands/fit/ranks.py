"""Numbers of the processes of a fit, as launchers give them. The front desk asks it first, so it imports no torch."""

from __future__ import annotations

import os
from collections.abc import Sequence

from stgate.commands.fit.arguments import value_of

RANKS = ("RANK", "NODE_RANK", "LOCAL_RANK", "SLURM_PROCID")
"""Variables in which launchers give the number of a process; all are zero, or not set, for the first one."""


def asks_for_several(devices: object, nodes: object = 1) -> bool:
    """Return True if options of the trainer may ask for more than one process.

    Args:
        devices: The devices; None for the default, one.
        nodes: The number of machines.
    """
    return str(devices) not in ("None", "1") or str(nodes) not in ("None", "1")


def asked_for_several(arguments: Sequence[str]) -> bool:
    """Return True if arguments as typed may ask for more than one process.

    Args:
        arguments: Arguments of a fit.
    """
    return asks_for_several(*(value_of(arguments, f"--trainer.{name}") for name in ("devices", "num_nodes")))


def is_first(*, several: bool) -> bool:
    """Return True for the process that prints, writes and calibrates.

    Args:
        several: Whether the options ask for several; otherwise those of a cluster's job are each on their own.
    """
    return not (several or "LOCAL_RANK" in os.environ) or not any(_is_set(name) for name in RANKS)


def repeats(*, several: bool) -> bool:
    """Return True for a process whose errors another one of the same machine tells, too.

    Args:
        several: Whether the options ask for several processes.
    """
    return _is_set("LOCAL_RANK") or (several and _is_set("SLURM_LOCALID"))


def _is_set(name: str) -> bool:
    return os.environ.get(name, "0") not in ("", "0")
