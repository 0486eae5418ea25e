"""Automatic fit: a short list of forecasters is fitted, compared, stacked and calibrated within a budget of time."""

from __future__ import annotations

import dataclasses
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd
import xarray as xr

from stgate.data.window_data import WindowData
from stgate.errors import RequestError, StgateError, TrainingError, did_you_mean
from stgate.fitting.attempts import Attempt, Slow, first_fit, kept, limited
from stgate.fitting.blocks import Rows, before_test, blocks_of, without
from stgate.fitting.crossfit import HeldOut, Tell, silent
from stgate.fitting.scoreboard import Row, scored, table_of, write_tables
from stgate.fitting.shortlist import Candidate, short_list
from stgate.fitting.training import train
from stgate.forecasting._calibrate import calibrate
from stgate.forecasting.conformal import CalibrationOptions, Scored, clusters_of, split_conformal_calibration
from stgate.models.stack import Stack, joined_forecasts, stride_of
from stgate.prediction.stack import StackPredictor

How = Literal["auto", "split", "cross", "refit"]
"""Ways in which a stack is calibrated; `auto` chooses one."""
SHORT = 5000
"""Number of time steps before the test part below which weights and intervals come from out-of-fold forecasts."""
FOLDS = 4
"""Number of blocks in time of out-of-fold forecasts."""
RESERVE = 0.15
"""Share of the budget that is kept for scores, weights and calibration."""
LEAST = 0.02
"""Weight that a member has to reach at some lead to be kept."""


@dataclasses.dataclass(frozen=True)
class AutoFit:
    """Outcome of an automatic fit.

    Attributes:
        model: The stack, calibrated.
        table: Scores of the candidates on the validation part, with their weights.
        calibration: The way that was taken: `split`, `cross` or `refit`.
    """

    model: Stack
    table: pd.DataFrame
    calibration: str


def fit_auto(
    panel: str | os.PathLike[str] | xr.Dataset,
    *,
    targets: Sequence[str] | str,
    horizon: int = 24,
    budget: float | None = None,
    calibration: How = "auto",
    shortlist: Callable[[WindowData], Sequence[Candidate]] = short_list,
    out: str | os.PathLike[str] | None = None,
    seed: int = 0,
    tell: Tell = silent,
    **options: Any,  # noqa: ANN401 (those of the data)
) -> AutoFit:
    """Fit a short list of forecasters, compare them, and stack and calibrate the good ones.

    Each candidate is fitted on the training part with its defaults, and scored on the validation part. On a short
    record the weights of the stack and its intervals come from out-of-fold forecasts, otherwise from the validation and
    the calibration part; the members are then fitted again on all rows before the test part.

    Args:
        panel: A panel, or the path of one.
        targets: Variables to forecast.
        horizon: Forecast length in steps.
        budget: Minutes that the whole may take. None: 2.5, or one for 40,000 observed values, at most 15.
        calibration: `split` (members see the training part only), `refit` (members are fitted again on all rows before
            the test part), `cross` (the same, with weights and intervals from out-of-fold forecasts), or `auto`: `cross`
            for records of fewer than 5,000 steps before the test part, else `refit`.
        shortlist: Function from the data to the candidates, the cheapest first.
        out: Folder of the run; finished fits in it are taken up again. None keeps nothing.
        seed: Seed of weights and shuffles.
        tell: Function that is called with lines of progress.
        **options: Further options of `WindowData`, such as `split` or `static_covariates`.

    Returns:
        The stack, and the table of scores.

    Raises:
        RequestError: An option is out of range.
        TrainingError: No candidate could be fitted.
    """
    if calibration not in get_args(How):
        raise RequestError(f"calibration {calibration!r}: {did_you_mean(calibration, get_args(How))}")
    if budget is not None and not budget > 0:
        raise RequestError(f"budget {budget:g}: must be above zero, in minutes")
    data = WindowData(panel, targets=targets, horizon=horizon, **{"seed": seed, **options})
    data.setup()
    with tempfile.TemporaryDirectory(prefix="stgate-") as temporary:
        folder = Path(temporary if out is None else out)
        run = _Run(data, folder / "members", _seconds(budget, data), seed, tell)
        made = run.stacked(run.tried(shortlist(data)), calibration)
        if out is not None:
            write_tables(made.table, folder)
            made.model.save(folder / "best.ckpt")
    return made


def _seconds(budget: float | None, data: WindowData) -> float:
    """Return the seconds of a budget; None chooses them by the number of observed values before the test part."""
    if budget is not None:
        return 60 * budget
    rows = data.parts.test[0] * data.panel.sizes.get("member", 1)
    return 60 * min(max(2.5, rows * len(data.spec.nodes) * len(data.spec.targets) / 40_000), 15.0)


@dataclasses.dataclass(frozen=True)
class _Tried:
    """Candidate with its first fit and its line of the table."""

    candidate: Candidate
    attempt: Attempt | None
    row: Row


class _Run:
    """One automatic fit.

    Args:
        data: The data.
        folder: Folder of the members' checkpoints.
        budget: Seconds that the whole may take.
        seed: Seed of weights and shuffles.
        tell: Function that is called with lines of progress.
    """

    def __init__(self, data: WindowData, folder: Path, budget: float, seed: int, tell: Tell) -> None:
        self.data, self.folder, self.seed, self.tell = data, folder, seed, tell
        self.end = time.monotonic() + budget * (1 - RESERVE)
        self.short = data.parts.test[0] < SHORT
        self.blocks: list[Rows] = []

    @property
    def left(self) -> float:
        """Seconds that are left for fits."""
        return max(self.end - time.monotonic(), 1.0)

    def tried(self, candidates: Sequence[Candidate]) -> list[_Tried]:
        """Fit each candidate on the split, and score it on the validation part; one that fails is reported."""
        self.tell(f"{'':<20}{'CRPS':>10}{'MAE':>10}   on the validation part")
        found = []
        for number, one in enumerate(candidates):
            share = self.left / (len(candidates) - number)
            fits = FOLDS + 2 if self.short else 2
            row, attempt = Row(one.name), None
            try:
                attempt = kept(
                    self.folder / f"{one.name}.ckpt",
                    lambda one=one, share=share, fits=fits: first_fit(  # type: ignore[misc]
                        one, self.data, seconds=share, fits=fits, seed=self.seed
                    ),
                )
                crps, mae = scored(attempt.predictor, self.data)
                row = Row(one.name, crps, mae, attempt.seconds, attempt.length.done)
            except Slow as error:
                row = dataclasses.replace(row, note=f"left out: {error}")
            except (StgateError, RuntimeError, ValueError, ImportError) as error:
                row = dataclasses.replace(row, note=f"left out: {' '.join(str(error).split())[:200]}")
            found.append(_Tried(one, attempt, row))
            self.tell(str(row))
        return found

    def stacked(self, tried: Sequence[_Tried], calibration: How) -> AutoFit:
        """Learn weights, calibrate, and fit the members again, in the way that is asked for."""
        members = [one for one in tried if one.attempt is not None and not one.candidate.reference]
        if not members:
            raise TrainingError("auto: no candidate could be fitted; " + "; ".join(str(one.row) for one in tried))
        how = self._chosen(calibration)
        made, members = self._cross(members) if how == "cross" else self._split(members, refit=how == "refit")
        weights = made.predictor.weights.mean((1, 2)).tolist()
        held = dict(zip([one.candidate.name for one in members], weights, strict=True))
        rows = [dataclasses.replace(one.row, weight=held.get(one.candidate.name, 0.0)) for one in tried]
        rows.append(self._score_of_stack(made, how))
        for line in made.describe():
            self.tell(line)
        return AutoFit(made, table_of(rows), how)

    def _score_of_stack(self, made: Stack, how: str) -> Row:
        """Return the line of the stack; its own score is not known where its members have seen the validation part."""
        return Row("Stack", note=f"{made.predictor.pool} pool, {how}", weight=1.0)

    def _chosen(self, asked: How) -> str:
        """Return the way to calibrate; a record that is too short for blocks is calibrated on its split."""
        how = asked if asked != "auto" else "cross" if self.short else "refit"
        if how == "cross":
            try:
                self.blocks = blocks_of(self.data, FOLDS)
            except RequestError:
                if asked == "cross":
                    raise
                how = "refit"
        start, stop = self.data.parts.calibration
        return how if how == "cross" or stop > start else "split"

    # Weights and calibration from the parts of the split

    def _split(self, members: list[_Tried], *, refit: bool) -> tuple[Stack, list[_Tried]]:
        first = Stack(members=[one.attempt.predictor for one in members if one.attempt])
        first.learn(self.data)
        if len(kept_ones := self._worthy(first, members)) < len(members):
            return self._split(kept_ones, refit=refit)
        start, stop = self.data.parts.calibration
        if stop > start:
            calibrate(first, self.data)
        return (self._refitted(first, members) if refit else first), members

    def _worthy(self, stack: Stack, members: list[_Tried]) -> list[_Tried]:
        """Return the members whose weight is not negligible at all leads."""
        largest = stack.predictor.weights.amax((1, 2)).tolist()
        return [one for one, weight in zip(members, largest, strict=True) if weight >= LEAST]

    # Weights and calibration from out-of-fold forecasts

    def _cross(self, members: list[_Tried]) -> tuple[Stack, list[_Tried]]:
        folds: list[list[StackPredictor]] = []
        for one in list(members):
            fitted = self._fold_fits(one)
            if fitted is None:
                members = [other for other in members if other is not one]
            else:
                folds.append(fitted)
        if not members:
            raise TrainingError("auto: no candidate could be fitted out of fold; give a larger budget")
        return self._cross_weighted(members, folds)

    def _cross_weighted(self, members: list[_Tried], folds: list[list[Any]]) -> tuple[Stack, list[_Tried]]:
        """Learn weights from out-of-fold forecasts, calibrate on them, and fit the members on all rows."""
        stacks = tuple(StackPredictor(members=list(block)) for block in zip(*folds, strict=True))
        whole = before_test(self.data)
        held = HeldOut(whole, stacks, tuple(self.blocks))
        first = Stack(members=list(next(zip(*folds, strict=True))))
        stride = stride_of(stacks[0], whole.parts.train[1] * self.data.panel.sizes.get("member", 1))
        pairs = ((p, batch) for p, batch in held.batches(stride) if isinstance(p, StackPredictor))
        first.learn_from(joined_forecasts(pairs), whole)
        kept_ones = self._worthy(first, members)
        if len(kept_ones) < len(members):
            some = [fits for one, fits in zip(members, folds, strict=True) if one in kept_ones]
            return self._cross_weighted(kept_ones, some)
        for stack in stacks:
            stack.take_pool(first.predictor)
        scores: list[Scored] = []
        for predictor, batch in held.batches():
            scores.append((predictor(batch), batch["target"], batch["since"][:, -1].amin(-1)))
        options = CalibrationOptions(conformity_score=first.predictor.conformity_score)
        found, _ = split_conformal_calibration(
            whole.spec, scores, options, cluster=clusters_of(whole.panel, options.groups), kind="per lead time"
        )
        times = whole.panel["time"].values
        first.calibration = dataclasses.replace(
            found,
            method=found.method.replace("split", "cross"),
            start=str(times[0]),
            end=str(times[whole.parts.train[1] - 1]),
        )
        return self._refitted(first, members), members

    def _fold_fits(self, one: _Tried) -> list[Any] | None:
        """Fit a member once for each block, with that block hidden; None if that fails."""
        assert one.attempt is not None
        length, made = one.attempt.length, []
        for number, rows in enumerate(self.blocks, 1):
            path = self.folder / f"{one.candidate.name}.fold{number}.ckpt"
            try:
                made.append(kept(path, lambda rows=rows: self._fit(one, without(self.data, rows), length)).predictor)  # type: ignore[misc]
            except (StgateError, RuntimeError, ValueError) as error:
                self.tell(f"{one.candidate.name}: left out, block {number}: {' '.join(str(error).split())[:200]}")
                return None
        return made

    def _fit(self, one: _Tried, data: WindowData, length: Any) -> Any:  # noqa: ANN401
        forecaster = one.candidate.make()
        seconds = max(self.left, 3 * one.attempt.seconds if one.attempt else 0.0)
        train(forecaster, data, seed=self.seed, length=length, make_trainer=limited(seconds))
        return forecaster, length

    def _refitted(self, first: Stack, members: list[_Tried]) -> Stack:
        """Fit the members again on all rows before the test part; weights and calibration are those of the first."""
        whole, fitted = before_test(self.data), []
        for one in members:
            assert one.attempt is not None
            path, length = self.folder / f"{one.candidate.name}.all.ckpt", one.attempt.length
            fitted.append(kept(path, lambda one=one, length=length: self._fit(one, whole, length)).predictor)  # type: ignore[misc]
        made = Stack(members=fitted)
        made.learned = first.learned
        made.take(whole)
        made.predictor.take_pool(first.predictor)
        made.calibration = first.calibration
        return made
