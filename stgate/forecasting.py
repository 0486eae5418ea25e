"""Forecast, backtest, calibrate: from a fitted forecaster and a panel to a forecast dataset."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from stgate import store
from stgate.assembly import Prediction, assemble
from stgate.calibration.conformal import rank, split_conformal
from stgate.data.history import History
from stgate.data.modules import WindowData
from stgate.errors import ForecastError, PanelError, RequestError
from stgate.forecast_schema import quantiles_of
from stgate.models.forecaster import Forecaster, median_of
from stgate.sizes import free_memory, size_text
from stgate.spec import PanelSpec

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
"""Central-interval levels that a calibration holds unless told otherwise."""

Progress = Callable[[int, int], None]
"""Called with the windows done and the windows in all."""


def forecast(
    model: Forecaster | str | os.PathLike[str],
    panel: xr.Dataset | str | os.PathLike[str],
    *,
    levels: Sequence[float] = (0.5, 0.9),
    start: str | float | None = None,
    max_memory: float | None = None,
) -> xr.Dataset:
    """Forecast the steps after the last observation, or from `start` on.

    Args:
        model: A fitted forecaster, or a checkpoint's path.
        panel: A panel, or the path of one, with the nodes and variables that it was fitted on. Rows after the origin
            supply future covariates.
        levels: Central-interval levels.
        start: The first time to forecast; the step before it is the last one whose observations are used.
        max_memory: Megabytes that the panel's tensors may take; half of what is free when None. A .zarr store that
            would take more is read in blocks.

    Returns:
        A forecast with one `init_time`.

    Raises:
        PanelError: The panel does not fit the forecaster.
        ForecastError: Too little history, or future covariates lack.
        RequestError: A level that is not calibrated.
    """
    model = _loaded(model)
    spec = model.fitted_spec
    history = History.of(panel, spec, max_memory)
    if start is not None:
        origin = history.row(start, "start") - 1
    elif (last := history.last) is not None:
        origin = last
    else:
        raise PanelError(f"`{spec.targets[0]}`: never observed in this panel; there is nothing to forecast from")
    _check_window(history, origin)
    history.check_future(origin)
    result = _predict(model, history, np.array([origin]), levels)
    if all(bool(result[f"{t}_truth"].isnull().all()) for t in spec.targets):
        result = result.drop_vars([f"{t}_truth" for t in spec.targets])
    result.attrs["history"] = store.history("forecast")
    return result


def backtest(
    model: Forecaster | str | os.PathLike[str],
    panel: xr.Dataset | str | os.PathLike[str],
    *,
    start: str | float | None = None,
    end: str | float | None = None,
    every: int = 1,
    levels: Sequence[float] = (0.5, 0.9),
    progress: Progress | None = None,
    max_memory: float | None = None,
) -> xr.Dataset:
    """Forecast again and again through the past, each time from what was known then.

    Args:
        model: A fitted forecaster, or a checkpoint's path.
        panel: A panel, or the path of one, with the nodes and variables that it was fitted on.
        start: The first valid time; origins may precede it. None: as early as the window allows.
        end: The last valid time; a date means its last step. None: the panel's end.
        every: Steps between origins. One of them lies one step before `start`.
        levels: Central-interval levels.
        progress: Called with (windows done, windows in all).
        max_memory: As in `forecast`.

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
    history = History.of(panel, spec, max_memory)
    first = spec.window if start is None else history.row(start, "start")
    last = history.steps - 1 if end is None else history.row(end, "end", last=True)
    if start is not None and end is not None and last < first:
        raise RequestError(f"the end {end} lies before the start {start}; exchange them")
    rows = np.arange(first - 1 - every * ((first - 1) // every), last, every)
    rows = rows[(rows >= spec.window - 1) & (rows + spec.horizon >= first)]
    if rows.size == 0:
        raise ForecastError(
            f"no origin up to {history.times[last]} has {spec.window} steps of history; "
            "start later or give more history"
        )
    result = _predict(model, history, rows, levels, progress)
    low, high = history.times[first], history.times[last]
    inside = (result["valid_time"] >= low) & (result["valid_time"] <= high)
    result = result.map(lambda variable: variable.where(inside), keep_attrs=True)
    result.attrs["valid_from"], result.attrs["valid_to"] = str(low), str(high)
    result.attrs["history"] = store.history("backtest")
    return result


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


def _check_window(history: History, origin: int) -> None:
    if origin < history.spec.window - 1:
        raise ForecastError(
            f"the origin {history.times[max(origin, 0)]} has {origin + 1} steps of history, "
            f"the window needs {history.spec.window}"
        )


def _predict(
    model: Forecaster,
    history: History,
    rows: NDArray[np.int64],
    levels: Sequence[float],
    progress: Progress | None = None,
) -> xr.Dataset:
    """Forecast from every origin row and every member, and put the results together."""
    quantiles = quantiles_of(levels)
    windows = len(rows) * history.frame.sizes.get("member", 1)
    _check_room(history.spec, windows, len(quantiles))
    made: list[Prediction] = []
    done = 0
    with _evaluating(model):
        for batch in history.batches(rows):
            made.append(model.predicted({name: value.to(model.device) for name, value in batch.items()}, quantiles))
            done += len(batch["origin"])
            if progress:
                progress(done, windows)
    return assemble(model, history.frame, made, quantiles)


def _check_room(spec: PanelSpec, windows: int, quantiles: int) -> None:
    """Refuse a result that memory cannot hold: it is held in batches, then joined, then put on its grid."""
    held = 4 * windows * spec.horizon * len(spec.nodes) * len(spec.targets) * (quantiles + 2)
    free = free_memory()
    if free is not None and 3 * held > free:
        raise RequestError(
            f"{windows:,} forecasts take {size_text(held)}, and three times that while they are put together; "
            f"{size_text(free)} are free: ask for a shorter span, or take every 24th origin (every=24, --every 24)"
        )
