"""Dates of tables from several columns, with hours that count to 24, and numbers that are dates."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from stgate.errors import PanelError, RequestError

PARTS = {
    "year": ("year", "years", "yr", "yyyy"),
    "month": ("month", "mon", "mo"),
    "day": ("day", "dy", "dom"),
    "yearday": ("doy", "dayofyear", "day_of_year", "yearday", "yday", "jday", "julian_day"),
    "hour": ("hour", "hr", "hh"),
    "minute": ("minute", "min", "mn"),
    "second": ("second", "sec"),
}
"""Parts of a time, and the names of columns, in lower case, that hold them."""
LIMITS = {"month": (1, 12), "day": (1, 31), "yearday": (1, 366), "hour": (0, 24), "minute": (0, 59), "second": (0, 60)}
WIDTHS = {"Y": 4, "m": 2, "d": 2, "H": 2, "M": 2, "S": 2, "j": 3, "y": 2, "f": 6, "I": 2}
"""Numbers of digits of the fields of a format."""


def part_of(column: str) -> str | None:
    """Return the part of a time that a column holds by its name; None for a column of dates or clocks."""
    name = str(column).strip().lower().replace(" ", "_")
    return next((part for part, names in PARTS.items() if name in names), None)


def from_parts(frame: pd.DataFrame, columns: Sequence[str], dates: pd.Series | None = None) -> pd.Series:
    """Put times together from their parts: year and month or day of the year, hour, minute, second.

    Args:
        frame: The table.
        columns: Columns whose names are parts of a time.
        dates: Dates that hours, minutes and seconds are added to; None if the columns hold year, month and day.

    Returns:
        Times, NaT where a part is missing or out of its range. Hour 24 is the first one of the next day.

    Raises:
        RequestError: A part is given twice, or the parts make no date.
    """
    parts: dict[str, pd.Series] = {}
    for column in columns:
        part = str(part_of(column))
        if part in parts:
            raise RequestError(f"time {column}: a second column of the {part}; name each part once")
        number = pd.to_numeric(frame[column], errors="coerce").astype("float64")
        low, high = LIMITS.get(part, (1, 9999))
        parts[part] = number.where((number >= low) & (number <= high) & (number % 1 == 0))
    if dates is None:
        clock_of_no_day = {"hour", "minute", "second"} & set(parts) and not {"day", "yearday"} & set(parts)
        half = ("day" in parts and "month" not in parts) or ("minute" in parts and "hour" not in parts)
        if "year" not in parts or {"yearday", "month"} <= set(parts) or half or clock_of_no_day:
            raise RequestError(f"time {' '.join(columns)}: give year month day, year month, or year doy, then hour")
        one = pd.Series(1.0, frame.index)
        named = {"year": parts["year"], "month": parts.get("month", one), "day": parts.get("day", one)}
        dates = pd.to_datetime(pd.DataFrame(named), errors="coerce")
        if "yearday" in parts:
            dates = dates + pd.to_timedelta(parts["yearday"] - 1, unit="D")
            dates = dates.where(dates.dt.year == parts["year"])
    elif calendar := [part for part in ("year", "month", "day", "yearday") if part in parts]:
        raise RequestError(
            f"time {' '.join(columns)}: a column of dates and one of the {calendar[0]}; give one of both"
        )
    made = dates
    clock: tuple[tuple[str, Literal["h", "min", "s"]], ...] = (("hour", "h"), ("minute", "min"), ("second", "s"))
    for part, unit in clock:
        if part in parts:
            made = made + pd.to_timedelta(parts[part], unit=unit)
    return made


def joined(frame: pd.DataFrame, columns: Sequence[str]) -> pd.Series:
    """Join columns of dates and clocks to texts, separated by a blank; missing where one of them is."""
    texts = []
    for column in columns:
        series = frame[column]
        if series.dtype.kind == "M":
            series = series.dt.strftime("%Y-%m-%d" if (series.dt.normalize() == series).all() else "%H:%M:%S")
        texts.append(series.astype("string").str.strip())
    made = texts[0]
    for text in texts[1:]:
        made = made + " " + text
    return made


UNNAMED = (
    ("Y y G c x", "m d j H I M S b B U W V", "names no year: add %Y"),
    ("m b B j U W V c x", "d a A H I M S", "names no month: %m is the month, %M the minute"),
    ("d j U W V c x", "H I M S", "names no day: add %d"),
    ("H I c X", "M S", "names minutes without an hour: %M is the minute, %m the month"),
    ("I", "p", "has the hour %H, which takes no notice of %p: hours of AM and PM are %I"),
    ("p", "I", "has hours to 12 without AM or PM: hours to 24 are %H"),
)
"""Of each row: directives of which a format has at least one if it has one of the second ones, and what to say else."""


def check_format(time_format: str) -> None:
    """Refuse a format that `strptime` does not know, or that leaves a part of the time open: it would be made up.

    Args:
        time_format: The format.

    Raises:
        RequestError: A `%` is followed by no directive, or by one that is unknown, or a part of the time has none.
    """
    held = set(re.findall(r"%(.)", time_format.replace("%%", "").replace("%D", "%m%d%y")))
    for needed, given, what in UNNAMED:
        if held & set(given.split()) and not held & set(needed.split()):
            raise RequestError(f"time format {time_format!r}: {what}; write it like '%d/%m/%Y %H:%M'")
    try:
        pd.to_datetime(pd.Series(["-"]), format=time_format, errors="coerce")
    except (ValueError, KeyError, re.error) as error:
        raise RequestError(f"time format {time_format!r}: {error}; write it like '%d/%m/%Y %H:%M'") from error


ISO = r"^(\s*\d{4}-?\d\d-?\d\d[T ])24(:?00(?::?00(?:\.0+)?)?\s*(?:Z|[+-]\d\d:?(?:\d\d)?)?\s*)$"
"""Pattern of an ISO 8601 time at 24 o'clock: what stands before the hour, and after it."""


def without_24(texts: pd.Series, time_format: str | None) -> tuple[pd.Series, pd.Series]:
    """Turn the hour 24:00 into 00:00.

    Args:
        texts: Times as text.
        time_format: Their format; None for ISO 8601.

    Returns:
        The texts, and flags of those that lie a day later than they now say.
    """
    pattern = ISO if time_format is None else _pattern(time_format)
    if pattern is None:
        return texts, pd.Series(False, texts.index)
    changed = texts.str.replace(pattern, lambda found: f"{found[1]}00{found[2]}", regex=True)
    return changed, (changed != texts).fillna(False).astype(bool)


def _pattern(time_format: str) -> str | None:
    """Return a pattern of times at 24 o'clock in a format: what stands before the hour, and after it; None without."""
    if time_format.count("%H") != 1:
        return None
    before, after = time_format.split("%H")
    fields = {"M": "00?", "S": "00?", "f": "0+"}

    def of(text: str) -> str:
        pieces = re.split(r"%(.)", text)
        plain, codes = pieces[::2], pieces[1::2]
        made = [re.escape(piece) for piece in plain]
        digits = [fields.get(code, f"\\d{{1,{WIDTHS[code]}}}" if code in WIDTHS else r"\S+") for code in codes]
        return "".join(a + b for a, b in zip(made, [*digits, ""], strict=True))

    return f"^({of(before)})24({of(after)})$"


FORMATS = {6: "%Y%m", 7: "%Y%j", 8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
"""Formats of dates that are written as numbers, by their number of digits."""


def date_format(numbers: np.ndarray) -> str | None:
    """Return the format of numbers that read as dates, such as 20200131 or 31012020; None if they are plain numbers.

    >>> date_format(np.array([20200131, 20200201])), date_format(np.array([0.0, 0.5]))
    ('%Y%m%d', None)
    """
    values = np.asarray(numbers, "float64")
    if values.size == 0 or not np.isfinite(values).all() or (values % 1 != 0).any() or values.min() < 150_000:
        return None
    texts = pd.Series(values.astype("int64").astype(str))
    widths = set(texts.str.len())
    tried = [FORMATS[width] for width in widths if width in FORMATS and len(widths) == 1]
    if widths <= {7, 8}:
        tried += YEAR_LAST
    return next((found for found in tried if _all_dates(texts, found)), None)


YEAR_LAST = ("%d%m%Y", "%m%d%Y")
"""Formats of dates whose year comes last, with eight digits of which a first zero may be lost."""


def _all_dates(texts: pd.Series, time_format: str) -> bool:
    """Tell if all texts are dates in a format, of years that occur."""
    padded = texts.str.zfill(8) if time_format in YEAR_LAST else texts
    years = padded.str[-4:] if time_format in YEAR_LAST else padded.str[:4]
    dates = pd.to_datetime(padded, format=time_format, errors="coerce")
    return bool(years.astype(int).between(1500, 2600).all() and dates.notna().all())


EPOCH = {"s": 1e0, "ms": 1e3, "us": 1e6, "ns": 1e9}
"""Units in which times since 1970 are counted, with their number in a second."""
SPAN = (1e8, 4.1e9)
"""Seconds since 1970 between which numbers read as such times: from 1973 to 2099."""


def epoch_unit(numbers: np.ndarray) -> str | None:
    """Return the unit of numbers that read as times since 1970, such as 1577836800; None if they are plain numbers.

    >>> epoch_unit(np.array([1577836800, 1577840400])), epoch_unit(np.array([0.0, 3600.0]))
    ('s', None)
    """
    values = np.asarray(numbers, "float64")
    if not values.size:
        return None
    spans = ((unit, SPAN[0] * size, SPAN[1] * size) for unit, size in EPOCH.items())
    return next((unit for unit, low, high in spans if low <= values.min() and values.max() < high), None)


def since_1970(numbers: pd.Series) -> pd.Series:
    """Return the times of numbers since 1970, whose unit is told by their size; NaT where they are none.

    Args:
        numbers: Seconds, milli-, micro- or nanoseconds, or texts of such numbers.
    """
    values = pd.to_numeric(numbers, errors="coerce")
    unit = epoch_unit(values.dropna().to_numpy())
    if unit is None:
        return pd.Series(pd.NaT, numbers.index, dtype="datetime64[ns]")
    return pd.to_datetime(values, unit=unit)  # type: ignore[call-overload, no-any-return]


def check_numbers(numbers: np.ndarray, what: str, fixes: tuple[str, str]) -> None:
    """Refuse numbers that read as dates or as times since 1970: they would become model time.

    Args:
        numbers: Times.
        what: What holds them, for the message.
        fixes: Formats of the fix of dates, and of that of times since 1970, with a place for the format or the unit.

    Raises:
        PanelError: They do.
    """
    if (found := date_format(numbers)) or (unit := epoch_unit(numbers)):
        padding = ".str.zfill(8)" if found in YEAR_LAST else ""
        kind, fix = ("dates", fixes[0].format(found, padding)) if found else ("times since 1970", fixes[1].format(unit))
        fix += f", or {YEAR_LAST[1]}" * (found == YEAR_LAST[0])
        raise PanelError(f"{what} holds numbers such as {float(numbers[0]):.0f}, which read as {kind}; {fix}")
