"""Calendar features: the phase of a time in the day, the week and the year, as sines and cosines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from stgate.errors import RequestError, did_you_mean
from stgate.schema.panel import step_number, time_kind

PERIODS = {"hour": 86_400.0, "weekday": 7 * 86_400.0, "yearday": 365.2425 * 86_400.0}
"""Calendar keys and their periods in seconds."""

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
        Keys of `PERIODS`; none for model time.
    """
    if time_kind(panel) == "model":
        return ()
    step = step_number(panel)
    return tuple(key for key, period in PERIODS.items() if 2 * step <= period <= learned * step)


def calendar_features(times: NDArray[np.datetime64], keys: Sequence[str]) -> NDArray[np.float32]:
    """Return the sine and the cosine of the phase of each calendar key.

    Args:
        times: Times as datetime64, shape (time,).
        keys: `hour`, `weekday`, `yearday`, or a harmonic such as `hour/3`, whose period is a third of a day.

    Returns:
        Features in [-1, 1], shape (time, 2 * len(keys)).

    Raises:
        RequestError: A key is unknown, or a harmonic is not a whole number of at least 1.
    """
    asked = [_harmonic(key) for key in keys]
    if not keys:
        return np.zeros((len(times), 0), "float32")
    stamps = pd.DatetimeIndex(times)
    seconds = (stamps - stamps.normalize()) / pd.Timedelta(seconds=1)
    phases = {
        "hour": seconds / 86_400,
        "weekday": (stamps.day_of_week + seconds / 86_400) / 7,
        "yearday": (stamps.day_of_year - 1 + seconds / 86_400) / 365.2425,
    }
    columns = [f(2 * np.pi * number * np.asarray(phases[key])) for key, number in asked for f in (np.sin, np.cos)]
    return np.stack(columns, axis=1).astype("float32")


def _harmonic(key: str) -> tuple[str, int]:
    name, _, number = key.partition("/")
    if name not in PERIODS:
        raise RequestError(f"calendar {key!r}: {did_you_mean(name, PERIODS)}")
    if key != name and not (number.isdecimal() and int(number) > 0):
        raise RequestError(f"calendar {key!r}: a harmonic must be a whole number of at least 1, such as {name}/2")
    return name, int(number or 1)


def cell_keys(step: float, time: Literal["calendar", "model"]) -> tuple[CellKey, ...]:
    """Return the default calendar keys of a climatology: month and hour, as far as the time step resolves them.

    Args:
        step: The time step in seconds.
        time: `calendar` or `model`; model time has no calendar.

    Returns:
        Keys of `CELLS`; none for model time.
    """
    if time == "model":
        return ()
    return ("month", "hour") if step < 86_400 else ("month",)


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
