"""Dates of the calendar as tensors, computed where the times are, and even times for steps of calendar months."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from stgate.panels.calendar import CELLS, CellKey
from stgate.schema.spec import PanelSpec
from stgate.schema.steps import MONTH

DAY = 86_400
"""Seconds of a day."""
MARCH = 719_468
"""Days from 1 March of the year 0, from which the calendar is counted here, to 1 January 1970."""
ERA = 146_097
"""Days of four hundred years."""


class Date(NamedTuple):
    """Parts of some times, each an int64 tensor of their shape.

    Attributes:
        month: Number of whole months from January 1970 to the month of the time.
        day: Day of the month, from 0.
        yearday: Day of the year, from 0.
        weekday: Day of the week, from 0 for Monday.
        hour: Hour of the day.
    """

    month: Tensor
    day: Tensor
    yearday: Tensor
    weekday: Tensor
    hour: Tensor


def date_of(time: Tensor) -> Date:
    """Return the date of each time, in the Gregorian calendar; those before the year 0 are not known.

    Args:
        time: Seconds since 1970, of any shape.

    References:
        Hinnant (2013), chrono-compatible low-level date algorithms (days from and to civil dates).

    >>> made = date_of(torch.tensor([0.0, 1.4e9], dtype=torch.float64))  # 1 January 1970, 13 May 2014 16:53
    >>> [part.tolist() for part in made]
    [[0, 532], [0, 12], [0, 132], [3, 1], [0, 16]]
    """
    seconds = time.double().floor()
    days = (seconds / DAY).floor()
    hour = ((seconds - days * DAY) / 3600).floor().long()
    count = days.long() + MARCH
    era = count // ERA
    of_era = count - era * ERA
    year = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    number = (5 * of_year + 2) // 153  # months since March
    day = of_year - (153 * number + 2) // 5
    later = (number >= 10).long()  # January and February belong to the next year
    year = year + 400 * era + later
    month = number + 2 - 12 * later
    leap = ((year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))).long()
    yearday = torch.where(later > 0, of_year - 306, of_year + 59 + leap)
    return Date((year - 1970) * 12 + month, day, yearday, (count + 2) % 7, hour)


def month_start(month: Tensor) -> Tensor:
    """Return the first second of each month, in seconds since 1970, float64; the inverse of `Date.month`.

    Args:
        month: Number of whole months since January 1970, of any shape.

    >>> month_start(torch.tensor([0, 1, 532])).tolist()
    [0.0, 2678400.0, 1398902400.0]
    """
    shifted = month + 1970 * 12 - 2  # months since March of the year 0
    year, number = shifted // 12, shifted % 12
    days = 365 * year + year // 4 - year // 100 + year // 400 + (153 * number + 2) // 5
    return (days - MARCH).double() * DAY


def cells_of(time: Tensor, keys: Sequence[CellKey]) -> Tensor:
    """Return the number of the calendar cell of each time, such as its (month, hour), of the shape of `time`.

    Args:
        time: Seconds since 1970.
        keys: Any of `month`, `weekday` and `hour`; without one all times are in cell 0.
    """
    cell, date = torch.zeros_like(time, dtype=torch.int64), date_of(time)
    parts = {"month": date.month % 12, "weekday": date.weekday, "hour": date.hour}
    for key in keys:
        cell = cell * CELLS[key] + parts[key]
    return cell


def even_months(time: Tensor) -> Tensor:
    """Return times at which all months are equally long, and a year has exactly twelve of them.

    Args:
        time: Seconds since 1970, of any shape.

    Returns:
        The number of each time's month since January 1970, in seconds of a mean month; of the shape of `time`.

    >>> even_months(torch.tensor([0.0, 31 * 86400.0], dtype=torch.float64)).tolist()  # 1 January, 1 February 1970
    [0.0, 2629746.0]
    """
    return (date_of(time).month.double() * MONTH).to(time)


def even_time(time: Tensor, spec: PanelSpec) -> Tensor:
    """Return times at which all steps are equally long: those given, but for steps of calendar months `even_months`."""
    return even_months(time) if spec.months else time
