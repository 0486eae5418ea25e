"""Hypergraphs over a panel's nodes: edges that join any number of them, from neighbours, clusters or a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2

from stgate.errors import PanelError, RequestError
from stgate.panels.geometry import Places, nearest
from stgate.schema.panel import some

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
    """

    nodes: tuple[Any, ...]
    edges: tuple[Any, ...]
    node: Ints
    edge: Ints
    weight: Floats

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
    return Hypergraph(nodes, nodes, members.ravel(), np.repeat(np.arange(count), k + 1), np.ones(count))


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
    return Hypergraph(nodes, tuple(range(len(kept))), np.arange(len(nodes)), edge.astype(np.int64), np.ones(len(kept)))


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
    return Hypergraph(tuple(nodes), tuple(labels.tolist()), where[where >= 0], edge, np.ones(len(labels)))
