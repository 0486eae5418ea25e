"""The panel, what goes in: its schema, its check, and what a forecaster remembers of it.

A panel is an `xarray.Dataset` over `time` and `node` (and optionally a leading `member`), float variables, NaN the one
mark of a missing value. The forecast's schema is in `stgate.forecast_schema`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from stgate.errors import PanelError, did_you_mean

Step = np.timedelta64 | float
"""One time step: a timedelta64 for calendar time, a float for model time."""


@dataclasses.dataclass(frozen=True)
class PanelSpec:
    """What a forecaster must know of a panel, as plain JSON-able values; it travels in the checkpoint.

    Attributes:
        targets: Variables that are forecast.
        past_covariates: Variables known up to the forecast's origin.
        future_covariates: Variables known ahead, over the horizon too.
        static_covariates: Node coordinates or node variables.
        nodes: Node labels, in the order of the network's nodes.
        step: One time step, in seconds for calendar time, in model time units otherwise.
        time: `calendar` (datetime64) or `model` (float).
        window: Input length, in steps.
        horizon: Forecast length, in steps.
        calendar: Names of the calendar features (see `stgate.data.calendar`).
        units: Units of the targets, by name.
        boundary: `periodic` when the nodes form a ring, else `open`.
        time_units: Units of model time; empty for calendar time.
    """

    targets: tuple[str, ...]
    nodes: tuple[str | int, ...]
    step: float
    time: Literal["calendar", "model"]
    window: int
    horizon: int
    past_covariates: tuple[str, ...] = ()
    future_covariates: tuple[str, ...] = ()
    static_covariates: tuple[str, ...] = ()
    calendar: tuple[str, ...] = ()
    units: Mapping[str, str] = dataclasses.field(default_factory=dict)
    boundary: Literal["open", "periodic"] = "open"
    time_units: str = ""

    @property
    def channels(self) -> tuple[str, ...]:
        """All dynamic variables, in tensor order: targets, past covariates, future covariates."""
        return self.targets + self.past_covariates + self.future_covariates

    @property
    def time_step(self) -> Step:
        """One time step as a timedelta64 or a float."""
        return np.timedelta64(round(self.step * 1e6), "us") if self.time == "calendar" else self.step

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, dicts, strings and numbers; `PanelSpec.from_dict` reverses it."""
        plain = dataclasses.asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in plain.items()}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> PanelSpec:
        """The spec that `to_dict` wrote."""
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()}
        return cls(**values)

    def check(self, panel: xr.Dataset) -> xr.Dataset:
        """The panel with this spec's nodes in this spec's order.

        Raises:
            PanelError: The panel lacks a variable, has other nodes or another step.
        """
        check_panel(panel)
        for name in (*self.channels, *self.static_covariates):
            if name not in panel:
                have = sorted(map(str, panel.data_vars))
                raise PanelError(f"`{name}`: the panel has no such variable; {did_you_mean(name, have)}")
        kind = time_kind(panel)
        if kind != self.time:
            raise PanelError(f"`time`: the panel has {kind} time, the forecaster was fitted on {self.time} time")
        if not np.isclose(step_number(panel), self.step, rtol=1e-6):
            raise PanelError(
                f"`time`: the panel's step is {step_text(panel)}, the forecaster was fitted on steps of "
                f"{_number_text(self.step, self.time, self.time_units)}; resample the panel"
            )
        have_nodes = list(panel["node"].values.tolist())
        lacking = [n for n in self.nodes if n not in set(have_nodes)]
        extra = [n for n in have_nodes if n not in set(self.nodes)]
        if lacking or extra:
            said = "; ".join(
                f"{what} {_some(names)}" for what, names in (("lacks", lacking), ("has unknown", extra)) if names
            )
            raise PanelError(
                f"`node`: the panel's nodes are not those the forecaster was fitted on ({said}); "
                "select them with panel.sel(node=[...]) or fit on this panel"
            )
        return panel if have_nodes == list(self.nodes) else panel.sel(node=list(self.nodes))


def time_kind(panel: xr.Dataset) -> Literal["calendar", "model"]:
    """`calendar` for datetime64 times, `model` for numbers."""
    return "calendar" if panel["time"].dtype.kind == "M" else "model"


def time_step(panel: xr.Dataset) -> Step:
    """The panel's step: a timedelta64 or a float; the panel must be regular."""
    times = panel["time"].values
    if time_kind(panel) == "calendar":
        step: Step = (times[1] - times[0]).astype("timedelta64[us]")
        return step
    return float((times[-1] - times[0]) / (times.size - 1))


def step_number(panel: xr.Dataset) -> float:
    """The panel's step in seconds (calendar time) or model time units."""
    step = time_step(panel)
    return float(step / np.timedelta64(1, "s")) if isinstance(step, np.timedelta64) else float(step)


def step_text(panel: xr.Dataset) -> str:
    """The panel's step as people say it: `1h`, `0.05`."""
    return _number_text(step_number(panel), time_kind(panel), str(panel["time"].attrs.get("units", "")))


def observed_mask(panel: xr.Dataset, name: str) -> xr.DataArray:
    """True where `name` is observed (finite), with the variable's own dims."""
    return panel[name].notnull()


def check_panel(panel: xr.Dataset, *, regular: bool = True) -> None:
    """Check a panel against the schema; silent when it holds.

    Args:
        panel: The dataset to check.
        regular: Require evenly spaced times, as window models do.

    Raises:
        PanelError: With one line that names the variable, the place and the mend.
    """
    if not isinstance(panel, xr.Dataset):
        raise PanelError(f"a panel is an xarray.Dataset, got {type(panel).__name__}; see stgate.to_panel")
    for dim in ("time", "node"):
        if dim not in panel.dims:
            raise PanelError(f"`{dim}`: the panel has no such dimension (it has {_some(panel.dims)}); rename it")
        if dim not in panel.coords:
            raise PanelError(f"`{dim}`: the dimension has no coordinate; assign one with panel.assign_coords({dim}=…)")
        if panel.sizes[dim] == 0:
            raise PanelError(f"`{dim}`: the panel is empty along it; select less narrowly")
    labels = panel.indexes["node"]
    if not labels.is_unique:
        twice = labels[labels.duplicated()][0]
        raise PanelError(f"`node`: the label {twice!r} stands twice; drop one with panel.drop_duplicates('node')")
    check_time(panel, regular=regular)
    dynamic = [str(name) for name, variable in panel.data_vars.items() if "time" in variable.dims]
    if not dynamic:
        raise PanelError("the panel has no variable over (time, node)")
    for name in dynamic:
        _check_variable(panel, name)


def check_time(panel: xr.Dataset, *, regular: bool = True) -> None:
    """The part of `check_panel` that concerns the time axis.

    Raises:
        PanelError: Times are missing, repeated, out of order or uneven.
    """
    times = panel["time"]
    named = next((f"`{n}`" for n, v in panel.data_vars.items() if "time" in v.dims), "`time`")
    if times.dtype.kind not in "Mfiu":
        raise PanelError(
            f"`time`: neither datetime64 nor a number but {times.dtype}; convert it with pandas.to_datetime"
        )
    values = times.values
    if pd.isnull(values).any():
        raise PanelError(f"`time`: row {int(np.argmax(pd.isnull(values)))} is not a time; drop it")
    if values.size < 2:
        return
    gaps = np.diff(values)
    zero = np.zeros(1, gaps.dtype)[0]
    if (gaps == zero).any():
        row = int(np.argmax(gaps == zero))
        raise PanelError(
            f"{named}: the time {_at(values[row])} stands twice, at rows {row} and {row + 1}; "
            "keep one with panel.drop_duplicates('time')"
        )
    if (gaps < zero).any():
        row = int(np.argmax(gaps < zero)) + 1
        raise PanelError(f"{named}: time goes back to {_at(values[row])} at row {row}; sort with panel.sortby('time')")
    if not regular:
        return
    if time_kind(panel) == "calendar":
        step = np.sort(gaps)[gaps.size // 2]
        odd = gaps != step
        mend = f"reindex with panel.resample(time='{pd.tseries.frequencies.to_offset(pd.Timedelta(step)).freqstr}')"
        mend += ".asfreq() to make the gap missing values"
    else:
        step = np.median(gaps)
        # Float times carry round-off: compare with the even grid, to a thousandth of a step.
        even = (values[-1] - values[0]) / gaps.size
        odd = np.abs(gaps - step) > 1e-3 * step
        if not odd.any() and abs(even - step) > 1e-3 * step:
            odd = np.ones_like(odd)
        mend = "interpolate to an even grid with panel.interp(time=…)"
    if odd.any():
        row = int(np.argmax(odd)) + 1
        raise PanelError(f"{named}: time jumps from {_at(values[row - 1])} to {_at(values[row])} at row {row}; {mend}")


def _check_variable(panel: xr.Dataset, name: str) -> None:
    variable = panel[name]
    wanted = ("member", "time", "node") if "member" in variable.dims else ("time", "node")
    if variable.dims != wanted:
        raise PanelError(
            f"`{name}`: its dims are {tuple(map(str, variable.dims))}, a panel has {wanted}; "
            "use panel.transpose(...) or drop the variable"
        )
    if variable.dtype.kind != "f":
        if variable.dtype.kind in "OUST":
            flat = variable.values.reshape(-1)
            shown = next((x for x in flat.tolist() if isinstance(x, str)), flat[0])
            raise PanelError(f"`{name}`: holds text ({shown!r}), not numbers; drop it with panel.drop_vars({name!r})")
        raise PanelError(
            f"`{name}`: holds {variable.dtype}, not floats; cast it with panel[{name!r}].astype('float32')"
        )
    infinite = np.isinf(variable.values)
    if infinite.any():
        where = np.unravel_index(int(np.argmax(infinite)), infinite.shape)
        place = ", ".join(
            f"{d} {_at(panel[d].values[i])}" for d, i in zip(wanted, where, strict=True) if d in panel.coords
        )
        raise PanelError(
            f"`{name}`: infinite at {place}; NaN is the mark of a missing value: "
            f"panel[{name!r}].where(abs(panel[{name!r}]) < float('inf'))"
        )


def check_targets(panel: xr.Dataset, targets: Iterable[str]) -> None:
    """Refuse targets that are missing altogether, as a variable or at a node.

    Raises:
        PanelError: A target is no variable of the panel, or some node never observes it.
    """
    for name in targets:
        if name not in panel.data_vars:
            have = sorted(map(str, panel.data_vars))
            raise PanelError(f"`{name}`: the panel has no such variable; {did_you_mean(name, have)}")
        seen = panel[name].notnull().any([d for d in panel[name].dims if d != "node"])
        if not bool(seen.all()):
            silent = panel["node"].values[~seen.values].tolist()
            raise PanelError(
                f"`{name}`: never observed at node {_some(silent)}; leave out with panel.drop_sel(node={silent[:3]!r})"
            )


def to_panel(
    frame: pd.DataFrame,
    *,
    name: str | None = None,
    time: str | None = None,
    node: str | None = None,
    freq: str | None = None,
    coords: pd.DataFrame | None = None,
    units: Mapping[str, str] | None = None,
) -> xr.Dataset:
    """A panel from a pandas frame, wide or long.

    Args:
        frame: Wide: the index is time, each column a node (then give `name`). Long: a column of times, a column of
            nodes (give `node`), every other column a variable.
        name: The variable's name, for a wide frame.
        time: The column of times; None takes the index.
        node: The column of node labels, for a long frame.
        freq: Put the rows on this regular grid (`"h"`, `"D"`); absent rows become missing values.
        coords: Node coordinates, indexed by node label (`lat`, `lon` in degrees, or `x`, `y`).
        units: Units by variable name.

    Returns:
        A checked panel of float32 variables over (time, node).

    Raises:
        PanelError: Text in a number column, a repeated (time, node) row, an uneven time axis without `freq`.
    """
    if time is not None:
        frame = frame.set_index(time)
    frame = frame.rename_axis(index="time")
    if node is None:
        if name is None:
            raise PanelError("a wide frame needs name=…, the variable's name; a long one node=…, the column of nodes")
        variables = {name: _numbers(frame.rename_axis(columns="node"))}
    else:
        keyed = frame.set_index(node, append=True).rename_axis(index=["time", "node"])
        twice = keyed.index.duplicated()
        if twice.any():
            when, where = keyed.index[int(np.argmax(twice))]
            raise PanelError(f"time {_at(when)} stands twice at node {where!r}; drop one with frame.drop_duplicates")
        variables = {str(column): _numbers(keyed[[column]])[column].unstack("node") for column in keyed.columns}
    panel = xr.Dataset({key: (("time", "node"), table.to_numpy("float32")) for key, table in variables.items()})
    first = next(iter(variables.values()))
    index = first.index
    if isinstance(index, pd.DatetimeIndex) and index.tz is not None:
        index = index.tz_convert("UTC").tz_localize(None)
    panel = panel.assign_coords(time=np.asarray(index), node=np.asarray(first.columns.tolist()))
    if freq is not None:
        check_time(panel.sortby("time"), regular=False)
        panel = panel.sortby("time").resample(time=freq).asfreq()
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
    check_panel(panel)
    return panel


def add_coords(panel: xr.Dataset, coords: pd.DataFrame) -> xr.Dataset:
    """The panel with node coordinates from a table indexed by node label.

    Raises:
        PanelError: The table lacks a node of the panel.
    """
    labels = panel["node"].values.tolist()
    lacking = [label for label in labels if label not in coords.index]
    if lacking:
        raise PanelError(f"`node`: the coordinates lack {_some(lacking)}; add their rows")
    chosen = coords.loc[labels].select_dtypes("number")
    degrees = {"lat": "degrees_north", "lon": "degrees_east"}
    return panel.assign_coords(
        {
            str(c): ("node", chosen[c].to_numpy("float64"), {"units": degrees[str(c)]} if c in degrees else {})
            for c in chosen.columns
        }
    )


def _numbers(table: pd.DataFrame) -> pd.DataFrame:
    """The table as floats, or a PanelError that names the first text in it."""
    for column in table.columns:
        series = table[column]
        if pd.api.types.is_numeric_dtype(series):
            continue
        numbers = pd.to_numeric(series, errors="coerce")
        text = numbers.isna() & series.notna()
        if text.any():
            row = int(np.argmax(text.to_numpy()))
            raise PanelError(
                f"column {column!r}: text ({series.iloc[row]!r}) at {_at(table.index[row])} where numbers were "
                "expected; leave the column out or mark the value as missing"
            )
        table = table.assign(**{str(column): numbers}) if isinstance(column, str) else table.astype({column: "float64"})
    return table.astype("float64")


def _at(value: Any) -> str:  # noqa: ANN401 (a label of any type)
    """A time or label as people write it, without trailing zeros."""
    if isinstance(value, tuple):
        return ", ".join(map(_at, value))
    if isinstance(value, np.datetime64 | pd.Timestamp):
        stamp = pd.Timestamp(value)
        return stamp.strftime("%Y-%m-%dT%H:%M" if not stamp.second else "%Y-%m-%dT%H:%M:%S")
    if isinstance(value, float | np.floating):
        return f"{float(value):g}"
    return str(value)


def _number_text(step: float, kind: str, units: str) -> str:
    if kind == "calendar":
        return str(pd.tseries.frequencies.to_offset(pd.Timedelta(seconds=step)).freqstr)
    return f"{step:g} {units}".strip()


def _some(names: Iterable[Any], most: int = 4) -> str:
    """Up to `most` names, then a count of the rest."""
    shown: Sequence[Any] = list(names)
    head = ", ".join(repr(n) if isinstance(n, str) else str(n) for n in shown[:most])
    return head + (f" and {len(shown) - most} more" if len(shown) > most else "")
