"""Times of climate models: dates of calendars without leap days or with months of 30 days, converted to datetime64."""

from __future__ import annotations

import warnings
from calendar import isleap
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from stgate.errors import PanelError, PanelWarning
from stgate.schema.steps import DAY, month_step

SAME = ("standard", "gregorian", "proleptic_gregorian")
"""Names of the calendars whose dates exist as datetime64."""
LENGTHS = {"noleap": 365, "365_day": 365, "all_leap": 366, "366_day": 366, "360_day": 360}
"""Names of the other calendars that are read, and their days of a year."""


def exact_dates(dataset: xr.Dataset) -> xr.Dataset:
    """Convert dates of our own calendar (cftime objects, as xarray reads years before 1678) to datetime64.

    Args:
        dataset: A dataset; coordinates with dates of other calendars stay as they are.
    """
    made = {}
    for name, coord in dataset.coords.items():
        dates: NDArray[Any] = coord.values.reshape(-1) if coord.dtype.kind == "O" else np.empty(0)
        calendar = str(getattr(dates[0], "calendar", "")) if dates.size else ""
        if calendar == "proleptic_gregorian" or (calendar in SAME and min(dates).year > 1582):  # Julian before
            made[name] = (coord.dims, _labels(dates).reshape(coord.shape), coord.attrs)
    return dataset.assign_coords(made) if made else dataset


def convert_calendar(dataset: xr.Dataset) -> xr.Dataset:
    """Convert the dates of a climate model (cftime objects) to datetime64; return other datasets unchanged.

    Steps of months, quarters and years keep their months, so that nothing is lost: first days stay first days, ends of
    months stay ends, middles stay middles. Steps of a day or less keep their dates, and days that the model's calendar
    lacks become missing values: each 29 February of `noleap`, and five days of each year of `360_day`, whose days are
    spread over the year. A warning and the attribute `comment` of `time` tell the calendar and what became of the days.

    Args:
        dataset: A dataset with the coordinate `time`, in order.

    Returns:
        The dataset with datetime64 times.

    Raises:
        PanelError: The dates have no counterpart at a regular step: in the Julian calendar (also that of `standard`
            before 1583), at steps of several days, below a day in years of 360 days, or on 29 February of common years
            (`all_leap`). The message says how to count days instead, which keeps all values.
    """
    dataset = exact_dates(dataset)
    if "time" not in dataset.coords or dataset["time"].dtype.kind != "O" or dataset.sizes.get("time", 0) == 0:
        return dataset
    calendar = str(getattr(dataset["time"].values.flat[0], "calendar", ""))
    if not calendar:
        return dataset
    dates = dataset["time"].values
    if len(dates) > 1 and (monthly := _months(dates)) is not None:
        return _commented(_on_dates(dataset, monthly), calendar, "each month is the month of the same name")
    if calendar not in LENGTHS:
        raise _refused(calendar, "those of the Julian calendar have no counterpart")
    return _by_day(dataset, calendar)


def _by_day(dataset: xr.Dataset, calendar: str) -> xr.Dataset:
    """Convert steps of a day or less; missing days become rows of missing values."""
    dates = dataset["time"].values
    gaps = np.diff(dates).astype("timedelta64[us]")
    step = np.sort(gaps)[(len(gaps) - 1) // 2] if len(gaps) else DAY
    if step > DAY or DAY % step or (calendar == "360_day" and step != DAY):
        raise _refused(calendar, "its days are others, and the step is not a day or a month")
    if calendar != "360_day" and not all(_exists(date) for date in dates):
        raise _refused(calendar, "common years have no 29 February")
    if calendar == "360_day":
        made = dataset.convert_calendar("standard", align_on="year", use_cftime=False)
        what = "its days are spread over the year, and five or six of each are missing"
    else:
        made = _on_dates(dataset, _labels(dates))
        what = "29 February is missing" if LENGTHS[calendar] == 365 else "the dates are the same"
    times = made["time"].values
    made = made.assign_coords(time=("time", times, made["time"].attrs))
    if len(gaps) and (gaps == step).all():  # other gaps are the record's own, and are refused later
        grid = np.arange(times[0], times[-1] + step, step).astype(times.dtype)
        made = made.reindex(time=grid).assign_coords(time=("time", grid, made["time"].attrs))
    return _commented(made, calendar, what)


def _months(dates: NDArray[Any]) -> NDArray[Any] | None:
    """Return the dates of steps of months, in the same months; None for other steps."""
    numbers = np.array([12 * (date.year - 1970) + date.month - 1 for date in dates])
    gaps = np.diff(numbers)
    if gaps.min() < 1:
        return None
    first = numbers.astype("datetime64[M]").astype("datetime64[us]")
    hours = np.array([pd.Timedelta(hours=d.hour, minutes=d.minute, seconds=d.second).to_numpy() for d in dates])
    days = np.array([date.day for date in dates])
    lengths = np.array([date.daysinmonth for date in dates])
    if (days == lengths).all():
        last = (numbers + 1).astype("datetime64[M]").astype("datetime64[us]") - DAY
        made = last + hours
    elif (days == days[0]).all() and days[0] <= 28:
        made = first + (days - 1) * DAY + hours
    else:  # the middle of a month, quarter or year, as the calendar's own lengths have it
        step = int(np.sort(gaps)[(len(gaps) - 1) // 2])
        begin = (numbers - step // 2).astype("datetime64[M]").astype("datetime64[us]")
        end = (numbers - step // 2 + step).astype("datetime64[M]").astype("datetime64[us]")
        made = begin + (end - begin) // 2
        if (np.abs(made - (first + (days - 1) * DAY + hours)) > 2 * DAY).any():
            return None
    return _fine(made) if month_step(made) else None


def _labels(dates: NDArray[Any]) -> NDArray[Any]:
    """Return the same dates as datetime64."""
    return _fine(np.array([date.isoformat() for date in dates], "datetime64[us]"))


def _fine(times: NDArray[Any]) -> NDArray[Any]:
    """Return dates in nanoseconds, which hold the years 1678 to 2261, or unchanged."""
    years = times.astype("datetime64[Y]").astype("int64") + 1970
    return times.astype("datetime64[ns]") if years.min() > 1677 and years.max() < 2262 else times


def _exists(date: Any) -> bool:  # noqa: ANN401 (a date of cftime, which has no types)
    return bool(date.month != 2 or date.day < 29 or isleap(date.year))


def _on_dates(dataset: xr.Dataset, times: NDArray[Any]) -> xr.Dataset:
    attrs = {**dataset["time"].attrs}
    made = dataset.assign_coords(time=("time", times, attrs))
    made["time"].encoding = {}  # of the old calendar
    return made


def _commented(dataset: xr.Dataset, calendar: str, what: str) -> xr.Dataset:
    comment = f"converted from the {calendar} calendar: {what}"
    warnings.warn(f"`time`: {comment}", PanelWarning, stacklevel=4)
    dataset["time"].attrs["comment"] = comment
    return dataset


def _refused(calendar: str, why: str) -> PanelError:
    since = "[(t - dataset.indexes['time'][0]).total_seconds() / 86400 for t in dataset.indexes['time']]"
    return PanelError(
        f"`time`: holds dates of the {calendar} calendar, and {why}; count days, as model time, with "
        f"dataset.pipe(lambda dataset: dataset.assign_coords(time=('time', {since}, {{'units': 'days'}})))"
    )
