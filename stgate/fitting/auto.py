"""Automatic fit: a short list of forecasters is fitted, compared, stacked and calibrated within a budget of time."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pandas as pd
import xarray as xr

from stgate.data.window_data import WindowData
from stgate.errors import RequestError, TrainingError
from stgate.fitting.attempts import Attempt, Slow, first_fit, kept
from stgate.fitting.blocks import Rows, before_test, blocks_of
from stgate.fitting.choice import choose
from stgate.fitting.completion import Recorder, width_ratio
from stgate.fitting.crossfit import HeldOut, Tell, silent
from stgate.fitting.field_fit import field_data, fit_field, follow_no_step
from stgate.fitting.identity import digest_of
from stgate.fitting.one_fit import CalibrationMode
from stgate.fitting.scoreboard import Row, scored, table_of, write_tables
from stgate.fitting.shortlist import Candidate, short_list
from stgate.fitting.workers import FAILURES, Refit, one_thread, refit, workers_for
from stgate.forecasting._calibrate import calibrate, set_calibration
from stgate.forecasting.conformal import CalibrationOptions
from stgate.io.safe.lock import claimed
from stgate.io.safe.temporaries import sweep
from stgate.models.baselines import Persistence
from stgate.models.forecaster import Forecaster
from stgate.models.stack import Stack, joined_forecasts, stride_of
from stgate.prediction.intervals import REFITTED
from stgate.prediction.loading import load
from stgate.prediction.predictor import Predictor
from stgate.prediction.stack import StackPredictor
from stgate.schema.words import check_automatic

FOLDS = 4
"""Number of blocks that `cross` holds out in turn: each candidate is fitted five times more."""
RESERVE = 0.15
"""Share of the budget that is kept for scores, weights and calibration."""
QUARTERS = 4
"""Number of lines of progress of further fits."""
LEAST = 0.02
"""Weight that a member has to reach at some lead to be kept."""


@dataclasses.dataclass(frozen=True)
class AutoFit:
    """Outcome of an automatic fit.

    Attributes:
        model: The stack, calibrated; a field where times follow no step.
        table: Scores of the candidates on the validation part, with their weights.
        calibration: The way that was taken: `split`, `cross` or `refit`.
    """

    model: Forecaster
    table: pd.DataFrame
    calibration: str


def fit(
    panel: str | os.PathLike[str] | xr.Dataset,
    *,
    targets: Sequence[str] | str,
    horizon: int = 24,
    budget: float | None = None,
    calibration: CalibrationMode = "auto",
    shortlist: Callable[[WindowData], Sequence[Candidate]] = short_list,
    out: str | os.PathLike[str] | None = None,
    seed: int = 0,
    tell: Tell = silent,
    **options: Any,  # noqa: ANN401 (those of the data)
) -> AutoFit:
    """Fit a short list of forecasters, compare them, and stack and calibrate the good ones.

    Each candidate is fitted on the training part with its defaults, and scored on the validation part. On a short
    record the weights of the stack and its intervals come from out-of-fold forecasts, otherwise from the validation and
    the calibration part; the members are then fitted again on all rows before the test part. Where times follow no
    step, a field is fitted instead.

    Args:
        panel: A panel, or the path of one.
        targets: Variables to forecast.
        horizon: Forecast length in steps.
        budget: Minutes that the whole may take. None: one for 25,000 values before the test part, missing ones
            included, at least 2.5 and at most 15.
        calibration: `split` (members see the training part only; weights come from the validation part, intervals from
            the calibration part), `refit` (weights and intervals come from both these parts; members are then fitted
            again on all rows before the test part), `cross` (the same, from out-of-fold forecasts of all these rows),
            or `auto`, by the length of the record.
        shortlist: Function from the data to the candidates, the cheapest first.
        out: Folder of the run; finished fits in it are taken up again. None keeps nothing.
        seed: Seed of weights and shuffles.
        tell: Function that is called with lines of progress.
        **options: Further options of `WindowData`, such as `split` or `static_covariates`.

    Returns:
        The stack, and the table of scores.

    Raises:
        RequestError: An option is out of range.
        StoreError: Another process fits in this folder.
        TrainingError: No candidate could be fitted.
    """
    check_automatic(budget, calibration)
    claim = contextlib.nullcontext() if out is None else claimed(Path(out))
    if follow_no_step(panel):
        given = {"targets": targets, "horizon": horizon, **options}
        checked = field_data(panel, given, budget=budget, calibration=calibration, seed=seed)
        with claim:
            field, row = fit_field(checked, seed=seed, tell=tell)
            return _written(AutoFit(field, table_of([row]), "split"), out)
    data = window_data(panel, targets=targets, horizon=horizon, **{"seed": seed, **options})
    with claim, tempfile.TemporaryDirectory(prefix="stgate-") as temporary:
        folder = Path(temporary if out is None else out)
        run = _Run(data, folder / "members", _seconds(budget, data), calibration, seed=seed, tell=tell)
        return _written(run.stacked(run.tried(shortlist(data))), out)


def _written(made: AutoFit, out: str | os.PathLike[str] | None) -> AutoFit:
    """Write checkpoint and table if there is a folder for them."""
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
        write_tables(made.table, Path(out))
        made.model.save(Path(out) / "best.ckpt")
    return made


def window_data(panel: str | os.PathLike[str] | xr.Dataset, **options: Any) -> WindowData:  # noqa: ANN401
    """Return the checked data of an automatic fit.

    Args:
        panel: A panel, or the path of one.
        **options: Options of `WindowData`.

    Raises:
        RequestError: An option is out of range, or the split leaves no validation part.
    """
    data = WindowData(panel, **options)
    data.setup()
    if data.parts.validation[1] <= data.parts.validation[0]:
        raise RequestError("split: leaves no validation part, on which candidates are compared; give it a share")
    return data


def _seconds(budget: float | None, data: WindowData) -> float:
    """Return the seconds of a budget; None chooses them by the number of values before the test part."""
    if budget is not None:
        return 60 * budget
    rows = data.parts.test[0] * data.panel.sizes.get("member", 1)
    return 60 * min(max(2.5, rows * len(data.spec.nodes) * len(data.spec.targets) / 25_000), 15.0)


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
        calibration: The way to calibrate.
        seed: Seed of weights and shuffles.
        tell: Function that is called with lines of progress.
    """

    def __init__(
        self, data: WindowData, folder: Path, budget: float, calibration: str, *, seed: int, tell: Tell
    ) -> None:
        self.data, self.folder, self.seed, self.tell = data, folder, seed, tell
        sweep(folder)  # fits that are all kept write nothing there
        self.end = time.monotonic() + budget * (1 - RESERVE)
        self.how, self.reason = choose(calibration, Persistence(), data, FOLDS)  # refits count in the budget
        self.blocks: list[Rows] = []
        self.workers = workers_for(data)
        self.digest = digest_of(data, seed)
        self.owed = 0.0  # seconds of the fits that candidates still need

    @property
    def left(self) -> float:
        """Seconds that are left for fits."""
        return max(self.end - time.monotonic() - self.owed, 1.0)

    def tried(self, candidates: Sequence[Candidate]) -> list[_Tried]:
        """Fit each candidate on the split, and score it on the validation part; one that fails is reported."""
        self.tell(f"{'':<24}{'CRPS':>10}{'MAE':>10}   on the validation part")
        found: list[_Tried] = []
        later = {"cross": FOLDS + 1, "refit": 1, "split": 0}[self.how] / self.workers  # several at a time
        for number, one in enumerate(candidates):
            if one.other_than is not None:
                first = next((each.attempt for each in found if each.candidate.name == one.other_than), None)
                if first is None:
                    continue
                one = one.unlike(first.predictor.transforms)
            share = self.left / (1 + (number + 1 < len(candidates)) if one.rows else len(candidates) - number)
            row, attempt = Row(one.name), None
            try:
                with one_thread(later > 0 and self.workers > 1):
                    attempt = kept(
                        self.folder / f"{one.name}.ckpt",
                        self.digest,
                        lambda one=one, share=share: first_fit(  # type: ignore[misc]
                            one, self.data, seconds=share, fits=1 + later, seed=self.seed
                        ),
                    )
                self.owed += attempt.seconds * later
                crps, mae = scored(attempt.predictor, self.data)
                row = Row(one.name, crps, mae, attempt.seconds, attempt.length.done)
            except Slow as error:
                row = dataclasses.replace(row, note=f"left out: {error}")
            except FAILURES as error:
                row = dataclasses.replace(row, note=f"left out: {' '.join(str(error).split())[:200]}")
            found.append(_Tried(one, attempt, row))
            self.tell(str(row))
        self.owed = 0.0
        return found

    def stacked(self, tried: Sequence[_Tried]) -> AutoFit:
        """Learn weights, calibrate, and fit the members again, in the way that is asked for."""
        members = [one for one in tried if one.attempt is not None and not one.candidate.reference]
        how = self.how
        folds = self._fold_fits(members) if how == "cross" else {}
        members = [one for one in members if how != "cross" or one.candidate.name in folds]
        if not members:
            raise TrainingError("auto: no candidate could be fitted; " + "; ".join(str(one.row) for one in tried))
        fits = [folds[one.candidate.name] if folds else [_predictor(one)] for one in members]
        first, members, held = self._weighted(members, fits, how)
        made = first if how == "split" else self._refitted(first, members, held)
        self._calibrate(made, held, how)
        weights = dict(
            zip([one.candidate.name for one in members], made.predictor.weights.mean((1, 2)).tolist(), strict=True)
        )
        rows = [dataclasses.replace(one.row, weight=weights.get(one.candidate.name, 0.0)) for one in tried]
        rows.append(self._row_of_stack(first, members, how))
        for line in (str(rows[-1]), *made.describe()):
            self.tell(line)
        return AutoFit(made, table_of(rows), how)

    def _row_of_stack(self, learned: Stack, members: list[_Tried], how: str) -> Row:
        """Return the line of the stack: the score of its first fits, on the same cases as the candidates'."""
        first = StackPredictor(members=[_predictor(one) for one in members])
        first.take_pool(learned.predictor)
        crps, mae = scored(first, self.data)
        calibrated = how != "split" or self.data.parts.calibration[1] > self.data.parts.calibration[0]
        note = f"{first.pool} pool, {f'calibrated by {how}' if calibrated else 'not calibrated'}"
        return Row("Stack", crps, mae, weight=1.0, note=note)

    def _weighted(
        self, members: list[_Tried], fits: list[list[Predictor]], how: str
    ) -> tuple[Stack, list[_Tried], HeldOut]:
        """Learn weights from forecasts of rows that the fits have not seen; leave out members of hardly any weight.

        Returns:
            A stack with the weights, its members, and the stacks of the fits with the rows that they have not seen.
        """
        stacks = [StackPredictor(members=list(each)) for each in zip(*fits, strict=True)]
        parts, data = self.data.parts, before_test(self.data) if how == "cross" else self.data
        blocks = {"split": [parts.validation], "refit": [(parts.validation[0], parts.calibration[1])]}.get(how)
        held = HeldOut(data, tuple(stacks), tuple(blocks or self.blocks))
        rows = sum(stop - start for start, stop in held.blocks) * data.panel.sizes.get("member", 1)
        first = Stack(members=[each[0] for each in fits])
        first.predictor.names = tuple(one.candidate.name for one in members)
        pairs = held.batches(stride_of(stacks[0], rows))
        first.learn_from(joined_forecasts((cast(StackPredictor, one), batch) for one, batch in pairs), data)
        largest = first.predictor.weights.amax((1, 2)).tolist()
        if min(largest) < LEAST:
            chosen = [index for index, weight in enumerate(largest) if weight >= LEAST]
            return self._weighted([members[i] for i in chosen], [fits[i] for i in chosen], how)
        for stack in stacks:
            stack.take_pool(first.predictor)
        return first, members, held

    def _calibrate(self, made: Stack, held: HeldOut, how: str) -> None:
        """Calibrate the stack on rows that its fits, or the stacks of the other fits, have not seen."""
        start, stop = self.data.parts.calibration
        if how == "split":
            if stop > start:
                calibrate(made.predictor, self.data)
            return
        recorder, times = Recorder(held), self.data.panel["time"].values
        many = f"cross conformal over {len(held.blocks)} blocks" if how == "cross" else "split conformal"
        set_calibration(
            made.predictor,
            recorder,
            CalibrationOptions(conformity_score=made.predictor.conformity_score),
            panel=self.data.panel,
            span=(str(times[held.blocks[0][0]]), str(times[held.blocks[-1][1] - 1])),
            method=f"{many}, {REFITTED},",
        )
        made.predictor.past_errors = recorder.errors()

    def _fold_fits(self, members: list[_Tried]) -> dict[str, list[Predictor]]:
        """Fit each member once for each block, with that block hidden; leave out a member where that fails."""
        self.blocks = blocks_of(self.data, FOLDS)
        made = self._again([(one, rows) for one in members for rows in self.blocks])
        fits = [made[start : start + len(self.blocks)] for start in range(0, len(made), len(self.blocks))]
        return {
            one.candidate.name: [fit for fit in own if fit is not None]
            for one, own in zip(members, fits, strict=True)
            if all(fit is not None for fit in own)
        }

    def _refitted(self, first: Stack, members: list[_Tried], held: HeldOut) -> Stack:
        """Fit the members again on all rows before the test part; weights and widths are those of the first fits."""
        whole, fits = before_test(self.data), self._again([(one, None) for one in members])
        if any(fit is None for fit in fits):
            raise TrainingError("auto: a member could be fitted on the training part, but not on all rows")
        made = Stack(members=fits)
        made.learned, made.predictor.names = first.learned, first.predictor.names
        made.take(whole)
        made.predictor.take_pool(first.predictor)
        for number, again in enumerate(made.predictor.predictors):
            if again.spread_out_of_fold:
                continue
            first_fits = tuple(cast(StackPredictor, one).predictors[number] for one in held.predictors)
            ratio = width_ratio(HeldOut(held.data, first_fits, held.blocks), again)
            if ratio is not None:
                made.predictor.curves[number] *= ratio.clamp(0.5, 2.0)[..., None]
        return made

    def _again(self, asked: Sequence[tuple[_Tried, Rows | None]]) -> list[Predictor | None]:
        """Fit members again with some rows hidden, or none, for as long as at first; None where a fit fails."""
        jobs = []
        for one, rows in asked:
            assert one.attempt is not None
            part = "all" if rows is None else f"fold{self.blocks.index(rows) + 1}"
            path, seconds = self.folder / f"{one.candidate.name}.{part}.ckpt", one.attempt.seconds
            limit, first, length = max(self.left, 3 * seconds), one.attempt.predictor, one.attempt.length
            made_by = one.candidate, one.attempt.options, first.transforms, first.likelihood, length
            key = f"{self.digest} {rows} {length} {one.attempt.options}"
            jobs.append(Refit(*made_by, rows, path, key, seconds, limit))
        made: list[Predictor | None] = [None] * len(jobs)
        hidden = any(rows is not None for _, rows in asked)
        what = "each with a block in time hidden" if hidden else "on all rows before the test part"
        for done, (number, error) in enumerate(refit(jobs, self.data, self.seed), 1):
            if done * QUARTERS // len(jobs) > (done - 1) * QUARTERS // len(jobs):
                self.tell(f"{done} of {len(jobs)} fits, {what}")
            if error:
                self.tell(f"{jobs[number].candidate.name:<24}left out: {error}")
            else:
                made[number] = load(jobs[number].path)
        return made


def _predictor(one: _Tried) -> Predictor:
    assert one.attempt is not None
    return one.attempt.predictor
