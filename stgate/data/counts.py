"""Ranges of the counts among the options of data. The front desk of a fit checks them before torch is imported."""

from __future__ import annotations

import os

from stgate.errors import RequestError, check_counts


def check_windows(
    *,
    window: object = 1,
    horizon: object = 1,
    train_horizon: object = None,
    batch_size: object = None,
    every: object = 1,
    eval_every: object = 1,
    num_workers: int = 0,
    seed: object = 0,
) -> None:
    """Refuse counts of `WindowData` that are out of range.

    Args:
        window: Input length in steps.
        horizon: Forecast length in steps.
        train_horizon: Number of leads in a training window; None for the horizon.
        batch_size: Number of windows in a batch; None for the default.
        every: Stride between training origins.
        eval_every: Stride between the origins of other parts.
        num_workers: Number of loader processes.
        seed: Seed of the shuffle.

    Raises:
        RequestError: A count is out of range.
    """
    check_counts(
        window=(window, 1),
        horizon=(horizon, 1),
        train_horizon=(1 if train_horizon is None else train_horizon, 1),
        batch_size=(1 if batch_size is None else batch_size, 1),
        every=(every, 1),
        eval_every=(eval_every, 1),
        num_workers=(num_workers, 0),
        seed=(seed, -(2**63)),
    )
    if num_workers > (most := 8 * max(os.cpu_count() or 1, 8)):
        raise RequestError(f"num_workers {num_workers}: each is a process; give at most {most}")


def check_context(*, horizon: object = 1, context: object = None, ahead: object = None) -> None:
    """Refuse counts of `FieldData` that are out of range.

    Args:
        horizon: Forecast length in steps.
        context: Number of steps that a field sees; None for the default.
        ahead: Number of steps after an entry that it sees; None for the default.

    Raises:
        RequestError: A count is out of range.
    """
    counts = {"context": context, "ahead": ahead}
    check_counts(horizon=(horizon, 1), **{name: (0 if n is None else n, 0) for name, n in counts.items()})
