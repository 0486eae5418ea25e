"""The graph of a panel, as forecasters take it when they are fitted."""

from __future__ import annotations

import xarray as xr

from stgate.errors import RequestError
from stgate.panels.graph import Graph, knn_graph


def find_graph(panel: xr.Dataset, count: int) -> Graph | None:
    """Return a panel's edges, else the graph of its nearest nodes; None where it has neither edges nor coordinates.

    Args:
        panel: A panel.
        count: Number of nearest nodes of each node.
    """
    placed = {"lat", "lon"} <= set(panel.coords) or "x" in panel.coords or panel.attrs.get("boundary") == "periodic"
    if "edge_source" in panel:
        return Graph.of(panel)
    if placed and panel.sizes["node"] > 1:
        return knn_graph(panel, min(count, panel.sizes["node"] - 1))
    return None


def graph_of(panel: xr.Dataset, count: int, option: str) -> Graph:
    """Return a panel's edges, else the graph of its nearest nodes.

    Args:
        panel: A panel.
        count: Number of nearest nodes of each node.
        option: The option that needs the graph, for the message.

    Raises:
        RequestError: The panel has neither edges nor coordinates of its nodes.
    """
    graph = find_graph(panel, count)
    if graph is None:
        raise RequestError(f"{option}: the panel has neither edges nor coordinates of its nodes; add either")
    return graph
