"""Convolutions of torch-geometric by class path: along a given graph, for a whole batch in one call."""

from __future__ import annotations

import copy
import inspect
import re
import types
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from stgate.errors import RequestError, did_you_mean
from stgate.nn.edges import EdgeList

ROOT = "torch_geometric.nn"
PATH = re.compile(r"torch_geometric\.nn(\.[A-Za-z][A-Za-z0-9_]*)+", re.ASCII)
"""Pattern of the class paths that are looked up. Nothing else that a checkpoint names is imported."""

SET = ("in_channels", "channels", "edge_dim", "in_edge_channels", "dim", "node_dim", "cached")
"""Options of layers that the network sets: sizes, and caches, which would hold a single graph."""

GIVEN = ("x", "edge_index", "edge_weight", "edge_attr")
OBJECTS = re.compile("Callable|Module|MessagePassing|Tensor")
"""Pattern of the types of options that a checkpoint cannot hold as plain values."""

TRY = "torch_geometric.nn.GCNConv, GraphConv, GATv2Conv, TransformerConv or ChebConv"


class GraphConvolution(nn.Module):
    """Convolution of `torch_geometric.nn` over nodes, with as many output channels as input channels.

    The graphs of a batch are joined into one graph: copies of the given graph without edges between them. A layer gets
    the weights of edges as `edge_weight`, or as `edge_attr` (one number for each edge), whichever it takes; a layer
    that takes neither uses the edges without their weights. The channels are divided among the heads of a layer. If a
    layer has several heads or another output width, a linear layer maps its output back to the channels.

    Args:
        convolution: Class path of the layer, below `torch_geometric.nn`, such as `torch_geometric.nn.GATv2Conv`.
        channels: Number of channels of a node.
        options: Further options of the layer, plain values, such as `{"heads": 4}`; `out_channels` is allowed.
        option: Name of the user's option that gives the class path, for error messages.

    Raises:
        RequestError: There is no such layer, it needs more than nodes and weighted edges, or an option is wrong.

    References:
        Fey and Lenssen (2019), Fast graph representation learning with PyTorch Geometric. ICLR workshop on
        representation learning on graphs and manifolds.
    """

    def __init__(
        self,
        convolution: str,
        channels: int,
        options: Mapping[str, Any] | None = None,
        *,
        option: str = "convolution",
    ) -> None:
        super().__init__()
        self.option = option
        kind = find_convolution(convolution, option)
        self.takes = _weights_by(convolution, kind, option)
        attributes = self.takes == "edge_attr"
        chosen = _options(convolution, kind, channels, dict(options or {}), attributes=attributes, option=option)
        try:
            self.layer = kind(**chosen)
        except Exception as error:  # layers answer wrong options with whatever they stumble over
            raise _refused(convolution, error, option) from error
        _replace_linears(self.layer)
        width = self._tried(convolution, channels)
        self.out: nn.Module = nn.Identity()
        if width != channels or chosen.get("heads", 1) != 1:
            self.out = nn.Linear(width, channels)

    def forward(self, x: Tensor, edges: EdgeList, dim: int = -2) -> Tensor:
        """Convolve along the graph.

        Args:
            x: Values, (batch, …, node, channel), or with nodes at another position.
            edges: Edges of the graph.
            dim: Position of the node dimension in x; 0 avoids a copy.

        Returns:
            Values of the shape of x.
        """
        first = x.movedim(dim, 0)
        rows, count = first.reshape(-1, x.shape[-1]), first[0, ..., 0].numel()
        made: Tensor = self.out(self._along(self.layer, rows, edges, count))
        return made.view(*first.shape[:-1], -1).movedim(0, dim)

    def _along(self, layer: nn.Module, rows: Tensor, edges: EdgeList, count: int) -> Tensor:
        """Apply the layer to rows (node * copy, channel): (node * copy, width)."""
        index, weight = edges.copies(count)
        weight = weight.to(rows.dtype)
        given = {"edge_weight": weight} if self.takes == "edge_weight" else {}
        if self.takes == "edge_attr":
            given = {"edge_attr": weight.unsqueeze(-1)}
        made: Tensor = layer(rows, index, **given)
        return made

    @torch.no_grad()
    def _tried(self, name: str, channels: int) -> int:
        """Evaluate a copy of the layer on two small graphs, together and one by one, and return its output width.

        Raises:
            RequestError: The layer fails, does not return one row for each node, or mixes the graphs of a batch.
        """
        option = self.option
        nodes, count = 5, 2
        start = torch.arange(nodes).repeat(2)
        ends = (start + torch.arange(1, 3).repeat_interleave(nodes)) % nodes
        with torch.random.fork_rng(devices=[]):
            edges = EdgeList(torch.stack([start, ends]), torch.linspace(0.5, 1.0, 2 * nodes))
            x = torch.randn(nodes, count, channels)
            try:
                self._along(copy.deepcopy(self.layer).train(), x.flatten(0, 1), edges, count)
                layer = copy.deepcopy(self.layer).eval()
                made = self._along(layer, x.flatten(0, 1), edges, count)
                single = [self._along(layer, x[:, i], edges, 1) for i in range(count)]
            except Exception as error:
                raise _refused(name, error, option) from error
        if not isinstance(made, Tensor) or made.dim() != 2 or not made.is_floating_point():
            raise RequestError(f"{option} {name}: does not return one row of numbers for each node; take {TRY}")
        if len(made) != nodes * count:
            raise RequestError(f"{option} {name}: returns {len(made)} rows for {nodes * count} nodes; take {TRY}")
        if not torch.allclose(made.view(nodes, count, -1), torch.stack(single, 1), atol=1e-4):
            raise RequestError(f"{option} {name}: mixes the graphs of a batch; take {TRY}")
        return made.shape[1]


def find_convolution(path: str, option: str = "convolution") -> type[nn.Module]:
    """Return a convolution of torch-geometric by its class path; nothing but `torch_geometric.nn` is imported.

    Args:
        path: Class path, such as `torch_geometric.nn.GATv2Conv`.
        option: Name of the user's option that gives the class path, for error messages.

    Raises:
        RequestError: The path is not that of a convolution below `torch_geometric.nn`.
    """
    if not isinstance(path, str) or not PATH.fullmatch(path):
        raise RequestError(f"{option} {path!r}: not a class path below {ROOT}; give one such as {ROOT}.GATv2Conv")
    import torch_geometric.nn

    within: Any = torch_geometric.nn
    *rooms, name = path.removeprefix(f"{ROOT}.").split(".")
    for room in rooms:
        inner = vars(within).get(room)
        if not isinstance(inner, types.ModuleType) or inner.__name__ != f"{within.__name__}.{room}":
            raise RequestError(f"{option} {path}: no module {room} in {within.__name__}; give {ROOT}.{name}")
        within = inner
    found: type[nn.Module] | None = vars(within).get(name)
    base = torch_geometric.nn.MessagePassing
    ours = isinstance(found, type) and issubclass(found, nn.Module) and found is not base
    if not ours or found is None or not found.__module__.startswith(f"{ROOT}.conv."):
        meant = did_you_mean(name, (k for k in torch_geometric.nn.conv.__all__ if k != "MessagePassing"))
        fix = meant if meant.endswith("?") else f"take {TRY}"
        raise RequestError(f"{option} {path}: not a convolution of torch_geometric; {fix}")
    return found


def _weights_by(path: str, kind: type[nn.Module], option: str) -> str | None:
    """Return the argument by which a layer takes the weights of edges; None if it takes none.

    Raises:
        RequestError: The layer needs inputs that a panel's graph does not have.
    """
    arguments = dict(list(inspect.signature(kind.forward).parameters.items())[1:])
    named = {name: a for name, a in arguments.items() if a.kind not in (a.VAR_POSITIONAL, a.VAR_KEYWORD)}
    lacking = [name for name, a in named.items() if a.default is a.empty and name not in GIVEN]
    relations = inspect.signature(kind).parameters.get("num_relations")
    if relations is not None and relations.default is relations.empty:
        lacking = ["edge_type"]
    if lacking or "x" not in named or "edge_index" not in named:
        why = f"needs {', '.join(lacking)}" if lacking else "takes no edge_index"
        raise RequestError(f"{option} {path}: {why}; a panel's graph has only nodes and weighted edges, take {TRY}")
    return next((name for name in ("edge_weight", "edge_attr") if name in named), None)


def _options(
    path: str, kind: type[nn.Module], channels: int, options: dict[str, Any], *, attributes: bool, option: str
) -> dict[str, Any]:
    """Check the given options of a layer, and return them with its sizes.

    Raises:
        RequestError: The layer has no such option, the network sets it, its value is not plain, or one is missing.
    """
    own = inspect.signature(kind).parameters
    known = {name for part in kind.__mro__[:-1] for name in inspect.signature(part.__init__).parameters}  # type: ignore[misc]
    known -= {"self", "args", "kwargs"}
    free = sorted(known - set(SET))
    for name, value in options.items():
        if name in SET:
            raise RequestError(f"{option} {path}: the network sets {name}; leave it out")
        if name not in free:
            raise RequestError(f"{option} {path}: {name} is not an option of it; {did_you_mean(name, free)}")
        if not _plain(value):
            raise RequestError(f"{option} {path}: {name} is a {type(value).__name__}; give a plain value")
    heads = options.get("heads", 1)
    if type(heads) is not int or heads < 1:
        raise RequestError(f"{option} {path}: heads {heads!r} must be a whole number of at least 1")
    if channels % heads and "out_channels" not in options:
        raise RequestError(f"{option} {path}: heads {heads} must divide the {channels} channels")
    sizes = {"in_channels": channels, "channels": channels}
    sizes |= {"edge_dim": 1, "in_edge_channels": 1, "dim": 1} if attributes else {}
    sizes = {name: size for name, size in sizes.items() if name in known}
    if "out_channels" in known and "out_channels" not in options:
        sizes["out_channels"] = channels // heads if options.get("concat", True) else channels
    missing = [n for n, p in own.items() if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    missing = [name for name in missing if name not in options and name not in sizes]
    objects = [name for name in missing if OBJECTS.search(str(own[name].annotation))]
    if objects:
        raise RequestError(f"{option} {path}: needs {', '.join(objects)}, which a checkpoint cannot hold; take {TRY}")
    if missing:
        raise RequestError(f"{option} {path}: needs {', '.join(missing)}; give it in {option}_options")
    return options | sizes


def _replace_linears(layer: nn.Module) -> None:
    """Put `nn.Linear` with the same weights in the place of torch-geometric's own.

    Those of torch-geometric save only weight and bias in a state dict, and so would lose the standard deviations that
    `stgate.inference.MeanField` registers on them.
    """
    from torch_geometric.nn.dense.linear import Linear

    made: dict[int, nn.Linear] = {}  # a layer that appears twice stays one
    for module in list(layer.modules()):
        parts: dict[str, Any] = module._modules
        for name, part in parts.items():
            if type(part) is not Linear or part.in_channels < 1:
                continue
            if id(part) not in made:
                sizes = (part.in_channels, part.out_channels, part.bias is not None)
                made[id(part)] = plain = nn.Linear(*sizes, device="meta")  # without a draw
                plain.weight, plain.bias = part.weight, part.bias
            parts[name] = made[id(part)]


def _plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_plain, value))
    if isinstance(value, dict):
        return all(isinstance(k, str) and _plain(v) for k, v in value.items())
    return value is None or type(value) in (bool, int, float, str)


def _refused(path: str, error: Exception, option: str) -> RequestError:
    why = (str(error).splitlines() or [""])[0][:100] or type(error).__name__
    if isinstance(error, ImportError):
        return RequestError(f"{option} {path}: needs a package that is not installed ({why}); take {TRY}")
    return RequestError(f"{option} {path}: does not work here ({why}); change its options, or take {TRY}")
