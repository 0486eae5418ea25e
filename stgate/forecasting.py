"""Forecast, backtest, calibrate: from a fitted forecaster and a panel to a forecast dataset."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr

from stgate import store
from stgate.assembly import assemble
from stgate.calibration.conformal import rank, split_conformal
from stgate.data.modules import WindowData
from stgate.data.windows import Series, Windows
from stgate.errors import ForecastError, PanelError, RequestError
from stgate.forecast_schema import quantiles_of
from stgate.models.forecaster import Forecaster, median_of
from stgate.panel import parse_time
from stgate.spec import PanelSpec

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
"""Central-interval levels that a calibration holds unless told otherwise."""

Progress = Callable[[int, int], None]
"""Called with the windows done and the windows in all."""


def forecast(
    model: Forecaster | str | os.PathLike[str],
    panel: xr.Dataset,
    *,
    levels: Sequence[float] = (0.5, 0.9),
    start: str | float | None = None,
) -> xr.Dataset:
    """Forecast the steps after the last observation, or from `start` on.

    Args:
        model: A fitted forecaster, or a checkpoint's path.
        panel: With the nodes and variables that it was fitted on. Rows after the origin supply future covariates.
        levels: Central-interval levels.
        start: The first time to forecast; the step before it is the last one whose observations are used.

    Returns:
        A forecast with one `init_time`.

    Raises:
        PanelError: The panel does not fit the forecaster.
        ForecastError: Too little history, or future covariates lack.
        RequestError: A level that is not calibrated.
    """
    model = _loaded(model)
    spec = model.fitted_spec
    panel = spec.check(panel)
    if start is None:
        seen = xr.concat([panel[t].notnull() for t in spec.targets], "target").any()
        if not bool(seen):
            raise PanelError(f"`{spec.targets[0]}`: never observed in this panel; there is nothing to forecast from")
        dims = [d for d in ("member", "node") if any(d in panel[t].dims for t in spec.targets)]
        any_target = sum(panel[t].notnull().any(dims).astype(int) for t in spec.targets)
        origin = int(np.flatnonzero(np.asarray(any_target))[-1])
    else:
        origin = _row(panel, start, spec, "start") - 1
    return _predict(model, panel, np.array([origin]), levels, command="forecast")


def backtest(
    model: Forecaster | str | os.PathLike[str],
    panel: xr.Dataset,
    *,
    start: str | float | None = None,
    end: str | float | None = None,
    every: int = 1,
    levels: Sequence[float] = (0.5, 0.9),
    progress: Progress | None = None,
) -> xr.Dataset:
    """Forecast again and again through the past, each time from what was known then.

    Args:
        model: A fitted forecaster, or a checkpoint's path.
        panel: With the nodes and variables that it was fitted on.
        start: The first valid time; origins may precede it. None: as early as the window allows.
        end: The last valid time; a date means its last step. None: the panel's end.
        every: Steps between origins. One of them lies one step before `start`.
        levels: Central-interval levels.
        progress: Called with (windows done, windows in all).

    Returns:
        A forecast over `init_time` and `lead_time` with `<target>_truth`; entries whose valid time lies outside
        `start` to `end` are missing.

    Raises:
        PanelError: The panel does not fit the forecaster.
        ForecastError: No origin is left.
        RequestError: A time outside the panel, or a level that is not calibrated.
    """
    if every < 1:
        raise RequestError(f"every {every}: at least 1 step between origins")
    model = _loaded(model)
    spec = model.fitted_spec
    panel = spec.check(panel)
    first = spec.window if start is None else _row(panel, start, spec, "start")
    last = panel.sizes["time"] - 1 if end is None else _row(panel, end, spec, "end", last=True)
    if start is not None and end is not None and last < first:
        raise RequestError(f"the end {end} lies before the start {start}; exchange them")
    rows = np.arange(first - 1 - every * ((first - 1) // every), last, every)
    rows = rows[(rows >= spec.window - 1) & (rows + spec.horizon >= first)]
    if rows.size == 0:
        raise ForecastError(
            f"no origin up to {panel['time'].values[last]} has {spec.window} steps of history; "
            "start later or give more history"
        )
    return _predict(model, panel, rows, levels, bounds=(first, last), progress=progress, command="backtest")


def calibrate(model: Forecaster, data: WindowData, *, levels: Sequence[float] | None = None) -> dict[float, float]:
    """Fit split conformal intervals per lead time on the calibration part, and store them in the forecaster.

    The score is |truth - median| / scale, pooled over origins, nodes and members of one lead and target. If new scores
    are exchangeable with those of the calibration part, an interval of level p covers with probability at least p;
    under drift it need not.

    Args:
        model: A fitted forecaster; its `calibration` is replaced.
        data: Its calibration part has been seen neither by training nor by model choice.
        levels: Central-interval levels to hold. None: those of `LEVELS` that the number of cases supports.

    Returns:
        Coverage by level on the calibration part itself: a check, not a result.

    Raises:
        RequestError: The split leaves no calibration part, or has too few cases for a level.
    """
    start, stop = data.parts.calibration
    if stop <= start:
        raise RequestError("split: it leaves no calibration part; give its third entry a share")
    if model.fitted_spec != data.spec:
        raise RequestError("the data are not those that the forecaster was fitted on; use the same panel and options")
    ordered = sorted(LEVELS if levels is None else levels)
    if not ordered:
        raise RequestError("levels: give at least one, such as 0.9")
    quantiles_of(ordered)  # levels out of range are refused
    batches = []
    with _evaluating(model):
        for raw in data.part_dataloader("calibration"):
            batch = {name: value.to(model.device) for name, value in raw.items()}
            distribution = model(batch)
            score = (batch["target"] - median_of(distribution)).abs() / distribution.stddev
            batches.append(score.transpose(1, 2).flatten(0, 1).cpu().numpy())  # (case, lead, target)
    scores = np.concatenate(batches)
    counts = (~np.isnan(scores)).sum(0)
    short = int(counts.min())
    if levels is None:
        ordered = [level for level in ordered if rank(short, level) <= short] or ordered[:1]
    for level in ordered:
        if rank(short, level) > short:
            lead, target = np.unravel_index(int(np.argmin(counts)), counts.shape)
            need = math.ceil(round(level / (1 - level), 9))
            raise RequestError(
                f"level {level:g}: needs {need} observed cases at each lead, the calibration "
                f"part has {short} at lead {lead + 1} of `{data.spec.targets[target]}`; give it a larger share"
            )
    factors = split_conformal(scores, ordered)
    model.calibration = {
        "method": "split conformal per lead time",
        "levels": ordered,
        "factors": torch.from_numpy(factors).float(),
        "cases": torch.from_numpy(counts),
        "start": str(data.panel["time"].values[start]),
        "end": str(data.panel["time"].values[stop - 1]),
    }
    seen = ~np.isnan(scores)
    return {p: float((scores <= f)[seen].mean()) for p, f in zip(ordered, factors, strict=True)}


@contextlib.contextmanager
def _evaluating(model: Forecaster) -> Iterator[None]:
    """Evaluation mode without gradients; the caller's mode comes back."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def _loaded(model: Forecaster | str | os.PathLike[str]) -> Forecaster:
    return model if isinstance(model, Forecaster) else Forecaster.load_from_checkpoint(model)


def _row(panel: xr.Dataset, when: str | float, spec: PanelSpec, name: str, *, last: bool = False) -> int:
    """The row of a time; a date without an hour means its first step, or its last when `last`."""
    times = panel.indexes["time"]
    span = f"the panel spans {times[0]} to {times[-1]}"
    low: Any
    high: Any
    try:
        if spec.time == "model":
            low = high = float(when)
        else:
            low, high = parse_time(when)
    except ValueError as error:
        raise RequestError(f"{name} {when}: not a time ({error}); {span}") from error
    step: Any = pd.Timedelta(seconds=spec.step) if spec.time == "calendar" else spec.step
    slack: Any = pd.Timedelta(0) if spec.time == "calendar" else 1e-6 * step  # float times carry round-off
    if high < times[0] or low > times[-1] + step + slack:
        raise RequestError(f"{name} {when}: outside the panel; {span}")
    if last:
        return int(times.searchsorted(high + slack, "right")) - 1
    return int(times.searchsorted(low - slack, "left"))


def _predict(
    model: Forecaster,
    panel: xr.Dataset,
    rows: np.ndarray,
    levels: Sequence[float],
    *,
    bounds: tuple[int, int] | None = None,
    progress: Progress | None = None,
    command: str,
) -> xr.Dataset:
    """Forecast from every origin row and every member, and put the results together."""
    spec = model.fitted_spec
    panel = panel.drop_vars([name for name, coord in panel.coords.items() if not coord.dims])
    if rows[0] < spec.window - 1:
        raise ForecastError(
            f"the origin {panel['time'].values[max(rows[0], 0)]} has {rows[0] + 1} steps of history, "
            f"the window needs {spec.window}"
        )
    extended = _extended(panel, int(rows[-1]) + spec.horizon + 1, spec)
    if command == "forecast":
        _check_future(extended, spec, int(rows[0]))
    series = Series.of(extended, spec)
    members = series.values.shape[0]
    origins = torch.cartesian_prod(torch.arange(members), torch.from_numpy(rows))
    windows = Windows(series, spec, origins.view(-1, 2))
    quantiles = quantiles_of(levels)
    made = []
    size = 64
    with _evaluating(model):
        for first in range(0, len(windows), size):
            batch = windows[torch.arange(first, min(first + size, len(windows)))]
            made.append(model.predicted({name: value.to(model.device) for name, value in batch.items()}, quantiles))
            if progress:
                progress(min(first + size, len(windows)), len(windows))
    result = assemble(model, extended, made, quantiles)
    if bounds is not None:
        low, high = extended["time"].values[bounds[0]], extended["time"].values[bounds[1]]
        inside = (result["valid_time"] >= low) & (result["valid_time"] <= high)
        result = result.map(lambda variable: variable.where(inside), keep_attrs=True)
        result.attrs["valid_from"], result.attrs["valid_to"] = str(low), str(high)
    if command == "forecast" and all(bool(result[f"{t}_truth"].isnull().all()) for t in spec.targets):
        result = result.drop_vars([f"{t}_truth" for t in spec.targets])
    result.attrs["history"] = store.history(command)
    return result


def _extended(panel: xr.Dataset, rows: int, spec: PanelSpec) -> xr.Dataset:
    """The panel with rows of missing values appended, so that it has at least `rows`."""
    lacking = rows - panel.sizes["time"]
    if lacking <= 0:
        return panel
    times = panel["time"].values
    ahead = np.arange(1, lacking + 1) * spec.time_step
    longer = np.concatenate([times, times[-1] + ahead.astype("timedelta64[us]" if spec.time == "calendar" else float)])
    attrs = panel["time"].attrs
    grown = panel.reindex(time=longer)
    grown["time"].attrs = attrs
    return grown


def _check_future(panel: xr.Dataset, spec: PanelSpec, origin: int) -> None:
    """Refuse a forecast whose future covariates lack altogether at some lead."""
    for name in spec.future_covariates:
        ahead = panel[name].isel(time=slice(origin + 1, origin + 1 + spec.horizon))
        known = ahead.notnull().any([d for d in ahead.dims if d != "time"])
        if not bool(known.all()):
            when = ahead["time"].values[int(np.argmin(known.values))]
            raise ForecastError(
                f"`{name}`: a future covariate, missing at {when}; append rows that hold it up to the horizon"
            )
