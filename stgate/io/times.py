"""Times of tables: parsed, joined from parts, counted from a start, and converted from a time zone to UTC."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from stgate.errors import PanelError, RequestError
from stgate.schema.panel import parse_time
from stgate.schema.steps import month_step


def parse_times(
    frame: pd.DataFrame,
    columns: Sequence[str],
    *,
    label: str,
    time_format: str | None = None,
    time_zone: str | None = None,
    by: str | None = None,
) -> pd.Series:
    """Parse the times of a table.

    Args:
        frame: The table.
        columns: The column of times, or the columns of its parts: year, month, day, hour, minute. Without a day it is
            the first of the month.
        label: The table's name, for messages.
        time_format: Format of the times in `strptime` notation; None reads ISO 8601, and quarters such as 2016Q1.
        time_zone: Time zone of times without an offset (`Europe/Berlin`). The order of the rows tells the two passes of
            the repeated hour in autumn apart.
        by: The column of node labels; the rows of each node are in order.

    Returns:
        One column of UTC times without a time zone, or of model time as numbers.

    Raises:
        PanelError: A value is not a time, or a time does not exist or is ambiguous in the time zone.
        RequestError: The time zone is unknown, or the times are numbers, dates of months, or have an offset.
    """
    if len(columns) == 1 and pd.api.types.is_numeric_dtype(frame[columns[0]]) and time_format is None:
        if time_zone is not None:
            raise RequestError(f"time zone {time_zone}: column {columns[0]!r} holds numbers; model time has no zone")
        return frame[columns[0]].astype("float64")
    given = frame[list(columns)].rename(columns=str.lower) if len(columns) > 1 else frame[columns[0]]
    if isinstance(given, pd.DataFrame) and (given.get("year", pd.Series([1900])).dropna() < 100).any():
        raise PanelError(f"{label}: column {columns[0]!r} holds years of two digits; write 1961, not 61")
    if isinstance(given, pd.Series) and given.dtype.kind != "M":
        given = given.astype("string")
    try:
        parsed = _parsed(given, time_format)
    except (ValueError, TypeError) as error:
        row = _first_bad(given, time_format)
        shown = ", ".join(repr(value) for value in frame[list(columns)].iloc[row])
        hint = "give --time-format, such as '%d/%m/%Y %H:%M', or write 2016-03-01T12:00"
        raise PanelError(
            f"{label}: column {', '.join(columns)} is not a time in row {row + 1}, {shown}; {hint}"
        ) from error
    aware = isinstance(parsed.dtype, pd.DatetimeTZDtype)
    if time_zone is None:
        return parsed.dt.tz_convert("UTC").dt.tz_localize(None) if aware else parsed
    if aware:
        raise RequestError(f"time zone {time_zone}: the times of {label} have an offset already; leave the zone out")
    if month_step(np.unique(parsed.to_numpy())):  # in UTC they would lie in the month before, at changing hours
        raise RequestError(f"time zone {time_zone}: {label} holds dates of months, which have no zone; leave it out")
    return _to_utc(parsed, time_zone, label, None if by is None else frame[by])


QUARTER = r"\d{4}-?Q[1-4]"
"""Pattern of a quarter, such as 2016Q1 or 2016-Q1; it becomes its first day."""
OFFSET = r"(?:[+-]\d\d:?(?:\d\d)?|Z)$"
"""Pattern of an offset from UTC at the end of a time."""


def _parsed(given: pd.Series | pd.DataFrame, time_format: str | None) -> pd.Series:
    """Parse times with pandas; they are in UTC if all of them have an offset.

    Raises:
        ValueError: A value is not a time, or only some times have an offset.
    """
    if isinstance(given, pd.DataFrame):
        together: pd.Series = pd.to_datetime(_with_day(given))
        return together
    if given.dtype.kind == "M":
        return given
    if time_format is None and given.str.fullmatch(QUARTER).all():
        quarters = pd.PeriodIndex(given.str.replace("-", ""), freq="Q").to_timestamp()
        return pd.Series(quarters, index=given.index)
    offset = given.str.contains(r"\d" + OFFSET) & given.str.contains(":") if time_format is None else None
    aware = bool(offset.any()) if offset is not None else "%z" in str(time_format)
    if offset is not None and aware and not offset.all():
        raise RequestError("time: some times have an offset, others have none; write all of them the same way")
    parsed: pd.Series = pd.to_datetime(given, format=time_format or "ISO8601", utc=aware)
    return parsed


def _with_day(parts: pd.DataFrame) -> pd.DataFrame:
    """Add a first day to years and months."""
    return parts if "day" in parts or "month" not in parts else parts.assign(day=1)


def _first_bad(given: pd.Series | pd.DataFrame, time_format: str | None) -> int:
    """Return the first row that does not parse, or that differs from the first row in having an offset."""
    if isinstance(given, pd.DataFrame):
        return int(np.argmax(pd.to_datetime(_with_day(given), errors="coerce").isna()))
    tried = pd.to_datetime(given, format=time_format or "ISO8601", errors="coerce", utc=True)
    if tried.isna().any():
        return int(np.argmax(tried.isna()))
    offset = given.str.contains(r"\d" + OFFSET)
    return int(np.argmax(offset != offset.iloc[0]))


def count_times(rows: int, start: str, freq: str) -> pd.Index:
    """Make the times of a table that has none, at a regular step from a start on.

    Args:
        rows: Number of times.
        start: The first time, such as `2012-03-01`, or a number for model time.
        freq: The time step, such as `5min`, or a number for model time.

    Returns:
        The times.

    Raises:
        RequestError: `start` is not a time or not on the grid of `freq`, or `freq` is not a frequency.

    >>> count_times(3, "0", "0.5").tolist()
    [0.0, 0.5, 1.0]
    """
    with contextlib.suppress(ValueError):
        counted: pd.Index = pd.Index(float(start) + float(freq) * np.arange(rows))
        return counted
    try:
        first, last = parse_time(start)
        times = pd.date_range(first, periods=rows, freq=freq)
    except ValueError as error:
        raise RequestError(f"start {start!r} and freq {freq!r}: write them like 2012-03-01, 5min ({error})") from error
    if rows and not first <= times[0] <= last:
        raise RequestError(f"start {start}: not on the grid of freq {freq!r}, whose next time is {times[0]}; give that")
    return times


def _to_utc(times: pd.Series, zone: str, label: str, nodes: pd.Series | None) -> pd.Series:
    try:
        clock = ZoneInfo(zone)
    except (LookupError, ValueError, OSError) as error:
        raise RequestError(f"time zone {zone!r}: unknown; give one such as Europe/Berlin") from error
    parts = [times] if nodes is None else [part for _, part in times.groupby(nodes, sort=False)]
    try:
        local = [part.dt.tz_localize(clock, ambiguous="infer", nonexistent="raise") for part in parts]
    except ValueError as error:
        found = re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d", str(error))
        when = found[0].replace(" ", "T") if found else "some hour"
        twice = f"occurs twice in {zone}, and the order of the rows does not tell which it is"
        what = f"does not exist in {zone}" if "nonexistent" in str(error) else twice
        raise PanelError(
            f"{label}: {when} {what}; write times with their offset, such as 2016-10-30T02:00+01:00"
        ) from error
    joined: pd.Series = pd.concat([part.dt.tz_convert("UTC").dt.tz_localize(None) for part in local])
    return joined.reindex(times.index)
