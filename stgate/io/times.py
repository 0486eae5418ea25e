"""Times of tables: parsed, joined from parts, counted from a start, and converted from a time zone to UTC."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import numpy as np
import pandas as pd

from stgate.errors import PanelError, RequestError
from stgate.io.clocks import to_utc
from stgate.io.dates import check_format, check_numbers, from_parts, joined, part_of, since_1970, without_24
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
        time_format: Format of the times in `strptime` notation; `%s` reads numbers since 1970, None reads ISO 8601, and
            quarters such as 2016Q1.
        time_zone: Time zone of times without an offset (`Europe/Berlin`). The order of the rows tells the two passes of
            the repeated hour in autumn apart.
        by: The column of node labels; the rows of each node are in order.

    Returns:
        One column of UTC times without a time zone, or of model time as numbers.

    Raises:
        PanelError: A value is not a time, or a time does not exist or is ambiguous in the time zone.
        RequestError: The time zone is unknown, or the times are numbers, dates of months, or have an offset.
    """
    if time_format is not None:
        if time_format != SINCE_1970:
            check_format(time_format)
    elif len(columns) == 1 and part_of(columns[0]) != "year":
        numbers = _numbers(frame[columns[0]], label)
        if numbers is not None:
            _refuse_dates(numbers, columns[0], label, time_zone)
            return numbers
    parsed = _together(frame, columns, label, time_format)
    if parsed.isna().any():
        row = int(np.argmax(parsed.isna()))
        shown = ", ".join(repr(value) for value in frame[list(columns)].iloc[row])
        if time_format is not None:
            hint = f"its format is said to be {time_format!r}"
        elif all(part_of(column) for column in columns):
            hint = "its parts are whole numbers, hours of 0 to 24; join others, such as 2016-03-01 1230, to one column"
        else:
            hint = "give --time-format, such as '%d/%m/%Y %H:%M', or write 2016-03-01T12:00"
        if frame[list(columns)].iloc[row].isna().any():
            hint = "leave out the rows without a time"
        elif row == 0 and len(parsed) > 1 and parsed.iloc[1:].notna().all():
            hint = "remove that row, such as one of units (--units takes them)"
        raise PanelError(f"{label}: column {', '.join(columns)} is not a time in row {row + 1}, {shown}; {hint}")
    aware = isinstance(parsed.dtype, pd.DatetimeTZDtype)
    _check_years(parsed, label, time_format or "")
    if time_zone is None:
        return parsed.dt.tz_convert("UTC").dt.tz_localize(None) if aware else parsed
    if aware:
        raise RequestError(f"time zone {time_zone}: the times of {label} have an offset already; leave the zone out")
    if month_step(np.unique(parsed.to_numpy())):  # in UTC they would lie in the month before, at changing hours
        raise RequestError(f"time zone {time_zone}: {label} holds dates of months, which have no zone; leave it out")
    return to_utc(parsed, time_zone, label, None if by is None else frame[by])


SINCE_1970 = "%s"
"""Format of seconds since 1970, or of smaller units of them, which their size tells."""
QUARTER = r"\d{4}-?Q[1-4]"
"""Pattern of a quarter, such as 2016Q1 or 2016-Q1; it becomes its first day."""
OFFSET = r"\d(?:[+-]\d\d:?(?:\d\d)?|Z)$"
"""Pattern of an offset from UTC at the end of a time."""


STANDARD = {"CET": 1, "MET": 1, "EET": 2, "WET": 0}
"""Names of standard times, in hours from UTC, that pandas takes for zones whose clocks change."""
WITH_OFFSET = "write offsets such as +01:00, and %z, or leave the names out and give --time-zone"


def _refuse_dates(numbers: pd.Series, column: str, label: str, time_zone: str | None) -> None:
    """Refuse numbers that read as dates, and a time zone of numbers."""
    if time_zone is not None:
        raise RequestError(f"time zone {time_zone}: column {column!r} holds numbers; model time has no zone")
    fixes = "give --time-format '{}'", "give --time-format %s"
    check_numbers(numbers.to_numpy(), f"{label}: column {column!r}", fixes)


def _check_years(times: pd.Series, label: str, time_format: str) -> None:
    """Refuse years of two digits that read as years to come."""
    last = times.max().year
    if any(code in time_format for code in ("%y", "%D", "%x")) and last > pd.Timestamp.now().year + 1:
        raise PanelError(f"{label}: two digits of a year read as {last}; write all four, and %Y")


def _numbers(series: pd.Series, label: str) -> pd.Series | None:
    """Return a column of numbers, or of texts that are all numbers, in float64; None for another one."""
    if pd.api.types.is_bool_dtype(series) or series.dtype.kind == "M":
        return None
    if series.dtype.kind == "m":
        raise PanelError(f"{label}: column {series.name!r} holds durations; make hours of it, / Timedelta('1h')")
    numbers = pd.to_numeric(series, errors="coerce")
    return None if numbers.isna().any() else numbers.astype("float64")


def _together(frame: pd.DataFrame, columns: Sequence[str], label: str, time_format: str | None) -> pd.Series:
    """Parse the times of one column or several; NaT where they are none."""
    parts = [c for c in columns if part_of(c)] if time_format is None or len(columns) > 1 else []
    others = [c for c in columns if c not in parts]
    if not others:
        years = frame[[c for c in parts if part_of(c) == "year"]]
        if (years.apply(pd.to_numeric, errors="coerce") < 100).any(axis=None):
            raise PanelError(f"{label}: column {years.columns[0]!r} holds years of two digits; write 1961, not 61")
        return from_parts(frame, parts)
    one = frame[others[0]] if len(others) == 1 else joined(frame, others)
    dates = _parsed(one if one.dtype.kind == "M" else one.astype("string"), time_format)
    return from_parts(frame, parts, dates) if parts else dates


def _parsed(given: pd.Series, time_format: str | None) -> pd.Series:
    """Parse times with pandas; they are in UTC if all of them have an offset, and NaT where they are none."""
    if given.dtype.kind == "M":
        return given
    if time_format == SINCE_1970:
        return since_1970(given)
    if time_format is None and given.str.fullmatch(QUARTER).all():
        quarters = pd.PeriodIndex(given.str.replace("-", ""), freq="Q").to_timestamp()
        return pd.Series(quarters, index=given.index)
    offset = given.str.contains(OFFSET) & given.str.contains(":") if time_format is None else None
    aware = bool(offset.any()) if offset is not None else "%z" in str(time_format)
    texts, late = without_24(given, time_format)
    try:
        parsed: pd.Series = pd.to_datetime(texts, format=time_format or "ISO8601", utc=aware, errors="coerce")
    except ValueError as error:
        raise PanelError(f"column {given.name!r} names several zones; {WITH_OFFSET}") from error
    if "%Z" in str(time_format) and parsed.dt.tz is not None:
        for name, hours in STANDARD.items():
            if texts.str.contains(rf"\b{name}\b").any() and parsed.dt.tz.utcoffset(None) != pd.Timedelta(hours, "h"):
                raise PanelError(
                    f"column {given.name!r}: {name} in summer may be that clock or the summer time; {WITH_OFFSET}"
                )
    if offset is not None and aware:
        parsed = parsed.where(offset == offset.iloc[0])  # some have an offset and others none
    return parsed + pd.to_timedelta(late.astype("int64"), unit="D") if late.any() else parsed


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
        check_numbers(
            counted.to_numpy(), f"start {start}", ("write dates like 2012-03-01", "write dates like 2012-03-01")
        )
        return counted
    try:
        first, last = parse_time(start)
        times = pd.date_range(first, periods=rows, freq=freq)
    except ValueError as error:
        raise RequestError(f"start {start!r} and freq {freq!r}: write them like 2012-03-01, 5min ({error})") from error
    if rows and not first <= times[0] <= last:
        raise RequestError(f"start {start}: not on the grid of freq {freq!r}, whose next time is {times[0]}; give that")
    return times
