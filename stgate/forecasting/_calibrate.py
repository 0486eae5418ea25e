"""Calibrate: intervals from conformity scores of forecasts that neither training nor model choice has seen."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from stgate.calibration.groups import EDGES
from stgate.data.history import History
from stgate.data.support import check_support
from stgate.data.windows import to_device
from stgate.errors import CalibrationWarning, RequestError
from stgate.forecasting.conformal import CalibrationOptions, Scored, clusters_of, split_conformal_calibration
from stgate.prediction.checkpoint import write_calibrated
from stgate.prediction.evaluating import evaluation_mode
from stgate.prediction.intervals import ConformityScore
from stgate.prediction.loading import Model, predictor_of
from stgate.prediction.predictor import Predictor
from stgate.schema.batch import Batch, noted

if TYPE_CHECKING:
    from stgate.data.window_data import WindowData


def calibrate(
    model: Model,
    data: WindowData,
    *,
    levels: Sequence[float] | None = None,
    by: str | Sequence[str] = ("missing",),
    conformity_score: ConformityScore | None = None,
    edges: Sequence[int] = EDGES,
    minimum: int = 50,
) -> dict[float, float]:
    """Fit split conformal intervals on the calibration part, and store them in the model.

    Scores are pooled over origins and members, separately for each lead time, target and group of `by`. If new
    scores are exchangeable with those of the calibration part, an interval of level p covers with probability at least
    p, in each group; under drift it need not (see `backtest(calibration="rolling")`).

    Args:
        model: A fitted forecaster, whose calibration is replaced; or a checkpoint's path, which is rewritten.
        data: The data that the forecaster was fitted on; neither training nor model choice has seen its calibration
            part.
        levels: Central-interval levels to hold. None: those of twelve from 0.1 to 0.99 that the number of observed
            values supports.
        by: Groups that are calibrated separately: `missing` (how long ago the node was observed, at the origin; see
            `edges`), and `node` or clusters of nodes by the name of a node coordinate that holds them. A group with
            fewer observed values than `minimum`, or than its level needs, falls back to a wider one: a node or cluster
            to all nodes, a missingness group to all that were not observed, then to all.
        conformity_score: `scaled` (error in units of the forecast's standard deviation), `residual` (error; intervals
            of one width), `quantile` (conformalised quantile regression: the forecast's own intervals, moved), or
            `distribution` (the forecast's own intervals of other levels, which keep its shape where it is skewed;
            beyond its tails they go on in a straight line). None: that of the forecaster, `quantile` for
            GradientBoosting, `distribution` for Stack and for networks that fit quantiles, `scaled` for others.
        edges: Steps since observed at which a further missingness group begins.
        minimum: Number of observed values that a group needs to stand by itself.

    Returns:
        Coverage by level on the calibration part itself: a check, not a result. The calibration's `report` lists the
        groups that were too small to stand by themselves.

    Raises:
        RequestError: The split leaves no calibration part, it has too few values for a level or one to which the
            likelihood gives no density, or an option is unknown.
    """
    options = CalibrationOptions(levels, by, conformity_score or "scaled", edges, minimum)
    start, stop = data.parts.calibration
    if stop <= start:
        raise RequestError("split: leaves no calibration part; make its third fraction larger than 0")
    with stored(model) as predictor:
        options = _completed(options, conformity_score, predictor)
        data.follow(predictor.fitted_spec)
        if predictor.fitted_spec != data.spec:
            raise RequestError("data: not the data that the forecaster was fitted on; use the same panel and options")
        times = data.panel["time"].values
        if predictor.seen is not None and np.array(predictor.seen).astype(times.dtype) >= times[start]:
            _warn_of_seen(times[start], predictor.seen)
        series = predictor.encoded_series(data.series)
        check_support(predictor.likelihood, series, data.spec, times, (start, stop), "calibration part")
        return set_calibration(
            predictor,
            _scored(predictor, data.part_dataloader("calibration")),
            options,
            panel=data.panel,
            span=(str(times[start]), str(times[stop - 1])),
        )


def recalibrate(
    model: Model,
    panel: xr.Dataset | str | os.PathLike[str],
    *,
    start: str | float | None = None,
    end: str | float | None = None,
    levels: Sequence[float] | None = None,
    by: str | Sequence[str] = ("missing",),
    conformity_score: ConformityScore | None = None,
    edges: Sequence[int] = EDGES,
    minimum: int = 50,
    max_memory: float | None = None,
) -> dict[float, float]:
    """Fit split conformal intervals on any span of a panel that training has not seen, and store them in the model.

    Args:
        model: A fitted forecaster, whose calibration is replaced; or a checkpoint's path, which is rewritten.
        panel: A panel, or the path of one, with the nodes and variables that the forecaster was fitted on.
        start: The first valid time; origins may precede it. None: the first that neither training nor model choice has
            used, or if they have used all, as early as the window allows. A warning names an earlier start.
        end: The last valid time; a date without an hour means its last step. None: the panel's end.
        levels: Central-interval levels to hold. None: those of twelve from 0.1 to 0.99 that the number of observed
            values supports.
        by: Groups that are calibrated separately: `missing` (how long ago the node was observed, at the origin; see
            `edges`), and `node` or clusters of nodes by the name of a node coordinate that holds them. A group with
            fewer observed values than `minimum`, or than its level needs, falls back to a wider one: a node or cluster
            to all nodes, a missingness group to all that were not observed, then to all.
        conformity_score: `scaled` (error in units of the forecast's standard deviation), `residual` (error; intervals
            of one width), `quantile` (conformalised quantile regression: the forecast's own intervals, moved), or
            `distribution` (the forecast's own intervals of other levels, which keep its shape where it is skewed;
            beyond its tails they go on in a straight line). None: that of the forecaster, `quantile` for
            GradientBoosting, `distribution` for Stack and for networks that fit quantiles, `scaled` for others.
        edges: Steps since observed at which a further missingness group begins.
        minimum: Number of observed values that a group needs to stand by itself.
        max_memory: Megabytes that the panel's tensors may take; half of the free memory when None. A larger .zarr store
            is read in blocks.

    Returns:
        Coverage by level on the span itself: a check, not a result.

    Raises:
        PanelError: The panel does not fit the forecaster.
        RequestError: A time lies outside the panel, the span holds no whole window, too few values for a level or one
            to which the likelihood gives no density, or an option is unknown.
    """
    options = CalibrationOptions(levels, by, conformity_score or "scaled", edges, minimum)
    with stored(model) as predictor:
        options = _completed(options, conformity_score, predictor)
        history = History.of(panel, predictor.fitted_spec, max_memory)
        window, horizon = history.spec.window, history.spec.horizon
        seen = history.last_seen(predictor.seen)
        new = seen + 1 if seen + horizon < history.steps else 0
        first = max(new if start is None else history.row(start, "start"), window)
        last = history.steps - 1 if end is None else history.row(end, "end", last=True)
        rows = np.arange(first - 1, last - horizon + 1)
        if len(rows) == 0:
            raise RequestError(
                f"from {history.times[first]} to {history.times[last]}: shorter than the {horizon} steps of a "
                "forecast; give a longer span"
            )
        if first <= seen:
            _warn_of_seen(history.times[first], history.times[seen])
        series = predictor.encoded_series(history.series)
        check_support(predictor.likelihood, series, history.spec, history.times, (first, last + 1), "calibration")
        return set_calibration(
            predictor,
            _scored(predictor, history.batches(rows)),
            options,
            panel=history.frame,
            span=(str(history.times[first]), str(history.times[last])),
        )


def _warn_of_seen(start: object, seen: object) -> None:
    warnings.warn(
        f"calibrating from {start}, but training has used data until {seen}: future errors will be larger and the "
        "intervals too narrow; begin later",
        CalibrationWarning,
        stacklevel=3,
    )


def _completed(options: CalibrationOptions, asked: ConformityScore | None, predictor: Predictor) -> CalibrationOptions:
    """Return options with the predictor's own conformity score where none was asked for."""
    return dataclasses.replace(options, conformity_score=asked or predictor.conformity_score)


@contextlib.contextmanager
def stored(model: Model) -> Iterator[Predictor]:
    """Give the predictor of a model; of a checkpoint's path, write its calibrations back into the file afterwards."""
    predictor = predictor_of(model)
    yield predictor
    if isinstance(model, str | os.PathLike):
        write_calibrated(predictor, model, model)


def set_calibration(
    predictor: Predictor,
    scored: Iterable[Scored],
    options: CalibrationOptions,
    *,
    panel: xr.Dataset,
    span: tuple[str, str],
    method: str = "split conformal",
) -> dict[float, float]:
    """Calibrate a predictor by scored forecasts, its own or those of similar fits.

    Args:
        predictor: The predictor, whose calibration is replaced.
        scored: Forecasts with their truth, batch by batch.
        options: Levels, groups and conformity score.
        panel: The panel, whose node coordinates may name groups.
        span: The first and the last time of the truths.
        method: Name of the method, for its description.

    Returns:
        Coverage by level of the scored forecasts themselves.
    """
    found, covered = split_conformal_calibration(
        predictor.fitted_spec,
        scored,
        options,
        cluster=clusters_of(panel, options.groups),
        kind="per lead time",
        method=method,
    )
    predictor.calibration = dataclasses.replace(found, start=span[0], end=span[1])
    return covered


def _scored(predictor: Predictor, windows: Iterable[Batch]) -> Iterator[Scored]:
    with evaluation_mode(predictor):
        for raw in windows:
            batch = to_device(noted(predictor, raw), predictor.device)
            yield predictor(batch), batch["target"], batch["since"][:, -1].amin(-1)
