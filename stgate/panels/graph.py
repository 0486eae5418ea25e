"""Graphs over a panel's nodes: from coordinates, distances, correlations, a lattice, or the panel's own edges.

An edge passes information from its source to its target: a node receives from the sources of its incoming edges. Graphs
are directed and weighted; layers that need a symmetric or normalised graph convert it themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from stgate.errors import PanelError, RequestError, check_counts, check_number, check_positive, did_you_mean
from stgate.panels import pyg
from stgate.panels._by_value import ByValue
from stgate.panels.geometry import Places, coordinates, nearest
from stgate.schema.panel import some

if TYPE_CHECKING:
    from torch_geometric.data import Data

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Kernel = Literal["gaussian", "inverse", "one"]
EDGES = ("edge_source", "edge_target", "edge_weight")


@dataclass(frozen=True, eq=False)
class Graph(ByValue):
    """A directed, weighted graph, as a list of edges.

    Attributes:
        nodes: Labels of the nodes, in the panel's order.
        source: Position in `nodes` of each edge's source, shape (edge,).
        target: Position in `nodes` of each edge's target, shape (edge,).
        weight: Weight of each edge, not negative, shape (edge,).
        pos: Coordinates of the nodes, where known: longitude, latitude, or x, y, z; shape (node, dimension).
    """

    nodes: tuple[Any, ...]
    source: Ints
    target: Ints
    weight: Floats
    pos: Floats | None = None

    @classmethod
    def of(cls, panel: xr.Dataset) -> Self:
        """Take the edges that a panel holds.

        Args:
            panel: A panel with the variables `edge_source(edge)` and `edge_target(edge)`, which hold node labels.
                `edge_weight(edge)` is optional; without it all weights are 1.

        Returns:
            The graph.

        Raises:
            PanelError: The panel holds no edges, or an edge names a node that the panel lacks.
        """
        nodes = panel["node"].values.tolist()
        for name in EDGES[:2]:
            if name not in panel:
                raise PanelError(f"`{name}`: the panel has no edges; make a graph and add its edges with add_to")
        position = {label: i for i, label in enumerate(nodes)}
        ends = []
        for name in EDGES[:2]:
            labels = panel[name].values.tolist()
            unknown = [label for label in labels if label not in position]
            if unknown:
                fix = "drop its edges with stgate.panels.select(panel)"
                raise PanelError(f"`{name}`: {some(dict.fromkeys(unknown))} is not a node of the panel; {fix}")
            ends.append(np.array([position[label] for label in labels], np.int64))
        weight = panel["edge_weight"].values if "edge_weight" in panel else np.ones(len(ends[0]))
        return cls(tuple(nodes), ends[0], ends[1], np.asarray(weight, np.float64), coordinates(panel))

    @classmethod
    def of_matrix(cls, nodes: Sequence[Any], matrix: ArrayLike) -> Self:
        """Make a graph from a matrix of weights.

        Args:
            nodes: Labels of the nodes.
            matrix: Weights, shape (source, target); zero means no edge. Rows and columns have the order of `nodes`; a
                DataFrame whose index and columns are labels may have any order.

        Returns:
            The graph.

        Raises:
            RequestError: The matrix has another shape, a weight is negative or not finite, or the labels are not those
                of the nodes.
        """
        if isinstance(matrix, pd.DataFrame) and not all(isinstance(x, pd.RangeIndex) for x in matrix.axes):
            matrix = _in_order(matrix, [str(label) for label in nodes])
        shape = np.shape(matrix)
        if shape != (len(nodes), len(nodes)):
            raise RequestError(f"matrix: shape {shape} for {len(nodes)} nodes; give (nodes, matrix)")
        weights = np.asarray(matrix, np.float64)
        if not np.isfinite(weights).all() or (weights < 0).any():
            raise RequestError("matrix: weights must be finite and not negative; zero means no edge")
        source, target = np.nonzero(weights)
        return cls(tuple(nodes), source, target, weights[source, target])

    @classmethod
    def from_pyg(cls, data: Data) -> Self:
        """Build a graph from a `torch_geometric.data.Data`.

        Args:
            data: A `Data` with `edge_index` (2, edge). Weights are `edge_weight` (edge,), else `edge_attr` if that is
                one number an edge, else 1. Labels are `node_names`, else 0 to n-1. `pos` is kept.

        Raises:
            RequestError: This is not a `Data`, it has no edges, a weight is negative or missing, or labels repeat.
        """
        pairs = pyg.pairs_of(data, "edge_index")
        count = pyg.node_count(data, "edge_index", pairs.ravel())
        weight = pyg.weights_of(data, ("edge_weight", "edge_attr"), pairs.shape[1])
        nodes = pyg.names_of(data, "node_names", count)
        return cls(nodes, pairs[0], pairs[1], weight, pyg.positions_of(data, count))

    def to_pyg(self, pos: ArrayLike | None = None, *, dtype: pyg.DType = "float64") -> Data:
        """Return a `torch_geometric.data.Data` with `edge_index`, `edge_weight`, `node_names`, and `pos` where known.

        Args:
            pos: Coordinates of the nodes, (node, dimension); those of the graph when None.
            dtype: Type of weights and coordinates: `float64`, from which `from_pyg` makes the same graph again, or
                `float32`, in which layers compute.

        Raises:
            RequestError: The dtype is unknown, or the coordinates are of another number of nodes.
        """
        pairs = np.stack([self.source, self.target])
        return pyg.to_data("edge_index", pairs, self.weight, self.nodes, self.pos if pos is None else pos, dtype)

    @property
    def isolated(self) -> list[Any]:
        """Nodes without an edge to or from another node; they stay in the graph."""
        apart = self.source != self.target
        linked = np.zeros(len(self.nodes), bool)
        linked[self.source[apart]] = linked[self.target[apart]] = True
        return [label for label, has in zip(self.nodes, linked, strict=True) if not has]

    def matrix(self) -> Floats:
        """Return the weights as a matrix, shape (source, target); weights of repeated edges add up."""
        dense = np.zeros((len(self.nodes), len(self.nodes)))
        np.add.at(dense, (self.source, self.target), self.weight)
        return dense

    def add_to(self, panel: xr.Dataset) -> xr.Dataset:
        """Add the edges to a panel, by node label, so that they stay right when nodes are selected or sorted.

        Args:
            panel: The panel; it is not changed.

        Returns:
            The panel with these edges in the place of any that it had.

        Raises:
            PanelError: An edge names a node that the panel lacks.
        """
        labels = np.array(self.nodes)
        ends = labels[np.unique([*self.source, *self.target])] if len(self.source) else labels[:0]
        known = set(panel["node"].values)
        unknown = [label for label in ends if label not in known]
        if unknown:
            kinds = {type(panel["node"].values[0]).__name__, type(unknown[0]).__name__}
            why = f" (labels are of types {' and '.join(sorted(kinds))})" if len(kinds) > 1 else ""
            raise PanelError(f"`node`: {some(unknown)} is not a node of the panel{why}; give the panel's labels")
        attrs = {"long_name": "node label"}
        return panel.drop_vars([n for n in EDGES if n in panel]).assign(
            edge_source=("edge", labels[self.source], attrs),
            edge_target=("edge", labels[self.target], attrs),
            edge_weight=("edge", self.weight, {"units": "1"}),
        )


def _in_order(matrix: pd.DataFrame, nodes: list[str]) -> pd.DataFrame:
    """Put a labelled matrix in the order of the nodes."""
    rows, columns = ([str(label) for label in axis] for axis in matrix.axes)
    for labels in (rows, columns):
        if sorted(labels) != sorted(nodes):
            raise RequestError(
                f"matrix: its labels, such as {labels[0]!r}, are not those of the nodes; give its .values"
            )
    return matrix.set_axis(rows).set_axis(columns, axis=1).loc[nodes, nodes]


def knn_graph(panel: xr.Dataset, k: int, *, kernel: Kernel = "gaussian", sigma: float | None = None) -> Graph:
    """Connect each node with its k nearest others, by edges from these to the node.

    Args:
        panel: A panel with coordinates of its nodes: `lat` and `lon` (great-circle distance) or `x`, `y`, `z`
            (Euclidean distance).
        k: Number of incoming edges of each node.
        kernel: Weight of an edge of length d: `gaussian` exp(-(d/σ)²), `inverse` 1/d, or `one`.
        sigma: The σ of the Gaussian kernel, in km or in the units of `x`; None takes the standard deviation of the
            edges' lengths.

    Returns:
        The graph.

    Raises:
        PanelError: The nodes have no coordinates.
        RequestError: `k` is below 1 or not below the number of nodes.
    """
    near, distance = nearest(Places.of(panel), k)
    target = np.repeat(np.arange(len(near)), k)
    return _weighted(panel, near.ravel(), target, distance.ravel(), kernel, sigma)


def radius_graph(panel: xr.Dataset, radius: float, *, kernel: Kernel = "gaussian", sigma: float | None = None) -> Graph:
    """Connect all pairs of nodes within a radius, in both directions.

    Args:
        panel: A panel with coordinates of its nodes: `lat` and `lon` (great-circle distance) or `x`, `y`, `z`
            (Euclidean distance).
        radius: Largest length of an edge, in km or in the units of `x`.
        kernel: Weight of an edge of length d: `gaussian` exp(-(d/σ)²), `inverse` 1/d, or `one`.
        sigma: The σ of the Gaussian kernel, in km or in the units of `x`; None takes the standard deviation of the
            edges' lengths.

    Returns:
        The graph.

    Raises:
        PanelError: The nodes have no coordinates.
        RequestError: The radius is not positive.
    """
    check_positive("radius", radius, finite=False)
    source, target, distance = Places.of(panel).within(radius)
    return _weighted(panel, source, target, distance, kernel, sigma)


def gaussian_graph(panel: xr.Dataset, *, sigma: float | None = None, threshold: float = 0.1) -> Graph:
    """Connect all pairs of nodes whose weight exp(-(d/σ)²) reaches a threshold (Shuman et al. 2013).

    Args:
        panel: A panel with coordinates of its nodes: `lat` and `lon` (great-circle distance) or `x`, `y`, `z`
            (Euclidean distance).
        sigma: The σ of the weight, in km or in the units of `x`; None takes the standard deviation of all distances.
        threshold: Smallest weight of an edge.

    Returns:
        The graph.

    Raises:
        PanelError: The nodes have no coordinates.
        RequestError: The threshold lies outside (0, 1).

    References:
        Shuman, D. I. et al. (2013), IEEE Signal Process. Mag. 30, 83-98, doi:10.1109/MSP.2012.2235192.
    """
    _check_threshold(threshold)
    distance = Places.of(panel).distances()
    source, target = np.nonzero(~np.eye(len(distance), dtype=bool))
    return _thresholded(_weighted(panel, source, target, distance[source, target], "gaussian", sigma), threshold)


def distance_graph(
    panel: xr.Dataset, table: pd.DataFrame, *, sigma: float | None = None, threshold: float = 0.1
) -> Graph:
    """Connect pairs of nodes in a table of distances, such as those along roads, by the weight exp(-(d/σ)²).

    Args:
        panel: A panel; rows of the table that name none of its nodes are left out.
        table: The first three columns are the label of the source, the label of the target, and the distance.
        sigma: The σ of the weight, in the units of the distances; None takes the standard deviation of the distances
            between the panel's nodes.
        threshold: Smallest weight of an edge; the default is that of Li et al. (2018).

    Returns:
        The graph.

    Raises:
        PanelError: No row is between two of the panel's nodes.
        RequestError: The table has fewer than three columns, a distance is negative, or the threshold lies outside
            (0, 1).

    References:
        Li, Y., Yu, R., Shahabi, C., Liu, Y. (2018), Diffusion convolutional recurrent neural network. ICLR.
    """
    _check_threshold(threshold)
    source, target, rows = _table_ends(panel, table, 3, "source, target, distance")
    distance = rows.iloc[:, 2].to_numpy("float64")
    if not (np.isfinite(distance) & (distance >= 0)).all():
        raise RequestError("table: distances must be finite and not negative")
    return _thresholded(_weighted(panel, source, target, distance, "gaussian", sigma), threshold)


def correlation_graph(
    panel: xr.Dataset, name: str, *, threshold: float = 0.5, stop: int | None = None, least: int = 30
) -> Graph:
    """Connect pairs of nodes whose values correlate, over the times at which both are observed.

    Args:
        panel: A panel; its members are pooled.
        name: The variable's name.
        threshold: Smallest Pearson correlation of an edge; the correlation is the edge's weight.
        stop: Use only the rows before this one. Give the end of the training part, or test data leak into the graph.
        least: Smallest number of times at which both nodes of an edge are observed.

    Returns:
        The graph, with edges in both directions.

    Raises:
        PanelError: The panel has no such variable.
        RequestError: The threshold lies outside (0, 1).
    """
    _check_threshold(threshold)
    check_counts(least=(least, 0), stop=(0 if stop is None else stop, 0))
    if name not in panel.data_vars:
        raise PanelError(f"`{name}`: the panel has no such variable; {did_you_mean(name, map(str, panel.data_vars))}")
    rows = panel[name].isel(time=slice(stop)).transpose(..., "node").values.reshape(-1, panel.sizes["node"])
    correlation = pd.DataFrame(rows.astype("float64")).corr(min_periods=least).to_numpy(copy=True)
    correlation[~(correlation >= threshold)] = 0.0
    np.fill_diagonal(correlation, 0.0)
    graph = Graph.of_matrix(panel["node"].values.tolist(), correlation)
    return replace(graph, pos=coordinates(panel))


def lattice_graph(panel: xr.Dataset, *, diagonal: bool = False) -> Graph:
    """Connect neighbouring cells of a lattice, in both directions.

    Args:
        panel: A panel with the node coordinates `row` and `column`, which `stgate.from_lattice` adds.
        diagonal: Connect eight neighbours instead of four.

    Returns:
        The graph; all weights are 1.

    Raises:
        PanelError: The nodes are not from a lattice.
    """
    for name in ("row", "column"):
        if name not in panel.coords:
            raise PanelError(f"`{name}`: the nodes are not from a lattice; make the panel with stgate.from_lattice")
    places = list(zip(panel["row"].values.tolist(), panel["column"].values.tolist(), strict=True))
    position = {place: i for i, place in enumerate(places)}
    steps = [(0, 1), (1, 0), (0, -1), (-1, 0)] + ([(1, 1), (1, -1), (-1, 1), (-1, -1)] if diagonal else [])
    pairs = [
        (position[(row + down, column + right)], i)
        for i, (row, column) in enumerate(places)
        for down, right in steps
        if (row + down, column + right) in position
    ]
    ends = np.array(pairs, np.int64).reshape(-1, 2)
    nodes = tuple(panel["node"].values.tolist())
    return Graph(nodes, ends[:, 0], ends[:, 1], np.ones(len(ends)), coordinates(panel))


def _table_ends(panel: xr.Dataset, table: pd.DataFrame, columns: int, what: str) -> tuple[Ints, Ints, pd.DataFrame]:
    """Return the positions of the first two columns' labels, and the rows in which both are nodes of the panel."""
    if table.shape[1] < columns:
        raise RequestError(f"table: {table.shape[1]} columns; it needs {what}")
    nodes = panel["node"].values.tolist()
    # Labels may be text in one file and numbers in another.
    position = {str(label): i for i, label in enumerate(nodes)}
    first, second = (table.iloc[:, i].map(lambda label: position.get(str(label), -1)) for i in (0, 1))
    inside = ((first >= 0) & (second >= 0)).to_numpy()
    if not inside.any():
        shown = some(table.iloc[:3, 0].tolist())
        raise PanelError(f"`node`: no row of the table is between two nodes of the panel (it starts {shown})")
    return first.to_numpy(np.int64)[inside], second.to_numpy(np.int64)[inside], table[inside]


def _check_threshold(threshold: float) -> None:
    check_number("threshold", threshold)
    if not 0 < threshold < 1:
        raise RequestError(f"threshold {threshold:g}: must lie between 0 and 1")


def _weighted(
    panel: xr.Dataset, source: Ints, target: Ints, distance: Floats, kernel: Kernel, sigma: float | None
) -> Graph:
    if kernel not in get_args(Kernel):
        raise RequestError(f"kernel {kernel!r}: {did_you_mean(kernel, get_args(Kernel))}")
    check_positive("sigma", 1.0 if sigma is None else sigma, finite=False)
    if kernel == "one":
        weight = np.ones(len(distance))
    elif kernel == "inverse":
        if (same := distance <= 1e-9 * distance.max(initial=0.0)).any():  # 0 and 360 degrees are not the same bits
            twins = some(panel["node"].values[[source[same][0], target[same][0]]].tolist())
            raise RequestError(f"kernel 'inverse': {twins} have the same position; use 'gaussian'")
        weight = 1 / distance
    else:
        deviation = float(distance.std()) if sigma is None and len(distance) else sigma
        # The standard deviation of equal lengths is zero: the length itself is the scale then.
        scale = deviation if deviation else float(distance.mean()) or 1.0
        weight = np.exp(-((distance / scale) ** 2))
    nodes = tuple(panel["node"].values.tolist())
    return Graph(nodes, np.asarray(source), np.asarray(target), weight, coordinates(panel))


def _thresholded(graph: Graph, threshold: float) -> Graph:
    kept = graph.weight >= threshold
    return replace(graph, source=graph.source[kept], target=graph.target[kept], weight=graph.weight[kept])
