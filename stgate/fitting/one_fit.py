"""Fit: training, the choice of the epoch, and calibration, in one call."""

from __future__ import annotations

import copy
import dataclasses
import os
from typing import get_args

import torch

from stgate.data.window_data import WindowData
from stgate.errors import RequestError, did_you_mean
from stgate.fitting.choice import FOLDS, choose
from stgate.fitting.completion import complete
from stgate.fitting.crossfit import Tell, silent
from stgate.fitting.training import Length, MakeTrainer, quiet_trainer, train
from stgate.forecasting._calibrate import calibrate
from stgate.models.forecaster import Forecaster
from stgate.schema.words import CalibrationMode as CalibrationMode


@dataclasses.dataclass(frozen=True)
class Fitted:
    """Outcome of a fit.

    Attributes:
        calibration: The way that was taken: `split`, `cross` or `refit`.
        reason: The reason for it, in words.
        length: Epochs that were planned, and the epoch that was chosen.
        covered: Coverage by level of the errors that calibrated it; empty if it is not calibrated.
    """

    calibration: str
    reason: str
    length: Length
    covered: dict[float, float]


def fit_forecaster(
    forecaster: Forecaster,
    data: WindowData,
    *,
    calibration: CalibrationMode = "auto",
    epochs: int | None = None,
    folds: int = FOLDS,
    seed: int | None = None,
    out: str | os.PathLike[str] | None = None,
    make_trainer: MakeTrainer = quiet_trainer,
    tell: Tell = silent,
) -> Fitted:
    """Fit a forecaster, choose its best epoch by the validation part, and calibrate it.

    Args:
        forecaster: A forecaster that has not been fitted; it is fitted in place.
        data: Its data.
        calibration: `split` leaves the calibration part out of the fit. `refit` takes the errors of that fit and then
            fits once more, on all rows before the test part. `cross` takes the errors on each block of those rows, each
            by a fit without it, and then fits on all. `auto` chooses by the length of the record.
        epochs: Number of epochs of the fit on the split; None plans them by the number of batches.
        folds: Number of blocks of `cross`.
        seed: Seed of weights and dropout; None takes torch's present seed.
        out: Path of a checkpoint to write, whole or not at all.
        make_trainer: Maker of the trainers; those that are made neither print nor write.
        tell: Function that is called with lines of progress.

    Returns:
        The way that was taken, the number of epochs, and coverage.

    Raises:
        RequestError: An option is unknown, the forecaster is fitted already, or the record is too short for the way.
    """
    if calibration not in get_args(CalibrationMode):
        raise RequestError(f"calibration {calibration!r}: {did_you_mean(calibration, get_args(CalibrationMode))}")
    if forecaster.spec is not None:
        raise RequestError(f"{type(forecaster).__name__}: fitted already; make a new one")
    seed = torch.initial_seed() % 2**63 if seed is None else seed
    how, reason = choose(calibration, forecaster, data, folds)
    if how == "split":
        length = train(forecaster, data, seed=seed, epochs=epochs, make_trainer=make_trainer)
        start, stop = data.parts.calibration
        covered = calibrate(forecaster, data) if stop > start else {}
    else:
        first = copy.deepcopy(forecaster)
        length = train(first, data, seed=seed, epochs=epochs, make_trainer=make_trainer)
        covered = complete(
            forecaster,
            first.predictor,
            data,
            how=how,
            length=length,
            seed=seed,
            folds=folds,
            make_trainer=make_trainer,
            tell=tell,
        )
    if out is not None:
        forecaster.save(out)
    return Fitted(how, reason, length, covered)
