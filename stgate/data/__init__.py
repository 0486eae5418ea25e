"""From files to tensors: readers, gaps, graphs, splits, scaling, windows and the data module."""

from typing import TYPE_CHECKING

from stgate.lazy import attach

if TYPE_CHECKING:
    from stgate.data import graph, hypergraph, missing
    from stgate.data.arrays import read_npz
    from stgate.data.combine import merge, select
    from stgate.data.fields import FieldData
    from stgate.data.modules import WindowData
    from stgate.data.read import open_panel, read_tables
    from stgate.data.split import Split, split_panel

__all__ = [
    "FieldData",
    "Split",
    "WindowData",
    "graph",
    "hypergraph",
    "merge",
    "missing",
    "open_panel",
    "read_npz",
    "read_tables",
    "select",
    "split_panel",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "FieldData": "stgate.data.fields",
        "Split": "stgate.data.split",
        "WindowData": "stgate.data.modules",
        "graph": "stgate.data.graph",
        "hypergraph": "stgate.data.hypergraph",
        "merge": "stgate.data.combine",
        "missing": "stgate.data.missing",
        "open_panel": "stgate.data.read",
        "read_npz": "stgate.data.arrays",
        "read_tables": "stgate.data.read",
        "select": "stgate.data.combine",
        "split_panel": "stgate.data.split",
    },
)
