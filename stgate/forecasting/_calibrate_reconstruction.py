"""Calibrate a field's reconstructions: intervals from entries that training has not used."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch.distributions import Distribution

from stgate.calibration.groups import EDGES, check_edges
from stgate.data.history import History
from stgate.data.support import check_values
from stgate.data.windows import to_device
from stgate.distributions.transformed import Transformed
from stgate.errors import CalibrationWarning, RequestError
from stgate.forecasting._calibrate import stored
from stgate.forecasting._reconstruct import field_of, rows_of, steps_before
from stgate.forecasting.conformal import CalibrationOptions, Scored, split_conformal_calibration
from stgate.io.readers import open_panel
from stgate.prediction.evaluating import evaluation_mode
from stgate.prediction.field.predictor import FieldPredictor
from stgate.prediction.intervals import ConformityScore
from stgate.prediction.loading import Model, predictor_of
from stgate.prediction.predictor import Predictor
from stgate.schema.batch import Batch
from stgate.schema.fills import check_marks
from stgate.schema.precision import check_precision
from stgate.schema.units import check_unit, in_units

Panel = xr.Dataset | str | os.PathLike[str]
"""A panel, or the path of one."""


def calibrate_reconstruction(
    model: Model,
    panel: Panel,
    truth: Panel | None = None,
    *,
    start: str | float | None = None,
    end: str | float | None = None,
    levels: Sequence[float] | None = None,
    conformity_score: ConformityScore | None = None,
    edges: Sequence[int] = EDGES,
    minimum: int = 50,
    max_memory: float | None = None,
) -> dict[float, float]:
    """Fit split conformal intervals of `stgate.reconstruct`, and store them in the field.

    New entries are covered with at least the probability of the level if their errors are exchangeable with those of
    the entries that are scored here. So score entries that training has not used and that resemble the new ones: for
    new stations, stations that were left out; for gaps, gaps of the same pattern.

    Args:
        model: A fitted `CGLUBNF` or `BayesNF`, whose calibration of reconstructions is replaced; or a checkpoint's
            path, which is rewritten.
        panel: The panel that the field sees, or the path of one; its nodes may differ from those of training.
        truth: A panel with values that `panel` lacks; these are scored. None scores the observed values of `panel`
            itself: the field does not see the entry, but sees what its node observed before.
        start: The first time. None: the first that has the context.
        end: The last time; a date without an hour means its last step. None: the panel's end.
        levels: Central-interval levels to hold. None: those of twelve from 0.1 to 0.99 that the number of observed
            values supports.
        conformity_score: `scaled` (error in units of the forecast's standard deviation), `residual` (error; intervals
            of one width), `quantile` (conformalised quantile regression: the forecast's own intervals, moved), or
            `distribution` (the forecast's own intervals of other levels, which keep its shape where it is skewed;
            beyond its tails they go on in a straight line). None takes `scaled`.
        edges: Steps since the node was observed before the entry, at which a further calibration group begins. Only for
            a field with context, and up to its length.
        minimum: Number of observed values that a group needs to stand by itself.
        max_memory: Megabytes that the panel's tensors may take; half of the free memory when None. A larger .zarr store
            is read in blocks.

    Returns:
        Coverage by level on the scored entries themselves: a check, not a result.

    Raises:
        RequestError: The forecaster is not a field, there is nothing to score, a value has no density under the
            likelihood, there are too few values for a level, or an option is unknown.
        PanelError: The panel does not fit the field.
    """
    with stored(model) as predictor:
        field = field_of(predictor)
        chosen = _CalibrationSet(field, panel, truth, start, end, max_memory)
        return _calibrate(field, [chosen], _options(field, levels, conformity_score, edges, minimum))


def cross_calibrate_reconstruction(
    model: Model,
    folds: Iterable[tuple[Model, Panel, Panel | None]],
    *,
    levels: Sequence[float] | None = None,
    conformity_score: ConformityScore | None = None,
    edges: Sequence[int] = EDGES,
    minimum: int = 50,
    max_memory: float | None = None,
) -> dict[float, float]:
    """Calibrate a field that is fitted on all data by the errors of similar fields, each fitted on a part of the data.

    With few stations, leaving some out once gives little information on new stations. Over several folds each station
    can be left out in turn. The fields of the folds are fitted on less data, so intervals tend to be too wide rather
    than too narrow.

    Args:
        model: A fitted `CGLUBNF` or `BayesNF`, whose calibration of reconstructions is replaced; or a checkpoint's
            path, which is rewritten.
        folds: For each fold a fitted field, the panel that it sees, and a panel whose further values are scored (None
            scores the panel that it sees). A generator may fit the fields one after another.
        levels: Central-interval levels to hold. None: those of twelve from 0.1 to 0.99 that the number of observed
            values supports.
        conformity_score: `scaled` (error in units of the forecast's standard deviation), `residual` (error; intervals
            of one width), `quantile` (conformalised quantile regression: the forecast's own intervals, moved), or
            `distribution` (the forecast's own intervals of other levels, which keep its shape where it is skewed;
            beyond its tails they go on in a straight line). None takes `scaled`.
        edges: Steps since the node was observed before the entry, at which a further calibration group begins. Only for
            a field with context, and up to its length.
        minimum: Number of observed values that a group needs to stand by itself.
        max_memory: Megabytes that the panel's tensors may take; half of the free memory when None. A larger .zarr store
            is read in blocks.

    Returns:
        Coverage by level on the scored entries themselves: a check, not a result.

    Raises:
        RequestError: There is no fold, a fold's field has other targets or another context, a forecaster is not a
            field, there is nothing to score, or there are too few values for a level.
        PanelError: A panel does not fit its field.

    References:
        Vovk (2015), Cross-conformal predictors. Annals of Mathematics and Artificial Intelligence 74.
    """
    with stored(model) as predictor:
        field = field_of(predictor)
        chosen = (
            _CalibrationSet(_alike(field, predictor_of(fold)), seen, truth, None, None, max_memory)
            for fold, seen, truth in folds
        )
        return _calibrate(field, chosen, _options(field, levels, conformity_score, edges, minimum))


def _alike(field: FieldPredictor, fold: Predictor) -> FieldPredictor:
    own, other = field.fitted_spec, field_of(fold).fitted_spec
    for what, a, b in (("targets", own.targets, other.targets), ("context", own.window, other.window)):
        if a != b:
            raise RequestError(
                f"folds: a field has {what} {b}, the calibrated one has {a}; fit all with the same options"
            )
    return field_of(fold)


def _options(
    field: FieldPredictor,
    levels: Sequence[float] | None,
    conformity_score: ConformityScore | None,
    edges: Sequence[int],
    minimum: int,
) -> CalibrationOptions:
    """Make options with missingness groups up to the length of the context."""
    near = [edge for edge in check_edges(edges) if 1 < edge <= field.fitted_spec.window]
    return CalibrationOptions(levels, ["missing"] if near else [], conformity_score or "scaled", near, minimum)


def _calibrate(
    field: FieldPredictor, chosen: Iterable[_CalibrationSet], options: CalibrationOptions
) -> dict[float, float]:
    """Calibrate by the entries of all sets; their span is known once all are scored."""
    span: list[Any] = []

    def scored() -> Iterator[Scored]:
        for one in chosen:
            span.extend(one.span)
            yield from one.scored()
        if not span:
            raise RequestError("folds: empty; give at least one field that was fitted on a part of the data")

    found, covered = split_conformal_calibration(
        field.fitted_spec, scored(), options, cluster=np.zeros(1, int), kind="of reconstructions"
    )
    field.reconstruction_calibration = dataclasses.replace(found, start=str(min(span)), end=str(max(span)))
    return covered


class _CalibrationSet:
    """Entries of a panel that a field reconstructs, and their truth.

    Args:
        field: A fitted field.
        panel: The panel that the field sees.
        truth: A panel with values that `panel` lacks, or None to score the observed values of `panel`.
        start: The first time.
        end: The last time.
        max_memory: Megabytes that the panel's tensors may take.
    """

    def __init__(
        self,
        field: FieldPredictor,
        panel: xr.Dataset | str | os.PathLike[str],
        truth: xr.Dataset | str | os.PathLike[str] | None,
        start: str | float | None,
        end: str | float | None,
        max_memory: float | None,
    ) -> None:
        spec = field.fitted_spec
        self.field, self.history = field, History.of(panel, spec, max_memory, regular=spec.window > 1)
        self.rows = rows_of(self.history, start, end)
        times, first, last = self.history.times, self.rows[0], self.rows[-1]
        self.span = times[first], times[last]
        self.truth = None if truth is None else self._values(truth)
        seen = self.history.last_seen(field.seen)
        if truth is None and first <= seen and set(self.history.spec.nodes) & set(field.fitted_spec.nodes):
            warnings.warn(
                f"calibrating from {times[first]}, but training has used data until {times[seen]}: future errors will "
                "be larger and the intervals too narrow; begin later, or give the truth of masked entries",
                CalibrationWarning,
                stacklevel=3,
            )

    def _values(self, truth: xr.Dataset | str | os.PathLike[str]) -> torch.Tensor:
        """Return the truth of the panel's entries, (member, row, node, target)."""
        panel = truth if isinstance(truth, xr.Dataset) else open_panel(truth)
        check_unit(panel["time"], self.field.fitted_spec.time_units, "truth `time`")
        labels = {"time": self.history.times[self.rows], "node": list(self.history.spec.nodes)}
        columns = []
        for name in self.field.fitted_spec.targets:
            if name not in panel:
                raise RequestError(f"truth: has no variable `{name}`; give a panel with it")
            array = in_units(panel[name], self.field.fitted_spec.units.get(name, ""), f"truth `{name}`").reindex(labels)
            if "member" not in array.dims:
                array = array.expand_dims(member=self.history.frame.sizes.get("member", 1))
            columns.append(array.transpose("member", "time", "node").values)
            check_marks(name, columns[-1])
            check_precision(name, columns[-1])
        return torch.from_numpy(np.stack(columns, -1)).float()

    def _check(self, made: Distribution, truth: torch.Tensor, batch: Batch) -> None:
        """Refuse a truth, (row, 1, node, target), without a density; note where a transform does not take it."""
        spec, values, encoded = self.history.spec, truth, isinstance(made, Transformed)
        if isinstance(made, Transformed):
            time = batch["time"][:, spec.window - 1 : spec.window]
            values = self.field.transform.encoded(made.bound, truth, time, batch["origin"][:, 0])
        times = self.history.times[batch["origin"][:, 1].cpu().numpy()]
        check_values(self.field.likelihood, values.transpose(0, 1), spec, times, "calibration", encoded=encoded)

    def scored(self) -> Iterator[Scored]:
        """Yield the reconstruction, the truth and the steps since each node was observed, batch by batch.

        Raises:
            RequestError: There is nothing to score, or a truth to which the likelihood gives no density.
        """
        field, scored = self.field, 0
        with evaluation_mode(field):
            for raw in self.history.batches(self.rows):
                batch = to_device(raw, field.device)
                truth = batch["past"][:, -1:, :, : len(field.fitted_spec.targets)]
                if self.truth is not None:
                    member, row = batch["origin"].T.cpu()
                    there = self.truth[member, row - int(self.rows[0])].unsqueeze(1).to(truth)
                    truth = torch.where(torch.isnan(truth), there, torch.nan)
                scored += int((~torch.isnan(truth)).sum())
                made = field.reconstruction(batch)
                self._check(made, truth, batch)
                yield made, truth, steps_before(batch)
        if not scored:
            raise RequestError(
                "truth: nothing to score, it has no value that the panel lacks; keep the stations of the truth in the "
                "panel, with all their values missing"
            )
