"""A ridge on features made by hand: one for all nodes, and a correction for each node, shrunk towards none."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]
SHARED = (1.0, 30.0, 300.0, 3000.0)
"""Penalties of the shared ridge; features are standardised."""
OWN = (10.0, 50.0, 200.0, 1000.0, np.inf)
"""Penalties of the corrections of the nodes."""


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Standardised features with missing values at their mean, and flags of what is often missing.

    Attributes:
        centre: Means, (feature,).
        width: Standard deviations, (feature,).
        flags: Features whose absence is an input of its own.
    """

    centre: Floats
    width: Floats
    flags: Ints

    @classmethod
    def of(cls, features: Floats) -> Inputs:
        """Learn means and deviations.

        Args:
            features: Features, (case, feature).
        """
        centre = np.nan_to_num(np.nanmean(features, 0))
        width = np.nan_to_num(np.nanstd(features, 0))
        share = np.isnan(features).mean(0)
        return cls(centre, np.where(width > 1e-9, width, 1.0), np.flatnonzero((share > 0.01) & (share < 0.99)))

    def __call__(self, features: Floats) -> Floats:
        """Return a constant, the features and the flags, (case, input)."""
        x = np.clip(np.nan_to_num((features - self.centre) / self.width), -8, 8)
        return np.column_stack([np.ones(len(x)), x, np.isnan(features[:, self.flags])]).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Ridge:
    """Weights of a fit.

    Attributes:
        inputs: Standardisation.
        shared: Weights of all nodes, (input,).
        own: Corrections by node, (node, input).
    """

    inputs: Inputs
    shared: Floats
    own: Floats

    def predict(self, features: Floats, nodes: Ints) -> Floats:
        """Return locations, (case,).

        Args:
            features: Features, (case, feature).
            nodes: Node of each case, (case,).
        """
        x = self.inputs(features)
        return x @ self.shared + np.einsum("ci,ci->c", x, self.own[nodes])


def solve(gram: Floats, moment: Floats, penalty: float) -> Floats:
    """Return ridge weights; the constant is not penalised.

    Args:
        gram: Products of inputs, (..., input, input).
        moment: Products of inputs and target, (..., input).
        penalty: Penalty.
    """
    diagonal = np.full(gram.shape[-1], penalty)
    diagonal[0] = 1.0
    return np.linalg.solve(gram + np.diag(diagonal), moment[..., None])[..., 0]


def grams(x: Floats, y: Floats, nodes: Ints, count: int) -> tuple[Floats, Floats]:
    """Return the products of inputs, and with the target, of each node."""
    order = np.argsort(nodes, kind="stable")
    starts = np.searchsorted(nodes[order], np.arange(count + 1))
    gram, moment = np.zeros((count, x.shape[1], x.shape[1])), np.zeros((count, x.shape[1]))
    for node in range(count):
        here = order[starts[node] : starts[node + 1]]
        part = x[here].astype(np.float64)
        gram[node], moment[node] = part.T @ part, part.T @ y[here]
    return gram, moment


def fitted(features: Floats, target: Floats, nodes: Ints, folds: Ints, count: int) -> tuple[Ridge, Floats]:
    """Fit on all cases, penalties chosen out of fold; return the fit and the forecasts out of fold.

    Args:
        features: Features, (case, feature).
        target: Observed anomalies, (case,).
        nodes: Node of each case, (case,).
        folds: Fold of each case, blocks in time, (case,).
        count: Number of nodes.
    """
    inputs = Inputs.of(features)
    x = inputs(features)
    parts = [grams(x[folds == f], target[folds == f], nodes[folds == f], count) for f in range(folds.max() + 1)]
    gram, moment = (sum(p[i] for p in parts) for i in (0, 1))
    shared_error = np.zeros(len(SHARED))
    for f, (g, m) in enumerate(parts):
        here = folds == f
        for i, penalty in enumerate(SHARED):
            weights = solve((gram - g).sum(0), (moment - m).sum(0), penalty)
            shared_error[i] += ((target[here] - x[here] @ weights) ** 2).sum()
    penalty = SHARED[int(shared_error.argmin())]
    made = np.empty((len(OWN), len(target)))
    for f, (g, m) in enumerate(parts):
        here = folds == f
        weights = solve((gram - g).sum(0), (moment - m).sum(0), penalty)
        for i, own in enumerate(OWN):
            made[i, here] = x[here] @ weights
            if np.isfinite(own):
                apart = solve(gram - g, moment - m - (gram - g) @ weights, own)
                made[i, here] += np.einsum("ci,ci->c", x[here], apart[nodes[here]])
    best = int(((made - target) ** 2).mean(1).argmin())
    weights = solve(gram.sum(0), moment.sum(0), penalty)
    corrections = np.zeros(moment.shape)
    if np.isfinite(OWN[best]):
        corrections = solve(gram, moment - gram @ weights, OWN[best])
    return Ridge(inputs, weights, corrections), made[best]
