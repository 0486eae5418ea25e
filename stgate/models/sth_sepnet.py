"""STH-SepNet: a transformer over what nodes have in common, graphs and a hypergraph over the nodes, and one gate."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xarray as xr
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.distributions import Distribution

from stgate.data.window_data import WindowData
from stgate.data.windows import Batch
from stgate.distributions.likelihoods import Likelihood
from stgate.errors import CheckpointError, RequestError, check_counts, did_you_mean
from stgate.inference.base import Inference
from stgate.models.checkpoint import KEY
from stgate.models.forecaster import Forecaster
from stgate.models.parts import check_leads
from stgate.nn.inputs import Inputs
from stgate.nn.sepnet.language_model import LanguageModel
from stgate.nn.sepnet.neighbours import GivenGraph, Neighbours
from stgate.nn.sepnet.network import SepNetwork
from stgate.nn.sepnet.prompts import prompts
from stgate.nn.sepnet.temporal import pooled
from stgate.panels.graph import Graph, knn_graph
from stgate.schema.spec import PanelSpec

GRAPHS = ("both", "adaptive", "static", "none")


class STHSepNet(Forecaster):
    """Time and space apart: a transformer reads the mean over nodes, graphs and a hypergraph mix nodes, a gate fuses.

    Args:
        hidden: Channels of a node in the spatial branch.
        layers: Of the spatial branch; as many as it takes to make one step of the window when None.
        kernel: Steps that a layer's convolution joins into one.
        hops: How far one layer carries along a graph.
        graph: `adaptive` (learned, directed), `static` (the panel's own edges, else its nearest nodes), `both` or
            `none`; where the panel has neither, `both` carries along the learned one only.
        neighbours: Nodes that a node hears in each graph, the strongest.
        order: Nodes of each learned hyperedge, its own among them; at least 2, or 0 for no hypergraph.
        soft: Whether nodes belong to hyperedges by degrees.
        embedding: Size of what graph and hypergraph are learned by.
        spatial: Whether there is a spatial branch.
        backbone: Of the temporal branch: `transformer`, a small one that is trained from scratch; or a language model
            of Hugging Face, by its name on the hub or its folder, which stays as it is (extra `llm`); None for no such
            branch.
        width: Of a patch's token, and of those of the small transformer.
        depth: Layers of the backbone: two of the small transformer, all of a language model when None.
        lora: Rank of the adapters by which the feed-forward layers of a language model learn; 0 for none.
        description: Of the data set, for a language model; what the panel's attributes say when None.
        heads: Of attention.
        patch: Steps of a token.
        stride: From one token to the next.
        prototypes: Words that tokens are told in.
        fusion: Gate between the branches: `adaptive`, `attention` or `lstm`.
        dropout: In both branches.
        likelihood: See `Forecaster`.
        inference: See `Forecaster`.
        fill: See `Forecaster`.
        optimizer: See `Forecaster`.
        lr_scheduler: See `Forecaster`.

    Raises:
        RequestError: An option is out of range.

    References:
        STH-SepNet (spatio-temporal hypergraph separation network), after its paper. Unlike in the code that was
        published with it hyperedges are learned, layers are trained, and horizon and window are free of each other.
    """

    def __init__(
        self,
        hidden: int = 32,
        layers: int | None = None,
        kernel: int = 3,
        hops: int = 2,
        graph: str = "both",
        neighbours: int = 20,
        order: int = 3,
        soft: bool = True,
        embedding: int = 16,
        spatial: bool = True,
        backbone: str | None = "transformer",
        width: int = 32,
        depth: int | None = None,
        lora: int = 4,
        description: str | None = None,
        heads: int = 4,
        patch: int = 4,
        stride: int = 2,
        prototypes: int = 64,
        fusion: str = "adaptive",
        dropout: float = 0.1,
        likelihood: Likelihood | None = None,
        inference: Inference | None = None,
        fill: str = "zero",
        optimizer: OptimizerCallable = torch.optim.AdamW,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(likelihood, inference, fill, optimizer, lr_scheduler)
        check_counts(hidden=(hidden, 1), hops=(hops, 1), neighbours=(neighbours, 1), order=(order, 0), lora=(lora, 0))
        check_counts(embedding=(embedding, 1), width=(width, 1), heads=(heads, 1), patch=(patch, 1), stride=(stride, 1))
        check_counts(prototypes=(prototypes, 1), kernel=(kernel, 2))
        check_counts(layers=(1 if layers is None else layers, 1), depth=(1 if depth is None else depth, 1))
        if order == 1:
            raise RequestError("order 1: an edge of one node joins nothing; give 2 or more, or 0 for no hypergraph")
        if graph not in GRAPHS:
            raise RequestError(f"graph {graph!r}: {did_you_mean(graph, GRAPHS)}")
        if width % heads:
            raise RequestError(f"width {width}: does not divide among {heads} heads; give a multiple")
        if not 0 <= dropout < 1:
            raise RequestError(f"dropout {dropout:g}: a share between 0 and 1")
        if backbone is None and not spatial:
            raise RequestError("backbone: neither branch is left; name one, or let spatial be true")
        self.graph, self.neighbours, self.layers, self.fusion = graph, neighbours, layers, fusion
        self.spatial: dict[str, Any] | None = None
        self.temporal: dict[str, Any] | None = None
        if spatial:
            self.spatial = {"hops": hops, "neighbours": neighbours, "order": order, "soft": soft, "size": embedding}
            self.spatial |= {"adaptive": graph in ("both", "adaptive"), "static": graph in ("both", "static")}
            self.spatial |= {"kernel": kernel, "dropout": dropout}
        if backbone:
            self.temporal = {"width": width, "layers": depth, "heads": heads, "patch": patch, "stride": stride}
            self.temporal |= {"prototypes": prototypes, "dropout": dropout, "backbone": backbone, "rank": lora}
        self.hidden, self.description = hidden, description
        self.told = description or ""

    def build(self, spec: PanelSpec) -> nn.Module:
        """See `stgate.nn.sepnet.network.SepNetwork`."""
        spatial = self.spatial
        if spatial is not None:
            layers, steps = 1, spatial["kernel"]
            while steps < spec.window:
                layers, steps = layers + 1, steps * spatial["kernel"]
            spatial = spatial | {"layers": self.layers or layers}
        parts: dict[str, Any] = {"temporal": self.temporal, "spatial": spatial, "fusion": self.fusion}
        return SepNetwork(spec, self.likelihood.parameters, hidden=self.hidden, **parts)

    def configure_model(self) -> None:
        """See `Forecaster`."""
        super().configure_model()
        if self.spec is not None and not hasattr(self, "edges"):
            self.edges = GivenGraph(len(self.spec.nodes), self.neighbours)

    def prepare(self, data: WindowData) -> None:
        """The panel's graph, and what is to be told of it."""
        check_leads(data)
        self.told = describe(data.panel) if self.description is None else self.description
        if self.graph not in ("both", "static") or self.spatial is None:
            return
        near = static_neighbours(data.panel, self.edges.index.shape[1])
        if near is None and self.graph == "static":
            raise RequestError("graph static: the panel has neither edges nor coordinates of its nodes; add either")
        if near is not None:
            self.edges.index.copy_(near.index)
            self.edges.weight.copy_(near.weight)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """See `Forecaster`; also what a language model was told of the panel, and which it was."""
        super().on_save_checkpoint(checkpoint)
        checkpoint[KEY] |= {"told": self.told, "language": self._language and self._language.fingerprint()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """See `Forecaster`.

        Raises:
            CheckpointError: By the name of the language model there is another one now.
        """
        self.told = checkpoint[KEY]["told"]
        super().on_load_checkpoint(checkpoint)
        if self._language and self._language.fingerprint() != checkpoint[KEY]["language"]:
            name = self.hparams["backbone"]
            raise CheckpointError(f"backbone {name!r}: not the language model of the fit; put that one there")

    @property
    def _language(self) -> LanguageModel | None:
        return next((part for part in self.built.modules() if isinstance(part, LanguageModel)), None)

    def members(self, batch: Batch, *options: Any) -> Distribution:  # noqa: ANN401
        """See `Forecaster`."""
        graph = self.edges() if self.graph in ("both", "static") else None
        inputs = self.scaler(batch)
        raw: Tensor = self.built(inputs, graph, self._prompts(inputs))
        return self.distribution(raw)

    def _prompts(self, inputs: Inputs) -> list[str]:
        """What a language model is told of each window."""
        if self.temporal is None or self.temporal["backbone"] == "transformer":
            return []
        spec = self.fitted_spec
        names = [f"{name} [{spec.units[name]}]" if spec.units.get(name) else name for name in spec.targets]
        mean = pooled(inputs)[..., : len(names)] * self.scaler.target_scale + self.scaler.target_center
        return prompts(mean, names, self.told, spec.horizon)


def describe(panel: xr.Dataset) -> str:
    """What a panel says of itself: its title and summary."""
    said = [str(panel.attrs[key]).strip() for key in ("title", "summary") if panel.attrs.get(key)]
    return " ".join(text if text.endswith(".") else f"{text}." for text in said) or "a panel of time series."


def static_neighbours(panel: xr.Dataset, count: int) -> Neighbours | None:
    """Of the panel's edges, or of its nearest nodes, the strongest that end in each node; None where it has neither."""
    placed = {"lat", "lon"} <= set(panel.coords) or "x" in panel.coords or panel.attrs.get("boundary") == "periodic"
    if "edge_source" in panel:
        graph = Graph.of(panel)
    elif placed and panel.sizes["node"] > 1:
        graph = knn_graph(panel, min(count, panel.sizes["node"] - 1))
    else:
        return None
    nodes = len(graph.nodes)
    index, weight = np.zeros((nodes, count), np.int64), np.zeros((nodes, count), np.float32)
    apart = graph.source != graph.target  # each node hears itself as it is
    source, target, strength = graph.source[apart], graph.target[apart], graph.weight[apart]
    order = np.lexsort([-strength, target])
    source, target, strength = source[order], target[order], strength[order]
    rank = np.arange(len(target)) - np.searchsorted(target, target)
    kept = rank < count
    index[target[kept], rank[kept]], weight[target[kept], rank[kept]] = source[kept], strength[kept]
    return Neighbours(torch.from_numpy(index), torch.from_numpy(weight))
