"""Calibrate: intervals from scores of forecasts that neither training nor model choice has seen."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Distribution

from stgate.calibration.conformal import needed
from stgate.calibration.groups import EDGES, grouped_conformal, missing_groups, missing_names
from stgate.data.history import History
from stgate.data.window_data import WindowData
from stgate.data.windows import Batch
from stgate.errors import CalibrationWarning, RequestError, did_you_mean
from stgate.models.forecaster import Forecaster
from stgate.models.intervals import METHODS, conformity
from stgate.schema.forecast import quantiles_of
from stgate.schema.spec import PanelSpec

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
"""Central-interval levels that a calibration holds unless told otherwise."""
GROUPS = ("missing", "node")
"""What can be calibrated apart, beside clusters of nodes by a coordinate."""
Case = tuple[Distribution, Tensor, Tensor]
"""A forecast and the truth, both (batch, lead, node, target), and steps since each node was observed (batch, node)."""


def calibrate(
    model: Forecaster,
    data: WindowData,
    *,
    levels: Sequence[float] | None = None,
    by: str | Sequence[str] = ("missing",),
    scores: str = "scaled",
    edges: Sequence[int] = EDGES,
    minimum: int = 50,
) -> dict[float, float]:
    """Fit split conformal intervals on the calibration part, and store them in the forecaster.

    Scores are pooled over origins and members, for each lead time and target apart, and for each group of `by`. If new
    scores are exchangeable with those of the calibration part, an interval of level p covers with probability at least
    p, in each group; under drift it need not (see `backtest(calibration="rolling")`).

    Args:
        model: A fitted forecaster; its `calibration` is replaced.
        data: Its calibration part has been seen neither by training nor by model choice.
        levels: Central-interval levels to hold. None: those of `LEVELS` that the number of cases supports.
        by: What is calibrated apart: `missing` (how long ago the node was observed, at the origin; see `edges`), and
            `node` or clusters of nodes by the name of a node coordinate that holds them. A group with fewer cases than
            `minimum`, or than its level needs, takes the intervals of a wider one: a node or cluster those of all
            nodes, a missingness group those of all that were not observed, then of all.
        scores: `scaled` (error in units of the forecast's spread), `residual` (error; intervals of one width),
            `quantile` (conformalised quantile regression: the forecast's own intervals, moved), or `distribution` (the
            forecast's own intervals of other levels, which keep its shape where it is skewed; they reach to the levels
            of 1e-6 at most).
        edges: Steps since observed from which on a further group begins.
        minimum: Cases that a group needs.

    Returns:
        Coverage by level on the calibration part itself: a check, not a result. `model.calibration["report"]` says
        which groups were too small to stand by themselves.

    Raises:
        RequestError: The split leaves no calibration part, has too few cases for a level, or an option is unknown.
    """
    start, stop = data.parts.calibration
    if stop <= start:
        raise RequestError("split: it leaves no calibration part; give its third entry a share")
    if model.fitted_spec != data.spec:
        raise RequestError("the data are not those that the forecaster was fitted on; use the same panel and options")
    times = data.panel["time"].values
    span = str(times[start]), str(times[stop - 1])
    by = [by] if isinstance(by, str) else list(by)
    cluster = _clusters(data.panel, by)
    cases = _forecasts(model, data.part_dataloader("calibration"))
    model.calibration, covered = conformal(
        model.fitted_spec, cases, span, levels, by, cluster, scores, edges, minimum, over="per lead time"
    )
    return covered


def recalibrate(
    model: Forecaster,
    panel: xr.Dataset | str | os.PathLike[str],
    *,
    start: str | float | None = None,
    end: str | float | None = None,
    levels: Sequence[float] | None = None,
    by: str | Sequence[str] = ("missing",),
    scores: str = "scaled",
    edges: Sequence[int] = EDGES,
    minimum: int = 50,
    max_memory: float | None = None,
) -> dict[float, float]:
    """Fit split conformal intervals on any span of a panel that training has not seen; see `calibrate`.

    Args:
        model: A fitted forecaster; its `calibration` is replaced.
        panel: A panel, or the path of one, with the nodes and variables that it was fitted on.
        start: The first valid time; origins may precede it. None: the first that neither training nor model choice has
            seen, or where they have seen all, as early as the window allows. Earlier ones are warned of.
        end: The last valid time; a date means its last step. None: the panel's end.
        levels: As in `calibrate`.
        by: As in `calibrate`.
        scores: As in `calibrate`.
        edges: As in `calibrate`.
        minimum: As in `calibrate`.
        max_memory: As in `stgate.forecast`.

    Returns:
        As `calibrate`.

    Raises:
        PanelError: The panel does not fit the forecaster.
        RequestError: A time outside the panel, a span without a whole window, or as in `calibrate`.
    """
    history = History.of(panel, model.fitted_spec, max_memory)
    window, horizon = history.spec.window, history.spec.horizon
    seen = history.last_seen(model.seen)
    new = seen + 1 if seen + horizon < history.steps else 0
    first = max(new if start is None else history.row(start, "start"), window)
    last = history.steps - 1 if end is None else history.row(end, "end", last=True)
    rows = np.arange(first - 1, last - horizon + 1)
    if len(rows) == 0:
        raise RequestError(
            f"from {history.times[first]} to {history.times[last]}: shorter than the {horizon} steps of a forecast; "
            "give a longer span"
        )
    if first <= seen:
        warnings.warn(
            f"calibrating from {history.times[first]} on what training has seen, until {history.times[seen]}: "
            "errors to come will be larger, and intervals too narrow; begin later",
            CalibrationWarning,
            stacklevel=2,
        )
    span = str(history.times[first]), str(history.times[last])
    by = [by] if isinstance(by, str) else list(by)
    cluster = _clusters(history.frame, by)
    cases = _forecasts(model, history.batches(rows))
    model.calibration, covered = conformal(
        model.fitted_spec, cases, span, levels, by, cluster, scores, edges, minimum, over="per lead time"
    )
    return covered


def conformal(
    spec: PanelSpec,
    cases: Iterable[Case],
    span: tuple[str, str],
    levels: Sequence[float] | None,
    by: Sequence[str],
    cluster: NDArray[np.int64],
    scores: str,
    edges: Sequence[int],
    minimum: int,
    over: str,
) -> tuple[dict[str, Any], dict[float, float]]:
    """Split conformal factors from cases, for each lead and target apart; see `calibrate`.

    Args:
        spec: Of the forecaster.
        cases: See `Case`.
        span: First and last time of the cases.
        levels: As in `calibrate`.
        by: As in `calibrate`.
        cluster: (node,), the cluster each is in.
        scores: As in `calibrate`.
        edges: As in `calibrate`.
        minimum: As in `calibrate`.
        over: What the method says first.

    Returns:
        What is stored in a forecaster, and the coverage of the cases themselves by level.
    """
    if scores not in METHODS:
        raise RequestError(f"scores {scores!r}: {did_you_mean(scores, METHODS)}")
    ordered = sorted(LEVELS if levels is None else levels)
    if not ordered:
        raise RequestError("levels: give at least one, such as 0.9")
    quantiles_of(ordered)  # levels out of range are refused
    if spec.places and list(by) not in ([], ["missing"]):
        raise RequestError(f"by {by[-1]!r}: a field takes panels with other nodes; calibrate it by missing only")
    found, since = _scored(cases, scores, ordered)  # (level or 1, case, lead, target), (case,)
    counts = (~np.isnan(found[0])).sum(0)
    kept = _supported(ordered, counts, spec.targets, drop=levels is None)
    if len(found) > 1:
        found = found[[i for i, level in enumerate(ordered) if level in kept]]
    clusters = int(cluster.max()) + 1
    edges = tuple(edges) if "missing" in by else ()
    group = missing_groups(since, edges)
    wide = np.arange(len(edges) + 1).repeat(clusters)  # the missingness group of each narrow one
    narrow = group * clusters + cluster[np.arange(len(since)) % len(cluster)]
    factors, source = grouped_conformal(found, narrow, [wide, np.minimum(wide, 1)], kept, minimum)
    chosen = factors[narrow].swapaxes(0, 1)  # (level, case, lead, target)
    seen = ~np.isnan(found[0])
    kind = next((name for name in by if name != "missing"), "")
    table = factors.reshape(len(edges) + 1, clusters, *factors.shape[1:])
    calibration = {
        "method": "split conformal " + ", ".join([over, *(f"per {_SAID.get(name, name)}" for name in by)]),
        "scores": scores,
        "levels": kept,
        "edges": list(edges),
        "factors": torch.from_numpy(table[:, cluster] if clusters > 1 else table).float(),  # (group, node or 1, …)
        "cases": torch.from_numpy(counts),
        "report": [*_left_out(ordered, kept, counts), *_report(source, edges, clusters, kind, kept)],
        "start": span[0],
        "end": span[1],
    }
    inside = np.broadcast_to(found, (len(kept), *found.shape[1:])) <= chosen
    return calibration, {level: float(inside[i][seen].mean()) for i, level in enumerate(kept)}


_SAID = {"missing": "missingness group"}


def _clusters(panel: xr.Dataset, by: Sequence[str]) -> NDArray[np.int64]:
    """(node,), which cluster each is in; all in one unless `by` says otherwise."""
    named = [str(name) for name, coord in panel.coords.items() if coord.dims == ("node",) and name != "node"]
    chosen = [name for name in by if name != "missing"]
    for name in chosen:
        if name not in (*GROUPS, *named):
            raise RequestError(f"by {name!r}: {did_you_mean(name, (*GROUPS, *named))}")
    if len(chosen) > 1:
        raise RequestError(f"by {chosen[0]!r} and {chosen[1]!r}: nodes are in one kind of cluster; give one")
    if chosen == ["node"]:
        return np.arange(panel.sizes["node"])
    return np.unique(panel[chosen[0]].values, return_inverse=True)[1] if chosen else np.zeros(panel.sizes["node"], int)


def _forecasts(model: Forecaster, windows: Iterable[Batch]) -> Iterator[Case]:
    with evaluating(model):
        for raw in windows:
            batch = {name: value.to(model.device) for name, value in raw.items()}
            yield model(batch), batch["target"], batch["since"][:, -1].amin(-1)


def _scored(
    cases: Iterable[Case], method: str, levels: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Scores, (level or 1, case, lead, target), and steps since observed, (case,)."""
    parts, groups = [], []
    for forecast, truth, since in cases:
        score = conformity(forecast, truth, method, levels)  # (level or 1, batch, lead, node, target)
        parts.append(score.transpose(2, 3).flatten(1, 2).cpu().numpy())
        groups.append(since.flatten().cpu().numpy())
    return np.concatenate(parts, axis=1).astype("float64"), np.concatenate(groups).astype("int64")


def _supported(
    ordered: Sequence[float], counts: NDArray[np.int64], targets: Sequence[str], *, drop: bool
) -> list[float]:
    """The levels for which there are cases enough at each lead; the others are left out, or refused."""
    short = int(counts.min())
    kept = [level for level in ordered if needed(level) <= short]
    if drop:
        return kept or list(ordered[:1])
    for level in ordered:
        if level not in kept:
            lead, target = (int(i) for i in np.unravel_index(int(np.argmin(counts)), counts.shape))
            raise RequestError(
                f"level {level:g}: needs {needed(level)} observed cases at each lead, the calibration "
                f"part has {short} at lead {lead + 1} of `{targets[target]}`; give it a larger share"
            )
    return kept


def _left_out(ordered: Sequence[float], kept: Sequence[float], counts: NDArray[np.int64]) -> list[str]:
    """Which levels have too few cases to be held at all."""
    lost = [f"{level:g}" for level in ordered if level not in kept]
    return [f"levels {', '.join(lost)}: left out, {int(counts.min())} cases at a lead are too few"] if lost else []


def _report(
    source: NDArray[np.int64], edges: Sequence[int], clusters: int, kind: str, levels: Sequence[float]
) -> list[str]:
    """Which groups were too small to be calibrated by themselves, at some lead of some level."""
    source = source.reshape(len(edges) + 1, clusters, len(levels), -1).max(-1)  # (group, cluster, level)
    lines = []
    for name, own in zip(missing_names(edges), source, strict=True):
        short = (own >= 2).any(0)
        if edges and short.any():
            lines.append(
                f"nodes {name}: too few cases from level {levels[int(np.argmax(short))]:g} on; take the intervals of "
                "all that were not observed, or of all"
            )
        elif clusters > 1 and (own >= 1).any():
            many = int((own >= 1).any(1).sum())
            which = f"nodes {name}, " if edges else ""
            lines.append(f"{which}by {kind}: {many} of {clusters} have too few cases; take the intervals of all nodes")
    return lines


@contextlib.contextmanager
def evaluating(model: Forecaster) -> Iterator[None]:
    """Evaluation mode without gradients; the caller's mode comes back."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)
