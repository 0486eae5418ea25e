"""Gaussian processes over places, one for each time, with a linear trend in the coordinates and elevation."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stgate.panels.geometry import Places

Floats = NDArray[np.floating[Any]]
LENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Length scales that are tried, in mean distances to the fifth neighbour."""
NUGGETS = (0.02, 0.1, 0.3, 1.0)
"""Variances of the nugget that are tried, relative to that of the process."""
ROUGH, SMOOTH = "exponential", "matern"


@dataclasses.dataclass(frozen=True)
class Kriging:
    """Covariance and trend over the nodes of a panel.

    Attributes:
        covariance: Covariance without nugget, relative, (node, node).
        nugget: Relative variance of the nugget.
        trend: Constant and standardised coordinates, (node, column).
    """

    covariance: Floats
    nugget: float
    trend: Floats

    @classmethod
    def of(cls, panel: xr.Dataset, values: Floats, times: int = 40) -> Kriging:
        """Choose kernel, length scale and nugget by the leave-one-out error at some times.

        Args:
            panel: Panel whose nodes have coordinates.
            values: Observed anomalies, NaN where missing, (time, node).
            times: Number of times that the error is computed at.
        """
        distance = Places.of(panel).distances()
        unit = float(np.sort(distance, 1)[:, min(5, len(distance) - 1)].mean())
        names = [n for n in ("lat", "lon", "x", "y", "elevation") if n in panel.coords]
        places = np.stack([panel[n].values.astype(float) for n in names], 1)
        trend = np.column_stack([np.ones(len(places)), (places - places.mean(0)) / places.std(0)])
        enough = np.flatnonzero(np.isfinite(values).sum(1) > trend.shape[1] + 4)
        sample = values[np.random.default_rng(0).choice(enough, min(times, len(enough)), replace=False)]
        tried = [
            cls(kernel(distance / (length * unit), shape), nugget, trend)
            for shape in (ROUGH, SMOOTH)
            for length in LENGTHS
            for nugget in NUGGETS
        ]
        errors = [np.nanmean((sample - one.estimates(sample)[0]) ** 2) for one in tried]
        return tried[int(np.argmin(errors))]

    def estimates(self, values: Floats) -> tuple[Floats, Floats]:
        """Return the estimate at every node from the others, and its relative standard deviation, (time, node) each.

        An observed entry is left out of its own estimate.

        Args:
            values: Observed anomalies, NaN where missing, (time, node).
        """
        made, deviation = np.zeros_like(values), np.ones_like(values)
        seen = np.isfinite(values)
        held: dict[bytes, tuple[Floats, Floats]] = {}
        for time, row in enumerate(values):
            pattern = seen[time].tobytes()
            if pattern not in held:
                held[pattern] = self._weights(seen[time])
            weights, deviation[time] = held[pattern]
            made[time] = weights[:, seen[time]] @ row[seen[time]]
            if len(held) > 200:
                held.clear()
        return made, deviation

    def _weights(self, seen: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """Return weights of all observed nodes in the estimate of each node, (node, node), and deviations, (node,)."""
        count = len(seen)
        weights, deviation = np.zeros((count, count)), np.ones(count)
        o = np.flatnonzero(seen)
        if len(o) < self.trend.shape[1] + 2:  # too few for a trend: their mean
            weights[:, o] = (1 - np.eye(count)[:, o]) / max(len(o) - 1, 1)
            return weights, deviation
        inverse = np.linalg.inv(self.covariance[np.ix_(o, o)] + self.nugget * np.eye(len(o)))
        x = self.trend[o]
        inner = np.linalg.inv(x.T @ inverse @ x + 1e-6 * np.eye(x.shape[1]))
        drift = inverse @ x @ inner  # (observed, column)
        rest = inverse - drift @ x.T @ inverse
        own = np.diag(rest)
        leave = np.eye(len(o)) - rest / own[:, None]  # row i: the estimate of observed node i from the others
        weights[np.ix_(o, o)], deviation[o] = leave, np.sqrt(1 / own)
        u = np.flatnonzero(~seen)
        cross = self.covariance[np.ix_(u, o)]
        weights[np.ix_(u, o)] = cross @ rest + self.trend[u] @ drift.T
        apart = self.trend[u] - cross @ inverse @ x
        variance = 1 + self.nugget - np.einsum("ij,jk,ik->i", cross, inverse, cross)
        deviation[u] = np.sqrt(np.maximum(variance + np.einsum("ij,jk,ik->i", apart, inner, apart), 1e-6))
        return weights, deviation


def kernel(distance: Floats, shape: str) -> Floats:
    """Return a covariance of distances in length scales.

    Args:
        distance: Distances over the length scale, (node, node).
        shape: `exponential`, or `matern` of smoothness 3/2.
    """
    if shape == ROUGH:
        return np.exp(-distance)
    scaled = np.sqrt(3) * distance
    return (1 + scaled) * np.exp(-scaled)


def inverse_distance(panel: xr.Dataset, values: Floats, power: float) -> Floats:
    """Return inverse-distance estimates at every node from the others, (time, node).

    Args:
        panel: Panel whose nodes have coordinates.
        values: Observed anomalies, NaN where missing, (time, node).
        power: Power of the distance.
    """
    distance = Places.of(panel).distances()
    weight = np.divide(1.0, distance**power, out=np.zeros_like(distance), where=distance > 0)
    seen = np.isfinite(values)
    near = seen @ weight
    return np.divide(np.where(seen, values, 0) @ weight, near, out=np.zeros(values.shape), where=near > 0)
