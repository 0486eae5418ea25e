"""STH-SepNet: a transformer over what nodes have in common, graphs and a hypergraph over the nodes, and one gate."""

from __future__ import annotations

from typing import Any

import torch
import xarray as xr
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import nn

from stgate.data.window_data import WindowData
from stgate.distributions.likelihoods import Likelihood
from stgate.inference.base import Inference
from stgate.models.adoption import check_leads
from stgate.models.forecaster import Forecaster
from stgate.models.graphs import find_graph, graph_of
from stgate.nn.imputation import ImputationName
from stgate.prediction.sepnet import Fusion, GraphKind, SepNetPredictor
from stgate.schema.spec import PanelSpec


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
        spatial: Whether there is a spatial branch; or the class path of a convolution of `torch_geometric.nn`, which
            then mixes nodes along the panel's graph in the place of the branch's own mixing.
        spatial_options: Options of that convolution, plain values, such as `{"heads": 2}`.
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
        likelihood: The family of distributions of the forecast; Normal when None.
        inference: The way from weights to distributions, of `stgate.inference`; PointEstimate, a single set, when None.
        imputation: What stands in for a missing input, beside its mask: `zero` (the channel's mean), `last` (the last
            observation of the window) or `climatology` (the node's training mean in that month and hour).
        optimizer: Makes the optimizer from the parameters. It is not part of the checkpoint.
        lr_scheduler: Makes the scheduler from the optimizer, stepped once an epoch. None: one cycle over the whole fit,
            stepped once a batch, peaking at the optimizer's learning rate.

    Raises:
        RequestError: An option is out of range.

    References:
        STH-SepNet (spatio-temporal hypergraph separation network), after its paper. Unlike in the code that was
        published with it hyperedges are learned, layers are trained, and horizon and window are free of each other.
    """

    predictor: SepNetPredictor

    def __init__(
        self,
        *,
        hidden: int = 32,
        layers: int | None = None,
        kernel: int = 3,
        hops: int = 2,
        graph: GraphKind = "both",
        neighbours: int = 20,
        order: int = 3,
        soft: bool = True,
        embedding: int = 16,
        spatial: bool | str = True,
        spatial_options: dict[str, Any] | None = None,
        backbone: str | None = "transformer",
        width: int = 32,
        depth: int | None = None,
        lora: int = 4,
        description: str | None = None,
        heads: int = 4,
        patch: int = 4,
        stride: int = 2,
        prototypes: int = 64,
        fusion: Fusion = "adaptive",
        dropout: float = 0.1,
        likelihood: Likelihood | None = None,
        inference: Inference | None = None,
        imputation: ImputationName = "zero",
        optimizer: OptimizerCallable = torch.optim.AdamW,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        predictor = SepNetPredictor(
            hidden=hidden,
            layers=layers,
            kernel=kernel,
            hops=hops,
            graph=graph,
            neighbours=neighbours,
            order=order,
            soft=soft,
            embedding=embedding,
            spatial=spatial,
            spatial_options=spatial_options,
            backbone=backbone,
            width=width,
            depth=depth,
            lora=lora,
            description=description,
            heads=heads,
            patch=patch,
            stride=stride,
            prototypes=prototypes,
            fusion=fusion,
            dropout=dropout,
            likelihood=likelihood,
            inference=inference,
            imputation=imputation,
        )
        super().__init__(predictor=predictor, optimizer=optimizer, lr_scheduler=lr_scheduler)
        self._description = description

    def build(self, spec: PanelSpec) -> nn.Module:
        """Build a `stgate.nn.sepnet.network.SepNetwork`."""
        return self.predictor.build(spec)

    def prepare(self, data: WindowData) -> None:
        """Take the panel's graph, and its description for a language model.

        Args:
            data: The data that the forecaster is fitted on.

        Raises:
            RequestError: `graph` is `static` and the panel has neither edges nor coordinates of its nodes.
        """
        check_leads(data)
        predictor = self.predictor
        predictor.description = describe(data.panel) if self._description is None else self._description
        if predictor.graph not in ("both", "static") or predictor.spatial is None:
            return
        convolution = predictor.spatial.convolution
        if convolution is not None or predictor.graph == "static":
            option = "graph static" if convolution is None else f"spatial {convolution}"
            predictor.edges.fill(graph_of(data.panel, predictor.neighbours, option))
        elif (graph := find_graph(data.panel, predictor.neighbours)) is not None:
            predictor.edges.fill(graph)


def describe(panel: xr.Dataset) -> str:
    """What a panel says of itself: its title and summary."""
    said = [str(panel.attrs[key]).strip() for key in ("title", "summary") if panel.attrs.get(key)]
    return " ".join(text if text.endswith(".") else f"{text}." for text in said) or "a panel of time series."
