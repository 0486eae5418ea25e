"""Time steps: a fixed length, or a whole number of calendar months (months, quarters, years)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Step = np.timedelta64 | float
"""One time step: a timedelta64 for calendar time (in the unit `M` for calendar months), a float for model time."""

MONTH = 365.2425 * 86_400 / 12
"""Mean length of a calendar month, in seconds."""

DAY = np.timedelta64(1, "D")


def months_of(step: Step) -> int:
    """Return the number of calendar months of a step; 0 if it has a fixed length.

    >>> months_of(np.timedelta64(3, "M")), months_of(np.timedelta64(30, "D")), months_of(0.5)
    (3, 0, 0)
    """
    if isinstance(step, np.timedelta64) and np.datetime_data(step.dtype)[0] in ("Y", "M"):
        return int(step.astype("timedelta64[M]").astype("int64"))
    return 0


def step_length(step: Step) -> float:
    """Return the length of a step in seconds (calendar time; the mean of calendar months) or in model time units."""
    if not isinstance(step, np.timedelta64):
        return float(step)
    return months_of(step) * MONTH or float(step / np.timedelta64(1, "s"))


def step_label(step: Step, units: str = "") -> str:
    """Format a step as text.

    Args:
        step: The step.
        units: Units of model time, which follow the number; not used for calendar time.

    >>> step_label(np.timedelta64(15, "m")), step_label(np.timedelta64(3, "M")), step_label(0.05, "s")
    ('15min', '3 months', '0.05 s')
    """
    if not isinstance(step, np.timedelta64):
        return f"{step:g} {units}".strip()
    months = months_of(step)
    if months:
        count, unit = (months // 12, "year") if months % 12 == 0 else (months, "month")
        return f"{count} {unit}{'s' * (count > 1)}"
    return str(pd.tseries.frequencies.to_offset(pd.Timedelta(step)).freqstr)


def step_of(times: NDArray[Any]) -> Step:
    """Return the step of at least two times.

    Args:
        times: Increasing times as datetime64 or numbers, shape (time,). If they are uneven, the step is their median
            distance (calendar time) or their mean distance (model time).

    Returns:
        The step. Dates that follow the calendar's months have a step of months: first days of months 31 days apart are
        a month apart.
    """
    if times.dtype.kind != "M":
        return float((times[-1] - times[0]) / (times.size - 1))
    months = month_step(times)
    return np.timedelta64(months, "M") if months else _fixed(times)


def has_step(times: NDArray[Any], step: Step) -> bool:
    """Tell if regular times have a step; two or three dates may fit both a fixed length and calendar months.

    Args:
        times: Regular times, at least two, shape (time,).
        step: The step.
    """
    if months_of(step):
        return month_step(times) == months_of(step)
    given = _fixed(times) if times.dtype.kind == "M" else step_of(times)
    return bool(np.isclose(step_length(given), step_length(step), rtol=1e-6))


def extended(times: NDArray[Any], step: Step, count: int) -> NDArray[Any]:
    """Return times followed by further ones.

    Args:
        times: Increasing times as datetime64 or numbers, shape (time,).
        step: The step. Calendar months keep the place of the dates in their month: a first day is followed by a first
            day, a month's end by a month's end.
        count: Number of further times.

    Returns:
        The times, shape (time + count,).

    >>> extended(np.array(["2023-11-30", "2023-12-31"], "datetime64[s]"), np.timedelta64(1, "M"), 2)[2:].tolist()
    [datetime.datetime(2024, 1, 31, 0, 0), datetime.datetime(2024, 2, 29, 0, 0)]
    """
    ahead = np.arange(1, count + 1)
    months = months_of(step)
    if months:
        date = _dates(times, months) or _dates(times[-1:], months)
        assert date is not None  # a single date follows its own rule
        return np.concatenate([times, date(month_numbers(times)[-1] + months * ahead).astype(times.dtype)])
    if isinstance(step, np.timedelta64):
        return np.concatenate([times, times[-1] + (ahead * step).astype("timedelta64[us]")])
    return np.concatenate([times, times[-1] + ahead * step])


def month_numbers(times: NDArray[Any]) -> NDArray[np.int64]:
    """Return the number of whole months from January 1970 to the month of each date."""
    return times.astype("datetime64[M]").astype("int64")


def month_step(times: NDArray[Any]) -> int:
    """Return the median number of months between dates that follow the calendar's months; 0 if they do not.

    Dates follow the months if all of them lie on the same day of the month at the same time (a day that a month lacks
    is its last), or all on the last day, or all in the middle of their month, quarter or year, to the second or the
    day.

    Args:
        times: Increasing dates as datetime64, shape (time,).
    """
    gaps = np.diff(month_numbers(times))
    if gaps.size == 0 or gaps.min() < 1:
        return 0
    months = int(np.sort(gaps)[(gaps.size - 1) // 2])
    return months if _dates(times, months) is not None else 0


def time_text(value: Any) -> str:  # noqa: ANN401 (a datetime64 or a Timestamp)
    """Format a date and time as text, with seconds only where there are some."""
    stamp = pd.Timestamp(value).tz_localize(None).to_datetime64()  # whose text may be of any year
    return str(stamp.astype("datetime64[s]")).removesuffix(":00")


def _fixed(times: NDArray[Any]) -> np.timedelta64:
    step: np.timedelta64 = np.sort(np.diff(times))[(times.size - 1) // 2].astype("timedelta64[us]")
    return step


def _dates(times: NDArray[Any], months: int) -> Callable[[NDArray[np.int64]], NDArray[Any]] | None:
    """Find the rule by which dates lie in their months.

    Args:
        times: Dates, shape (time,).
        months: Number of months from one to the next.

    Returns:
        A function of the number of a month, as `month_numbers` counts it, to the date; None if there is no rule.
    """
    unit = np.datetime_data(times.dtype)[0]
    kind = times.dtype if unit in ("s", "ms", "us", "ns") else np.dtype("datetime64[s]")
    moments, numbers = times.astype(kind), month_numbers(times)

    def start(number: NDArray[np.int64]) -> NDArray[Any]:
        return number.astype("datetime64[M]").astype(kind)

    left = start(numbers + 1) - moments
    if left[0] <= DAY and (left == left[0]).all():
        return lambda number: start(number + 1) - left[0]
    since = (moments - start(numbers)).max()

    def day(number: NDArray[np.int64]) -> NDArray[Any]:
        made: NDArray[Any] = np.minimum(start(number) + since, start(number + 1) - DAY + since % DAY)
        return made

    if (day(numbers) == moments).all():
        return day

    def middle(number: NDArray[np.int64], unit: str = "s") -> NDArray[Any]:
        first = number - months // 2
        between = start(first) + (start(first + months) - start(first)) // 2
        made: NDArray[Any] = between.astype(f"datetime64[{unit}]").astype(kind)
        return made

    if (middle(numbers) == moments).all():
        return middle
    if (middle(numbers, "D") == moments).all():
        return lambda number: middle(number, "D")
    return None
