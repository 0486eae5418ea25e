"""Operations on panels, without torch: graphs, simulated gaps, splits, calendars, distances, merging and selection."""

from typing import TYPE_CHECKING

from stgate._lazy import attach

if TYPE_CHECKING:
    from stgate.panels import graph, hypergraph, missing
    from stgate.panels.combine import merge, select
    from stgate.panels.split import Split, split_panel

__all__ = [
    "Split",
    "graph",
    "hypergraph",
    "merge",
    "missing",
    "select",
    "split_panel",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "Split": "stgate.panels.split",
        "graph": "stgate.panels.graph",
        "hypergraph": "stgate.panels.hypergraph",
        "merge": "stgate.panels.combine",
        "missing": "stgate.panels.missing",
        "select": "stgate.panels.combine",
        "split_panel": "stgate.panels.split",
    },
)
