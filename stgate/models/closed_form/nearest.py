"""Nodes whose past goes with the future of another node, and patterns in space."""

from __future__ import annotations

import torch
from torch import Tensor

from stgate.data.window_data import WindowData
from stgate.prediction.predictor import Predictor

MOST_NODES, MOST_STEPS = 4000, 20_000
"""Largest number of nodes whose correlations are computed, and of the last steps that enter them."""
SNAPSHOTS = 2000
"""Largest number of steps from which patterns in space are made."""


def correlated_nodes(predictor: Predictor, data: WindowData, count: int) -> Tensor:
    """Return for each node those whose values correlate most with its own one step later.

    Args:
        predictor: A predictor that has learned its transforms.
        data: The data of the fit.
        count: Number of nodes for each node.

    Returns:
        (target, node, count), the most correlated first; of a panel of many nodes, those next in order.
    """
    start, stop = data.parts.train
    nodes, targets = len(data.spec.nodes), len(data.spec.targets)
    if count == 0 or nodes > MOST_NODES:
        next_ones = (torch.arange(nodes)[:, None] + 1 + torch.arange(count)) % nodes
        return next_ones.expand(targets, -1, -1)
    first = max(start, stop - MOST_STEPS)
    series = predictor.encoded_series(data.series)
    values = series.read(first, stop)[..., :targets].float()
    found = []
    for target in range(targets):
        x = values[..., target]  # (member, time, node)
        x = x - x.flatten(0, 1).nanmean(0)
        x = torch.nan_to_num(x / x.square().flatten(0, 1).nanmean(0).sqrt().clamp(min=1e-9)).clamp(-5, 5)
        seen = (x != 0).to(x)
        early, late = (each.flatten(0, 1) for each in (x[:, :-1], x[:, 1:]))
        pairs = seen[:, :-1].flatten(0, 1).T @ seen[:, 1:].flatten(0, 1)
        correlation = (early.T @ late / (pairs + 20)).T.abs()  # (node, other node)
        correlation.fill_diagonal_(-1.0)
        found.append(torch.sort(correlation, dim=1, descending=True, stable=True).indices[:, :count])
    return torch.stack(found)


def leading_patterns(predictor: Predictor, data: WindowData, count: int) -> Tensor:
    """Return the leading patterns in space of each target (empirical orthogonal functions), (target, node, pattern).

    They have unit length; the strongest come first.

    Args:
        predictor: A predictor that has learned its transforms.
        data: The data of the fit.
        count: Number of patterns.
    """
    start, stop = data.parts.train
    nodes, targets = len(data.spec.nodes), len(data.spec.targets)
    made = torch.zeros(targets, nodes, count)
    most = min(MOST_STEPS, max(MOST_NODES * MOST_STEPS // nodes, count))  # of very many nodes fewer steps are read
    rows = predictor.encoded_series(data.series).read(max(start, stop - most), stop)
    values = (rows[..., :targets].float() - predictor.scaler.target_center) / predictor.scaler.target_scale
    for target in range(targets):
        x = torch.nan_to_num(values[..., target]).flatten(0, 1)
        x = x[:: -(-len(x) // SNAPSHOTS)].double()
        vectors = torch.linalg.svd(x, full_matrices=False).Vh[:count]
        made[target, :, : len(vectors)] = vectors.T.float()
    return made
