"""Fixes of uneven and repeated times: code that ends an error message, and that keeps each value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from stgate.schema.steps import DAY, month_numbers, month_step

TIMES = "panel.indexes['time']"
NO_STEP = "no regular step holds all times; a field takes uneven times (stgate fit --model CGLUBNF --data.context 0)"
MOST = 12
"""A grid has at most so many rows for each that is there."""
NEAR, FAR = 0.25, 0.45
"""Shares of a step by which times may wander around it: before a finer step is tried, and after."""
LONG = 1_000_000
"""A grid that leaves out rows of its own step may always have so many rows."""
UNITS = [np.timedelta64(ms, "ms") for ms in (*(60_000 * m for m in (1440, 60, 30, 15, 5, 1)), 5000, 1000, 100, 10, 1)]
"""Lengths of which steps of clocks, and the places of their times, are multiples."""


def uneven_row(times: NDArray[Any]) -> tuple[int, str] | None:
    """Find the first date that breaks the step of the others.

    Args:
        times: Increasing dates as datetime64, at least two, shape (time,).

    Returns:
        The row of the date, and the fix, as the end of an error message; None if the dates are regular.
    """
    gaps, steps = np.diff(times), np.diff(month_numbers(times))
    months = month_step(times)
    if months and (steps == months).all():
        return None
    step = np.sort(gaps)[gaps.size // 2]
    if not months and (gaps == step).all():
        return None
    if months:
        return int(np.argmax(steps != months)) + 1, _absent_months(times)
    return int(np.argmax(gaps != step)) + 1, _of_dates(times, step)


def _of_dates(times: NDArray[Any], step: np.timedelta64) -> str:
    """Return the fix of dates that follow no calendar months: the first of several that keeps all of them."""
    gaps, steps = np.diff(times), np.diff(month_numbers(times))
    if _only_absent(gaps):
        kept = _reindexed(times, step)
        if step == DAY and (pd.DatetimeIndex(times).day_of_week < 5).all():
            return f"business days are no regular step: make weekends missing values (a table: --freq D) with {kept}"
        return f"make the gap missing values (a table: --freq {_freq(step)}) with {kept}"
    if (steps >= 1).all() and step >= 28 * DAY:
        return _by_first_day(_alias("MS", steps))
    return (
        _counted(times) or _rounded(times, step, NEAR) or _on_finer_grid(times) or _rounded(times, step, FAR) or NO_STEP
    )


def _only_absent(gaps: NDArray[Any]) -> bool:
    """Tell if all gaps are whole numbers of their median, and their grid is not too long."""
    step, none = np.sort(gaps)[gaps.size // 2], np.zeros(1, gaps.dtype)[0]
    if (gaps <= none).any() or (gaps % step != none).any():
        return False
    return int(gaps.sum() // step) <= max(LONG, MOST * gaps.size)


def _reindexed(times: NDArray[Any], step: np.timedelta64) -> str:
    # Not panel.resample: it averages, moves the member dimension and gives node variables a time.
    return f"panel.reindex(time=pandas.date_range({_span(times)}, freq='{_freq(step)}'))"


def _span(times: NDArray[Any]) -> str:
    first, last = (pd.Timestamp(t).isoformat() for t in (times[0], times[-1]))  # to the last digit of a second
    return f"'{first}', '{last}'"


def _freq(step: np.timedelta64) -> str:
    return str(pd.tseries.frequencies.to_offset(pd.Timedelta(step)).freqstr)


def _counted(times: NDArray[Any]) -> str:
    """Return the fix of parts of months (dekads, pentads, halves) or of years (8-day composites); empty for others."""
    index = pd.DatetimeIndex(times)
    if index.normalize().nunique() < len(index):
        return ""
    if ends := _parts_of_months(index):
        parts, what = len(ends) + 1, "month"
        at = f"pandas.Index({ends}).searchsorted({TIMES}.day)"
        numbers = (index.year * 12 + index.month) * parts + pd.Index(ends).searchsorted(index.day)
        code = f"({TIMES}.year * 12 + {TIMES}.month) * {parts} + {at}"
    else:
        length = int(np.gcd.reduce(index.day_of_year - index.day_of_year.min()))
        if length < 3 or index.year.min() == index.year.max():
            return ""
        place = (index.day_of_year - 1) // length
        parts, what = max(-(-365 // length), int(place.max()) + 1), "year"
        numbers = index.year * parts + place
        code = f"{TIMES}.year * {parts} + ({TIMES}.day_of_year - 1) // {length}"
    gaps = np.diff(numbers.to_numpy("int64"))
    if (gaps < 1).any() or gaps.sum() > MOST * gaps.size:
        return ""
    return (
        f"times are {parts} parts of each {what}, whose lengths differ: count them, as model time, with "
        f"panel.assign_coords(time=({code}).astype(float))"
    )


def _parts_of_months(index: pd.DatetimeIndex) -> list[int]:
    """Return the last days of all parts but the last of months, where each month has the same two to eight of them."""
    days = np.unique(index.day)
    groups = np.split(days, np.flatnonzero(np.diff(days) > 3) + 1)
    if not 2 <= len(groups) <= 8 or any(group[-1] - group[0] > 3 for group in groups):
        return []
    months = index.year * 12 + index.month
    if any(months[np.isin(index.day, group)].nunique() < 2 for group in groups):
        return []
    return [int(group[0]) - 1 for group in groups[1:]]


def _rounded(times: NDArray[Any], step: np.timedelta64, most: float) -> str:
    """Return the fix of times that wander around a step of a clock, by a share of it at most; empty for others."""
    tick = _tick(times)
    whole = times.astype("int64")
    units = [int(unit // tick) for unit in UNITS if unit >= tick]
    for length in dict.fromkeys(_nearest(int(step // tick), unit) for unit in units):
        if length == 0:
            continue
        off = whole - whole[0] - _nearest(whole - whole[0], length)
        middle = np.sort(off)[off.size // 2]
        wander = np.abs(off - middle).max()
        phase = int(whole[0] + middle) % length
        for place in (_nearest(phase, unit) for unit in units):
            made = _nearest(whole - place, length) + place
            near = abs(place - phase) <= 2 * wander and np.abs(made - whole).max() <= most * length
            if near and _only_absent(np.diff(made)):
                by = _freq(length * tick)
                code = f"{TIMES}.round('{by}')"
                if place % length:
                    beyond = f"pandas.Timedelta('{pd.Timedelta(place * tick)}')"
                    code = f"({TIMES} - {beyond}).round('{by}') + {beyond}"
                what = f"times wander around a step of {by} (a table: round its times)"
                return f"{what}: make them even with panel.assign_coords(time={code})"
    return ""


def _tick(times: NDArray[Any]) -> Any:  # noqa: ANN401 (a timedelta64, of a unit that mypy cannot know)
    """Return the least distance that dates of this unit can have."""
    return np.ones((), f"timedelta64[{np.datetime_data(times.dtype)[0]}]")[()]


def _nearest(value: Any, unit: int) -> Any:  # noqa: ANN401 (integers, or an array of them)
    """Return the multiple of a unit next to a whole number."""
    return (value + unit // 2) // unit * unit


def _on_finer_grid(times: NDArray[Any]) -> str:
    """Return the fix of times that all lie on a step finer than theirs; empty if it is much finer."""
    gaps = np.diff(times)
    finest = np.gcd.reduce(gaps.astype("int64"))
    if gaps.astype("int64").sum() // finest > MOST * times.size:
        return ""
    step = finest * _tick(times)
    what = f"all times lie on a step of {_freq(step)}: make the others missing values (a table: --freq {_freq(step)})"
    return f"{what} with {_reindexed(times, step)}"


def _absent_months(times: NDArray[Any]) -> str:
    """Return the fix of dates that follow the calendar's months, but lack some of them."""
    days, numbers = times.astype("datetime64[D]"), month_numbers(times)
    begin, end = (n.astype("datetime64[M]").astype("datetime64[D]") for n in (numbers, numbers + 1))
    steps = np.diff(numbers)
    for alias, edge in (("MS", begin), ("ME", end - DAY)):
        if (days == edge).all():
            freq = _alias(alias, steps)
            grid = f"pandas.date_range({_span(times)}, freq='{freq}')"
            return f"make the gap missing values (a table: --freq {freq}) with panel.reindex(time={grid})"
    since = days - begin
    if (since == since[0]).all() and since[0] < 28 * DAY:
        grid = f"pandas.date_range({_span(times)}, freq=pandas.DateOffset(months={np.gcd.reduce(steps)}))"
        table = f"a table: --freq {_alias('MS', steps)}, which dates months by first days"
        return f"make the gap missing values ({table}) with panel.reindex(time={grid})"
    return _by_first_day(_alias("MS", steps))


def _by_first_day(freq: str) -> str:
    named = "panel['time'].values.astype('datetime64[M]').astype('datetime64[s]')"
    return f"date each month by its first day (a table: --freq {freq}) with panel.assign_coords(time={named})"


def _alias(name: str, steps: NDArray[np.int64]) -> str:
    """Return pandas' name of the longest step of which all steps, in months, are multiples."""
    months = int(np.gcd.reduce(steps))
    return name if months == 1 else f"{months}{name}"


def uneven_number(values: NDArray[Any]) -> tuple[int, str] | None:
    """Find the first model time that lies off an even grid.

    Args:
        values: Increasing numbers, at least two, shape (time,).

    Returns:
        The row of the time, and the fix, as the end of an error message; None if the times are even.
    """
    gaps = np.diff(values)
    step = float(np.median(gaps))
    # Float times carry round-off: compare with the even grid, to a thousandth of a step.
    even = (values[-1] - values[0]) / gaps.size
    odd = np.abs(gaps - step) > 1e-3 * step
    if not odd.any():
        odd = np.abs(values[1:] - (values[0] + even * np.arange(1, values.size))) > 1e-3 * step
    return (int(np.argmax(odd)) + 1, _of_numbers(values.astype("float64"), step)) if odd.any() else None


def _of_numbers(values: NDArray[np.float64], step: float) -> str:
    """Return the fix of uneven model times: the first of several that keeps all of them."""
    first, gaps = float(values[0]), np.diff(values)
    for parts in (1, 2, 3, 4, 5, 6, 8, 10, 12):
        rows = np.r_[0.0, np.cumsum(np.rint(gaps / (step / parts)))]
        if (np.diff(rows) < 1).any() or rows[-1] > max(LONG if parts == 1 else 0, MOST * values.size):
            continue
        text = f"{(values[-1] - first) / rows[-1]:.12g}"
        fine = float(text)
        if np.abs(values - first - rows * fine).max() <= 1e-3 * fine and rows[-1] >= values.size:
            grid = f"pandas.RangeIndex({int(rows[-1]) + 1}) * {text} + {first!r}"
            what = f"all times lie on a step of {text}: make the others missing values"
            return f"{what} with panel.reindex(time={grid}, method='nearest', tolerance={fine / 4:.6g})"
        if parts == 1 and (code := _evened(values, rows, NEAR)):
            return code
    return _evened(values, np.arange(float(values.size)), FAR) or NO_STEP


def _evened(values: NDArray[np.float64], rows: NDArray[np.float64], most: float) -> str:
    """Return the fix of numbers that wander around an even grid, by a share of its step at most; empty for others.

    Args:
        values: The numbers.
        rows: Their rows on the grid.
        most: The share.
    """
    first = float(values[0])
    step, start = (float(x) for x in np.polyfit(rows, values - first, 1))
    if np.abs(values - first - start - rows * step).max() > most * step:
        return ""
    rounded = f"((panel['time'].astype('float64') - {first + start!r}) / {step:.12g}).round()"
    even = f"{rounded} * {step:.12g} + {first + start!r}"
    return f"times wander around a step of {step:.4g}: make them even with panel.assign_coords(time={even})"


def of_absent(panel: xr.Dataset, dim: str) -> str:
    """Say where the dimension `time` or `node` may come from.

    Args:
        panel: A dataset without the dimension.
        dim: The dimension.
    """
    others = [str(name) for name in panel.dims if name not in ("time", "node")]
    if dim in panel.coords and not panel[dim].dims:
        axis = 0 if dim == "time" else -1
        return f"it has one, {panel[dim].values!s}: make a dimension of it with panel.expand_dims({dim!r}, axis={axis})"
    if not others and dim == "node":
        return "give its one node a label with panel.expand_dims(node=['a'], axis=-1)"
    if dim == "node" and len(others) > 1:
        return f"it has {', '.join(map(repr, others[:4]))}; make nodes of a lattice with stgate.from_lattice(panel)"
    if len(others) == 1:
        return f"make one of {others[0]!r} with panel.rename({{{others[0]!r}: {dim!r}}})"
    if not panel.dims:
        return "it has none; a group of a file is opened by xarray.open_dataset(path, group=...), and written by itself"
    return f"it has {', '.join(repr(str(name)) for name in list(panel.dims)[:4])}; rename it"


def of_time(times: xr.DataArray) -> str:
    """Say how to make times of what are neither dates nor numbers.

    Args:
        times: The coordinate `time`, as text, durations or objects.
    """
    if zone := getattr(times.dtype, "tz", None):
        return f"holds times of the zone {zone}; take UTC with panel.assign_coords(time={TIMES}.tz_convert(None))"
    values = times.values
    first = values.flat[0]
    if calendar := getattr(first, "calendar", ""):
        return f"holds dates of the {calendar} calendar; convert them with stgate.io.convert_calendar(panel)"
    what = f"holds {times.dtype}, which is neither datetime64 nor a number"
    if times.dtype.kind == "m":
        return f"{what}; count hours, as model time, with panel.assign_coords(time={TIMES} / pandas.Timedelta('1h'))"
    if isinstance(times.to_index(), pd.PeriodIndex):
        return f"{what}; take first instants with panel.assign_coords(time={TIMES}.to_timestamp())"
    text = isinstance(first, str)  # 20210301 as text is a date
    for code, made_of in list(CONVERSIONS.items())[:: 1 if text else -1]:
        try:
            made = made_of(times.to_index())
        except (TypeError, ValueError):
            continue
        if isinstance(made.dtype, np.dtype) and not made.hasnans:
            return f"{what}; convert it with panel.assign_coords(time={code})"
    return f"{what}; convert it with pandas.to_datetime and its argument format ({first!r} has none of its own)"


CONVERSIONS: dict[str, Callable[[pd.Index], pd.Index]] = {
    f"pandas.to_datetime({TIMES}, format='ISO8601')": lambda index: pd.to_datetime(index, format="ISO8601"),
    f"pandas.to_datetime({TIMES}, format='ISO8601', utc=True).tz_localize(None)": lambda index: pd.to_datetime(
        index, format="ISO8601", utc=True
    ).tz_localize(None),
    f"{TIMES}.astype(float)": lambda index: index.astype(float),
}
"""Code that makes dates or numbers of objects, with what it does."""


def of_repeated(panel: xr.Dataset, dim: str) -> str:
    """Say what to do with labels that appear twice, by whether their values agree.

    Args:
        panel: A panel.
        dim: The dimension; some of its labels appear more than once.
    """
    index = panel.indexes[dim]
    rows = np.flatnonzero(index.duplicated(keep=False))
    some = panel.isel({dim: rows})
    codes, _ = pd.factorize(index[rows])
    if some.equals(some.isel({dim: [int(np.argmax(codes == code)) for code in codes]})):
        return f"the values are equal; keep one with panel.drop_duplicates('{dim}')"
    of = [variable.transpose(dim, ...).values.reshape(len(rows), -1) for variable in some.data_vars.values()
          if dim in variable.dims]  # fmt: skip
    numbers = [pd.DataFrame(table).groupby(codes) for table in of if table.dtype.kind in "fiub"]
    if len(numbers) == len(of) and all(table.max().equals(table.min()) for table in numbers):
        first, last = (f"panel.drop_duplicates('{dim}'{keep})" for keep in ("", ", keep='last'"))
        if np.bincount(codes).max() == 2 and dim == "time":
            return f"the values complete each other; join them with {first}.combine_first({last})"
        return "the values complete each other; join them before, as frame.groupby([time, node]).first() does"
    if dim == "node":
        return "the values differ; give one of them another label with panel.assign_coords(node=…)"
    differ = np.any([(table.max() > table.min()).any(axis=1) for table in numbers], axis=0) if numbers else [True]
    one, two = (int(row) for row in rows[np.flatnonzero(codes == int(np.argmax(differ)))[:2]])
    lost = f"panel.drop_isel(time={one}) or panel.drop_isel(time={two})"
    return f"the values differ; a local clock that was set back needs its time zone; else decide which to lose: {lost}"
