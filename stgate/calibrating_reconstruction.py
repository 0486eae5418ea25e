"""Calibrate a field's reconstructions: intervals from entries that training has not seen."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from stgate.calibrating import Case, conformal, evaluating
from stgate.calibration.groups import EDGES
from stgate.data.history import History
from stgate.data.read import open_panel
from stgate.errors import CalibrationWarning, RequestError
from stgate.models.cglubnf import CGLUBNF
from stgate.models.forecaster import Forecaster
from stgate.reconstructing import field_of, rows_of, steps_before


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
    history = History.of(panel, field.fitted_spec, max_memory)
    rows = rows_of(history, start, end)
    known = None if truth is None else _values(field, history, rows, truth)
    seen = history.last_seen(field.seen)
    if truth is None and rows[0] <= seen and set(history.spec.nodes) & set(field.fitted_spec.nodes):
        warnings.warn(
            f"calibrating from {history.times[rows[0]]} on what training has seen, until {history.times[seen]}: "
            "errors to come will be larger, intervals too narrow; begin later, or hide entries and give their truth",
            CalibrationWarning,
            stacklevel=2,
        )
    window = history.spec.window
    span = str(history.times[rows[0]]), str(history.times[rows[-1]])
    cases = _reconstructions(field, history, rows, known)
    near = [edge for edge in edges if 1 < edge <= window]
    one = np.zeros(len(history.spec.nodes), int)
    by = ["missing"] if near else []
    field.reconstruction_calibration, covered = conformal(
        field.fitted_spec, cases, span, levels, by, one, scores, near, minimum, over="of reconstructions"
    )
    return covered


def _values(
    field: CGLUBNF, history: History, rows: NDArray[np.int64], truth: xr.Dataset | str | os.PathLike[str]
) -> torch.Tensor:
    """What is known of the panel's entries: (member, row, node, target)."""
    panel = truth if isinstance(truth, xr.Dataset) else open_panel(truth)
    labels = {"time": history.times[rows], "node": list(history.spec.nodes)}
    columns = []
    for name in field.fitted_spec.targets:
        if name not in panel:
            raise RequestError(f"truth: has no `{name}`")
        array = panel[name].reindex(labels)
        if "member" not in array.dims:
            array = array.expand_dims(member=history.frame.sizes.get("member", 1))
        columns.append(array.transpose("member", "time", "node").values)
    return torch.from_numpy(np.stack(columns, -1)).float()


def _reconstructions(
    field: CGLUBNF, history: History, rows: NDArray[np.int64], known: torch.Tensor | None
) -> Iterator[Case]:
    scored = 0
    with evaluating(field):
        for raw in history.batches(rows):
            batch = {name: value.to(field.device) for name, value in raw.items()}
            truth = batch["past"][:, -1:, :, : len(field.fitted_spec.targets)]
            if known is not None:
                member, row = batch["origin"].T.cpu()
                there = known[member, row - int(rows[0])].unsqueeze(1).to(truth)
                truth = torch.where(torch.isnan(truth), there, torch.nan)
            scored += int((~torch.isnan(truth)).sum())
            yield field.reconstruction(batch), truth, steps_before(batch)
    if not scored:
        raise RequestError("nothing to score: the truth holds no value that the panel lacks")
