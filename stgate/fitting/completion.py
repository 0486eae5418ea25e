"""Completion of a fit: the forecaster is fitted on all rows before the test part, and calibrated by held-out errors."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from typing import Literal, get_args

import torch
from torch import Tensor

from stgate.data.window_data import WindowData
from stgate.distributions.transformed import Transformed
from stgate.errors import RequestError, did_you_mean
from stgate.fitting.blocks import before_test
from stgate.fitting.choice import FOLDS
from stgate.fitting.crossfit import HeldOut, Make, Tell, cross_fit, silent
from stgate.fitting.training import Length, MakeTrainer, keep_choices, quiet_trainer, train
from stgate.forecasting._calibrate import set_calibration
from stgate.forecasting.conformal import CalibrationOptions, Scored
from stgate.models.forecaster import Forecaster
from stgate.prediction.evaluating import evaluation_mode
from stgate.prediction.intervals import REFITTED
from stgate.prediction.normal_scores import normal_scores
from stgate.prediction.past_errors import PastErrors
from stgate.prediction.predictor import Predictor
from stgate.schema.batch import Batch

Completion = Literal["cross", "refit"]
"""Ways to fit on all rows before the test part."""


def complete(
    fresh: Forecaster,
    first: Predictor,
    data: WindowData,
    *,
    how: Completion,
    length: Length,
    seed: int,
    folds: int = FOLDS,
    make: Make | None = None,
    make_trainer: MakeTrainer = quiet_trainer,
    tell: Tell = silent,
) -> dict[float, float]:
    """Fit a new forecaster on all rows before the test part, and calibrate it by errors of fits that had not seen them.

    Args:
        fresh: A forecaster that has not been fitted, with the options of the first fit.
        first: The predictor of the first fit, on the split of the data.
        data: The data of the first fit.
        how: `cross`: errors on every block of the rows before the test part, each of a fit without it. `refit`: errors
            of the first fit on the validation and calibration parts.
        length: Length of each fit.
        seed: Seed of each fit.
        folds: Number of blocks of `cross`.
        make: Maker of the forecasters of the blocks; None copies the one that is not fitted.
        make_trainer: Maker of the trainers.
        tell: Function that is called with lines of progress.

    Returns:
        Coverage by level of the held-out forecasts themselves.

    Raises:
        RequestError: There is no such way, or there are too few rows for it.
    """
    if how not in get_args(Completion):
        raise RequestError(f"calibration {how!r}: {did_you_mean(how, get_args(Completion))}")
    kept = first.transforms, first.likelihood
    keep_choices(fresh, *kept)
    if how == "cross":
        held = cross_fit(
            lambda: keep_choices(make() if make else copy.deepcopy(fresh), *kept),
            data,
            folds=folds,
            length=length,
            seed=seed,
            make_trainer=make_trainer,
            tell=tell,
        )
        method = f"cross conformal over {len(held.blocks)} blocks, {REFITTED},"
    else:
        rows = (data.parts.validation[0], data.parts.calibration[1])
        if rows[1] <= rows[0]:
            raise RequestError("calibration refit: the split leaves no calibration part; take cross")
        held = HeldOut(data, (first,), (rows,))
        method = f"split conformal, {REFITTED},"
    tell("last fit, on all rows before the test part")
    train(fresh, before_test(data), seed=seed, length=length, make_trainer=make_trainer)
    times, recorder = data.panel["time"].values, Recorder(held)
    predictor = fresh.predictor
    covered = set_calibration(
        predictor,
        recorder,
        CalibrationOptions(conformity_score=predictor.conformity_score),
        panel=data.panel,
        span=(str(times[held.blocks[0][0]]), str(times[held.blocks[-1][1] - 1])),
        method=method,
    )
    predictor.past_errors = recorder.errors()
    keep_widths(predictor, held)
    return covered


@torch.no_grad()
def keep_widths(predictor: Predictor, held: HeldOut) -> None:
    """Scale quantiles and stored errors so that intervals of the last fit are as wide as those that were calibrated.

    Scores are in units of the standard deviations of the held-out fits. Those of the last fit, on more rows and perhaps
    for more steps, may be smaller throughout without smaller errors to come. Widths are compared on the held-out cases,
    by their geometric mean at each lead. Nothing is done where the fits have chosen other transforms, or where a fit's
    spread is that of errors that it had not seen.

    Args:
        predictor: The calibrated predictor of the last fit.
        held: The fits whose errors calibrated it.
    """
    calibration = predictor.calibration
    if predictor.spread_out_of_fold or (factor := width_ratio(held, predictor)) is None:
        return
    if calibration is not None and calibration.conformity_score in ("scaled", "distribution"):
        predictor.calibration = dataclasses.replace(calibration, quantiles=calibration.quantiles * factor)
    if predictor.past_errors is not None:
        scores = predictor.past_errors.scores * factor[:, None]
        predictor.past_errors = dataclasses.replace(predictor.past_errors, scores=scores)


@torch.no_grad()
def width_ratio(held: HeldOut, predictor: Predictor) -> Tensor | None:
    """Return how much wider the forecasts of held-out fits are than those of another fit, (lead, target).

    Widths are compared on the held-out cases, by the geometric mean of the ratio of standard deviations.

    Args:
        held: Fits, each with the rows that it has not seen.
        predictor: The other fit.

    Returns:
        The ratio; None where the fits have chosen other transforms.
    """
    chosen = {tuple(map(str, (t.config() for t in one.transforms))) for one in (predictor, *held.predictors)}
    if len(chosen) > 1:
        return None
    total, count = torch.zeros((), dtype=torch.float64), torch.zeros(())
    with evaluation_mode(predictor):
        for first, batch in held.batches():
            ratio = (_stddev(first, batch) / _stddev(predictor, batch)).log()  # (batch, lead, node, target)
            known = torch.isfinite(ratio)
            total = total + torch.where(known, ratio, 0.0).double().sum((0, 2))
            count = count + known.sum((0, 2))
    return (total / count.clamp(min=1)).exp().float().cpu()


def _stddev(predictor: Predictor, batch: Batch) -> Tensor:
    forecast = predictor(batch)
    stddev: Tensor = (forecast.base if isinstance(forecast, Transformed) else forecast).stddev
    return stddev


class Recorder:
    """Held-out forecasts with their truth, batch by batch, whose scaled errors are kept.

    Args:
        held: The fits and the rows that they have not seen.
    """

    def __init__(self, held: HeldOut) -> None:
        self.held = held
        self.parts: list[tuple[Tensor, Tensor, Tensor]] = []

    def __iter__(self) -> Iterator[Scored]:
        for predictor, batch in self.held.batches():
            forecast, truth, since = predictor(batch), batch["target"], batch["since"][:, -1].amin(-1)
            scores = normal_scores(forecast, truth, predictor.conformity_score)
            scores = torch.where(torch.isfinite(scores), scores, torch.nan)
            self.parts.append((scores.float().cpu(), since.cpu(), batch["origin"].cpu()))
            yield forecast, truth, since

    def errors(self) -> PastErrors | None:
        """Return the errors of the forecasts that were given out."""
        scores, since, origins = (torch.cat(part) for part in zip(*self.parts, strict=True))
        return PastErrors.of(scores, since, origins, self.held.data.series.clock.time)
