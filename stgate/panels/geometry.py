"""Where the nodes are: distances by great circle, by Euclid, or around a ring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from stgate.errors import PanelError, RequestError
from stgate.schema.panel import some

EARTH = 6371.0088
"""Mean radius in km (IUGG)."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Places:
    """Points among which straight distances can be found by a tree, and what these mean.

    Attributes:
        points: (node, dimension); on the sphere unit vectors.
        period: Of a ring or torus, or None.
        sphere: Whether a straight distance is a chord of the unit sphere.
    """

    points: Floats
    period: float | None
    sphere: bool

    @classmethod
    def of(cls, panel: xr.Dataset) -> Self:
        """The places of a panel's nodes.

        `lat` and `lon` in degrees are on the Earth; `x` (and `y`, `z`) on a plane, or on a ring where `x` alone has the
        attribute `period`. Without any, a panel whose `boundary` is periodic is a ring in the order of its nodes.

        Raises:
            PanelError: No coordinates, or one that is missing at a node.
        """
        on_node = {str(n) for n, c in panel.coords.items() if c.dims == ("node",)}
        if {"lat", "lon"} <= on_node:
            lat, lon = (np.radians(_values(panel, name)) for name in ("lat", "lon"))
            if (np.abs(lat) > np.pi / 2 + 1e-9).any():
                raise PanelError("`lat`: beyond 90 degrees; it may have changed places with `lon`")
            return cls(_on_sphere(lat, lon), None, True)
        axes = [name for name in ("x", "y", "z") if name in on_node]
        if axes:
            points = np.stack([_values(panel, name) for name in axes], axis=1)
            period = panel["x"].attrs.get("period") if axes == ["x"] else None
            return cls(points, None if period is None else float(period), False)
        if panel.attrs.get("boundary") == "periodic":
            return cls(np.arange(panel.sizes["node"], dtype=np.float64)[:, None], float(panel.sizes["node"]), False)
        raise PanelError("`node`: has no coordinates; assign lat and lon (degrees), or x and y, to the nodes")

    @classmethod
    def at(cls, names: Sequence[str], values: Floats) -> Self:
        """Places given by their coordinates.

        Args:
            names: `lat` and `lon`, or axes of a plane.
            values: (place, name).
        """
        if set(names) == {"lat", "lon"}:
            lat, lon = (np.radians(values[:, list(names).index(name)]) for name in ("lat", "lon"))
            return cls(_on_sphere(lat, lon), None, True)
        return cls(np.asarray(values, np.float64), None, False)

    def nearest_to(self, others: Self, k: int) -> tuple[Ints, Floats]:
        """The k nearest of these to each of other places, (other, k), and their distances, nearest first.

        One that stands at the very place is left out where there are others: what a place hears of its neighbours does
        not depend on whether it is one of these itself.
        """
        count = len(self.points)
        straight, near = self.tree.query(others.points, list(range(1, min(k + 1, count) + 1)))
        if count > 1:
            here = straight[:, :1] <= 1e-9
            k = min(k, count - 1)
            straight, near = (np.where(here, x[:, 1:][:, :k], x[:, :k]) for x in (straight, near))
        return near.astype(np.int64), self.lengths(straight)

    @property
    def tree(self) -> Any:  # noqa: ANN401 (a cKDTree, whose stubs know neither its box nor what a query returns)
        """A tree of the points."""
        if self.period is None:
            return cKDTree(self.points)
        return cKDTree(np.mod(self.points, self.period), boxsize=np.array([self.period]))

    def lengths(self, straight: Floats) -> Floats:
        """Distances (km on the Earth) of straight ones."""
        return 2 * EARTH * np.arcsin(np.minimum(straight / 2, 1.0)) if self.sphere else straight

    def distances(self) -> Floats:
        """All distances, (node, node)."""
        gaps = self.points[:, None] - self.points
        if self.period is not None:
            gaps = np.abs(np.mod(gaps + self.period / 2, self.period) - self.period / 2)
        return self.lengths(np.sqrt((gaps**2).sum(axis=-1)))

    def within(self, radius: float) -> tuple[Ints, Ints, Floats]:
        """All ordered pairs of different nodes within a radius, and their distances, sorted by the second node."""
        straight = 2 * np.sin(min(radius / (2 * EARTH), np.pi / 2)) if self.sphere else radius
        tree = self.tree
        near = tree.query_ball_point(tree.data, straight * (1 + 1e-12), return_sorted=True)
        target = np.repeat(np.arange(len(near)), [len(n) for n in near])
        source = np.concatenate([np.asarray(n, np.int64) for n in near]) if len(near) else target
        apart = source != target
        source, target = source[apart], target[apart]
        gaps = self.points[source] - self.points[target]
        if self.period is not None:
            gaps = np.mod(gaps + self.period / 2, self.period) - self.period / 2
        return source, target, self.lengths(np.sqrt((gaps**2).sum(axis=-1)))


def coordinates(panel: xr.Dataset) -> Floats | None:
    """Return the coordinates of a panel's nodes as they are plotted, (node, dimension).

    Longitude and latitude in degrees, or x, y, z, as many as the panel has; None where it has none, or one is missing.
    """
    on_node = {str(name) for name, c in panel.coords.items() if c.dims == ("node",) and c.dtype.kind in "iuf"}
    placed = {"lat", "lon"} <= on_node
    axes = ["lon", "lat"] if placed else [name for name in ("x", "y", "z") if name in on_node]
    if not axes:
        return None
    points = np.stack([np.asarray(panel[name].values, np.float64) for name in axes], axis=1)
    return points if np.isfinite(points).all() else None


def nearest(places: Places, k: int) -> tuple[Ints, Floats]:
    """The k nearest others of each node and their distances, (node, k) each, nearest first.

    Raises:
        RequestError: k is below 1 or not below the number of nodes.
    """
    count = len(places.points)
    if not 1 <= k < count:
        raise RequestError(f"k {k}: of {count} nodes each has 1 to {count - 1} neighbours")
    tree = places.tree
    straight, near = tree.query(tree.data, k + 1)
    # A node is its own nearest, unless another stands at the same place.
    own = near == np.arange(count)[:, None]
    own[~own.any(axis=1), -1] = True
    return near[~own].reshape(count, k), places.lengths(straight[~own].reshape(count, k))


def nearest_of(places: Places, chosen: Ints, k: int) -> tuple[Ints, Floats]:
    """The k nearest of some nodes to each node, never itself, and their distances, nearest first.

    Args:
        places: Of all nodes.
        chosen: Numbers of those that are looked for.
        k: How many; where fewer are chosen, as many as these.

    Returns:
        (node, k) each; -1 at distance 0 where a node that is chosen itself has one fewer.
    """
    count, k = len(places.points), min(k, len(chosen))
    if k == 0:
        return np.zeros((count, 0), np.int64), np.zeros((count, 0))
    tree = Places(places.points[chosen], places.period, places.sphere).tree
    straight, found = tree.query(places.points, list(range(1, min(k + 1, len(chosen)) + 1)))
    near = chosen[found]
    own = near == np.arange(count)[:, None]
    order = np.argsort(own, axis=1, kind="stable")[:, :k]  # a node itself comes last
    near, straight, own = (np.take_along_axis(x, order, 1) for x in (near, straight, own))
    return np.where(own, -1, near), places.lengths(np.where(own, 0.0, straight))


def _on_sphere(lat: Floats, lon: Floats) -> Floats:
    """Unit vectors (place, 3) of angles in radians."""
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)


def _values(panel: xr.Dataset, name: str) -> Floats:
    values = np.asarray(panel[name].values, dtype=np.float64)
    if not np.isfinite(values).all():
        label = panel["node"].values[~np.isfinite(values)].tolist()
        raise PanelError(f"`{name}`: missing at node {some(label)}; give it, or drop the node")
    return values
