"""Forecast and backtest: from a fitted forecaster and a panel to a forecast dataset."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from stgate._memory import free_memory, size_text
from stgate.calibration.recent import LOOKBACK
from stgate.data.history import History, Progress
from stgate.data.windows import to_device
from stgate.errors import ForecastError, ForecastWarning, PanelError, RequestError, did_you_mean
from stgate.forecasting.dataset import assemble
from stgate.forecasting.online_intervals import MODES, Mode, over_time
from stgate.io import store
from stgate.prediction.predictor import Prediction, Predictor, evaluation_mode
from stgate.prediction.registry import Model, predictor_of
from stgate.schema.forecast import quantiles_of
from stgate.schema.spec import PanelSpec


def forecast(
    model: Model,
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
    predictor = predictor_of(model)
    spec = predictor.fitted_spec
    history = History.of(panel, spec, max_memory)
    if start is not None:
        origin = history.row(start, "start") - 1
    elif (last := history.last) is not None:
        origin = last
    else:
        raise PanelError(f"`{spec.targets[0]}`: never observed in this panel; there is nothing to forecast from")
    _check_window(history, origin)
    history.check_future(origin)
    result = _predict(predictor, history, np.array([origin]), levels)
    if all(bool(result[f"{t}_truth"].isnull().all()) for t in spec.targets):
        result = result.drop_vars([f"{t}_truth" for t in spec.targets])
    result.attrs["history"] = store.history("forecast")
    return result


def backtest(
    model: Model,
    panel: xr.Dataset | str | os.PathLike[str],
    *,
    start: str | float | None = None,
    end: str | float | None = None,
    every: int = 1,
    levels: Sequence[float] = (0.5, 0.9),
    calibration: Mode = "stored",
    calibration_window: int = 500,
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
        calibration: Where intervals come from: `stored` (the checkpoint's, fitted once), `rolling` (the scores of the
            last origins whose truth was known by then) or `adaptive` (these, and the level asked for moves with each
            hit and miss, so that coverage comes back after a shift).
        calibration_window: Origins that count, for the last two. As many before `start` are forecast for it, and for
            groups of few cases up to four times as many, as far back as training has not seen them.
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
    if calibration not in MODES:
        raise RequestError(f"calibration {calibration!r}: {did_you_mean(calibration, MODES)}")
    if calibration_window < 2:
        raise RequestError(f"calibration_window {calibration_window}: at least 2 origins")
    predictor = predictor_of(model)
    spec = predictor.fitted_spec
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
    rate = MODES[calibration]
    if rate is None:
        result = _predict(predictor, history, rows, levels, progress)
    else:
        warm_up = _warm_up(predictor, history, np.arange(rows[0] - every, spec.window - 2, -every), calibration_window)
        quantiles = quantiles_of(levels)
        made = _predictions(predictor, history, np.concatenate([warm_up, rows]), [0.5], progress)
        online = over_time(predictor, made, len(rows), quantiles, every=every, window=calibration_window, rate=rate)
        result = assemble(predictor, history.frame, online, quantiles)
        result.attrs["calibration"] = (
            f"{calibration} conformal over {calibration_window} origins, per lead time, per missingness group"
        )
        for name in ("calibration_span", "calibration_levels"):
            result.attrs.pop(name, None)
    low, high = history.times[first], history.times[last]
    inside = (result["valid_time"] >= low) & (result["valid_time"] <= high)
    result = result.map(lambda variable: variable.where(inside), keep_attrs=True)
    result.attrs["valid_from"], result.attrs["valid_to"] = str(low), str(high)
    result.attrs["history"] = store.history("backtest")
    return result


def _warm_up(model: Predictor, history: History, rows: NDArray[np.int64], window: int) -> NDArray[np.int64]:
    """Which of the rows before the first origin, the newest first, are forecast beforehand; in order of time.

    Beyond the window only those that training has not seen: errors of training data are smaller than those to come.
    """
    honest = int((rows > history.last_seen(model.seen)).sum())
    return rows[: min(max(window, honest), LOOKBACK * window)][::-1]


def _check_window(history: History, origin: int) -> None:
    if origin < history.spec.window - 1:
        raise ForecastError(
            f"the origin {history.times[max(origin, 0)]} has {origin + 1} steps of history, "
            f"the window needs {history.spec.window}"
        )


def _predict(
    model: Predictor,
    history: History,
    rows: NDArray[np.int64],
    levels: Sequence[float],
    progress: Progress | None = None,
) -> xr.Dataset:
    """Forecast from every origin row and every member, and put the results together."""
    quantiles = quantiles_of(levels)
    return assemble(model, history.frame, _predictions(model, history, rows, quantiles, progress), quantiles)


def _predictions(
    model: Predictor,
    history: History,
    rows: NDArray[np.int64],
    quantiles: Sequence[float],
    progress: Progress | None = None,
) -> list[Prediction]:
    """What the forecaster predicts from every origin row and every member, in batches."""
    windows = len(rows) * history.frame.sizes.get("member", 1)
    _check_room(history.spec, windows, len(quantiles))
    made: list[Prediction] = []
    with evaluation_mode(model):
        for batch in history.batches(rows, progress):
            made.append(model.predict(to_device(batch, model.device), quantiles))
    _warn_of_lost(model, made)
    return made


def _warn_of_lost(model: Predictor, made: Sequence[Prediction]) -> None:
    """Say so where a network's forecasts are not finite; a baseline may have nothing to go by."""
    if model.always_forecasts:
        lost = sum(int((~torch.isfinite(part["mean"])).sum()) for part in made)
        if lost:
            total = sum(part["mean"].numel() for part in made)
            warnings.warn(
                f"{lost:,} of {total:,} forecast values left all bounds and are not finite; fit longer, with noise, "
                "with a longer unroll or in smaller steps; evaluate counts them as no_forecast",
                ForecastWarning,
                stacklevel=4,
            )


def _check_room(spec: PanelSpec, windows: int, quantiles: int) -> None:
    """Refuse a result that memory cannot hold: it is held in batches, then joined, then put on its grid."""
    held = 4 * windows * spec.horizon * len(spec.nodes) * len(spec.targets) * (quantiles + 2)
    free = free_memory()
    if free is not None and 3 * held > free:
        raise RequestError(
            f"{windows:,} forecasts take {size_text(held)}, and three times that while they are put together; "
            f"{size_text(free)} are free: ask for a shorter span, or take every 24th origin (every=24, --every 24)"
        )
