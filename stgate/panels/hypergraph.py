"""Hypergraphs over a panel's nodes: edges that join any number of them, from neighbours, clusters or a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.vq import kmeans2

from stgate.errors import PanelError, RequestError
from stgate.panels import pyg
from stgate.panels.geometry import Places, coordinates, nearest
from stgate.schema.panel import some

if TYPE_CHECKING:
    from torch_geometric.data import Data

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Hypergraph:
    """Which node is in which hyperedge.

    Attributes:
        nodes: Labels, in the panel's order.
        edges: Labels of the hyperedges.
        node: (incidence,), positions in `nodes`.
        edge: (incidence,), positions in `edges`.
        weight: (hyperedge,), not negative.
        pos: (node, dimension), coordinates of the nodes, where known: longitude and latitude in degrees, or x, y, z.
    """

    nodes: tuple[Any, ...]
    edges: tuple[Any, ...]
    node: Ints
    edge: Ints
    weight: Floats
    pos: Floats | None = None

    @classmethod
    def from_pyg(cls, data: Data) -> Self:
        """A hypergraph from a `torch_geometric.data.Data`.

        Args:
            data: With `hyperedge_index` (2, incidence), nodes in the first row. The weights are its `hyperedge_weight`,
                else ones; the labels its `node_names` and `hyperedge_names`, else 0 to n-1; `pos` is kept.

        Raises:
            RequestError: No `Data`, no hyperedges, weights that are negative or not one an edge, labels that are not
                unique.
        """
        pairs = pyg.pairs_of(data, "hyperedge_index")
        count = pyg.node_count(data, "hyperedge_index", pairs[0])
        known = [len(data[n]) for n in ("hyperedge_names", "hyperedge_weight") if n in data and data[n] is not None]
        edges = known[0] if known else int(pairs[1].max(initial=-1)) + 1
        pyg.check_below("hyperedge_index", pairs[1], edges, "hyperedges")
        labels = (pyg.names_of(data, "node_names", count), pyg.names_of(data, "hyperedge_names", edges))
        weight = pyg.weights_of(data, ("hyperedge_weight",), edges)
        return cls(*labels, pairs[0], pairs[1], weight, pyg.positions_of(data, count))

    def to_pyg(self, pos: ArrayLike | None = None, *, dtype: str = "float64") -> Data:
        """Return a `torch_geometric.data.Data` with `hyperedge_index` (2, incidence), nodes in the first row.

        It holds `hyperedge_weight`, `node_names` and `hyperedge_names` too, and `pos` where the coordinates are known.

        Args:
            pos: (node, dimension), coordinates of the nodes; those of the hypergraph when None.
            dtype: Type of weights and coordinates: `float64`, from which `from_pyg` makes the same hypergraph again, or
                `float32`, in which layers compute.

        Raises:
            RequestError: Coordinates of another number of nodes, or another type.
        """
        pairs, places = np.stack([self.node, self.edge]), self.pos if pos is None else pos
        more = {"hyperedge_names": list(self.edges)}
        return pyg.to_data("hyperedge_index", pairs, self.weight, self.nodes, places, dtype, **more)

    @property
    def isolated(self) -> list[Any]:
        """The nodes that share no hyperedge with another: kept, for a layer to decide what they hear."""
        shared = np.bincount(self.edge, minlength=len(self.edges))[self.edge] > 1
        linked = np.isin(np.arange(len(self.nodes)), self.node[shared])
        return [label for label, has in zip(self.nodes, linked, strict=True) if not has]

    def incidence(self) -> Floats:
        """(node, hyperedge), 1 where the node is in it."""
        dense = np.zeros((len(self.nodes), len(self.edges)))
        dense[self.node, self.edge] = 1.0
        return dense


def knn_hypergraph(panel: xr.Dataset, k: int) -> Hypergraph:
    """One hyperedge a node, of itself and its k nearest others.

    Raises:
        PanelError: No coordinates.
        RequestError: k is below 1 or not below the number of nodes.
    """
    near, _ = nearest(Places.of(panel), k)
    count = len(near)
    members = np.concatenate([np.arange(count)[:, None], near], axis=1)
    nodes = tuple(panel["node"].values.tolist())
    return Hypergraph(
        nodes, nodes, members.ravel(), np.repeat(np.arange(count), k + 1), np.ones(count), coordinates(panel)
    )


def cluster_hypergraph(panel: xr.Dataset, clusters: int, *, seed: int = 0) -> Hypergraph:
    """One hyperedge a region: k-means of the nodes' places, seeded.

    Args:
        panel: With coordinates on its nodes.
        clusters: How many regions; one that k-means leaves empty is left out.
        seed: Of the first centres (k-means++).

    Raises:
        PanelError: No coordinates.
        RequestError: Fewer than one region, or more than nodes.
    """
    places = Places.of(panel)
    points = places.points
    if not 1 <= clusters <= len(points):
        raise RequestError(f"clusters {clusters}: {len(points)} nodes make 1 to {len(points)} regions")
    if places.period is not None:  # a ring is a circle to k-means
        turn = 2 * np.pi * points[:, 0] / places.period
        points = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    _, region = kmeans2(points, clusters, minit="++", missing="warn", rng=np.random.default_rng(seed))
    kept, edge = np.unique(region, return_inverse=True)
    nodes = tuple(panel["node"].values.tolist())
    members, weight = np.arange(len(nodes)), np.ones(len(kept))
    return Hypergraph(nodes, tuple(range(len(kept))), members, edge.astype(np.int64), weight, coordinates(panel))


def table_hypergraph(panel: xr.Dataset, table: pd.DataFrame) -> Hypergraph:
    """From a table of memberships: the first column is the node's label, the second the hyperedge's.

    Args:
        panel: Its nodes; rows of the table that name others are left out.
        table: A node may stand in several hyperedges.

    Raises:
        PanelError: No row names a node of the panel.
        RequestError: Fewer than two columns.
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
