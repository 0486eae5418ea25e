"""Predictors of the gated forecasters: direct forecasts, or rollouts with a state and sampled trajectories."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from stgate._configured import check_options
from stgate.data.windows import hash_seed
from stgate.distributions.likelihoods import Likelihood
from stgate.distributions.mixture import Mixture
from stgate.distributions.transforms import Auto, Transform
from stgate.errors import RequestError, check_counts
from stgate.inference.base import Inference, PointEstimate
from stgate.inference.pieces import in_pieces
from stgate.nn.edges import EdgeList, GivenEdges
from stgate.nn.gated.network import HybridNetwork
from stgate.nn.gated.recurrent import RecurrentStack
from stgate.nn.gated.rollout import RollOut
from stgate.nn.gated.transformer import TransformerStack
from stgate.nn.gates import GateName
from stgate.nn.imputation import ImputationName
from stgate.nn.inputs import Inputs
from stgate.prediction.parts import check_part
from stgate.prediction.predictor import NeighbourMeans, Predictor
from stgate.schema.batch import Batch
from stgate.schema.spec import PanelSpec

Cell = Literal["gru", "lstm", "rhn", "none"]
Norm = Literal["pre", "post"]


HIDDEN = ((16, 20_000), (32, 200_000))
"""State sizes, each with the number of observed training values below which it is taken."""
WIDEST = 64
"""State size for more of them, and for rollouts."""
EMBEDDING = 8
"""Number of learned numbers of each node where `node_embedding` is `auto`."""
OFTEN = 500
"""Number of observed values of a node from which on `auto` learns an embedding of it."""


@dataclass(frozen=True, kw_only=True)
class RecurrentCore:
    """Options of a recurrent core: cells, each joined to its input by a gate, and attention over their last states.

    Attributes:
        layers: Number of recurrent layers.
        cell: `gru`, `lstm`, `rhn` or `none`.
        gate: Name of the gate that joins each cell's and each attention's output to its input.
        attention: Number of attention heads over the last states; 0 for no attention.
        span: Number of steps that the attention sees.
        gated_heads: Multiply the heads' output by a sigmoid of the state.
        depth: Number of highway layers in a step of the cell `rhn`.
        free_carry: Give the cell `rhn` a carry gate of its own.
    """

    layers: int = 1
    cell: Cell = "gru"
    gate: GateName = "coupled"
    attention: int = 0
    span: int = 16
    gated_heads: bool = False
    depth: int = 2
    free_carry: bool = False

    def __post_init__(self) -> None:
        check_counts(layers=(self.layers, 1), attention=(self.attention, 0), span=(self.span, 1), depth=(self.depth, 1))
        check_options(RecurrentCore, vars(self))

    @property
    def remembers(self) -> bool:
        """True if there is a core; without a cell and attention a step sees the present field only."""
        return self.cell != "none" or self.attention > 0

    def make(self, channels: int) -> nn.Module:
        """Build the layers for a number of channels."""
        return RecurrentStack(
            channels,
            self.layers,
            cell=self.cell,
            gate=self.gate,
            heads=self.attention,
            span=self.span,
            gated_heads=self.gated_heads,
            depth=self.depth,
            free_carry=self.free_carry,
        )


@dataclass(frozen=True, kw_only=True)
class TransformerCore:
    """Options of a causal transformer core.

    Attributes:
        layers: Number of blocks of attention and a feed-forward layer.
        heads: Number of heads of each attention.
        span: Number of steps that an attention sees.
        norm: Position of the norm: `pre` (before each layer) or `post` (after it).
        gate: Name of the gate in the place of each residual.
        recurrence: Carry a state across segments of `span` steps.
        gated_heads: Multiply the heads' output by a sigmoid of the state.
    """

    layers: int = 2
    heads: int = 4
    span: int = 16
    norm: Norm = "pre"
    gate: GateName = "additive"
    recurrence: bool = False
    gated_heads: bool = False

    remembers = True

    def __post_init__(self) -> None:
        check_counts(layers=(self.layers, 1), heads=(self.heads, 1), span=(self.span, 1))
        check_options(TransformerCore, vars(self))

    def make(self, channels: int) -> nn.Module:
        """Build the blocks for a number of channels."""
        return TransformerStack(
            channels,
            self.layers,
            heads=self.heads,
            span=self.span,
            norm=self.norm,
            gate=self.gate,
            recurrent=self.recurrence,
            gated_heads=self.gated_heads,
        )


class GatedPredictor(Predictor):
    """A network shared by all patches of nodes, which forecasts all leads at once or step by step.

    Args:
        core: Options of the core, recurrent or a transformer.
        hidden: State size. None takes 16 below 20,000 observed training values, 32 below
            200,000 and else 64, and 64 for rollouts.
        patch: Number of nodes along each direction that one local model forecasts together.
        halo: Number of nodes that a local model sees beyond each edge of its patch.
        dropout: Share of the state dropped in training.
        rollout: Options of a rollout; None forecasts all leads at once.
        likelihood: The family of distributions of the forecast. None takes Normal, or Quantiles where the errors of the
            linear part have long tails.
        inference: The inference of the weights; PointEstimate when None.
        imputation: Imputation of missing inputs: `zero`, `last` or `climatology`.
        transforms: Transforms of the targets, in the order in which they are applied; the network forecasts the
            transformed targets, and every output is in the targets' own units. `auto` chooses them from the training
            part, None is for none.
        node_statistics: Give the network each node's training mean and standard deviation as static inputs; not in
            rollouts.
        neighbour_means: Give the network the mean of each node's neighbours as channels: `auto` (if the panel has edges
            or coordinates; not in rollouts), `graph` (they are required) or `none`.
        linear: Add a linear forecast, a ridge regression on the window that is fitted before the training; the network
            learns what it leaves. Rollouts have none.
        node_embedding: Number of learned numbers of each node, which join its static inputs; `auto` takes eight if each
            node is observed five hundred times or more. Not in rollouts.
        spatial: Class path of a convolution of `torch_geometric.nn` that mixes nodes along the panel's graph before the
            core; None for no mixing.
        spatial_options: Options of that convolution, plain values.

    Raises:
        RequestError: An option is out of range.
    """

    def __init__(
        self,
        core: RecurrentCore | TransformerCore,
        *,
        hidden: int | None = None,
        patch: int = 1,
        halo: int = 0,
        dropout: float = 0.0,
        rollout: RollOut | None = None,
        likelihood: Likelihood | None = None,
        inference: Inference | None = None,
        imputation: ImputationName = "zero",
        transforms: Sequence[Transform] | Auto | None = "auto",
        node_statistics: bool = True,
        neighbour_means: NeighbourMeans = "auto",
        linear: bool = True,
        node_embedding: int | Auto = "auto",
        spatial: str | None = None,
        spatial_options: dict[str, Any] | None = None,
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
        check_part("rollout", rollout)
        check_counts(hidden=(1 if hidden is None else hidden, 1), patch=(patch, 1), halo=(halo, 0))
        if node_embedding != "auto":
            check_counts(node_embedding=(node_embedding, 0))
        check_options(GatedPredictor.__init__, locals())
        if not 0 <= dropout < 1:
            raise RequestError(f"dropout {dropout:g}: must lie between 0 and 1")
        if rollout and rollout.stateful and not isinstance(self.inference, PointEstimate):
            raise RequestError("rollout.stateful: carries the state of one set of weights; use inference PointEstimate")
        if rollout and rollout.stateful and not core.remembers:
            raise RequestError("rollout.stateful: without a cell there is no state to carry; leave it out")
        self.core, self.rollout = core, rollout
        self.edges: GivenEdges | None = None
        self.fixed_hidden, self.hidden = hidden, WIDEST if hidden is None else hidden
        self.patch, self.halo, self.dropout = patch, halo, dropout
        self.spatial, self.spatial_options = spatial, spatial_options
        self.node_embedding = node_embedding
        self.embedding = 0 if node_embedding == "auto" else node_embedding

    def build(self, spec: PanelSpec) -> nn.Module:
        """Build a `stgate.nn.gated.network.HybridNetwork`."""
        if self.rollout:
            longest, warm_up = max(self.rollout.leads(spec.horizon)), self.rollout.warm_up
            if longest > spec.horizon:
                raise RequestError(f"rollout.unroll {longest}: must be at most {spec.horizon}, the horizon")
            if warm_up >= spec.window:
                raise RequestError(f"rollout.warm_up {warm_up}: must be below {spec.window}, the window")
        return HybridNetwork(
            spec,
            self.likelihood.parameters,
            self.core.make if self.core.remembers else None,
            hidden=self.hidden,
            patch=self.patch,
            halo=self.halo,
            dropout=self.dropout,
            rollout=self.rollout,
            correction=self.has_linear,
            node_embedding=0 if self.rollout else self.embedding,
            single_member=isinstance(self.inference, PointEstimate),
            convolution=self.spatial,
            convolution_options=self.spatial_options,
        )

    def adapt(self, n_observations: int, nodes: int) -> None:
        """Choose the sizes of state and node embedding by the number of observed values."""
        if self.fixed_hidden is None and not self.rollout:
            self.hidden = next((size for size, below in HIDDEN if n_observations < below), WIDEST)
        if self.node_embedding == "auto":
            self.embedding = EMBEDDING if nodes > 1 and n_observations >= OFTEN * nodes else 0

    def to_plain(self) -> dict[str, Any]:
        """Return the entries of a checkpoint besides weights and options, as plain containers and tensors."""
        return {**super().to_plain(), "node_embedding": self.embedding, "hidden": self.hidden}

    def restore(self, plain: dict[str, Any]) -> None:
        """Take the entries that `to_plain` returned, and build the network of the weights."""
        if self.node_embedding == "auto":
            self.embedding = plain["node_embedding"]
        if self.fixed_hidden is None:
            self.hidden = plain["hidden"]
        super().restore(plain)

    @property
    def rolls_out(self) -> bool:
        """True if a forecast is made step by step from its own output."""
        return self.rollout is not None

    def configure(self, spec: PanelSpec) -> None:
        """Take the spec, and build the scaler, the network and room for the panel's graph; once only."""
        if self.network is None:
            super().configure(spec)
            self.edges = GivenEdges() if self.spatial else None

    @property
    def graph(self) -> EdgeList | None:
        """The edges of the panel's graph; None if nodes are not mixed along it."""
        return self.edges() if self.edges is not None else None

    @property
    def hybrid(self) -> HybridNetwork:
        """The gated network; of several members the stacked one."""
        return self.part(HybridNetwork)

    def noted(self, batch: Batch) -> Batch:
        """Return a batch of the host with what a rollout has to know there: complete windows, and origins."""
        if not self.rollout:
            return batch
        missing = torch.isnan(batch["past"][..., : len(self.fitted_spec.targets)]).flatten(1).any(1)
        return {**batch, "complete": (~missing).tolist(), "origins": batch["origin"].tolist()}

    @staticmethod
    def complete(batch: Batch) -> bool | None:
        """Return whether all windows of a batch are complete; None where that was not noted."""
        return all(batch["complete"]) if "complete" in batch else None

    @staticmethod
    def origins(batch: Batch) -> list[list[int]]:
        """Return the origins of a batch, a member and a row each."""
        made: list[list[int]] = batch["origins"] if "origins" in batch else batch["origin"].tolist()
        return made

    def raw_outputs(self, batch: Batch, inputs: Inputs, *options: Any) -> Tensor:  # noqa: ANN401 (those of the network)
        """Return the network's raw outputs, (member?, batch, lead, node, target, output)."""
        made: Tensor = self.built(inputs, *options, graph=self.graph, complete=self.complete(batch))
        return made

    def forecast(self, batch: Batch) -> Distribution:
        """Forecast an encoded batch; a rollout with samples gives the mixture of forecasts along each trajectory."""
        if not self.rollout or not self.rollout.samples:
            return super().forecast(batch)
        count = self.rollout.samples
        # Levels drawn beforehand are the same for all members, evaluated in one pass or one after another.
        generator = torch.Generator().manual_seed(hash_seed(self.seed or 0, *self.origins(batch)[0]))
        shape = (self.fitted_spec.horizon, count, len(batch["origin"]), *batch["target"].shape[2:])
        levels = torch.rand(shape, generator=generator).clamp(1e-6, 1 - 1e-6).to(self.device, non_blocking=True)
        tensors = cast(Batch, {**batch, "levels": levels.movedim(2, 0)})  # pieces have the levels of their windows
        (raw,) = in_pieces(self.built, tensors, lambda piece: (self._trajectories(piece),), count)
        return Trajectories(self.distribution(raw.flatten(0, 1) if raw.dim() == 7 else raw))

    def _trajectories(self, batch: Batch) -> Tensor:
        """Return raw outputs along trajectories that quantile levels draw, (member?, sample, batch, lead, …).

        Args:
            batch: Windows, with `levels`, (batch, lead, sample, node, target).
        """
        levels: Tensor = cast(dict[str, Any], batch)["levels"].movedim(0, 2)
        count, size, inputs = levels.shape[1], levels.shape[2], self.inputs_of(batch)
        members = {name: value if name == "static" else _repeated(value, count) for name, value in vars(inputs).items()}
        center, scale = self.scaler.target_center, self.scaler.target_scale

        def draw(raw: Tensor, lead: int) -> Tensor:
            return (self.likelihood(raw.float(), center, scale).icdf(levels[lead].flatten(0, 1)) - center) / scale

        raw: Tensor = self.built(Inputs(**members), draw=draw, graph=self.graph, complete=self.complete(batch))
        made: Tensor = raw.unflatten(raw.dim() - 5, (count, size))  # type: ignore[no-untyped-call]
        return made

    def single_trajectory(self, batch: Batch) -> Distribution:
        """Forecast a raw batch; a rollout feeds back its location, not samples."""
        return self.decoded(super().forecast(self.encode(batch)), batch)

    def run(self, batch: Batch, steps: int, piece: int) -> Iterator[tuple[int, Tensor]]:
        """Run an autoregressive rollout from the end of a batch's window, in the targets' units.

        Args:
            batch: Windows in raw units.
            steps: Number of steps.
            piece: Number of steps in each yielded piece.

        Yields:
            The first step of a piece, and its values (batch, step, node, target).
        """
        network, inputs, complete = self.built, self.inputs_of(self.encode(batch)), self.complete(batch)
        assert isinstance(network, HybridNetwork)
        origin = batch["time"][:, batch["past"].shape[1] - 1, None]
        locations: list[Tensor] = []
        for step, location in enumerate(itertools.islice(network.run(inputs, self.graph, complete), steps), 1):
            locations.append(location * self.scaler.target_scale + self.scaler.target_center)
            if len(locations) == piece or step == steps:
                first = step - len(locations)
                time = (
                    origin
                    + torch.arange(first + 1, step + 1, dtype=origin.dtype, device=origin.device)
                    * self.fitted_spec.step
                )
                yield first, self.transform.bind(time).decode(torch.stack(locations, 1))
                locations = []


class Trajectories(Mixture):
    """A mixture of the forecasts along several trajectories.

    More data would not reduce the differences between trajectories: the mixture has no epistemic part.
    """


def _maker(core: type[RecurrentCore] | type[TransformerCore]) -> Callable[..., GatedPredictor]:
    """Make a function that makes a predictor with this core; its signature holds the options of both."""
    own = inspect.signature(core).parameters
    rest = {name: p for name, p in inspect.signature(GatedPredictor).parameters.items() if name != "core"}

    def make(**options: Any) -> GatedPredictor:  # noqa: ANN401
        kept = {name: value for name, value in options.items() if name not in own}
        return GatedPredictor(core(**{name: options[name] for name in own.keys() & options.keys()}), **kept)

    make.__signature__ = inspect.Signature([*own.values(), *rest.values()])  # type: ignore[attr-defined]
    return make


gated_rnn = _maker(RecurrentCore)
"""Make the predictor of a `GatedRNN` from its options."""
gated_transformer = _maker(TransformerCore)
"""Make the predictor of a `GatedTransformer` from its options."""


def _repeated(value: Tensor, count: int) -> Tensor:
    """Repeat (batch, …) to (count * batch, …)."""
    return value.repeat(count, *[1] * (value.dim() - 1))
