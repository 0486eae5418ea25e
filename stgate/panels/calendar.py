"""Calendar features: the phase of a time in the day, the week and the year, as sines and cosines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from stgate.errors import RequestError, did_you_mean
from stgate.schema.panel import time_kind, time_step
from stgate.schema.steps import Step, months_of, step_length

PERIODS = {"hour": 86_400.0, "weekday": 7 * 86_400.0, "yearday": 365.2425 * 86_400.0}
"""Periods of the calendar, in seconds."""

KEYS = (*PERIODS, "month")
"""Keys of calendar features."""

CellKey = Literal["month", "weekday", "hour"]
CELLS: dict[CellKey, int] = {"month": 12, "weekday": 7, "hour": 24}
"""Calendar keys by which times are grouped, and the number of cells of each."""


def default_keys(panel: xr.Dataset, learned: int) -> tuple[str, ...]:
    """Choose the calendar keys whose period the time step resolves and the training part covers.

    A network trained on five days knows nothing of the other two days of the week.

    Args:
        panel: A panel with regular times.
        learned: Number of time steps in the training part.

    Returns:
        Keys of `KEYS`; none for model time. Steps of up to half a year that are months have the key `month`.
    """
    if time_kind(panel) == "model":
        return ()
    months = months_of(time_step(panel))
    if months:
        return ("month",) if 2 * months <= 12 <= learned * months else ()
    step = step_length(time_step(panel))
    return tuple(key for key, period in PERIODS.items() if 2 * step <= period <= learned * step)


def calendar_features(times: NDArray[np.datetime64], keys: Sequence[str]) -> NDArray[np.float32]:
    """Return the sine and the cosine of the phase of each calendar key.

    Args:
        times: Times as datetime64, shape (time,).
        keys: `hour`, `weekday`, `yearday`, `month`, or a harmonic such as `hour/3`, whose period is a third of a day.
            `yearday` counts 29 February, so later days of leap years have the phase of the day after; `month` is one
            phase for all days of a month.

    Returns:
        Features in [-1, 1], shape (time, 2 * len(keys)).

    Raises:
        RequestError: A key is unknown, or a harmonic is not a whole number of at least 1.
    """
    asked = [harmonic(key) for key in keys]
    if not keys:
        return np.zeros((len(times), 0), "float32")
    stamps = pd.DatetimeIndex(times)
    seconds = (stamps - stamps.normalize()) / pd.Timedelta(seconds=1)
    phases = {
        "hour": seconds / 86_400,
        "weekday": (stamps.day_of_week + seconds / 86_400) / 7,
        "yearday": (stamps.day_of_year - 1 + seconds / 86_400) / 365.2425,
        "month": (stamps.month - 1) / 12,
    }
    columns = [f(2 * np.pi * number * np.asarray(phases[key])) for key, number in asked for f in (np.sin, np.cos)]
    return np.stack(columns, axis=1).astype("float32")


def harmonic(key: str) -> tuple[str, int]:
    """Return the name of a calendar key and the number of its harmonic.

    Args:
        key: A key of calendar features, such as `hour` or `hour/3`.

    Raises:
        RequestError: The key is unknown, or its harmonic is not a whole number of at least 1.
    """
    name, _, number = key.partition("/")
    if name not in KEYS:
        raise RequestError(f"calendar {key!r}: {did_you_mean(name, KEYS)}")
    if key != name and not (number.isdecimal() and int(number) > 0):
        raise RequestError(f"calendar {key!r}: a harmonic must be a whole number of at least 1, such as {name}/2")
    return name, int(number or 1)


def cell_keys(step: Step) -> tuple[CellKey, ...]:
    """Return the default calendar keys of a climatology: month and hour, as far as the time step resolves them.

    Args:
        step: The time step; a float, of model time, has no calendar.

    Returns:
        Keys of `CELLS`; none for model time, and for steps of whole years.
    """
    if not isinstance(step, np.timedelta64) or (months_of(step) and months_of(step) % 12 == 0):
        return ()
    return ("month", "hour") if step_length(step) < 86_400 else ("month",)


def calendar_groups(times: NDArray[np.datetime64], keys: Sequence[CellKey]) -> NDArray[np.int64]:
    """Number the calendar cell of each time, such as its (month, hour).

    Args:
        times: Times as datetime64, shape (time,).
        keys: Any of `month`, `weekday` and `hour`.

    Returns:
        The cell's number, shape (time,).

    Raises:
        RequestError: A key is unknown.
    """
    group = np.zeros(len(times), "int64")
    stamps = pd.DatetimeIndex(times) if keys else None
    for key in keys:
        if key not in CELLS:
            raise RequestError(f"calendar key {key!r}: {did_you_mean(key, CELLS)}")
        value = np.asarray(getattr(stamps, "day_of_week" if key == "weekday" else key), "int64") - (key == "month")
        group = group * CELLS[key] + value
    return group
