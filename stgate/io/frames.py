"""Pandas frames to panels, node coordinates, and values that mark missing ones."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from stgate.errors import PanelError, did_you_mean
from stgate.io.calendars import convert_calendar
from stgate.io.dates import check_numbers
from stgate.schema.panel import at, check_panel, check_time, some, time_kind
from stgate.schema.precision import narrowed

Marks = Sequence[float] | Mapping[str, Sequence[float]]
"""Values that mark missing ones, for all variables or by variable."""


def to_panel(
    frame: pd.DataFrame,
    *,
    name: str | None = None,
    time: str | None = None,
    node: str | None = None,
    freq: str | None = None,
    coords: pd.DataFrame | None = None,
    units: Mapping[str, str] | None = None,
    regular: bool = True,
) -> xr.Dataset:
    """Make a panel from a pandas frame, wide or long.

    Args:
        frame: A wide frame has time as its index and one column a node (then give `name`). A long frame has a column
            of times, a column of node labels (then give `node`), and one column a variable.
        name: The variable's name, for a wide frame.
        time: The column of times; None takes the index. Periods become their first instant.
        node: The column of node labels, for a long frame.
        freq: A pandas frequency (`"h"`, `"MS"`): the rows are put on this regular grid, and absent rows become missing
            values.
        coords: Node coordinates, indexed by node label (`lat`, `lon` in degrees, or `x`, `y`; others may be text).
        units: Units by variable name.
        regular: Refuse uneven times. Only fields without context take uneven times.

    Returns:
        A checked panel of float32 variables over (time, node), float64 where float32 would lose digits.

    Raises:
        PanelError: A column of numbers holds text, a (time, node) pair appears twice, or times are uneven and `freq`
            is None.
    """
    if not isinstance(frame, pd.DataFrame):
        raise PanelError(f"a table is a pandas.DataFrame, got {type(frame).__name__}; a Series has .to_frame()")
    for axis, what, fix in (
        (frame.columns, "columns", "join them with frame.columns = ['_'.join(map(str, c)) for c in frame.columns]"),
        (frame.index, "rows", "make columns of them with frame.reset_index(), and name the column of nodes"),
    ):
        if axis.nlevels > 1:
            raise PanelError(f"the {what} have {axis.nlevels} levels of labels, a panel has one; {fix}")
    for column in (time, node):
        if column is not None and column not in frame.columns:
            raise PanelError(f"no column {column!r}; {did_you_mean(str(column), map(str, frame.columns))}")
    if time is not None:
        frame = frame.set_index(time)
    frame = frame.rename_axis(index="time")
    for key in [name] if node is None else [c for c in frame.columns if c != node]:
        if "/" in str(key):
            raise PanelError(f"{key!r}: a variable's name must not contain a slash, which files cannot hold; rename it")
    if node is None:
        if name is None:
            raise PanelError("a wide frame needs name=…, the variable's name; a long one node=…, the column of nodes")
        twice = frame.columns.duplicated()
        if twice.any():
            raise PanelError(f"`node`: column {frame.columns[twice][0]!r} appears twice; drop or rename one")
        _check_labels(frame.columns, "a column is called")
        if all(re.fullmatch(DATE, str(column)) for column in frame.columns):
            raise PanelError(
                f"the columns are called like times, such as {str(frame.columns[0])!r}, and not like nodes; turn the "
                "table, as frame.T does"
            )
        variables = {name: _numbers(frame.rename_axis(columns="node").sort_index(kind="stable"))}
    else:
        if frame[node].isna().any():
            when = frame.index[int(np.argmax(frame[node].isna()))]
            named = f"frame.astype({{{node!r}: 'object'}}).fillna({{{node!r}: 'unnamed'}})"
            if pd.api.types.is_numeric_dtype(frame[node]):
                named = f"frame.fillna({{{node!r}: -1}})"
            raise PanelError(f"column {node!r}: no label at {at(when)}; name it with {named}")
        _check_labels(frame[node], f"column {node!r}: has the label")
        if frame.shape[1] < 2:
            raise PanelError(f"the frame has only columns of times and of {node!r}; add a column for each variable")
        keyed = frame.set_index(node, append=True).rename_axis(index=["time", "node"])
        twice = keyed.index.duplicated()
        if twice.any():
            when, where = keyed.index[int(np.argmax(twice))]
            raise PanelError(f"time {at(when)} appears twice at node {some([where])}; {_of_twice(keyed)}")
        variables = {str(column): _numbers(keyed[[column]])[column].unstack("node") for column in keyed.columns}
    panel = xr.Dataset(
        {key: (("time", "node"), narrowed(table.to_numpy("float64"))) for key, table in variables.items()}
    )
    first = next(iter(variables.values()))
    index = first.index
    if isinstance(index, pd.PeriodIndex):
        index = index.to_timestamp()
    if isinstance(index.dtype, pd.ArrowDtype) and index.dtype.kind == "M":
        index = pd.DatetimeIndex(index)
    if isinstance(index, pd.DatetimeIndex) and index.tz is not None:
        index = index.tz_convert("UTC").tz_localize(None)
    if index.dtype.kind in "iuf":
        made = "make dates of them with pandas.to_datetime(times"
        fixes = f"{made}.astype('int64').astype(str){{1}}, format='{{0}}')", f"{made}, unit='{{}}')"
        check_numbers(index.to_numpy(), "`time`", fixes)
    panel = panel.assign_coords(time=np.asarray(index), node=np.asarray(first.columns.tolist()))
    panel = convert_calendar(panel)
    if freq is not None:
        panel = on_grid(panel.sortby("time"), freq)
    if coords is not None:
        panel = add_coords(panel, coords)
    for key, unit in (units or {}).items():
        if key not in panel:
            raise PanelError(
                f"units: the panel has no variable {key!r}; {did_you_mean(key, map(str, panel.data_vars))}"
            )
        panel[key].attrs["units"] = unit
    for variable in panel.data_vars.values():
        variable.attrs.setdefault("long_name", str(variable.name))
    panel.attrs["Conventions"] = "CF-1.11"
    check_panel(panel, regular=regular)
    return panel


DATE = r"\d{4}-[01]\d-[0-3]\d([T ]\d\d(:\d\d)*)?"
"""Pattern of a date, such as 2024-01-31."""


def _check_labels(labels: pd.Series | pd.Index, what: str) -> None:
    """Refuse labels that are neither texts nor numbers, which files cannot hold."""
    if isinstance(labels.dtype, pd.StringDtype | pd.CategoricalDtype) or labels.dtype.kind in "biufM":
        return
    allowed = (str, bytes, int, float, np.generic, pd.Timestamp)
    odd = [label for label in pd.Series(labels).astype(object) if not isinstance(label, allowed)]
    if odd:
        raise PanelError(f"{what} {odd[0]!r}; make texts or whole numbers of the labels, such as with .astype(str)")


def _of_twice(keyed: pd.DataFrame) -> str:
    """Say what to do with rows of one time and node, by whether their values agree."""
    rows = keyed[keyed.index.duplicated(keep=False)].groupby(level=[0, 1], sort=False, dropna=False)
    if bool((rows.nunique(dropna=False) <= 1).all(axis=None)):
        return "the rows are equal: keep one of them"
    if bool((rows.nunique() <= 1).all(axis=None)):
        return "the rows complete each other: join them, as frame.groupby([time, node]).first() does"
    return "the values differ: a local clock that was set back needs its time zone; else decide which row to lose"


def on_grid(panel: xr.Dataset, freq: str) -> xr.Dataset:
    """Put a panel on a regular grid that starts at its first time; absent times become missing values.

    Args:
        panel: A panel with calendar time, in order.
        freq: A pandas frequency, such as `"h"`, `"D"` or `"15min"`. With `"MS"`, `"QS"` or `"YS"` the rows are dated by
            the first day of their month, quarter or year, with `"ME"`, `"QE"` or `"YE"` by the last.

    Returns:
        The panel on the grid.

    Raises:
        PanelError: The panel has model time, the frequency is unknown, a time lies off the grid, or two rows lie in one
            month, quarter or year.
    """
    check_time(panel, regular=False)
    if time_kind(panel) == "model":
        raise PanelError(f"freq {freq!r}: the panel has model time, which has no frequency")
    times = panel.indexes["time"]
    try:
        offset = pd.tseries.frequencies.to_offset(freq)
        if isinstance(offset, CALENDAR):
            panel = _dated(panel, offset)
            times = panel.indexes["time"]
        grid = pd.date_range(times[0], times[-1], freq=freq)
    except ValueError as error:
        known = "'h', 'D', '15min' or 'MS'"
        raise PanelError(f"freq {freq!r}: not a frequency that pandas knows, such as {known}") from error
    off = ~times.isin(grid)
    if off.any():
        row = int(np.argmax(off))
        raise PanelError(f"`time`: {at(times[row])} at row {row} is not on the grid of {freq!r}; choose a finer freq")
    return panel.reindex(time=grid)


CALENDAR = (
    *(pd.offsets.MonthBegin, pd.offsets.QuarterBegin, pd.offsets.YearBegin),
    *(pd.offsets.MonthEnd, pd.offsets.QuarterEnd, pd.offsets.YearEnd),
)
"""Offsets of pandas that name the first or the last day of a month, quarter or year."""


def _dated(panel: xr.Dataset, offset: pd.offsets.BaseOffset) -> xr.Dataset:
    """Date each row by the first or the last day of its month, quarter or year.

    Raises:
        PanelError: Two rows lie in one.
    """
    times, one = pd.DatetimeIndex(panel.indexes["time"]), offset.base
    first = isinstance(one, CALENDAR[:3])
    dates = pd.DatetimeIndex([one.rollback(day) if first else one.rollforward(day) for day in times.normalize()])
    twice = dates.duplicated()
    if twice.any():
        row = int(np.argmax(twice))
        raise PanelError(
            f"`time`: {at(times[row - 1])} and {at(times[row])} at row {row} lie in one step of {one.freqstr!r}; "
            "choose a finer freq (means over each, as panel.resample makes them, lose the single values)"
        )
    return panel.assign_coords(time=("time", np.asarray(dates), panel["time"].attrs))


def add_coords(panel: xr.Dataset, coords: pd.DataFrame) -> xr.Dataset:
    """Add node coordinates to a panel.

    Args:
        panel: The panel; it is not changed.
        coords: A table indexed by node label. Columns are named `lat`, `lon` (degrees), `x`, `y`, or freely.

    Returns:
        The panel with the table's columns as coordinates of its nodes.

    Raises:
        PanelError: The table lacks a node of the panel, or a coordinate is not a number or out of range.
    """
    labels = panel["node"].values.tolist()
    if any(isinstance(label, str) for label in labels) and coords.index.dtype.kind in "iu":
        coords = coords.set_axis(coords.index.astype(str))  # station numbers are text in a wide table's header
    twice = coords.index.duplicated()
    if twice.any():
        raise PanelError(f"`node`: {some(coords.index[twice][:1])} appears twice in the coordinates; keep one row")
    lacking = [label for label in labels if label not in coords.index]
    if lacking:
        column = coords.index.name or "the index"
        raise PanelError(
            f"`node`: the coordinates lack {some(lacking)}; their labels are read from {column!r}, which starts with "
            f"{some(coords.index[:2])}: add the rows, or put the column of labels first"
        )
    coords = coords.rename(columns=lambda name: PLACES.get(str(name).lower(), str(name).replace(" ", "_"))).loc[labels]
    if both := [name for name in coords.columns if name in panel.data_vars]:
        raise PanelError(f"{both[0]!r}: is a variable and a coordinate of the nodes; give one of both another name")
    for axis in [axis for axis in dict.fromkeys(PLACES.values()) if axis in coords.columns]:
        _check_axis(str(axis), coords[axis])
    degrees = {"lat": "degrees_north", "lon": "degrees_east"}
    made: dict[str, Any] = {}
    for name in coords.columns:
        series = pd.to_numeric(coords[name]) if name in PLACES.values() else coords[name]
        numeric = pd.api.types.is_numeric_dtype(series)
        values = series.to_numpy("float64") if numeric else series.fillna("").astype(str).to_numpy("str")
        made[str(name)] = ("node", values, {"units": degrees[str(name)]} if name in degrees else {})
    return panel.assign_coords(made)


PLACES = {"latitude": "lat", "lat": "lat", "longitude": "lon", "lon": "lon", "lng": "lon", "x": "x", "y": "y"}
"""Names of coordinate columns, in lower case, and the coordinates that they become."""
LIMITS = {"lat": 90.0, "lon": 360.0}


def _check_axis(axis: str, values: pd.Series) -> None:
    numbers = pd.to_numeric(values, errors="coerce")
    bad = numbers.isna() | (numbers.abs() > LIMITS.get(axis, np.inf))
    if bad.any():
        label, value = values.index[int(np.argmax(bad))], values[bad].tolist()[0]
        what = "degrees, such as 51.93" if axis in LIMITS else "a number"
        raise PanelError(f"`{axis}`: {value!r} at node {some([label])} in the coordinates; write {what}")


def mark_missing(panel: xr.Dataset, marks: Marks) -> xr.Dataset:
    """Replace values that mark missing ones, such as -999, with NaN.

    Args:
        panel: The panel; it is not changed.
        marks: The values that mark missing ones: a list for all variables, or a list by variable name.

    Returns:
        The panel with NaN in their places.

    Raises:
        PanelError: The panel lacks a variable that `marks` names.

    >>> panel = xr.Dataset({"y": (("time", "node"), [[1.0], [-999.0]])}, {"time": [0.0, 1.0], "node": ["a"]})
    >>> mark_missing(panel, [-999])["y"].values.ravel().tolist()
    [1.0, nan]
    """
    dynamic = [str(name) for name, variable in panel.data_vars.items() if "time" in variable.dims]
    by_name = marks if isinstance(marks, Mapping) else dict.fromkeys(dynamic, marks)
    for name, values in by_name.items():
        if name not in panel.data_vars:
            raise PanelError(f"missing: the panel has no variable {name!r}; {did_you_mean(name, dynamic)}")
        if len(values):
            stored = np.asarray(values, panel[name].dtype)  # -99.9 in float32 is not -99.9 in float64
            panel = panel.assign({name: panel[name].where(~panel[name].isin(stored))})
    return panel


WAYS_OUT = {
    "dates": "leave the column out (drop), or name it as the time",
    "periods": "leave the column out (drop), or name it as the time",
    "durations": "leave the column out (drop), or make numbers of it, such as frame[column] / pandas.Timedelta('1h')",
    "categories": "leave the column out (drop), or name it as the node",
    "intervals": "leave the column out (drop), or take their middles, frame[column].array.mid",
    "complex numbers": "leave the column out (drop), or take its parts, frame[column].to_numpy().real",
}
"""What to do with a column that holds no real numbers."""


def _other_kind(series: pd.Series) -> str:
    """Name what a column holds that is no number; empty for numbers, and for texts, which may be some."""
    kind = series.dtype
    for dtype, what in (
        (pd.CategoricalDtype, "categories"),
        (pd.PeriodDtype, "periods"),
        (pd.IntervalDtype, "intervals"),
    ):
        if isinstance(kind, dtype):
            return what
    if kind.kind == "O":
        first = next((x for x in series if not pd.api.types.is_scalar(x) or not pd.isna(x)), None)
        if isinstance(first, datetime.timedelta):
            return "durations"
        if isinstance(first, complex):
            return "complex numbers"
        return "dates" if isinstance(first, datetime.date | datetime.time) else ""
    return {"M": "dates", "m": "durations", "c": "complex numbers"}.get(kind.kind, "")


def _rounded(value: object) -> bool:
    """Tell if a whole number, or a text of one, is another one as a float."""
    whole = int(value) if isinstance(value, int) or (isinstance(value, str) and value.strip().isdigit()) else 0
    return int(float(whole)) != whole


def _numbers(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table as floats.

    Raises:
        PanelError: A column holds text; the message names the first of it.
    """
    for column in table.columns:
        series = table[column]
        if what := _other_kind(series):
            raise PanelError(f"column {column!r}: holds {what}, not numbers; {WAYS_OUT[what]}")
        if pd.api.types.is_integer_dtype(series) and (largest := abs(int(series.abs().max() or 0))) > 2**53:
            raise PanelError(
                f"column {column!r}: whole numbers of up to {len(str(largest))} digits, of which float64 holds 15; "
                "leave the column out, or make it text"
            )
        if pd.api.types.is_numeric_dtype(series):
            continue
        numbers = pd.to_numeric(series.astype(object), errors="coerce")  # what pyarrow holds would be NaN, not missing
        if numbers.dtype.kind == "c":
            raise PanelError(f"column {column!r}: holds complex numbers; {WAYS_OUT['complex numbers']}")
        text = numbers.isna() & series.notna()
        if text.any():
            row = int(np.argmax(text.to_numpy()))
            raise PanelError(
                f"column {column!r}: text ({series.iloc[row]!r}) at {at(table.index[row])} where numbers were "
                "expected; leave the column out or mark the value as missing"
            )
        large = series[numbers.abs() >= 2**53]
        if any(_rounded(value) for value in large):
            raise PanelError(f"column {column!r}: whole numbers beyond 2**53, which floats round; subtract an offset")
        table = table.assign(**{str(column): numbers}) if isinstance(column, str) else table.astype({column: "float64"})
    return table.astype("float64")
