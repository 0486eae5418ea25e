"""Forecast and backtest: from a fitted forecaster and a panel to a forecast dataset."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stgate._memory import free_memory, size_text
from stgate.data.history import History, Progress
from stgate.data.windows import to_device
from stgate.errors import ForecastError, PanelError, RequestError
from stgate.forecasting.backtests import Backtest
from stgate.forecasting.dataset import assemble
from stgate.forecasting.online_intervals import MODES, online_intervals
from stgate.forecasting.tally import Tally
from stgate.forecasting.warm_up import known_errors, warm_up_rows
from stgate.io import store
from stgate.io.cluster import check_store_options
from stgate.prediction.evaluating import evaluation_mode
from stgate.prediction.loading import Model, predictor_of
from stgate.prediction.normal_scores import nodes_of
from stgate.prediction.prediction import Prediction, on_host
from stgate.prediction.predictor import Predictor
from stgate.schema.batch import noted
from stgate.schema.levels import as_levels, quantiles_of
from stgate.schema.spec import PanelSpec
from stgate.schema.words import Mode, check_backtest


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
        start: The first time to forecast; the step before it is the last one whose observations are used. None: the
            step after the last observation.
        max_memory: Megabytes that the panel's tensors may take; half of the free memory when None. A larger .zarr store
            is read in blocks.

    Returns:
        A forecast with one `init_time`.

    Raises:
        PanelError: The panel does not fit the forecaster.
        ForecastError: The history is too short, or future covariates are missing.
        RequestError: A time lies outside the panel, or a level is not calibrated.
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
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    resume: bool = False,
    dask: str | None = None,
    history: str | None = None,
) -> xr.Dataset:
    """Forecast again and again through the past, each time from what was known then.

    Args:
        model: A fitted forecaster, or a checkpoint's path.
        panel: A panel, or the path of one, with the nodes and variables that it was fitted on.
        start: The first valid time; origins may precede it. None: as early as the window allows.
        end: The last valid time; a date without an hour means its last step. None: the panel's end.
        every: Number of steps between origins. One origin lies one step before `start`.
        levels: Central-interval levels.
        calibration: Source of the intervals: `stored` (those of the checkpoint, fitted once), `rolling` (conformity
            scores of the last origins whose truth was known at the origin) or `adaptive` (the same, but the level moves
            with each hit and miss, so that coverage recovers after a shift).
        calibration_window: Number of origins whose conformity scores `rolling` and `adaptive` use. As many origins
            before `start` are forecast first; up to four times as many, for small groups, if training has not used
            them. A fit on all rows (`refit`, `cross`) has stored the errors of forecasts of these rows by fits that
            had not seen them; they stand in the place of errors on rows that training has used.
        progress: A function called with the number of windows done and the total.
        max_memory: Megabytes that the panel's tensors may take; half of the free memory when None. A larger .zarr store
            is read in blocks.
        out: Path of a .zarr store to write to, in blocks of origins; nothing of the result is then held in memory.
        overwrite: Replace an existing `out`.
        resume: Continue the stopped run of `out`; it ends in the same bytes.
        dask: `local:N` for N processes of this machine, or the address of a dask scheduler, whose workers forecast the
            blocks of `out`; model and panel must then be paths.
        history: Line for the attribute `history`.

    Returns:
        A forecast over `init_time` and `lead_time` with `<target>_truth`; entries whose valid time lies outside
        `start` to `end` are missing. Opened lazily if `out` is given.

    Raises:
        PanelError: The panel does not fit the forecaster.
        ForecastError: No origin is left.
        RequestError: A time lies outside the panel, a level is not calibrated, or an option is out of range.
        StoreError: `out` cannot be written, or holds a stopped run.
    """
    check_store_options(out, overwrite=overwrite, resume=resume, dask=dask)
    given: dict[str, Any] = {
        **{"start": start, "end": end, "every": every, "levels": tuple(as_levels(levels)), "calibration": calibration},
        "calibration_window": calibration_window,
    }
    plan = plan_backtest(model, panel, max_memory=max_memory, **given)
    line = history or store.history("backtest")
    if out is not None:
        from stgate.forecasting.in_blocks import Job, to_store  # zarr takes a while to import

        job = Job(plan_backtest, model, panel, given)
        return to_store(plan, job, out, overwrite=overwrite, resume=resume, dask=dask, history=line, progress=progress)
    predictor, rate = plan.model, MODES[calibration]
    if rate is None:
        predictions = _predictions(predictor, plan.history, plan.predicted, plan.quantiles, progress)
    else:
        predictions = online_intervals(
            predictor,
            _predictions(predictor, plan.history, plan.predicted, None, progress),
            len(plan.rows),
            plan.quantiles,
            plan.history.series.clock.time,
            every=every,
            window=calibration_window,
            rate=rate,
            known=known_errors(predictor, plan.history, plan.predicted, every, calibration_window),
        )
    return plan.dataset(predictions).assign_attrs(history=line)


def plan_backtest(
    model: Model,
    panel: xr.Dataset | str | os.PathLike[str],
    *,
    start: str | float | None,
    end: str | float | None,
    every: int,
    levels: Sequence[float],
    calibration: Mode,
    calibration_window: int,
    max_memory: float | None,
) -> Backtest:
    """Choose the origins of a backtest; its options are those of `backtest`."""
    check_backtest(every, calibration_window, calibration)
    predictor = predictor_of(model)
    spec = predictor.fitted_spec
    history = History.of(panel, spec, max_memory)
    first = spec.window if start is None else history.row(start, "start")
    last = history.steps - 1 if end is None else history.row(end, "end", last=True)
    if start is not None and end is not None and last < first:
        raise RequestError(f"end {end}: lies before the start {start}; swap them")
    rows = np.arange(first - 1 - every * ((first - 1) // every), last, every)
    rows = rows[(rows >= spec.window - 1) & (rows + spec.horizon >= first)]
    if rows.size == 0:
        raise ForecastError(
            f"no origin up to {history.times[last]} has {spec.window} steps of history; "
            "start later or give more history"
        )
    warm_up = rows[:0]
    if MODES[calibration] is not None:
        warm_up = warm_up_rows(predictor, history, rows[0], every, calibration_window)
    return Backtest(
        *(predictor, history, np.concatenate([warm_up, rows]), len(warm_up), (first, last), every),
        *(quantiles_of(levels), calibration, calibration_window),
    )


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
    quantiles: Sequence[float] | None,
    progress: Progress | None = None,
) -> list[Prediction]:
    """Forecast from every origin row and every member, in batches; without quantiles, for online intervals."""
    windows = len(rows) * history.frame.sizes.get("member", 1)
    _check_memory(history.spec, windows, len(quantiles or nodes_of(model.conformity_score)))
    predictions: list[Prediction] = []
    made: Prediction | None = None
    with evaluation_mode(model):
        for batch in history.batches(rows, progress):
            there, before = to_device(noted(model, batch), model.device), made
            made = model.predict(there, quantiles) if quantiles else model.predict_online(there)
            if before is not None:  # moved while the device works on the next batch
                predictions.append(on_host(before))
    predictions += [] if made is None else [on_host(made)]
    Tally.of(model, predictions).warn(model)
    return predictions


def _check_memory(spec: PanelSpec, windows: int, quantiles: int) -> None:
    """Refuse a result that does not fit into memory: it exists in batches, then joined, then on its grid."""
    size = 4 * windows * spec.horizon * len(spec.nodes) * len(spec.targets) * (quantiles + 2)
    free = free_memory()
    if free is not None and 3 * size > free:
        raise RequestError(
            f"{windows:,} forecasts take {size_text(size)}, and three times that while they are joined; "
            f"{size_text(free)} are free: write them to a store (out=, --out FILE.zarr), or take every 24th origin "
            "(every=24, --every 24)"
        )
