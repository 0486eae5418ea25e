"""Stack: a weighted pool of fitted predictors, which are kept inside it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from stgate._configured import check_options
from stgate.distributions.pools import POOLS, PoolName
from stgate.distributions.reshaped import SCORES, Floored, Reshaped
from stgate.distributions.tabulated import Tabulated
from stgate.errors import CheckpointError, RequestError
from stgate.prediction import registry
from stgate.prediction.baselines import Table
from stgate.prediction.checkpoint import difference, section_of
from stgate.prediction.intervals import ConformityScore
from stgate.prediction.loading import Model, predictor_of
from stgate.prediction.parts import options_of
from stgate.prediction.predictor import Predictor
from stgate.schema.batch import Batch
from stgate.schema.spec import PanelSpec

PoolChoice = Literal["auto", "quantile", "linear"]
"""Pools of a stack; `auto` chooses one when the weights are learned."""
SHARED = ("targets", "nodes", "step", "time", "horizon", "units", "boundary", "time_units", "lattice")
"""Entries of the spec in which all members agree."""
JOINED = ("past_covariates", "future_covariates", "static_covariates", "calendar")
"""Entries of the spec of which a stack has those of all members."""


class StackPredictor(Predictor):
    """A weighted pool of fitted predictors of one panel, by lead and target.

    Each member keeps its own window, inputs and transforms; the stack's window is the longest. The members' stored
    calibrations are not used: each member's spread and tails are reshaped, and the pool is calibrated as a whole.

    References:
        Gneiting, Ranjan (2013), Combining predictive distributions. Electronic Journal of Statistics 7.
        doi:10.1214/13-EJS823

    Args:
        members: Fitted forecasters, predictors, or paths of checkpoints; None for a stack that a checkpoint fills.
        pool: Pool of the members: `quantile` (weighted mean of their quantiles), `linear` (their mixture), or `auto`
            (the better one on the forecasts from which the weights are learned).

    Raises:
        RequestError: The pool is unknown, or the members do not fit together.
    """

    always_forecasts: ClassVar[bool] = False
    spread_out_of_fold: ClassVar[bool] = True

    def __init__(self, *, members: Sequence[Model] | None = None, pool: PoolChoice = "auto") -> None:
        super().__init__()
        check_options(StackPredictor.__init__, locals())
        self.pool_option = pool
        self.pool: PoolName = "quantile" if pool == "auto" else pool
        self.pooled = nn.ModuleList(_member(member) for member in members or ())
        self.names = tuple(_label(member, one) for member, one in zip(members or (), self.predictors, strict=True))
        if members is not None:
            self.configure(joint_spec([one.fitted_spec for one in self.predictors], self.names))

    @property
    def conformity_score(self) -> ConformityScore:
        """Conformity score of a calibration that names none: intervals keep the shape of the pool."""
        return "distribution"

    @property
    def predictors(self) -> list[Predictor]:
        """The members."""
        return cast(list[Predictor], list(self.pooled))

    @property
    def weights(self) -> Tensor:
        """Weights of the members, (member, lead, target); for each lead and target they sum to one."""
        return self.built.get_buffer("weights")

    @property
    def curves(self) -> Tensor:
        """Curves by which the members' normal scores are reshaped, (member, lead, target, score)."""
        return self.built.get_buffer("curves")

    @property
    def lowest(self) -> float:
        """The least value of the targets where none was below zero in training and a member's range ends there."""
        return float(self.built.get_buffer("lowest"))

    def take_pool(self, other: StackPredictor) -> None:
        """Take pool, weights, curves and the least value from a stack of other fits of the same members.

        Args:
            other: The other stack.
        """
        self.pool = other.pool
        self.built.load_state_dict(other.built.state_dict())

    def build(self, spec: PanelSpec) -> nn.Module:
        """Build the table of equal weights, members as they are, and the least value of the targets."""
        count = len(self.pooled)
        weights = torch.full((count, spec.horizon, len(spec.targets)), 1 / max(count, 1))
        curves = torch.tensor(SCORES).expand(*weights.shape, -1).clone()
        return Table({"weights": weights, "curves": curves, "lowest": torch.tensor(-torch.inf)})

    def forward(self, batch: Batch) -> Distribution:
        """Forecast a raw batch in the targets' units: a distribution of batch shape (batch, lead, node, target)."""
        same = torch.tensor(SCORES, device=self.device)
        members = [
            one if torch.equal(curve, same.expand_as(curve)) else Reshaped(one, curve[:, None])
            for one, curve in zip(self.forecasts(batch), self.curves, strict=True)
        ]
        return POOLS[self.pool]([Tabulated(one) for one in members], self.weights[:, None, :, None])

    def forecast(self, batch: Batch) -> Distribution:
        """Forecast a batch; a stack has no transforms of its own."""
        made: Distribution = self(batch)
        return made

    def forecasts(self, batch: Batch) -> list[Distribution]:
        """Forecast a raw batch with each member, not below `lowest`; each of shape (batch, lead, node, target)."""
        made = [one(member_batch(batch, self.fitted_spec, one.fitted_spec)) for one in self.predictors]
        return made if math.isinf(self.lowest) else [Floored(one, self.lowest) for one in made]

    # The checkpoint

    def to_plain(self) -> dict[str, Any]:
        """Return the entries of a checkpoint besides weights and options, as plain containers and tensors."""
        members = []
        for one in self.predictors:
            if one.plain_options is None:
                raise CheckpointError(f"{one.name}: its options are not known; give its checkpoint's path, or a fit")
            members.append({"stgate": section_of(one), "hyper_parameters": one.plain_options})
        return {**super().to_plain(), "pool": self.pool, "names": list(self.names), "members": members}

    def restore(self, plain: dict[str, Any]) -> None:
        """Take the entries that `to_plain` returned, and build the networks of the weights."""
        made = []
        for held in plain["members"]:
            one = registry.make_predictor(held["stgate"]["class"], options_of(held["hyper_parameters"]))
            one.plain_options = dict(held["hyper_parameters"])
            one.restore(held["stgate"])
            made.append(one)
        self.pooled, self.pool, self.names = nn.ModuleList(made), plain["pool"], tuple(plain["names"])
        super().restore(plain)


def _member(member: Model) -> Predictor:
    """Return the predictor of a member, which knows the options of its forecaster."""
    predictor, options = predictor_of(member), getattr(member, "hparams", None)
    if options is not None:
        predictor.plain_options = dict(options)
    return predictor


def _label(member: Model, predictor: Predictor) -> str:
    """Return the name of a member in messages: its checkpoint's path, else its class."""
    return predictor.name if isinstance(member, Predictor) or hasattr(member, "predictor") else str(member)


def joint_spec(specs: Sequence[PanelSpec], names: Sequence[str]) -> PanelSpec:
    """Return the spec of a stack: the longest window, and the covariates and calendar features of all members.

    Args:
        specs: Specs of the members.
        names: Names of the members, for the message.

    Raises:
        RequestError: There are no members, or two of them differ in panel, targets or horizon.
    """
    if not specs:
        raise RequestError("members: give at least one fitted forecaster, or its checkpoint's path")
    first = specs[0]
    for spec, name in zip(specs[1:], names[1:], strict=True):
        for key in first.differences(spec):
            if key in SHARED:
                raise RequestError(_differs(key, first, spec, names[0], name))
        units = ((key, unit) for one in (spec, first) for key, unit in one.units.items() if unit)
        first = dataclasses.replace(first, units=dict(units))  # a unit that one member knows holds for all
    joined: dict[str, Any] = {key: _union(getattr(spec, key) for spec in specs) for key in JOINED}
    joined["past_covariates"] = tuple(n for n in joined["past_covariates"] if n not in joined["future_covariates"])
    return dataclasses.replace(first, window=max(spec.window for spec in specs), places=(), **joined)


def _differs(key: str, first: PanelSpec, other: PanelSpec, first_name: str, name: str) -> str:
    """Describe an entry in which two members differ, as an error message."""
    if key == "nodes":
        one, two = set(first.nodes), set(other.nodes)
        odd = sorted(map(str, one ^ two))[:3]
        which = f"they differ in {', '.join(odd)}" if odd else "their order differs"
        return f"{name}: has other nodes than {first_name} ({which}); fit both on the same panel"
    agree = {"targets": "the same --data.targets", "horizon": "the same --data.horizon"}.get(key, "the same panel")
    values = " ".join(difference(first, dataclasses.replace(first, **{key: getattr(other, key)})).split()[6:])
    held, _, data = values.partition(", the data have ")
    return f"{name}: has {key} {data.split(';')[0]}, {first_name} has {held}; fit both with {agree}"


def _union(lists: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """Return all names in the order in which they first come."""
    return tuple(dict.fromkeys(name for each in lists for name in each))


def member_batch(batch: Batch, joint: PanelSpec, own: PanelSpec) -> Batch:
    """Return the batch of a member: the end of the window, and the member's own covariates and calendar features.

    Args:
        batch: A raw batch of the stack.
        joint: Spec of the stack.
        own: Spec of the member.
    """
    if own == joint:
        return batch
    window, steps = own.window, batch["past"].shape[1]
    cut = {name: batch[name][:, -window:] for name in ("past", "since", "past_calendar", "past_cell")}
    features = [2 * joint.calendar.index(key) + i for key in own.calendar for i in (0, 1)]
    cut["past"] = _chosen(cut["past"], joint.channels, own.channels)
    cut["past_calendar"] = cut["past_calendar"][..., features]
    return cast(
        Batch,
        {
            **batch,
            **cut,
            "future": _chosen(batch["future"], joint.future_covariates, own.future_covariates),
            "future_calendar": batch["future_calendar"][..., features],
            "time": batch["time"][:, steps - window :],
            "static": _chosen(batch["static"], joint.static_covariates, own.static_covariates),
        },
    )


def _chosen(values: Tensor, held: Sequence[str], wanted: Sequence[str]) -> Tensor:
    """Return the columns of the last axis by their names."""
    return values if tuple(held) == tuple(wanted) else values[..., [held.index(name) for name in wanted]]
