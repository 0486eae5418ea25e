"""Exchange of graphs with torch-geometric: arrays to a `torch_geometric.data.Data` and back.

It is the only file of this package that uses torch, and it imports torch within functions, so that `stgate.panels`
stays light.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stgate.errors import RequestError
from stgate.schema.panel import some

if TYPE_CHECKING:
    from torch_geometric.data import Data

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
DType = Literal["float64", "float32"]
DTYPES: tuple[DType, ...] = get_args(DType)


def to_data(
    index: str,
    pairs: Ints,
    weight: Floats,
    names: Sequence[Any],
    pos: ArrayLike | None,
    dtype: DType,
    **more: Sequence[Any],
) -> Data:
    """Return a `Data` of a graph or a hypergraph.

    Args:
        index: Name of the pairs, `edge_index` or `hyperedge_index`; the name of the weights follows from it.
        pairs: Pairs of positions, (2, pair).
        weight: Weights, (edge,).
        names: Labels of the nodes.
        pos: Coordinates of the nodes, (node, dimension); None leaves them out.
        dtype: Type of weights and coordinates, `float64` or `float32`.
        more: Further entries.

    Raises:
        RequestError: The dtype is unknown, or the coordinates are of another number of nodes.
    """
    import torch
    from torch_geometric.data import Data

    if dtype not in DTYPES:
        raise RequestError(f"dtype {dtype!r}: must be float64 (exact) or float32 (as layers compute)")
    kind = getattr(torch, dtype)
    entries: dict[str, Any] = {index: torch.from_numpy(np.array(pairs, np.int64))}
    entries[index.replace("index", "weight")] = torch.from_numpy(np.array(weight, np.float64)).to(kind)
    if pos is not None:
        places = _positions(pos, len(names))
        entries["pos"] = torch.from_numpy(places).to(kind)
    return Data(**entries, num_nodes=len(names), node_names=list(names), **more)


def pairs_of(data: Data, index: str) -> Ints:
    """Return the pairs (2, pair) of a `Data`, the first row checked to be positions of its nodes.

    Args:
        data: A `torch_geometric.data.Data`.
        index: Name of the pairs, such as `edge_index`.

    Raises:
        RequestError: This is not a `Data`, it has no such entry, or the entry does not hold pairs.
    """
    from torch_geometric.data import Data

    if not isinstance(data, Data):
        raise RequestError(f"data: is a {type(data).__name__}; give a torch_geometric.data.Data of one kind of node")
    pairs = _array(data, index)
    if pairs is None:
        held = ", ".join(map(str, data.keys())) or "nothing"
        raise RequestError(f"data: has no {index} (it holds {held}); give it with shape (2, number of pairs)")
    if pairs.ndim != 2 or len(pairs) != 2 or pairs.dtype.kind not in "iu":
        raise RequestError(f"{index}: is {pairs.dtype} of shape {pairs.shape}; must be integers, (2, number of pairs)")
    return pairs.astype(np.int64)


def weights_of(data: Data, names: Sequence[str], count: int) -> Floats:
    """Return the weights (edge,) under the first of these names that the `Data` holds; ones where it holds none.

    Args:
        data: A `Data`.
        names: Names of entries, in order of preference.
        count: Number of edges.

    Raises:
        RequestError: The weights are not one number an edge, or one is negative or not finite.
    """
    for name in names:
        found = _array(data, name)
        if found is None:
            continue
        if found.shape not in ((count,), (count, 1)):
            raise RequestError(f"{name}: has shape {found.shape}; must be one weight for each edge, ({count},)")
        weight = found.reshape(count).astype(np.float64)
        if not np.isfinite(weight).all() or (weight < 0).any():
            raise RequestError(f"{name}: weights must be finite and not negative")
        return weight
    return np.ones(count)


def names_of(data: Data, name: str, count: int | None) -> tuple[Any, ...]:
    """Return the labels under a name; 0 to n-1 where there are none.

    Args:
        data: A `Data`.
        name: Name of the entry.
        count: Number of labels; None takes as many as there are.

    Raises:
        RequestError: The number of labels differs, or a label is repeated.
    """
    if name not in data or data[name] is None:
        return tuple(range(count or 0))
    found = data[name]
    try:
        labels = found.tolist() if hasattr(found, "tolist") else list(found)
        hash(tuple(labels))
    except TypeError:
        raise RequestError(f"{name}: is a {type(found).__name__}; must be a flat list of labels") from None
    if count is not None and len(labels) != count:
        raise RequestError(f"{name}: has {len(labels)} labels; must have {count}")
    if len(set(labels)) != len(labels):
        twice = [label for label in dict.fromkeys(labels) if labels.count(label) > 1]
        raise RequestError(f"{name}: {some(twice)} appears twice; labels must be unique")
    return tuple(labels)


def node_count(data: Data, index: str, first: Ints) -> int:
    """Return the number of nodes of a `Data`: its `num_nodes`, else from its entries of nodes.

    Args:
        data: The `Data`. If it has no entry of nodes, the highest position among the pairs is the last node.
        index: Name of the pairs, for the message.
        first: Positions of nodes, checked to lie among them.

    Raises:
        RequestError: A pair names a node beyond the last.
    """
    if "num_nodes" not in data and "node_names" in data:
        count = len(names_of(data, "node_names", None))
    else:
        known = data.num_nodes  # torch-geometric warns where it has to guess
        count = int(first.max(initial=-1)) + 1 if known is None else int(known)
    check_below(index, first, count, "nodes")
    return count


def check_below(index: str, positions: Ints, count: int, what: str) -> None:
    """Refuse positions that are negative or not below a count.

    Args:
        index: Name of the pairs, for the message.
        positions: Positions to check.
        count: Number of things that positions count.
        what: Name of these things, for the message.

    Raises:
        RequestError: A position is out of range; the message names the first.
    """
    beyond = positions[(positions < 0) | (positions >= count)]
    if len(beyond):
        raise RequestError(f"{index}: has {beyond[0]} among its positions; {what} must be 0 to {count - 1}")


def positions_of(data: Data, count: int) -> Floats | None:
    """Return the coordinates `pos` of the nodes, (node, dimension), or None.

    Args:
        data: A `Data`.
        count: Number of nodes.

    Raises:
        RequestError: There are coordinates of another number of nodes.
    """
    found = _array(data, "pos")
    return None if found is None else _positions(found, count)


def _array(data: Data, name: str) -> NDArray[Any] | None:
    if name not in data or data[name] is None:
        return None
    found = data[name]
    if hasattr(found, "detach"):
        found = found.detach().cpu()
        found = found.double() if str(found.dtype) == "torch.bfloat16" else found  # which numpy lacks
    return _numbers(name, found)


def _numbers(name: str, found: object) -> NDArray[Any]:
    try:
        array = np.asarray(found)
    except ValueError:  # ragged lists
        array = np.array(None)
    if array.dtype.kind not in "fiub":
        raise RequestError(f"{name}: is a {type(found).__name__} that holds no array of numbers; give a tensor")
    return array


def _positions(pos: ArrayLike, count: int) -> Floats:
    places = np.array(_numbers("pos", pos), np.float64)
    if places.ndim != 2 or len(places) != count:
        raise RequestError(f"pos: has shape {places.shape}; must have ({count}, dimensions), one row for each node")
    return places
