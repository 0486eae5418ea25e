"""STH-SepNet: a transformer over the mean of all nodes, graphs and a hypergraph over the nodes, and one gate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import xarray as xr
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import nn

from stgate.data.window_data import WindowData
from stgate.distributions.likelihoods import Likelihood
from stgate.distributions.transforms import Auto, Transform
from stgate.inference.base import Inference
from stgate.models.forecaster import Forecaster
from stgate.models.training.adoption import check_leads
from stgate.nn.imputation import ImputationName
from stgate.panels.own_graph import find_graph, graph_of
from stgate.prediction.predictor import NeighbourMeans
from stgate.prediction.sepnet import Fusion, GraphKind, SepNetPredictor
from stgate.schema.spec import PanelSpec


class STHSepNet(Forecaster):
    """Separate temporal and spatial branches: a transformer reads the mean over nodes, graphs mix nodes, a gate fuses.

    Args:
        hidden: Number of channels of a node in the spatial branch.
        layers: Number of layers of the spatial branch; None takes as many as reduce the window to one step.
        kernel: Number of steps that a layer's convolution joins into one.
        hops: Number of hops along a graph in one layer.
        graph: Graph of the spatial branch: `adaptive` (learned, directed), `static` (the panel's own edges, else its
            nearest nodes), `both` or `none`. If the panel has neither edges nor coordinates, `both` uses the learned
            graph only.
        neighbours: Largest number of incoming edges of a node in each graph; the strongest are kept.
        order: Number of nodes of each learned hyperedge, its own node included; at least 2, or 0 for no hypergraph.
        soft: Let nodes belong to hyperedges by degrees between 0 and 1.
        embedding: Size of the node embeddings from which graph and hypergraph are learned.
        spatial: True for a spatial branch, False for none; or the class path of a convolution of `torch_geometric.nn`,
            which mixes nodes along the panel's graph in place of the branch's own mixing.
        spatial_options: Options of that convolution, plain values, such as `{"heads": 2}`.
        backbone: Backbone of the temporal branch: `transformer`, a small one that is trained from scratch; or a
            language model of Hugging Face, by its name on the hub or its folder, whose weights are frozen (extra
            `llm`); None for no temporal branch.
        width: Size of the token of a patch, and of the small transformer.
        depth: Number of layers of the backbone; None takes two of the small transformer, or all of a language model.
        lora: Rank of the adapters that train the feed-forward layers of a language model; 0 for none.
        description: Description of the data set, for a language model; None takes it from the panel's attributes.
        heads: Number of attention heads.
        patch: Number of steps in a token.
        stride: Number of steps from one token to the next.
        prototypes: Number of learned prototypes that tokens are expressed in for the backbone.
        fusion: Gate between the branches: `adaptive`, `attention` or `lstm`.
        dropout: Share of values dropped in training, in both branches.
        likelihood: The family of distributions of the forecast. None takes Normal, or Quantiles where the errors of the
            linear part have long tails.
        inference: The inference of the weights, a class of `stgate.inference`; PointEstimate, one set of weights, when
            None.
        imputation: Imputation of missing inputs, beside their mask: `zero` (the channel's mean), `last` (the last
            observation of the window) or `climatology` (the node's training mean in that month and hour).
        transforms: Transforms of the targets, in the order in which they are applied, such as `[Log(), Anomaly()]`. The
            network forecasts the transformed targets; every output is in the targets' own units. `auto` chooses
            them from the training part, None is for none.
        node_statistics: Give the network each node's training mean and standard deviation as static inputs; not in
            rollouts.
        neighbour_means: Give the network the mean of each node's neighbours as channels: `auto` (if the panel has edges
            or coordinates), `graph` (they are required) or `none`.
        linear: Add a linear forecast, a ridge regression on the window that is fitted before the training; the network
            learns what it leaves. Rollouts have none.
        optimizer: Makes the optimizer from the parameters; AdamW with a learning rate of 0.003 by default. It is not
            part of the checkpoint.
        lr_scheduler: Makes the scheduler from the optimizer, stepped once an epoch. None: one cycle over the whole fit,
            stepped once a batch, peaking at the optimizer's learning rate.

    Raises:
        RequestError: An option is out of range.

    References:
        STH-SepNet (spatio-temporal hypergraph separation network), after its paper. Unlike in the published code,
        hyperedges are learned, layers are trained, and horizon and window are independent.
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
        transforms: Sequence[Transform] | Auto | None = "auto",
        node_statistics: bool = True,
        neighbour_means: NeighbourMeans = "auto",
        linear: bool = True,
        optimizer: OptimizerCallable = lambda weights: torch.optim.AdamW(weights, lr=0.003),
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
            transforms=transforms,
            node_statistics=node_statistics,
            neighbour_means=neighbour_means,
            linear=linear,
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
    """Return a panel's description: its title and summary."""
    texts = [str(panel.attrs[key]).strip() for key in ("title", "summary") if panel.attrs.get(key)]
    return " ".join(text if text.endswith(".") else f"{text}." for text in texts) or "a panel of time series."
