"""Positions of nodes, and distances between them: great-circle, Euclidean, or around a ring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stgate.errors import PanelError, RequestError, check_counts
from stgate.schema.longitudes import check_longitudes, is_longitude
from stgate.schema.panel import some

EARTH = 6371.0088
"""Mean radius in km (IUGG)."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Places:
    """Positions of nodes, with the metric of their distances.

    A tree searches by straight-line distance; `lengths` turns it into the distance of the metric.

    Attributes:
        points: Positions, shape (node, dimension); unit vectors for nodes on the Earth.
        period: Circumference of a ring or side of a torus, in the units of `points`; None for an open domain.
        sphere: True for nodes on the Earth: straight-line distances are chords of the unit sphere.
    """

    points: Floats
    period: float | None
    sphere: bool

    @classmethod
    def of(cls, panel: xr.Dataset) -> Self:
        """Take the positions of a panel's nodes.

        Args:
            panel: A panel whose nodes have `lat` and `lon` in degrees (on the Earth), or `x` (and `y`, `z`) in a plane.
                If `x` is the only one and has the attribute `period`, the nodes lie on a ring. Without coordinates,
                nodes lie on a ring, in their order, if the panel's attribute `boundary` is `periodic`.

        Returns:
            The positions.

        Raises:
            PanelError: The nodes have no coordinates, or one is missing at a node, or `x` holds longitudes.
        """
        on_node = {str(n) for n, c in panel.coords.items() if c.dims == ("node",)}
        if {"lat", "lon"} <= on_node:
            check_longitudes(panel)
            lat, lon = (np.radians(_values(panel, name)) for name in ("lat", "lon"))
            return cls(_on_sphere(lat, lon), None, True)
        axes = [name for name in ("x", "y", "z") if name in on_node]
        if axes:
            if "x" in axes and is_longitude("x", panel["x"].attrs):
                raise PanelError(
                    "`x`: holds longitudes by its units, which turn, so `x` is no axis of a plane; name the axes with "
                    "panel.rename(x='lon', y='lat')"
                )
            points = np.stack([_values(panel, name) for name in axes], axis=1)
            period = panel["x"].attrs.get("period") if axes == ["x"] else None
            return cls(points, None if period is None else float(period), False)
        if panel.attrs.get("boundary") == "periodic":
            return cls(np.arange(panel.sizes["node"], dtype=np.float64)[:, None], float(panel.sizes["node"]), False)
        raise PanelError("`node`: has no coordinates; assign lat and lon (degrees), or x and y, to the nodes")

    @classmethod
    def at(cls, names: Sequence[str], values: Floats) -> Self:
        """Make positions from an array of coordinates.

        Args:
            names: Names of the coordinates: `lat` and `lon`, or axes of a plane.
            values: Coordinates, shape (place, name); degrees for `lat` and `lon`.

        Returns:
            The positions.
        """
        if set(names) == {"lat", "lon"}:
            lat, lon = (np.radians(values[:, list(names).index(name)]) for name in ("lat", "lon"))
            return cls(_on_sphere(lat, lon), None, True)
        return cls(np.asarray(values, np.float64), None, False)

    def nearest_to(self, others: Self, k: int) -> tuple[Ints, Floats]:
        """Find the k nearest of these places to each of some others, nearest first.

        A neighbour at distance zero is dropped where there are others, so that being among these places itself does not
        change the neighbours of a place.

        Args:
            others: The places whose neighbours are searched.
            k: Number of neighbours; fewer where there are not so many.

        Returns:
            Positions among these places and their distances (km on the Earth), shape (other, k) each.
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
        """A search tree of the points."""
        from scipy.spatial import cKDTree  # takes a while to import

        if self.period is None:
            return cKDTree(self.points)
        return cKDTree(np.mod(self.points, self.period), boxsize=np.array([self.period]))

    def lengths(self, straight: Floats) -> Floats:
        """Turn straight-line distances into those of the metric, in km on the Earth."""
        return 2 * EARTH * np.arcsin(np.minimum(straight / 2, 1.0)) if self.sphere else straight

    def distances(self) -> Floats:
        """Return all distances, shape (node, node), in km on the Earth."""
        gaps = self.points[:, None] - self.points
        if self.period is not None:
            gaps = np.abs(np.mod(gaps + self.period / 2, self.period) - self.period / 2)
        return self.lengths(np.sqrt((gaps**2).sum(axis=-1)))

    def within(self, radius: float) -> tuple[Ints, Ints, Floats]:
        """Find all ordered pairs of different nodes within a radius.

        Args:
            radius: Largest distance, in km on the Earth, else in the units of the coordinates.

        Returns:
            Positions of the first and of the second node of each pair, and their distance, sorted by the second node;
            shape (pair,) each.
        """
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
    """Find the k nearest other nodes of each node, nearest first.

    Args:
        places: Positions of the nodes.
        k: Number of neighbours.

    Returns:
        Positions of the neighbours and their distances (km on the Earth), shape (node, k) each.

    Raises:
        RequestError: `k` is below 1 or not below the number of nodes.
    """
    count = len(places.points)
    check_counts(k=(k, 1))
    if k >= count:
        raise RequestError(f"k {k}: must lie between 1 and {count - 1}, the number of other nodes")
    tree = places.tree
    straight, near = tree.query(tree.data, k + 1)
    # A node is its own nearest neighbour, unless another has the same position.
    own = near == np.arange(count)[:, None]
    own[~own.any(axis=1), -1] = True
    return near[~own].reshape(count, k), places.lengths(straight[~own].reshape(count, k))


def nearest_of(places: Places, chosen: Ints, k: int) -> tuple[Ints, Floats]:
    """Find the k nearest chosen nodes of each node, nearest first; a node is never its own neighbour.

    Args:
        places: Positions of all nodes.
        chosen: Numbers of the nodes that may be neighbours.
        k: Number of neighbours; fewer where fewer are chosen.

    Returns:
        Numbers of the neighbours and their distances (km on the Earth), shape (node, k) each. A chosen node may have
        one neighbour fewer: the last is then -1, at distance 0.
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
    """Return the unit vectors, shape (place, 3), of angles in radians."""
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)


def _values(panel: xr.Dataset, name: str) -> Floats:
    values = np.asarray(panel[name].values, dtype=np.float64)
    if not np.isfinite(values).all():
        label = panel["node"].values[~np.isfinite(values)].tolist()
        raise PanelError(f"`{name}`: missing at node {some(label)}; assign it, or drop the node")
    return values
