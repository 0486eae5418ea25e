"""Distributions around a location: a scale model, and empirical standardised residuals by the size of the forecast."""

from __future__ import annotations

import dataclasses
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from benchmarks.defaults.rivals import quantiles_of

Floats = NDArray[np.floating[Any]]
TREES = {"verbose": -1, "num_threads": 1, "deterministic": True, "force_row_wise": True, "seed": 0}
SCALE = {**TREES, "objective": "l2", "learning_rate": 0.1, "num_leaves": 15, "min_data_in_leaf": 100}
ROUNDS = 60


@dataclasses.dataclass(frozen=True)
class Spread:
    """Scale model and quantiles of standardised residuals.

    Attributes:
        model: Booster of the absolute residual.
        floor: Lowest scale.
        edges: Locations between which a group of residuals lies, ascending.
        quantiles: Quantiles of the standardised residuals of each group, (group, quantile).
    """

    model: lightgbm.Booster
    floor: float
    edges: Floats
    quantiles: Floats

    @classmethod
    def of(cls, features: Floats, location: Floats, truth: Floats, folds: NDArray[np.int64]) -> Spread:
        """Learn from forecasts that were made out of fold.

        Args:
            features: Features, (case, feature).
            location: Locations forecast out of fold, (case,).
            truth: Observed values, (case,).
            folds: Fold of each case, (case,).
        """
        residual = truth - location
        apart = np.abs(residual)
        inputs = np.column_stack([features, location])
        floor = 0.1 * float(apart.mean()) + 1e-9
        scale = np.empty_like(apart)
        for half in (0, 1):
            here = folds % 2 == half
            model = lightgbm.train(SCALE, lightgbm.Dataset(inputs[~here], apart[~here]), ROUNDS)
            scale[here] = np.maximum(model.predict(inputs[here], num_threads=1), floor)
        groups = int(np.clip(len(apart) / 1500, 1, 12))
        edges = np.unique(np.quantile(location, np.arange(1, groups) / groups))
        edges = edges[edges > location.min()]  # a group holds cases, also where locations are equal
        group = np.searchsorted(edges, location)
        standard = residual / scale
        quantiles = np.stack([quantiles_of(standard[group == g]) for g in range(len(edges) + 1)])
        quantiles = np.where(np.isfinite(quantiles), quantiles, quantiles_of(standard))
        return cls(lightgbm.train(SCALE, lightgbm.Dataset(inputs, apart), ROUNDS), floor, edges, quantiles)

    def around(self, features: Floats, location: Floats) -> Floats:
        """Return quantiles around new locations, (case, quantile).

        Args:
            features: Features, (case, feature).
            location: Locations, (case,).
        """
        inputs = np.column_stack([features, location])
        scale = np.maximum(self.model.predict(inputs, num_threads=1), self.floor)
        group = np.searchsorted(self.edges, location)
        return np.sort(location[:, None] + scale[:, None] * self.quantiles[group], 1)
