"""Times of tables: parsed, put together from parts, counted from a start, and taken from a clock to UTC."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from stgate.errors import PanelError, RequestError
from stgate.schema.panel import parse_time


def parse_times(
    frame: pd.DataFrame,
    columns: Sequence[str],
    *,
    label: str,
    time_format: str | None = None,
    time_zone: str | None = None,
    by: str | None = None,
) -> pd.Series:
    """One column of naive UTC times, or of model time as numbers.

    Args:
        frame: The table.
        columns: The column of times, or its parts: year, month, day, hour, minute.
        label: The table's name, for messages.
        time_format: How times are written, as `strptime` has it; ISO 8601 when None.
        time_zone: Of the clock that the times were read from (`Europe/Berlin`); the hour that it shows twice in autumn
            is told from the order of the rows.
        by: The column of nodes, whose rows are in order each by itself.

    Raises:
        PanelError: Not times, or times that the clock never shows or that cannot be told apart.
        RequestError: No such time zone, or numbers with one.
    """
    if len(columns) == 1 and pd.api.types.is_numeric_dtype(frame[columns[0]]) and time_format is None:
        if time_zone is not None:
            raise RequestError(f"time zone {time_zone}: column {columns[0]!r} holds numbers, which are model time")
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
        hint = "give --time-format, as in '%d/%m/%Y %H:%M', or write 2016-03-01T12:00"
        raise PanelError(
            f"{label}: column {', '.join(columns)} is not a time in row {row + 1}, {shown}; {hint}"
        ) from error
    aware = isinstance(parsed.dtype, pd.DatetimeTZDtype)
    if time_zone is None:
        return parsed.dt.tz_convert("UTC").dt.tz_localize(None) if aware else parsed
    if aware:
        raise RequestError(f"time zone {time_zone}: the times of {label} have an offset already; leave the zone out")
    return _to_utc(parsed, time_zone, label, None if by is None else frame[by])


OFFSET = r"(?:[+-]\d\d:?(?:\d\d)?|Z)$"
"""How a time ends that tells its offset from UTC."""


def _parsed(given: pd.Series | pd.DataFrame, time_format: str | None) -> pd.Series:
    """Times as pandas parses them: aware of UTC where they tell an offset, all of them.

    Raises:
        ValueError: Not times, or some with an offset and some without.
    """
    if isinstance(given, pd.DataFrame):
        together: pd.Series = pd.to_datetime(given)
        return together
    if given.dtype.kind == "M":
        return given
    told = given.str.contains(r"\d" + OFFSET) & given.str.contains(":") if time_format is None else None
    aware = bool(told.any()) if told is not None else "%z" in str(time_format)
    if told is not None and aware and not told.all():
        raise RequestError("time: some times have an offset, others have none; write all of them the same way")
    parsed: pd.Series = pd.to_datetime(given, format=time_format or "ISO8601", utc=aware)
    return parsed


def _first_bad(given: pd.Series | pd.DataFrame, time_format: str | None) -> int:
    """The first row that does not parse, or that tells an offset where the first does not, or the other way round."""
    if isinstance(given, pd.DataFrame):
        return int(np.argmax(pd.to_datetime(given, errors="coerce").isna()))
    tried = pd.to_datetime(given, format=time_format or "ISO8601", errors="coerce", utc=True)
    if tried.isna().any():
        return int(np.argmax(tried.isna()))
    told = given.str.contains(r"\d" + OFFSET)
    return int(np.argmax(told != told.iloc[0]))


def count_times(rows: int, start: str, freq: str) -> pd.Index:
    """Times of a table that has none: so many from a start on.

    Args:
        rows: How many.
        start: The first, as 2012-03-01, or a number for model time.
        freq: The step, as 5min, or a number for model time.

    Raises:
        RequestError: Not a time, or not a frequency.

    >>> count_times(3, "0", "0.5").tolist()
    [0.0, 0.5, 1.0]
    """
    with contextlib.suppress(ValueError):
        counted: pd.Index = pd.Index(float(start) + float(freq) * np.arange(rows))
        return counted
    try:
        return pd.date_range(parse_time(start)[0], periods=rows, freq=freq)
    except ValueError as error:
        raise RequestError(f"start {start!r} and freq {freq!r}: write them as 2012-03-01 and 5min ({error})") from error


def _to_utc(times: pd.Series, zone: str, label: str, nodes: pd.Series | None) -> pd.Series:
    try:
        clock = ZoneInfo(zone)
    except (LookupError, ValueError, OSError) as error:
        raise RequestError(f"time zone {zone!r}: not known; write it as Europe/Berlin") from error
    parts = [times] if nodes is None else [part for _, part in times.groupby(nodes, sort=False)]
    try:
        local = [part.dt.tz_localize(clock, ambiguous="infer", nonexistent="raise") for part in parts]
    except ValueError as error:
        found = re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d", str(error))
        when = found[0].replace(" ", "T") if found else "some hour"
        what = "never shows" if "nonexistent" in str(error) else "shows twice, and the rows do not tell which it is,"
        raise PanelError(
            f"{label}: a clock of {zone} {what} {when}; write times with their offset, as in 2016-10-30T02:00+01:00"
        ) from error
    joined: pd.Series = pd.concat([part.dt.tz_convert("UTC").dt.tz_localize(None) for part in local])
    return joined.reindex(times.index)
