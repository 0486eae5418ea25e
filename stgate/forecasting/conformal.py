"""Split conformal calibration of forecasts: from conformity scores to the calibration that a checkpoint stores."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Distribution

from stgate.calibration.conformal import needed
from stgate.calibration.groups import EDGES, check_edges, grouped_conformal, missing_groups, missing_names
from stgate.errors import RequestError, check_counts, did_you_mean
from stgate.prediction.intervals import Calibration, ConformityScore, conformity_scores
from stgate.schema.forecast import as_levels, quantiles_of
from stgate.schema.spec import PanelSpec
from stgate.schema.words import check_conformity_score

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
"""Default central-interval levels of a calibration."""
GROUPS = ("missing", "node")
"""Mondrian groups that can be calibrated separately, besides clusters of nodes by a coordinate."""
Scored = tuple[Distribution, Tensor, Tensor]
"""A forecast and the truth, both (batch, lead, node, target), and steps since each node was observed (batch, node)."""


@dataclasses.dataclass(frozen=True)
class CalibrationOptions:
    """Options of a split conformal calibration.

    Attributes:
        levels: Central-interval levels to hold, ascending. None: those of `LEVELS` that the number of observed values
            supports.
        by: Groups that are calibrated separately: `missing`, and `node` or a node coordinate that holds clusters.
        conformity_score: `scaled`, `residual`, `quantile` or `distribution`.
        edges: Steps since observed at which a further missingness group begins.
        minimum: Number of observed values that a group needs to stand by itself.

    Raises:
        RequestError: An option is out of range.
    """

    levels: Sequence[float] | None = None
    by: str | Sequence[str] = ("missing",)
    conformity_score: ConformityScore = "scaled"
    edges: Sequence[int] = EDGES
    minimum: int = 50

    def __post_init__(self) -> None:
        check_conformity_score(self.conformity_score)
        if not self.ordered:
            raise RequestError("levels: give at least one, such as 0.9")
        check_edges(self.edges)
        check_counts(minimum=(self.minimum, 0))
        quantiles_of(self.ordered)  # levels out of range are refused

    @property
    def ordered(self) -> list[float]:
        """The levels, ascending."""
        return as_levels(LEVELS if self.levels is None else self.levels)

    @property
    def groups(self) -> list[str]:
        """The groups that are calibrated separately, as a list."""
        return [self.by] if isinstance(self.by, str) else list(self.by)


def split_conformal_calibration(
    spec: PanelSpec,
    scored: Iterable[Scored],
    options: CalibrationOptions,
    *,
    cluster: NDArray[np.int64],
    kind: str,
    method: str = "split conformal",
) -> tuple[Calibration, dict[float, float]]:
    """Calibrate the quantiles of conformity scores, separately for each lead and target.

    Args:
        spec: The spec of the predictor.
        scored: Forecasts with their truth, batch by batch.
        options: Levels, groups and conformity score.
        cluster: (node,), the cluster that each node is in.
        kind: The groups besides those of the options, for the method's description.
        method: The first words of the method's description.

    Returns:
        The calibration, without its span; and the coverage of the scored values themselves by level.

    Raises:
        RequestError: A level has too few observed values, or a field is to be calibrated by node.
    """
    by, ordered = options.groups, options.ordered
    if spec.places and by not in ([], ["missing"]):
        raise RequestError(f"by {by[-1]!r}: a field takes panels with other nodes; calibrate it by missing only")
    scores, since = _joined(
        scored, options.conformity_score, ordered
    )  # (level or 1, observation, lead, target), (observation,)
    counts = (~np.isnan(scores[0])).sum(0)
    kept = _supported(ordered, counts, spec.targets, drop=options.levels is None)
    if len(scores) > 1:
        scores = scores[[i for i, level in enumerate(ordered) if level in kept]]
    clusters = int(cluster.max()) + 1
    edges = tuple(options.edges) if "missing" in by else ()
    group = missing_groups(since, edges)
    wide = np.arange(len(edges) + 1).repeat(clusters)  # the missingness group of each narrow one
    narrow = group * clusters + cluster[np.arange(len(since)) % len(cluster)]
    quantiles, source = grouped_conformal(scores, narrow, [wide, np.minimum(wide, 1)], kept, options.minimum)
    chosen = quantiles[narrow].swapaxes(0, 1)  # (level, observation, lead, target)
    seen = ~np.isnan(scores[0])
    clustered = next((name for name in by if name != "missing"), "")
    table = quantiles.reshape(len(edges) + 1, clusters, *quantiles.shape[1:])
    named = {"missing": "missingness group"}
    calibration = Calibration(
        method=f"{method} " + ", ".join([kind, *(f"per {named.get(name, name)}" for name in by)]),
        conformity_score=options.conformity_score,
        levels=tuple(kept),
        edges=edges,
        quantiles=torch.from_numpy(table[:, cluster] if clusters > 1 else table).float(),
        n_observations=torch.from_numpy(counts),
        report=(*_left_out(ordered, kept, counts), *_report(source, edges, clusters, clustered, kept)),
        start="",
        end="",
    )
    inside = np.broadcast_to(scores, (len(kept), *scores.shape[1:])) <= chosen
    return calibration, {level: float(inside[i][seen].mean()) for i, level in enumerate(kept)}


def clusters_of(panel: xr.Dataset, by: Sequence[str]) -> NDArray[np.int64]:
    """Return the cluster of each node, (node,); all nodes are in one unless `by` names a coordinate."""
    named = [str(name) for name, coord in panel.coords.items() if coord.dims == ("node",) and name != "node"]
    chosen = [name for name in by if name != "missing"]
    for name in chosen:
        if name not in (*GROUPS, *named):
            raise RequestError(f"by {name!r}: {did_you_mean(name, (*GROUPS, *named))}")
    if len(chosen) > 1:
        raise RequestError(f"by {chosen[0]!r} and {chosen[1]!r}: only one grouping of nodes is possible; give one")
    if chosen == ["node"]:
        return np.arange(panel.sizes["node"])
    return np.unique(panel[chosen[0]].values, return_inverse=True)[1] if chosen else np.zeros(panel.sizes["node"], int)


def _joined(
    scored: Iterable[Scored], kind: ConformityScore, levels: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Join the scores of all batches, (level or 1, observation, lead, target), and their steps since observed."""
    parts, groups = [], []
    for forecast, truth, since in scored:
        score = conformity_scores(forecast, truth, kind, levels)  # (level or 1, batch, lead, node, target)
        parts.append(score.transpose(2, 3).flatten(1, 2).cpu().numpy())
        groups.append(since.flatten().cpu().numpy())
    return np.concatenate(parts, axis=1).astype("float64"), np.concatenate(groups).astype("int64")


def _supported(
    ordered: Sequence[float], counts: NDArray[np.int64], targets: Sequence[str], *, drop: bool
) -> list[float]:
    """Return the levels that have enough observed values at each lead; leave out the others, or refuse them."""
    short = int(counts.min())
    kept = [level for level in ordered if needed(level) <= short]
    if drop:
        return kept or list(ordered[:1])
    for level in ordered:
        if level not in kept:
            lead, target = (int(i) for i in np.unravel_index(int(np.argmin(counts)), counts.shape))
            raise RequestError(
                f"level {level:g}: needs {needed(level)} observed values at each lead, the calibration "
                f"part has {short} at lead {lead + 1} of `{targets[target]}`; give it a larger share"
            )
    return kept


def _left_out(ordered: Sequence[float], kept: Sequence[float], counts: NDArray[np.int64]) -> list[str]:
    """Report the levels that are left out because there are too few observed values."""
    lost = [f"{level:g}" for level in ordered if level not in kept]
    few = f"{int(counts.min())} observed values at a lead are too few"
    return [f"levels {', '.join(lost)}: left out, {few}"] if lost else []


def _report(
    source: NDArray[np.int64], edges: Sequence[int], clusters: int, kind: str, levels: Sequence[float]
) -> list[str]:
    """Report the groups that are too small to be calibrated by themselves, at some lead of some level."""
    source = source.reshape(len(edges) + 1, clusters, len(levels), -1).max(-1)  # (group, cluster, level)
    lines = []
    for name, own in zip(missing_names(edges), source, strict=True):
        short = (own >= 2).any(0)
        if edges and short.any():
            lines.append(
                f"nodes {name}: too few observed values from level {levels[int(np.argmax(short))]:g} on; they take the "
                "intervals of all nodes that were not observed, or of all"
            )
        elif clusters > 1 and (own >= 1).any():
            many = int((own >= 1).any(1).sum())
            which = f"nodes {name}, " if edges else ""
            lines.append(
                f"{which}by {kind}: {many} of {clusters} have too few observed values; they take the intervals of all "
                "nodes"
            )
    return lines
