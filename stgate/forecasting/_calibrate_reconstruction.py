"""Calibrate a field's reconstructions: intervals from entries that training has not seen."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr

from stgate.calibration.groups import EDGES
from stgate.data.history import History
from stgate.errors import CalibrationWarning, RequestError
from stgate.forecasting._calibrate import Case, conformal, evaluating
from stgate.forecasting._reconstruct import field_of, rows_of, steps_before
from stgate.io.readers import open_panel
from stgate.models.cglubnf import CGLUBNF
from stgate.models.forecaster import Forecaster


def calibrate_reconstruction(
    model: Forecaster,
    panel: xr.Dataset | str | os.PathLike[str],
    truth: xr.Dataset | str | os.PathLike[str] | None = None,
    *,
    start: str | float | None = None,
    end: str | float | None = None,
    levels: Sequence[float] | None = None,
    scores: str = "scaled",
    edges: Sequence[int] = EDGES,
    minimum: int = 50,
    max_memory: float | None = None,
) -> dict[float, float]:
    """Fit split conformal intervals of `stgate.reconstruct`, and store them in the field.

    Entries to come are covered with at least the probability of the level if their errors are exchangeable with those
    of the entries that are scored here: so score what training has not seen and what is like it, stations left out for
    new stations, gaps made by the same pattern for gaps.

    Args:
        model: A fitted `CGLUBNF` or `BayesNF`; its `reconstruction_calibration` is replaced.
        panel: What the field sees, a panel or the path of one; its nodes may be others than in training.
        truth: A panel with values that `panel` lacks: these are scored, where the field sees nothing of them. None:
            what `panel` observes is scored, each entry unseen by itself, with what its node observed before in view.
        start: The first time. None: the first that has the context.
        end: The last time; a date means its last step. None: the panel's end.
        levels: As in `calibrate`.
        scores: As in `calibrate`.
        edges: Steps since the node was observed before the entry, from which on a further group is calibrated apart; of
            a field with context only, and as far as that reaches.
        minimum: As in `calibrate`.
        max_memory: As in `stgate.forecast`.

    Returns:
        As `calibrate`.

    Raises:
        RequestError: The forecaster is no field, there is nothing to score, or as in `calibrate`.
        PanelError: The panel does not fit the field.
    """
    field = field_of(model)
    asked = _Asked(field, panel, truth, start, end, max_memory)
    return _stored(field, [asked], levels, scores, edges, minimum)


def cross_calibrate_reconstruction(
    model: Forecaster,
    folds: Iterable[tuple[Forecaster, xr.Dataset | str | os.PathLike[str], xr.Dataset | str | os.PathLike[str] | None]],
    *,
    levels: Sequence[float] | None = None,
    scores: str = "scaled",
    edges: Sequence[int] = EDGES,
    minimum: int = 50,
    max_memory: float | None = None,
) -> dict[float, float]:
    """Calibrate a field that is fitted on all there is, by the errors of fields like it that each left something out.

    Where there are few stations, some left out once say little of a new one: over several folds each station can be
    left out in turn. Fields of the folds have seen less, so intervals are rather too wide than too narrow.

    Args:
        model: Its `reconstruction_calibration` is replaced.
        folds: A fitted field, what it sees and what is scored, each as in `calibrate_reconstruction`; fields may be
            made one after another by a generator.
        levels: As in `calibrate_reconstruction`.
        scores: As there.
        edges: As there.
        minimum: As there.
        max_memory: As there.

    Returns:
        As `calibrate_reconstruction`.

    Raises:
        RequestError: There is no fold, a fold's field has other targets or another context, or as there.
        PanelError: As there.

    References:
        Vovk (2015), Cross-conformal predictors. Annals of Mathematics and Artificial Intelligence 74.
    """
    field = field_of(model)
    asked = (_Asked(_alike(field, fold), seen, truth, None, None, max_memory) for fold, seen, truth in folds)
    return _stored(field, asked, levels, scores, edges, minimum)


def _alike(field: CGLUBNF, fold: Forecaster) -> CGLUBNF:
    own, other = field.fitted_spec, field_of(fold).fitted_spec
    for what, a, b in (("targets", own.targets, other.targets), ("context", own.window, other.window)):
        if a != b:
            raise RequestError(f"folds: a field with {what} {b}, to calibrate one with {a}; fit them alike")
    return field_of(fold)


def _stored(
    field: CGLUBNF,
    asked: Iterable[_Asked],
    levels: Sequence[float] | None,
    scores: str,
    edges: Sequence[int],
    minimum: int,
) -> dict[float, float]:
    """Calibrate by the cases of all that is asked; their span is known when they are through."""
    spec = field.fitted_spec
    span: list[Any] = []

    def cases() -> Iterator[Case]:
        for one in asked:
            span.extend(one.span)
            yield from one.cases()
        if not span:
            raise RequestError("folds: there is none; give at least one field that left something out")

    near = [edge for edge in edges if 1 < edge <= spec.window]
    by = ["missing"] if near else []
    one = np.zeros(1, int)
    found, covered = conformal(
        spec, cases(), ("", ""), levels, by, one, scores, near, minimum, over="of reconstructions"
    )
    field.reconstruction_calibration = found | {"start": str(min(span)), "end": str(max(span))}
    return covered


class _Asked:
    """Entries that a field is asked for, and what they are.

    Args:
        field: A fitted one.
        panel: What it sees.
        truth: As in `calibrate_reconstruction`.
        start: The first time.
        end: The last one.
        max_memory: Of the panel's windows.
    """

    def __init__(
        self,
        field: CGLUBNF,
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
        self.known = None if truth is None else self._values(truth)
        seen = self.history.last_seen(field.seen)
        if truth is None and first <= seen and set(self.history.spec.nodes) & set(field.fitted_spec.nodes):
            warnings.warn(
                f"calibrating from {times[first]} on what training has seen, until {times[seen]}: "
                "errors to come will be larger, intervals too narrow; begin later, or give the truth of hidden entries",
                CalibrationWarning,
                stacklevel=3,
            )

    def _values(self, truth: xr.Dataset | str | os.PathLike[str]) -> torch.Tensor:
        """What is known of the panel's entries: (member, row, node, target)."""
        panel = truth if isinstance(truth, xr.Dataset) else open_panel(truth)
        labels = {"time": self.history.times[self.rows], "node": list(self.history.spec.nodes)}
        columns = []
        for name in self.field.fitted_spec.targets:
            if name not in panel:
                raise RequestError(f"truth: has no `{name}`")
            array = panel[name].reindex(labels)
            if "member" not in array.dims:
                array = array.expand_dims(member=self.history.frame.sizes.get("member", 1))
            columns.append(array.transpose("member", "time", "node").values)
        return torch.from_numpy(np.stack(columns, -1)).float()

    def cases(self) -> Iterator[Case]:
        """Forecast, truth and steps since the node was observed, of each batch.

        Raises:
            RequestError: There is nothing to score.
        """
        field, scored = self.field, 0
        with evaluating(field):
            for raw in self.history.batches(self.rows):
                batch = {name: value.to(field.device) for name, value in raw.items()}
                truth = batch["past"][:, -1:, :, : len(field.fitted_spec.targets)]
                if self.known is not None:
                    member, row = batch["origin"].T.cpu()
                    there = self.known[member, row - int(self.rows[0])].unsqueeze(1).to(truth)
                    truth = torch.where(torch.isnan(truth), there, torch.nan)
                scored += int((~torch.isnan(truth)).sum())
                yield field.reconstruction(batch), truth, steps_before(batch)
        if not scored:
            raise RequestError(
                "nothing to score: the truth holds no value that the panel lacks; keep stations of the truth in the "
                "panel, with all their values missing"
            )
