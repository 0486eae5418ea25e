"""Calendar features: where in the day, the week and the year a time falls, as sines and cosines."""

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

CELLS = {"month": 12, "weekday": 7, "hour": 24}
"""Calendar keys by which times are grouped, and how many cells each has."""


def default_keys(panel: xr.Dataset, learned: int) -> tuple[str, ...]:
    """The keys whose period the panel's step resolves and training sees whole; none for model time.

    Of a record of five days the sixth has a day of the week that no network has learned anything of.

    Args:
        panel: Regular in time.
        learned: Steps of the training part.
    """
    if time_kind(panel) == "model":
        return ()
    step = step_number(panel)
    return tuple(key for key, period in PERIODS.items() if 2 * step <= period <= learned * step)


def calendar_features(times: NDArray[np.datetime64], keys: Sequence[str]) -> NDArray[np.float32]:
    """Sine and cosine of the phase of each key.

    Args:
        times: (time,) datetime64.
        keys: Of `PERIODS`; or a harmonic of one, `hour/3` for a third of a day.

    Returns:
        (time, 2 * len(keys)), each in [-1, 1].

    Raises:
        RequestError: An unknown key, or a harmonic that is no whole number from 1 on.
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
        raise RequestError(f"calendar {key!r}: a harmonic is a whole number from 1 on, such as {name}/2")
    return name, int(number or 1)


def cell_keys(step: float, time: Literal["calendar", "model"]) -> tuple[str, ...]:
    """The keys that a climatology goes by unless told otherwise: month and hour, as far as the step resolves them.

    Args:
        step: Seconds.
        time: Model time has no calendar, so no keys.
    """
    if time == "model":
        return ()
    return ("month", "hour") if step < 86_400 else ("month",)


def calendar_groups(times: NDArray[np.datetime64], keys: Sequence[str]) -> NDArray[np.int64]:
    """One integer a time: the cell of the calendar it falls in, such as (month, hour).

    Args:
        times: (time,) datetime64.
        keys: Of `CELLS`.

    Raises:
        RequestError: An unknown key.
    """
    group = np.zeros(len(times), "int64")
    stamps = pd.DatetimeIndex(times) if keys else None
    for key in keys:
        if key not in CELLS:
            raise RequestError(f"calendar key {key!r}: {did_you_mean(key, CELLS)}")
        value = np.asarray(getattr(stamps, "day_of_week" if key == "weekday" else key), "int64") - (key == "month")
        group = group * CELLS[key] + value
    return group
