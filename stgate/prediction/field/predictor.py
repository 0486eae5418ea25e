"""Predictors of the neural fields: a value at any time and place, from coordinates and observations near by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from stgate._configured import check_options
from stgate.distributions.civil import even_time
from stgate.distributions.likelihoods import Likelihood, Normal
from stgate.distributions.transformed import Transformed
from stgate.distributions.transforms import Auto, Transform
from stgate.errors import RequestError, check_counts, did_you_mean
from stgate.inference.base import Inference
from stgate.inference.ensemble import Ensemble
from stgate.nn.field.context_masking import MaskPattern, mask_context
from stgate.nn.field.network import FieldGeometry, FieldInputs, FieldNetwork, with_latest
from stgate.nn.gates import GateName
from stgate.prediction.field.neighbourhoods import Neighbourhoods, columns
from stgate.prediction.intervals import Calibration
from stgate.prediction.predictor import Predictor
from stgate.schema.batch import Batch
from stgate.schema.spec import PanelSpec

SEASONS = {"hour": 3600.0, "day": 86_400.0, "week": 604_800.0, "month": 30.4375 * 86_400, "year": 365.25 * 86_400}
"""Periods by name, in seconds; month and year are means over leap years."""
ROWS = 2**15
"""Number of rows that are evaluated at once outside of training."""


Activation = Literal["shared", "layer", "channel", "fixed"]


class FieldPredictor(Predictor):
    """A field: a value at any time and place, from Fourier features, a graph encoder and channel gated learning units.

    Args:
        width: Width of the hidden layers.
        depth: Number of hidden layers.
        seasons: Harmonics of each period, which is a name (`hour`, `day`, `week`, `month`, `year`) or a number of
            steps. None: up to four of day, week and year, as far as the panel's step resolves them.
        degree: Fourier degree of each coordinate (time, places, static and other covariates): one number for all, or by
            names, with 5 for those that are not named. The degree of time limits how fast the field can change, besides
            its seasons.
        interactions: Pairs of coordinates by name (`time`, `lat`, …) whose products are features.
        activation: Sharing of the learned weight between ELU and tanh: `shared` (one for all layers), `layer` (one a
            layer), `channel` (one a channel) or `fixed` (one half).
        gate: Give each channel of a layer a gate.
        residual: Name of the gate of `stgate.nn.gates` that joins a layer's input to its output; `none` for no residual
            connection.
        graph: Size of the graph encoder's embedding of a place; 0 for no graph encoder.
        neighbours: Number of stations that a place attends to: the nearest of the training stations, and the nearest of
            the panel's stations that observe anything.
        heads: Number of attention heads over the neighbours.
        coordinates: Names of the coordinates that are features, among time, places, static and other covariates; None
            takes all. Without `time` the field is the same in every year. Without those of places the field knows the
            neighbours of a place and their distances, but not its position, and cannot memorise the level of a station;
            `graph` then embeds the static covariates, if there are any.
        knots: Number of knots of a learned temporal embedding, zero outside the training span; 0 disables it. With one
            knot a training step each step has a state of its own, common to all places.
        path: Size of the temporal embedding at each knot.
        context_masking: Patterns by which training masks the context, one of them for each window: `late` (the last one
            to horizon steps, as in forecasts, few steps more often than many), `stations` (some nodes for the whole
            window), `entries` (a share of all entries), `own` (each node's own observations, as at a new station).
            None: `late`, `stations` and `entries`.
        log_context: Take the logarithm of the context (of 1 + 8 times the value in units of its training standard
            deviation), for counts and other values that vary by orders of magnitude. It needs a likelihood of
            non-negative values.
        varying: Let the likelihood's other parameters, such as the scale of the noise, vary over time and place.
        standardized: Standardise the targets by their training mean and scale; False leaves them in their own units.
        transforms: Transforms of the targets, in the order in which they are applied; `auto` chooses them from the
            training part, None is for none.
        likelihood: The family of distributions of the values; a normal with scale 0.01 + exp(·) when None.
        inference: The inference of the weights; an ensemble of eight maximum a posteriori estimates under
            logistic priors when None.

    Raises:
        RequestError: An option is out of range.
    """

    def __init__(
        self,
        *,
        width: int = 128,
        depth: int = 2,
        seasons: Mapping[str, int] | None = None,
        degree: int | Mapping[str, int] = 5,
        interactions: Sequence[Sequence[str]] = (),
        activation: Activation = "layer",
        gate: bool = True,
        residual: GateName = "coupled",
        graph: int = 16,
        neighbours: int = 5,
        heads: int = 4,
        coordinates: Sequence[str] | None = None,
        knots: int = 0,
        path: int = 8,
        context_masking: MaskPattern | Sequence[MaskPattern] | None = None,
        log_context: bool = False,
        varying: bool = True,
        standardized: bool = True,
        transforms: Sequence[Transform] | Auto | None = None,
        likelihood: Likelihood | None = None,
        inference: Inference | None = None,
    ) -> None:
        likelihood = likelihood or Normal(min_scale=0.01, link="exp")
        super().__init__(
            likelihood=likelihood, inference=inference or Ensemble(members=8, prior="logistic"), transforms=transforms
        )
        check_counts(width=(width, 4), depth=(depth, 1), graph=(graph, 0))
        check_counts(neighbours=(neighbours, 1), heads=(heads, 1), knots=(knots, 0), path=(path, 1))
        check_options(FieldPredictor.__init__, locals())
        if graph % heads:
            raise RequestError(f"graph {graph}: must be a multiple of the {heads} heads")
        if width % (4 * heads):
            raise RequestError(f"width {width}: must be a multiple of {4 * heads}, four times the number of heads")
        self.seasons = None if seasons is None else {str(period): count for period, count in seasons.items()}
        self.degree = dict(degree) if isinstance(degree, Mapping) else degree
        for value in self.degree.values() if isinstance(self.degree, dict) else [self.degree]:
            check_counts(degree=(value, 0))
        self.interactions, self.neighbours = [list(pair) for pair in interactions], neighbours
        patterns: Any = ("late", "stations", "entries") if context_masking is None else context_masking
        patterns = [patterns] if isinstance(patterns, str) else list(patterns)
        self.context_masking: list[MaskPattern] = patterns
        self.coordinates = None if coordinates is None else list(coordinates)
        named: list[str] = [*self.context_masking] or [""]
        for pattern in named:
            if pattern not in get_args(MaskPattern):
                raise RequestError(f"context_masking {pattern!r}: {did_you_mean(pattern, get_args(MaskPattern))}")
        self.options: dict[str, Any] = {"width": width, "depth": depth, "activation": activation, "gate": gate}
        self.options |= {"residual": residual, "graph": graph, "heads": heads, "path": (knots, path)}
        self.varying, self.log_context = varying, log_context
        if log_context and self.likelihood.support == "real":
            kind = type(self.likelihood).__name__
            raise RequestError(f"log_context: likelihood {kind} takes values below zero; leave it out")
        self.standardized = standardized
        self.reconstruction_calibration: Calibration | None = None

    # Building

    def build(self, spec: PanelSpec) -> nn.Module:
        """Build a `stgate.nn.field.network.FieldNetwork`."""
        known = ["time", *spec.static_covariates, *spec.future_covariates]
        for name in self.coordinates or ():
            _check_coordinate("coordinates", name, known)
        names = [known[i] for i in self._kept(known)]
        pairs = []
        for pair in self.interactions:
            for name in pair:
                _check_coordinate("interactions", name, names)
            pairs.append(tuple(names.index(name) for name in pair))
        outputs = self.likelihood.parameters * len(spec.targets)
        seen = 2 * (spec.window + 1) * len(spec.targets) if spec.window > 1 else 0
        features: dict[str, Any] = {"degrees": self._degrees(names), "interactions": pairs}
        features |= {"seasons": self._seasons(spec), "times": names.count("time")}
        static = len(self._kept(spec.static_covariates))
        return FieldNetwork(
            features,
            static=static,
            covariates=len(self._kept(spec.future_covariates)),
            seen=seen,
            edge=2 + len(self._kept(spec.places)),
            outputs=outputs,
            varying=outputs if self.varying else len(spec.targets),
            **self.options | ({} if static else {"graph": 0}),
        )

    def _kept(self, names: Sequence[str]) -> list[int]:
        """Return the positions of the coordinates that are features."""
        return [i for i, name in enumerate(names) if self.coordinates is None or name in self.coordinates]

    def _degrees(self, names: Sequence[str]) -> list[int]:
        if not isinstance(self.degree, dict):
            return [self.degree] * len(names)
        for name in self.degree:
            _check_coordinate("degree", name, names)
        return [self.degree.get(name, 5) for name in names]

    def _seasons(self, spec: PanelSpec) -> list[tuple[float, int]]:
        """Return the periods in steps, each with its number of harmonics."""
        if self.seasons is None:
            if spec.time == "model":
                return []
            steps = [_season(name, spec) for name in ("day", "week", "year")]
            return [(period, min(4, int(period / 2))) for period in steps if period >= 2]
        found = []
        for name, count in self.seasons.items():
            try:
                period = _season(name, spec) if name in SEASONS and spec.time == "calendar" else float(name)
            except ValueError as error:
                raise RequestError(
                    f"seasons {name!r}: must be a number of steps or one of {', '.join(SEASONS)}"
                ) from error
            found.append((period, count))
        return found

    def configure(self, spec: PanelSpec) -> None:
        """Take the spec, and build the scaler, the network and the geometry of the stations; once only."""
        if self.network is None:
            super().configure(spec)
            self.ground = FieldGeometry(len(spec.nodes), len(spec.static_covariates))
            kept = self._kept(spec.static_covariates)
            self.neighbourhoods = Neighbourhoods(self.ground, spec.places, self.neighbours, kept)

    @property
    def field(self) -> FieldNetwork:
        """The field's network; of several members the stacked one."""
        return self.part(FieldNetwork)

    def to_plain(self) -> dict[str, Any]:
        """Return the entries of a checkpoint besides weights and options, as plain containers and tensors."""
        stored = self.reconstruction_calibration
        return {**super().to_plain(), "reconstruction_calibration": stored and stored.to_plain()}

    def restore(self, plain: dict[str, Any]) -> None:
        """Take the entries that `to_plain` returned, and build the network of the weights."""
        super().restore(plain)
        stored = plain["reconstruction_calibration"]
        self.reconstruction_calibration = None if stored is None else Calibration.from_plain(stored)

    # Evaluating

    def members(self, batch: Batch, *options: Any) -> Distribution:  # noqa: ANN401
        """Forecast with each member, (member, batch, lead, node, target); a single member has no axis of its own."""
        window = self.fitted_spec.window
        leads = range(1, batch["time"].shape[1] - window + 1)
        return self.distribution(torch.cat([self._at(batch, lead) for lead in leads], -4))

    def reconstruction(self, batch: Batch) -> Distribution:
        """Reconstruct the last step of each window of a raw batch at all nodes: (batch, 1, node, target)."""
        forecast = self.inference.predictive(self.distribution(self._at(self.encode(batch), 0)))
        now = batch["time"][:, self.fitted_spec.window - 1 : self.fitted_spec.window]
        return Transformed(forecast, self.transform.bind(now)) if self.transforms else forecast

    def _at(self, batch: Batch, lead: int) -> Tensor:
        """Return raw outputs (member?, batch, 1, node, target, parameter), `lead` steps after the window."""
        size, nodes = batch["time"].shape[0], len(batch["static"])
        every = torch.arange(size * nodes, device=self.device)
        pieces = [every] if torch.compiler.is_compiling() else torch.split(every, ROWS)
        raw = torch.cat([self._raw(batch, lead, rows) for rows in pieces], -3)
        made: Tensor = raw.unflatten(-3, (size, 1, nodes))  # type: ignore[no-untyped-call]
        return made

    def observed_entries(self, batch: Batch) -> Distribution:
        """Evaluate each observed entry of the windows' last step, (member?, entry, 1, 1, target)."""
        return self.distribution(self._raw(batch, 0, self.entries_of(batch)).unsqueeze(-3).unsqueeze(-3))

    def _raw(self, batch: Batch, lead: int, rows: Tensor) -> Tensor:
        """Return raw outputs at rows of (batch, node): (member?, row, target, parameter)."""
        return self._unflattened(self.built(self._inputs(batch, lead, rows)))

    def _unflattened(self, raw: Tensor) -> Tensor:
        """Reshape (…, row, output) to (…, row, target, parameter); outputs begin with the locations of all targets."""
        shape = (self.likelihood.parameters, len(self.fitted_spec.targets))
        made: Tensor = raw.unflatten(-1, shape).transpose(-1, -2)  # type: ignore[no-untyped-call]
        return made

    def now(self, batch: Batch) -> Tensor:
        """Return the targets at the last step of each window, (batch, node, target), NaN where missing."""
        now: Tensor = batch["past"][:, -1, :, : len(self.fitted_spec.targets)]
        return now

    def noted(self, batch: Batch) -> Batch:
        """Return a batch of the host with what training has to know there: the nodes that observe a target."""
        origins = batch["origin"].tolist()
        if not self.training:
            return {**batch, "origins": origins}
        values = batch["past"][:, self.fitted_spec.window - 1, :, : len(self.fitted_spec.targets)]
        there = (~torch.isnan(values)).any(-1)
        left_out = self.left_out
        there = there if left_out is None else there & ~left_out
        return {**batch, "origins": origins, "observed": [torch.nonzero(row).squeeze(-1) for row in there]}

    @property
    def left_out(self) -> Tensor | None:
        """Flags of the nodes that training leaves out, on the host, (node,); None if there are none."""
        return None

    def entries_of(self, batch: Batch) -> Tensor:
        """Return the positions in (batch, node), flattened, that observe a target at the last step."""
        if "observed" in batch:
            nodes = len(batch["static"])
            rows = torch.cat([row + number * nodes for number, row in enumerate(batch["observed"])])
            return rows.to(self.device, non_blocking=True)
        there, left_out = (~torch.isnan(self.now(batch))).any(-1), self.left_out if self.training else None
        there = there if left_out is None else there & ~left_out.to(there.device)
        return torch.nonzero(there.flatten()).squeeze(-1)

    def _inputs(self, batch: Batch, lead: int, rows: Tensor) -> FieldInputs:
        """Return the network's inputs at rows of (batch, node), `lead` steps after the window."""
        spec, ground = self.fitted_spec, self.ground
        nodes, first = len(batch["static"]), len(spec.channels) - len(spec.future_covariates)
        which, place = rows // nodes, rows % nodes
        steps = (even_time(batch["time"][:, spec.window - 1 + lead], spec) - ground.start) / spec.step
        given = batch["future"][:, lead - 1] if lead else batch["past"][:, -1, :, first:]
        given = torch.nan_to_num((given - self.scaler.center[first:]) / self.scaler.scale[first:], nan=0.0)
        given = columns(given, self._kept(spec.future_covariates))
        sites, stations, among = self.neighbourhoods.of(batch["static"], batch["ever"])
        elapsed = (steps / ground.length).to(given).unsqueeze(-1)
        seen = self._seen(batch, lead, which, place, among.near) if spec.window > 1 else given[:0, 0]
        return FieldInputs(steps, elapsed, which, place, given[which, place], sites, stations, seen, among.edges)

    def _seen(self, batch: Batch, lead: int, which: Tensor, place: Tensor, near: Tensor) -> Tensor:
        """Return the context of each row: the observations at its place and its neighbours, (place, neighbour)."""
        targets = len(self.fitted_spec.targets)
        past, center = (x / self.scaler.target_scale for x in (batch["past"][..., :targets], self.scaler.target_center))
        past = torch.log1p(8 * past) - torch.log1p(8 * center) if self.log_context else past - center
        past = torch.cat([past[:, lead:], torch.full_like(past[:, :lead], torch.nan)], 1)  # (batch, lag, node, target)
        own = torch.zeros(past.shape[0], dtype=torch.bool, device=past.device)
        if self.training:
            past, own = mask_context(past, self.fitted_spec.horizon, self.context_masking)
        among = torch.cat([torch.arange(len(near), device=near.device)[:, None], near], 1)[place]
        values = past.transpose(1, 2).flatten(2)[which.unsqueeze(-1), among]  # (row, 1 + neighbour, lag * target)
        values = values.masked_fill((among < 0).unsqueeze(-1), torch.nan)
        values[:, 0, -targets:] = torch.nan  # never the entry that is reconstructed
        values[:, 0] = values[:, 0].masked_fill(own[which].unsqueeze(-1), torch.nan)
        return with_latest(values.view(*values.shape[:-1], -1, targets))


def _season(name: str, spec: PanelSpec) -> float:
    """Return a period of `SEASONS` in steps; steps of calendar months make a year exactly."""
    exact = {"month": 1, "year": 12}
    return exact[name] / spec.months if spec.months and name in exact else SEASONS[name] / spec.step


def _check_coordinate(option: str, name: str, names: Sequence[str]) -> None:
    if name not in names:
        raise RequestError(f"{option} {name!r}: {did_you_mean(name, names)}")
