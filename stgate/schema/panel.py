"""The panel, the package's input: its schema and its check.

A panel is an `xarray.Dataset` over `time` and `node` (and optionally a leading `member`). Its variables are floats, and
NaN is the only mark of a missing value. `stgate.schema.spec` is the part of a panel that a forecaster stores;
`stgate.schema.forecast` is the output.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from stgate.errors import PanelError, RequestError
from stgate.schema.fixes import of_absent, of_repeated, of_time, uneven_number, uneven_row
from stgate.schema.longitudes import check_longitudes
from stgate.schema.steps import Step, step_label, step_length, step_of, time_text
from stgate.schema.variables import of_dims, of_infinite, of_kind
from stgate.schema.words import YEAR_FIRST, no_variable


def time_kind(panel: xr.Dataset) -> Literal["calendar", "model"]:
    """Return `calendar` for datetime64 times and `model` for numbers."""
    return "calendar" if panel["time"].dtype.kind == "M" else "model"


def time_step(panel: xr.Dataset) -> Step:
    """Return the panel's time step.

    Args:
        panel: A panel; where its times are uneven, the step is their median distance (calendar time) or their mean
            distance (model time).

    Returns:
        A timedelta64 for calendar time, in the unit `M` for months, quarters and years; a float for model time.

    Raises:
        PanelError: The panel has a single time.
    """
    times = panel["time"].values
    if times.size < 2:
        raise PanelError("`time`: a panel of a single time has no step; give at least two times")
    return step_of(times)


def step_number(panel: xr.Dataset) -> float:
    """Return the panel's time step in seconds (calendar time; the mean of calendar months) or in model time units."""
    return step_length(time_step(panel))


def step_text(panel: xr.Dataset) -> str:
    """Format the panel's time step as text: `h`, `15min`, `3 months`, `0.05`."""
    return step_label(time_step(panel), str(panel["time"].attrs.get("units", "")))


def observed_mask(panel: xr.Dataset, name: str) -> xr.DataArray:
    """Return True where the variable `name` is observed (not NaN), over the variable's own dims."""
    return panel[name].notnull()


def check_panel(panel: xr.Dataset, *, regular: bool = True, values: bool = True) -> None:
    """Check a panel against the schema; do nothing when it holds.

    Args:
        panel: The dataset to check.
        regular: Require evenly spaced times. Forecasters on windows need them.
        values: Look for infinite values too. This loads a panel that was opened lazily.

    Raises:
        PanelError: The panel breaks the schema; the message names the variable, the place and the fix.
    """
    if not isinstance(panel, xr.Dataset):
        raise PanelError(f"a panel is an xarray.Dataset, got {type(panel).__name__}; make one with stgate.to_panel")
    for dim in ("time", "node"):
        if dim not in panel.dims:
            raise PanelError(f"`{dim}`: the panel has no such dimension; {of_absent(panel, dim)}")
        if dim not in panel.coords:
            raise PanelError(f"`{dim}`: the dimension has no coordinate; assign one with panel.assign_coords({dim}=…)")
        if panel.sizes[dim] == 0:
            raise PanelError(f"`{dim}`: the panel is empty along it; select more of it")
    labels = panel.indexes["node"]
    if (absent := pd.isnull(labels)).any():
        row = int(np.argmax(absent))
        raise PanelError(
            f"`node`: the label of row {row} is missing; give it one, or lose its values: "
            "panel.isel(node=panel['node'].notnull().values)"
        )
    if not labels.is_unique:
        twice = labels[labels.duplicated()][0]
        raise PanelError(f"`node`: the label {twice!r} appears twice; {of_repeated(panel, 'node')}")
    check_time(panel, regular=regular)
    check_longitudes(panel)
    dynamic = [str(name) for name in panel.data_vars if "time" in panel.variables[name].dims]
    if not dynamic:
        raise PanelError("the panel has no variable over (time, node)")
    for name in dynamic:
        _check_variable(panel, name, values=values)


YEARS = np.array(["0001", "10000"], "datetime64[s]")
"""First time that files hold, and the first beyond."""


def check_time(panel: xr.Dataset, *, regular: bool = True) -> None:
    """Check the time axis of a panel; do nothing when it holds.

    Args:
        panel: The dataset to check.
        regular: Require evenly spaced times. Months, quarters and years are even, though their lengths differ.

    Raises:
        PanelError: Times are missing, repeated, out of order or uneven.
    """
    times = panel["time"]
    named = next((f"`{n}`" for n, v in panel.data_vars.items() if "time" in v.dims), "`time`")
    if times.dtype.kind not in "Mfiu" or not isinstance(times.dtype, np.dtype):
        raise PanelError(f"`time`: {of_time(times)}")
    values = times.values
    if pd.isnull(values).any():
        rows = np.flatnonzero(pd.isnull(values)).tolist()
        raise PanelError(
            f"`time`: row {rows[0]} is not a time; give it one, or lose its values: panel.drop_isel(time={rows[:20]})"
        )
    seconds = values.astype("datetime64[s]") if values.dtype.kind == "M" else YEARS[:1]
    if (beyond := (seconds < YEARS[0]) | (seconds >= YEARS[1])).any():
        raise PanelError(
            f"`time`: {at(values[int(np.argmax(beyond))])} lies outside of the years 1 to 9999, which files hold; "
            "count hours, as model time, with panel.assign_coords(time="
            "(panel.indexes['time'] - panel.indexes['time'][0]) / pandas.Timedelta('1h'))"
        )
    if values.size < 2:
        return
    gaps = np.diff(values.astype("int64") if values.dtype.kind == "u" else values)
    zero = np.zeros(1, gaps.dtype)[0]
    if (gaps < zero).any():
        row = int(np.argmax(gaps < zero)) + 1
        raise PanelError(f"{named}: time goes back to {at(values[row])} at row {row}; sort with panel.sortby('time')")
    if (gaps == zero).any():
        row = int(np.argmax(gaps == zero))
        raise PanelError(
            f"{named}: the time {at(values[row])} appears twice, at rows {row} and {row + 1}; "
            f"{of_repeated(panel, 'time')}"
        )
    if not regular:
        return
    odd = uneven_row(values) if time_kind(panel) == "calendar" else uneven_number(values)
    if odd is not None:
        row, fix = odd
        raise PanelError(f"{named}: time jumps from {at(values[row - 1])} to {at(values[row])} at row {row}; {fix}")


def _check_variable(panel: xr.Dataset, name: str, *, values: bool) -> None:
    variable = panel.variables[name]  # not panel[name], which walks over all variables
    kind = variable.dtype.kind
    wrong = of_kind(panel, name, values=values) if kind not in "biuf" else ""
    if wrong := wrong or of_dims(panel, name) or of_kind(panel, name, values=values):
        raise PanelError(f"`{name}`: {wrong}")
    infinite = np.isinf(variable.data) if values else np.zeros(1, bool)
    if bool(infinite.any()):  # of a dask array block by block
        where = np.unravel_index(int(np.argmax(np.asarray(infinite))), infinite.shape)
        place = ", ".join(
            f"{d} {at(panel[d].values[i])}" for d, i in zip(variable.dims, where, strict=True) if d in panel.coords
        )
        raise PanelError(f"`{name}`: infinite at {place}; {of_infinite(name)}")


def check_targets(panel: xr.Dataset, targets: Iterable[str], *, values: bool = True) -> None:
    """Refuse targets that the panel lacks or that are never observed at a node.

    Args:
        panel: A panel.
        targets: Names of the targets.
        values: Check that each node observes each target at least once. This loads a panel that was opened lazily.

    Raises:
        PanelError: A target is not a variable of the panel, or is never observed at some node.
    """
    for name in targets:
        if name not in panel.data_vars:
            raise no_variable(name, map(str, panel.data_vars))
        if not values:
            continue
        seen = panel[name].notnull().any([d for d in panel[name].dims if d != "node"])
        check_seen(name, panel["node"].values, seen.values)


def check_seen(name: str, nodes: np.ndarray, seen: np.ndarray) -> None:
    """Refuse a target that is never observed at some node.

    Args:
        name: The target's name.
        nodes: Labels of the nodes, shape (node,).
        seen: True where the node observes the target at least once, shape (node,).

    Raises:
        PanelError: Some node never observes the target; the message names it.
    """
    if not seen.all():
        silent = nodes[~seen].tolist()
        all_of_them = f"panel, without={silent!r}"
        if len(silent) > 20:
            all_of_them = f"panel.dropna('node', how='all', subset=[{name!r}])"
        raise PanelError(
            f"`{name}`: never observed at node {some(silent)}; leave the node out with `stgate data select`, or "
            f"stgate.panels.select({all_of_them})"
        )


def at(value: Any) -> str:  # noqa: ANN401 (a label of any type)
    """Format a time or label as text, without trailing zeros."""
    if isinstance(value, tuple):
        return ", ".join(map(at, value))
    if isinstance(value, np.datetime64 | pd.Timestamp):
        return time_text(value)
    if isinstance(value, float | np.floating):
        return f"{float(value):g}"
    return str(value)


def number_label(value: float) -> str:
    """Format a coordinate as part of a node's label, with up to 10 significant digits."""
    return f"{float(value):.10g}"


def parse_time(text: str | float) -> tuple[pd.Timestamp, pd.Timestamp]:
    """Return the first and the last instant of a calendar time such as `2016-03`, `2016-03-01` or `2016-03-01T12`.

    Args:
        text: The time, written year first. A time with an offset is converted to UTC.

    Returns:
        The first and the last instant, without a time zone; they are equal for a time with an offset.

    Raises:
        ValueError: The text is not a time, or is not written year first: 03/04/2020 is March or April.
    """
    if isinstance(text, float) and text.is_integer():
        text = int(text)  # a year that was read as a number
    if not re.match(YEAR_FIRST, str(text).strip()):
        raise RequestError("write times year first, such as 2016-03-01T12:00")
    stamp = pd.Timestamp(str(text))
    if stamp.tz is not None:
        stamp = stamp.tz_convert("UTC").tz_localize(None)
        return stamp, stamp
    period = pd.Period(str(text))
    return period.start_time, period.end_time


def time_bounds(when: str | float, kind: str, step: float) -> tuple[Any, Any]:
    """Return the first and the last instant of a time in text or numbers.

    Model times are sums of steps and carry round-off, so their bounds lie a millionth of a step apart from them.

    Args:
        when: A calendar time, written year first (`2016-03` means the whole month), or a model time as a number.
        kind: `calendar` or `model`.
        step: The panel's time step, in model time units; not used for calendar time.

    Returns:
        The two bounds: datetime64 for calendar time, floats for model time.

    Raises:
        ValueError: The time is not of that kind.
    """
    if kind == "calendar":
        low, high = parse_time(when)
        return np.datetime64(low), np.datetime64(high)
    return float(when) - 1e-6 * step, float(when) + 1e-6 * step


def first_row(panel: xr.Dataset, when: str | float) -> int:
    """Return the first row at or after a time.

    Args:
        panel: A panel.
        when: A calendar time, written year first (`2016-03` means its first instant), or a model time as a number.

    Returns:
        The row's number; the number of rows if all are earlier.

    Raises:
        ValueError: The time is not of the panel's kind.
    """
    return int(np.searchsorted(panel["time"].values, _bounds(panel, when)[0]))


def last_row(panel: xr.Dataset, when: str | float) -> int:
    """Return the last row at or before a time.

    Args:
        panel: A panel.
        when: A calendar time, written year first (`2016-03` means its last instant), or a model time as a number.

    Returns:
        The row's number; -1 if all are later.

    Raises:
        ValueError: The time is not of the panel's kind.
    """
    return int(np.searchsorted(panel["time"].values, _bounds(panel, when)[1], side="right")) - 1


def _bounds(panel: xr.Dataset, when: str | float) -> tuple[Any, Any]:
    return time_bounds(when, time_kind(panel), step_number(panel) if panel.sizes["time"] > 1 else 1.0)


def some(names: Iterable[Any], most: int = 4) -> str:
    """Format up to `most` names, then a count of the rest."""
    shown: Sequence[Any] = list(names)
    head = ", ".join(repr(str(n)) if isinstance(n, str) else str(n) for n in shown[:most])
    return head + (f" and {len(shown) - most} more" if len(shown) > most else "")
