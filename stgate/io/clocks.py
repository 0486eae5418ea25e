"""Local clocks to UTC: the two passes of a repeated hour are told apart by the order of the rows, never guessed."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stgate.errors import PanelError, RequestError
from stgate.schema.panel import at

OFFSETS = "write times with their offset, such as 2016-10-30T02:00+01:00"
NONE = np.timedelta64(0)


def to_utc(times: pd.Series, zone: str, label: str, nodes: pd.Series | None) -> pd.Series:
    """Convert local times to UTC.

    Args:
        times: Local times without an offset.
        zone: Name of the time zone.
        label: The table's name, for messages.
        nodes: Node label of each row; None if all rows are of one clock.

    Returns:
        UTC times without a time zone, in the order of the rows.

    Raises:
        RequestError: The time zone is unknown.
        PanelError: A time does not exist, or occurs twice and the order of the rows does not tell which it is.
    """
    try:
        clock = ZoneInfo(zone)
    except (LookupError, ValueError, OSError) as error:
        raise RequestError(f"time zone {zone!r}: unknown; give one such as Europe/Berlin") from error
    parts = [times] if nodes is None else [part for _, part in times.groupby(nodes, sort=False)]
    joined: pd.Series = pd.concat([_localized(part, clock, label) for part in parts])
    return joined.reindex(times.index)


def _localized(part: pd.Series, clock: ZoneInfo, label: str) -> pd.Series:
    """Convert the rows of one node, in ascending or in descending order of time."""
    first, second = (_pass(part, clock, early, label) for early in (True, False))
    if not (doubtful := (first != second) & ~np.isnat(first)).any():
        return pd.Series(first, part.index)
    wall = part.to_numpy()
    gaps = np.diff(wall)
    order = slice(None, None, -1 if (gaps < NONE).sum() > (gaps > NONE).sum() else 1)  # newest first, or as usual
    wall, made, late, doubtful = (x[order] for x in (wall, first.copy(), second, doubtful))
    starts = doubtful & ~np.concatenate([[False], doubtful[:-1]])
    for start in np.flatnonzero(starts):
        length = int(np.argmin(doubtful[start:])) if not doubtful[start:].all() else len(doubtful) - start
        back = np.flatnonzero(np.diff(wall[start : start + length]) <= NONE)  # the clock was set back between these
        if len(back) != 1:
            raise PanelError(
                f"{label}: {at(wall[start])} occurs twice in {clock.key}, and the order of the rows does not tell "
                f"which it is; {OFFSETS}"
            )
        rows = slice(start + back[0] + 1, start + length)
        made[rows] = late[rows]
    if (gone := np.diff(made) < NONE).any():
        row = int(np.argmax(gone))
        raise PanelError(
            f"{label}: the rows are not in order at {at(wall[row])}, so that the repeated hour of {clock.key} cannot "
            f"be told; sort the rows by time, or {OFFSETS}"
        )
    return pd.Series(made[order], part.index)


def _pass(part: pd.Series, clock: ZoneInfo, early: bool, label: str) -> NDArray[Any]:
    """Convert local times, those that occur twice all to their first or all to their second pass."""
    try:
        local = part.dt.tz_localize(clock, ambiguous=np.full(len(part), early), nonexistent="raise")
    except ValueError as error:
        when = str(error).split(" is ", 1)[0]
        raise PanelError(f"{label}: {at(pd.Timestamp(when))} does not exist in {clock.key}; {OFFSETS}") from error
    return np.asarray(local.dt.tz_convert("UTC").dt.tz_localize(None))
