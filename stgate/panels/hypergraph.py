"""Hypergraphs over a panel's nodes, whose edges connect any number of nodes: from neighbours, clusters or a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.vq import kmeans2

from stgate.errors import PanelError, RequestError, check_counts
from stgate.panels import pyg
from stgate.panels._by_value import ByValue
from stgate.panels.geometry import Places, coordinates, nearest
from stgate.schema.panel import some

if TYPE_CHECKING:
    from torch_geometric.data import Data

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Hypergraph(ByValue):
    """A hypergraph, as a list of incidences: pairs of a node and a hyperedge that contains it.

    Attributes:
        nodes: Labels of the nodes, in the panel's order.
        edges: Labels of the hyperedges.
        node: Position in `nodes` of each incidence's node, shape (incidence,).
        edge: Position in `edges` of each incidence's hyperedge, shape (incidence,).
        weight: Weight of each hyperedge, not negative, shape (hyperedge,).
        pos: Coordinates of the nodes, where known: longitude and latitude in degrees, or x, y, z; shape
            (node, dimension).
    """

    nodes: tuple[Any, ...]
    edges: tuple[Any, ...]
    node: Ints
    edge: Ints
    weight: Floats
    pos: Floats | None = None

    @classmethod
    def from_pyg(cls, data: Data) -> Self:
        """Build a hypergraph from a `torch_geometric.data.Data`.

        Args:
            data: A `Data` with `hyperedge_index` (2, incidence), nodes in the first row. Weights are
                `hyperedge_weight`, else 1. Labels are `node_names` and `hyperedge_names`, else 0 to n-1. `pos` is kept.

        Raises:
            RequestError: This is not a `Data`, it has no hyperedges, weights are negative or not one a hyperedge, or
                labels repeat.
        """
        pairs = pyg.pairs_of(data, "hyperedge_index")
        count = pyg.node_count(data, "hyperedge_index", pairs[0])
        known = [len(data[n]) for n in ("hyperedge_names", "hyperedge_weight") if n in data and data[n] is not None]
        edges = known[0] if known else int(pairs[1].max(initial=-1)) + 1
        pyg.check_below("hyperedge_index", pairs[1], edges, "hyperedges")
        labels = (pyg.names_of(data, "node_names", count), pyg.names_of(data, "hyperedge_names", edges))
        weight = pyg.weights_of(data, ("hyperedge_weight",), edges)
        return cls(*labels, pairs[0], pairs[1], weight, pyg.positions_of(data, count))

    def to_pyg(self, pos: ArrayLike | None = None, *, dtype: pyg.DType = "float64") -> Data:
        """Return a `torch_geometric.data.Data` with `hyperedge_index` (2, incidence), nodes in the first row.

        It holds `hyperedge_weight`, `node_names` and `hyperedge_names` too, and `pos` where the coordinates are known.

        Args:
            pos: Coordinates of the nodes, (node, dimension); those of the hypergraph when None.
            dtype: Type of weights and coordinates: `float64`, from which `from_pyg` makes the same hypergraph again, or
                `float32`, in which layers compute.

        Raises:
            RequestError: The dtype is unknown, or the coordinates are of another number of nodes.
        """
        pairs, places = np.stack([self.node, self.edge]), self.pos if pos is None else pos
        more = {"hyperedge_names": list(self.edges)}
        return pyg.to_data("hyperedge_index", pairs, self.weight, self.nodes, places, dtype, **more)

    @property
    def isolated(self) -> list[Any]:
        """Nodes that share no hyperedge with another; they stay in the hypergraph."""
        shared = np.bincount(self.edge, minlength=len(self.edges))[self.edge] > 1
        linked = np.isin(np.arange(len(self.nodes)), self.node[shared])
        return [label for label, has in zip(self.nodes, linked, strict=True) if not has]

    def incidence(self) -> Floats:
        """Return the incidence matrix, shape (node, hyperedge): 1 where the hyperedge contains the node."""
        dense = np.zeros((len(self.nodes), len(self.edges)))
        dense[self.node, self.edge] = 1.0
        return dense


def knn_hypergraph(panel: xr.Dataset, k: int) -> Hypergraph:
    """Make one hyperedge a node, which connects it with its k nearest others.

    Args:
        panel: A panel with coordinates of its nodes.
        k: Number of neighbours of each node.

    Returns:
        The hypergraph; its hyperedges have the labels of the nodes.

    Raises:
        PanelError: The nodes have no coordinates.
        RequestError: `k` is below 1 or not below the number of nodes.
    """
    near, _ = nearest(Places.of(panel), k)
    count = len(near)
    members = np.concatenate([np.arange(count)[:, None], near], axis=1)
    nodes = tuple(panel["node"].values.tolist())
    return Hypergraph(
        nodes, nodes, members.ravel(), np.repeat(np.arange(count), k + 1), np.ones(count), coordinates(panel)
    )


def cluster_hypergraph(panel: xr.Dataset, clusters: int, *, seed: int = 0) -> Hypergraph:
    """Make one hyperedge a region; regions are k-means clusters of the nodes' positions.

    Args:
        panel: A panel with coordinates of its nodes.
        clusters: Number of regions; empty clusters are left out.
        seed: Seed of the initial centres (k-means++).

    Returns:
        The hypergraph; its hyperedges are numbered from 0.

    Raises:
        PanelError: The nodes have no coordinates.
        RequestError: `clusters` is below 1 or above the number of nodes.
    """
    places = Places.of(panel)
    points = places.points
    check_counts(clusters=(clusters, 1))
    if clusters > len(points):
        raise RequestError(f"clusters {clusters}: must lie between 1 and {len(points)}, the number of nodes")
    if places.period is not None:  # a ring is a circle to k-means
        turn = 2 * np.pi * points[:, 0] / places.period
        points = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    _, region = kmeans2(points, clusters, minit="++", missing="warn", rng=np.random.default_rng(seed))
    kept, edge = np.unique(region, return_inverse=True)
    nodes = tuple(panel["node"].values.tolist())
    members, weight = np.arange(len(nodes)), np.ones(len(kept))
    return Hypergraph(nodes, tuple(range(len(kept))), members, edge.astype(np.int64), weight, coordinates(panel))


def table_hypergraph(panel: xr.Dataset, table: pd.DataFrame) -> Hypergraph:
    """Make a hypergraph from a table of memberships.

    Args:
        panel: A panel; rows of the table that name none of its nodes are left out.
        table: The first column holds labels of nodes, the second labels of hyperedges. A node may belong to several.

    Returns:
        The hypergraph.

    Raises:
        PanelError: No row names a node of the panel.
        RequestError: The table has fewer than two columns.
    """
    if table.shape[1] < 2:
        raise RequestError(f"table: {table.shape[1]} columns; it needs node and hyperedge")
    nodes = panel["node"].values.tolist()
    position = {str(label): i for i, label in enumerate(nodes)}
    table = table.iloc[:, :2].drop_duplicates()
    where = table.iloc[:, 0].map(lambda label: position.get(str(label), -1)).to_numpy(np.int64)
    if not (where >= 0).any():
        raise PanelError(f"`node`: no row of the table is a node of the panel (it starts {some(table.iloc[:3, 0])})")
    edge, labels = pd.factorize(table.iloc[:, 1][where >= 0])
    weight = np.ones(len(labels))
    return Hypergraph(
        tuple(nodes), tuple(labels.tolist()), where[where >= 0], edge.astype(np.int64), weight, coordinates(panel)
    )
