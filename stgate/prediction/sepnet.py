"""Predictor of STH-SepNet, with the panel's graph and the description for a language model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from torch import Tensor, nn

from stgate._configured import check_options
from stgate.distributions.likelihoods import Likelihood
from stgate.distributions.transforms import Auto, Transform
from stgate.errors import CheckpointError, RequestError, check_counts
from stgate.inference.base import Inference
from stgate.nn.edges import GivenEdges
from stgate.nn.imputation import ImputationName
from stgate.nn.inputs import Inputs
from stgate.nn.sepnet.language_model import LanguageModel
from stgate.nn.sepnet.neighbours import GivenGraph
from stgate.nn.sepnet.network import SepNetwork
from stgate.nn.sepnet.prompts import prompts
from stgate.nn.sepnet.temporal import pooled
from stgate.prediction.predictor import NeighbourMeans, Predictor
from stgate.schema.batch import Batch
from stgate.schema.spec import PanelSpec

GraphKind = Literal["both", "adaptive", "static", "none"]
Fusion = Literal["adaptive", "attention", "lstm"]


@dataclass(frozen=True, kw_only=True)
class SpatialOptions:
    """Options of the spatial branch, by the names of `stgate.nn.sepnet.spatial.SpatialBranch`."""

    hops: int
    neighbours: int
    order: int
    soft: bool
    size: int
    adaptive: bool
    static: bool
    kernel: int
    dropout: float
    convolution: str | None
    convolution_options: dict[str, Any] | None

    def layers_for(self, window: int) -> int:
        """Return the number of layers that reduce a window to one step."""
        layers, steps = 1, self.kernel
        while steps < window:
            layers, steps = layers + 1, steps * self.kernel
        return layers


@dataclass(frozen=True, kw_only=True)
class TemporalOptions:
    """Options of the temporal branch, by the names of `stgate.nn.sepnet.temporal.TemporalBranch`."""

    width: int
    layers: int | None
    heads: int
    patch: int
    stride: int
    prototypes: int
    dropout: float
    backbone: str
    rank: int


class SepNetPredictor(Predictor):
    """A temporal branch that reads the mean over nodes, a spatial branch that mixes nodes, and a gate that fuses them.

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

    Raises:
        RequestError: An option is out of range.
    """

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
    ) -> None:
        super().__init__(
            likelihood=likelihood,
            inference=inference,
            imputation=imputation,
            transforms=transforms,
            node_statistics=node_statistics,
            neighbour_means=neighbour_means,
            linear=linear,
        )
        check_counts(hidden=(hidden, 1), hops=(hops, 1), neighbours=(neighbours, 1), order=(order, 0), lora=(lora, 0))
        check_counts(embedding=(embedding, 1), width=(width, 1), heads=(heads, 1), patch=(patch, 1), stride=(stride, 1))
        check_counts(prototypes=(prototypes, 1), kernel=(kernel, 2))
        check_counts(layers=(1 if layers is None else layers, 1), depth=(1 if depth is None else depth, 1))
        check_options(SepNetPredictor.__init__, {name: value for name, value in locals().items() if name != "spatial"})
        if order == 1:
            raise RequestError("order 1: a hyperedge needs 2 nodes or more; give 2 or more, or 0 for no hypergraph")
        if width % heads:
            raise RequestError(f"width {width}: must be a multiple of the {heads} heads")
        if not 0 <= dropout < 1:
            raise RequestError(f"dropout {dropout:g}: must lie between 0 and 1")
        if not isinstance(spatial, bool | str) or spatial == "":
            raise RequestError(
                f"spatial {spatial!r}: must be true, false, or a class path such as torch_geometric.nn.GCNConv"
            )
        if spatial_options and not isinstance(spatial, str):
            raise RequestError(
                f"spatial_options: spatial {spatial} has none; give spatial a class path, or leave them out"
            )
        if backbone is None and not spatial:
            raise RequestError("backbone: no branch is left; name a backbone, or set spatial to true")
        self.hidden, self.layers, self.graph, self.fusion = hidden, layers, graph, fusion
        self.backbone, self.neighbours = backbone, neighbours
        self.spatial = self.temporal = None
        self.edges: GivenGraph | GivenEdges
        if spatial:
            self.spatial = SpatialOptions(
                hops=hops,
                neighbours=neighbours,
                order=order,
                soft=soft,
                size=embedding,
                adaptive=graph in ("both", "adaptive"),
                static=graph in ("both", "static"),
                kernel=kernel,
                dropout=dropout,
                convolution=spatial if isinstance(spatial, str) else None,
                convolution_options=spatial_options,
            )
        if backbone:
            self.temporal = TemporalOptions(
                width=width,
                layers=depth,
                heads=heads,
                patch=patch,
                stride=stride,
                prototypes=prototypes,
                dropout=dropout,
                backbone=backbone,
                rank=lora,
            )
        self.description = description or ""

    def build(self, spec: PanelSpec) -> nn.Module:
        """Build a `stgate.nn.sepnet.network.SepNetwork`."""
        spatial = None
        if self.spatial is not None:
            layers = self.layers or self.spatial.layers_for(spec.window)
            spatial = {**asdict(self.spatial), "layers": layers}
        return SepNetwork(
            spec,
            self.likelihood.parameters,
            temporal=None if self.temporal is None else asdict(self.temporal),
            spatial=spatial,
            fusion=self.fusion,
            hidden=self.hidden,
            correction=self.has_linear,
        )

    def configure(self, spec: PanelSpec) -> None:
        """Take the spec, and build the scaler, the network and room for the given graph; once only."""
        if self.network is None:
            super().configure(spec)
            convolved = self.spatial is not None and self.spatial.convolution is not None
            self.edges = GivenEdges() if convolved else GivenGraph(len(spec.nodes), self.neighbours)

    def raw_outputs(self, batch: Batch, inputs: Inputs, *options: Any) -> Tensor:  # noqa: ANN401
        """Return the network's raw outputs, (member?, batch, lead, node, target, output)."""
        graph = self.edges() if self.graph in ("both", "static") else None
        made: Tensor = self.built(inputs, graph, self._prompts(inputs))
        return made

    def _prompts(self, inputs: Inputs) -> list[str]:
        """Return the description of each window for a language model; none for another backbone."""
        if self.backbone in (None, "transformer"):
            return []
        spec = self.fitted_spec
        names = [f"{name} [{spec.units[name]}]" if spec.units.get(name) else name for name in spec.targets]
        mean = pooled(inputs)[..., : len(names)] * self.scaler.target_scale + self.scaler.target_center
        return prompts(mean, names, self.description, spec.horizon)

    @property
    def language_model(self) -> LanguageModel | None:
        """The language model of the temporal branch; None if it has none."""
        return next((part for part in self.built.modules() if isinstance(part, LanguageModel)), None)

    def to_plain(self) -> dict[str, Any]:
        """Return the entries of a checkpoint besides weights and options, as plain containers and tensors."""
        model = self.language_model
        return {**super().to_plain(), "description": self.description, "language": model and model.fingerprint()}

    def restore(self, plain: dict[str, Any]) -> None:
        """Take the entries that `to_plain` returned, and build the network of the weights.

        Args:
            plain: The checkpoint's entries.

        Raises:
            CheckpointError: The language model of this name is not that of the fit.
        """
        self.description = plain["description"]
        super().restore(plain)
        model = self.language_model
        if model and model.fingerprint() != plain["language"]:
            raise CheckpointError(
                f"backbone {self.backbone!r}: differs from the language model of the fit; give that one"
            )
