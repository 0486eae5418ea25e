"""The predictor of gradient boosting: a mean of linear forecast and trees, with a scale and quantiles of errors."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from stgate._configured import check_options
from stgate.distributions.families import QuantileFunction
from stgate.distributions.transforms import Auto, Transform
from stgate.errors import RequestError, check_counts
from stgate.nn.trees import Trees
from stgate.prediction.baselines import BaselinePredictor
from stgate.prediction.intervals import ConformityScore
from stgate.prediction.predictor import NeighbourMeans
from stgate.prediction.tabular.window_features import WindowFeatures
from stgate.schema.batch import Batch
from stgate.schema.spec import PanelSpec

LEVELS = (0.01, 0.025, *(k / 20 for k in range(1, 20)), 0.975, 0.99)
"""Levels of the quantiles that a forecast holds."""
GROUPS = 12
"""Largest number of groups of locations with quantiles of their own."""
OWN = 2**23
"""Largest number of products of features that are summed for each node, for linear weights of its own."""
APART = 1e-4
"""Least distance of neighbouring quantiles, standardised."""
REACH = 8.0
"""Largest standardised input of the linear forecast."""


def lead_groups(horizon: int) -> list[tuple[int, int]]:
    """Return ranges of leads that share trees, as the first one and that after the last, counted from 0.

    The first two leads have trees of their own; then ranges double: 3-4, 5-8, 9-16, …

    Args:
        horizon: Number of leads.
    """
    edges = [0, 1]
    while edges[-1] < horizon:
        edges.append(min(2 * edges[-1], horizon))
    return [(first, last) for first, last in itertools.pairwise(edges) if first < horizon]


class BoostingNetwork(nn.Module):
    """Tables and trees of gradient boosting, filled by a fit.

    Args:
        features: The features.
        nodes: Number of nodes.
        sizes: Number of trees, their largest number of nodes, and the first tree of each ensemble.
    """

    def __init__(self, features: WindowFeatures, nodes: int, sizes: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.features = features
        targets, horizon = features.targets, features.horizon
        self.groups = lead_groups(horizon)
        size = len(features.names) + len(features.lead_names)
        own = max(min(size + 1, int((OWN / nodes) ** 0.5)), 1)
        linear = {
            "center": (targets, size),
            "scale": (targets, size),
            "weight": (targets, horizon, size + 1),
            "own_weight": (targets, horizon, nodes, own),
            "use": (targets, len(self.groups)),
            "floor": (targets, len(self.groups)),
            "edges": (targets, len(self.groups), GROUPS - 1),
            "quantiles": (targets, len(self.groups), GROUPS, len(LEVELS)),
            "bounds": (targets, 2),
        }
        for name, shape in linear.items():
            self.register_buffer(name, torch.zeros(shape))
        self.resize(sizes)

    def resize(self, sizes: Sequence[Sequence[int]]) -> None:
        """Take room for trees of other sizes.

        Args:
            sizes: Number of trees, their largest number of nodes, and the first tree of each ensemble.
        """
        self.sizes = [list(each) for each in sizes]
        (trees, nodes), _ = self.sizes
        self.trees = Trees(trees, nodes, self.size + 1).to(self.get_buffer("weight").device)

    @property
    def size(self) -> int:
        """Number of features."""
        return len(self.features.names) + len(self.features.lead_names)

    @property
    def own(self) -> int:
        """Number of inputs of the linear forecast, the constant first, that have weights of each node."""
        return self.get_buffer("own_weight").shape[-1]

    def hold(self, ensembles: Sequence[Sequence[Any]]) -> None:
        """Take the trees of all ensembles.

        Args:
            ensembles: Trees of each ensemble: for each target and group of leads, those of the location, then those of
                the absolute error.
        """
        starts = [0]
        for trees in ensembles:
            starts.append(starts[-1] + len(trees))
        self.trees = Trees.of([tree for trees in ensembles for tree in trees], self.size + 1)
        self.sizes = [list(self.trees.size), starts]

    def ensemble(self, rows: Tensor, target: int, group: int, kind: int) -> Tensor:
        """Return the sums of an ensemble's trees, (row,); `kind` is 0 for the location, 1 for the absolute error."""
        number = 2 * (target * len(self.groups) + group) + kind
        made: Tensor = self.trees(rows, *self.sizes[1][number : number + 2])
        return made

    def linear_inputs(self, rows: Tensor, target: int) -> Tensor:
        """Return the inputs of the linear forecast, (row, 1 + feature): a constant, and the features without NaN.

        Args:
            rows: Features, (row, feature).
            target: Number of the target.
        """
        lags, last = self.features.own_lags, rows[:, self.features.names.index("last"), None]
        filled = torch.cat([torch.where(torch.isnan(rows[:, lags]), last, rows[:, lags]), rows[:, lags.stop :]], 1)
        standard = (filled - self.get_buffer("center")[target]) / self.get_buffer("scale")[target]
        standard = torch.nan_to_num(standard, nan=0.0).clamp(-REACH, REACH)
        return torch.cat([torch.ones_like(standard[:, :1]), standard], 1)

    def linear(self, rows: Tensor, nodes: Tensor, target: int, lead: int) -> Tensor:
        """Return the linear forecast, (row,).

        Args:
            rows: Features, (row, feature).
            nodes: Node of each row, (row,).
            target: Number of the target.
            lead: Number of the lead, from 0.
        """
        inputs = self.linear_inputs(rows, target)
        own = self.get_buffer("own_weight")[target, lead][nodes]
        shared: Tensor = inputs @ self.get_buffer("weight")[target, lead]
        return shared + (inputs[:, : self.own] * own).sum(1)

    def knots(self, rows: Tensor, linear: Tensor, target: int, group: int) -> Tensor:
        """Return the quantiles of a forecast in standardised units, (row, level), ascending.

        Args:
            rows: Features, (row, feature).
            linear: Linear forecast, (row,).
            target: Number of the target.
            group: Number of the group of leads.
        """
        known = torch.cat([rows, linear[:, None]], 1)
        use, floor = (self.get_buffer(name)[target, group] for name in ("use", "floor"))
        location = use * linear + self.ensemble(known, target, group, 0)
        bounds = self.get_buffer("bounds")[target].unbind()
        location = location.clamp(*bounds)
        known = torch.cat([rows, location[:, None]], 1)
        scale = self.ensemble(known, target, group, 1).clamp(min=floor)
        place = torch.searchsorted(self.get_buffer("edges")[target, group].contiguous(), location.contiguous())
        knots = location[:, None] + scale[:, None] * self.get_buffer("quantiles")[target, group][place]
        apart = APART * torch.arange(len(LEVELS), device=knots.device)  # a density needs quantiles that differ
        return knots.clamp(*bounds) + apart


@dataclasses.dataclass(frozen=True)
class Rows:
    """Features of one target for a batch.

    Attributes:
        origin: Features of the window, (batch, node, feature).
        ahead: Features of each lead, (batch, lead, node, feature).
    """

    origin: Tensor
    ahead: Tensor

    def at(self, lead: int) -> Tensor:
        """Return the features of a lead, from 0, (batch * node, feature)."""
        return torch.cat([self.origin, self.ahead[:, lead]], -1).flatten(0, 1)


class GradientBoostingPredictor(BaselinePredictor):
    """Gradient boosting of trees on features of the window, held as tensors.

    Args:
        trees: Largest number of trees of an ensemble.
        learning_rate: Share of a tree's output that is added.
        max_rows: Largest number of rows (window and node) of an ensemble's fit; of more, a random part is taken.
        transforms: Transforms of the targets, in the order in which they are applied; `auto` chooses them from the
            training part, None is for none.
        node_statistics: Give the trees each node's training mean and standard deviation.
        neighbour_means: Give the trees the mean of each node's neighbours: `auto` (if the panel has edges or
            coordinates), `graph` (they are required) or `none`.

    Raises:
        RequestError: A number is out of range.
    """

    always_forecasts: ClassVar[bool] = True
    spread_out_of_fold: ClassVar[bool] = True

    def __init__(
        self,
        *,
        trees: int = 200,
        learning_rate: float = 0.1,
        max_rows: int = 60_000,
        transforms: Sequence[Transform] | Auto | None = "auto",
        node_statistics: bool = True,
        neighbour_means: NeighbourMeans = "auto",
    ) -> None:
        super().__init__(transforms=transforms, node_statistics=node_statistics, neighbour_means=neighbour_means)
        check_counts(trees=(trees, 0), max_rows=(max_rows, 100))
        check_options(GradientBoostingPredictor.__init__, locals())
        if not 0 < learning_rate <= 1:
            raise RequestError(f"learning_rate {learning_rate:g}: must be above 0 and at most 1")
        self.trees, self.learning_rate, self.max_rows = trees, learning_rate, max_rows
        self.sizes: list[list[int]] = [[0, 1], []]
        self.patterns: int | None = None

    @property
    def conformity_score(self) -> ConformityScore:
        """Conformity score of a calibration that names none: its own quantiles are those of errors out of fold."""
        return "quantile"

    def build(self, spec: PanelSpec) -> nn.Module:
        """Build the tables and the trees that are fitted."""
        own = self.fitted_spec
        features = WindowFeatures(
            own,
            directions=self.directions,
            statistics=2 * len(own.targets) if self.node_statistics else 0,
            transforms=self.transforms,
            patterns=self.patterns,
        )
        return BoostingNetwork(features, len(own.nodes), self.sizes)

    @property
    def tables(self) -> BoostingNetwork:
        """The tables and trees."""
        return self.part(BoostingNetwork)

    def rows(self, batch: Batch) -> Iterator[Rows]:
        """Yield the features of each target.

        Args:
            batch: An encoded batch.
        """
        features, scaler = self.tables.features, self.scaler
        past = (batch["past"] - scaler.center) / scaler.scale
        first = len(scaler.center) - batch["future"].shape[-1]
        future = (batch["future"] - scaler.center[first:]) / scaler.scale[first:]
        inputs = self.inputs_of(batch)
        targets = features.targets
        near = inputs.values[..., first : first + self.directions * targets]
        share = inputs.mask[..., first : first + self.directions * targets]
        near = torch.where(share > 0, near, torch.nan).reshape(*near.shape[:-1], self.directions, targets)
        usual = self.usual(batch) if features.usual else None
        static = inputs.static
        for target in range(targets):
            yield Rows(
                features.origin(past, near[..., target], batch["since"][:, -1, :, target], static, target),
                features.ahead(
                    past, future, batch["future_calendar"], None if usual is None else usual[..., target], target
                ),
            )

    def usual(self, batch: Batch) -> Tensor:
        """Return the values that the centre of the transformed targets stands for, in the targets' own units.

        Args:
            batch: A batch.

        Returns:
            (batch, 1 + lead, node, target), at the last step of the window and at the leads.
        """
        window, horizon = batch["past"].shape[1], self.fitted_spec.horizon
        bound = self.transform.bind(batch["time"][:, window - 1 : window + horizon])
        shape = (len(batch["past"]), 1 + horizon, batch["past"].shape[2], len(self.fitted_spec.targets))
        return bound.decode(self.scaler.target_center.expand(shape))

    def forecast(self, batch: Batch) -> Distribution:
        """Forecast an encoded batch."""
        network = self.tables
        size, nodes = batch["past"].shape[0], batch["past"].shape[2]
        node = torch.arange(nodes, device=batch["past"].device).repeat(size)
        made = []
        for target, rows in enumerate(self.rows(batch)):
            leads = []
            for group, (first, last) in enumerate(network.groups):
                for lead in range(first, last):  # one by one: all of them take much memory
                    held = rows.at(lead)
                    knots = network.knots(held, network.linear(held, node, target, lead), target, group)
                    leads.append(knots.view(size, nodes, -1))
            made.append(torch.stack(leads, 1))
        knots = torch.stack(made, -2)  # (batch, lead, node, target, level)
        knots = knots * self.scaler.target_scale.unsqueeze(-1) + self.scaler.target_center.unsqueeze(-1)
        return QuantileFunction(knots, self.scaler.target_scale, LEVELS)

    def to_plain(self) -> dict[str, Any]:
        """Return the entries of a checkpoint besides weights and options: sizes of trees and features, too."""
        return {**super().to_plain(), "trees": self.tables.sizes, "patterns": self.tables.features.strengths}

    def restore(self, plain: dict[str, Any]) -> None:
        """Take the entries that `to_plain` returned, and build tables and trees of these sizes."""
        self.sizes, self.patterns = plain["trees"], plain.get("patterns", 0)  # older ones have no patterns
        super().restore(plain)
        self.tables.resize(self.sizes)
