"""CGLUBNF: a Bayesian neural field with a graph encoder and channel gated learning units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import lightning as L
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.distributions import Distribution

from stgate.data.field_data import FieldData
from stgate.data.window_data import WindowData
from stgate.data.windows import Batch
from stgate.distributions.likelihoods import Likelihood, Normal
from stgate.errors import RequestError, check_counts, did_you_mean
from stgate.inference.base import Inference
from stgate.inference.ensemble import Ensemble
from stgate.models import checkpoint as ckpt
from stgate.models.forecaster import Forecaster
from stgate.models.neighbourhoods import Neighbourhoods
from stgate.nn.field.context_masking import PATTERNS, mask_context
from stgate.nn.field.network import FieldGeometry, FieldInputs, FieldNetwork, with_latest
from stgate.panels.geometry import nearest
from stgate.schema.spec import PanelSpec

SEASONS = {"hour": 3600.0, "day": 86_400.0, "week": 604_800.0, "month": 30.4375 * 86_400, "year": 365.25 * 86_400}
"""Periods by name, in seconds; month and year are means over leap years."""
ROWS = 2**15
"""Rows that are evaluated at once outside of training."""

HELD = 2**19
"""Numbers that a layer gives out at once in training: what a backward pass needs of more is not kept in memory, nor is
as much memory taken anew each time."""


class CGLUBNF(Forecaster):
    """A field: a value at any time and place, from Fourier features, a graph encoder and channel gated learning units.

    It is fitted on observed entries only, and knows places by their coordinates: stations that training never saw join
    by their nearest neighbours. With `FieldData(context=…)` it also sees what was observed there and near by, of which
    training hides at random, and never the entry that is asked for. Forecasts, gaps (`stgate.reconstruct`) and new
    places are then the same call at other coordinates.

    With graph, gate and residual off and `activation="shared"` it is a Bayesian neural field, see `BayesNF`.

    Args:
        width: Of the hidden layers.
        depth: How many.
        seasons: Harmonics of each period, which is a name (`hour`, `day`, `week`, `month`, `year`) or a number of
            steps. None: up to four of day, week and year, as far as the panel's step resolves them.
        degree: Fourier degree of each coordinate: time, places, static and other covariates; or by names, with 5 for
            those that are not named. That of time says how fast the field can change apart from its seasons.
        interactions: Pairs of coordinates by name (`time`, `lat`, …) whose products are features.
        activation: Who shares the learned share of ELU, beside tanh: `shared` (all layers), `layer`, `channel`;
            `fixed` at a half.
        gate: Whether each channel of a layer has a gate.
        residual: Gate of `stgate.nn.gates` by which a layer joins what skips it; `none` lets nothing skip.
        graph: Size of the embedding of a place by its neighbours; 0 for none.
        neighbours: Stations that a place looks at: of training, and among those of a panel that observe anything at any
            time of it, the nearest.
        heads: Of attention to them.
        coordinates: Those of time, places, static and other covariates that are features, by name; all when None.
            Without time the field is the same in every year. Without those of places a place is what lies around it and
            how far away, but not where: no level of a station is learned by heart, which would mislead at a new one.
            What `graph` embeds is then static covariates, if there are any.
        knots: Of a learned path in time over the training part, beside the features of time: with as many as that part
            has steps the field knows each step by itself, wherever it is asked in space. Beyond that part there is
            none; 0 for none at all.
        path: How many numbers it has at each knot.
        hide: What of the context training hides, one of these a window: `late` (the last one to horizon steps, as
            forecasts do, few more often than many), `stations` (a share of the nodes for good, as where there is none),
            `entries` (a share of all entries), `own` (of each node what it observed itself, as at a new station).
        log_context: Whether what was observed is seen by its logarithm (of 1 + 8 times the value in units of its spread
            in training): for counts, and others that vary by orders of magnitude. Of likelihoods of what is never
            below zero.
        varying: Whether the likelihood's other numbers, such as the noise, vary over time and place.
        likelihood: See `Forecaster`; a normal with scale 0.01 + exp(·) when None.
        inference: See `Forecaster`; an ensemble of eight maximum a posteriori estimates under logistic priors when
            None.
        optimizer: See `Forecaster`.
        lr_scheduler: See `Forecaster`.

    Raises:
        RequestError: An option is out of range.

    References:
        Saad et al. (2024), Scalable spatiotemporal prediction with Bayesian neural fields. Nature Communications 15.
        CGLU-BNF ("channel gated learning unit based spatio-temporal Bayesian neural field"): reconstructed from the
        abstract, which names Fourier features, a graph attention encoder, channel gated learning units with learnable
        activations and gated residual connections, and Bayesian inference. What these are in detail is ours.
    """

    data_class: ClassVar[type[L.LightningDataModule]] = FieldData
    standardized: ClassVar[bool] = True
    """Whether the network's location is in units of the training data's spread, rather than in the target's own."""

    def __init__(
        self,
        width: int = 128,
        depth: int = 2,
        seasons: Mapping[str, int] | None = None,
        degree: int | Mapping[str, int] = 5,
        interactions: Sequence[Sequence[str]] = (),
        activation: str = "layer",
        gate: bool = True,
        residual: str = "coupled",
        graph: int = 16,
        neighbours: int = 5,
        heads: int = 4,
        coordinates: Sequence[str] | None = None,
        knots: int = 0,
        path: int = 8,
        hide: Sequence[str] = ("late", "stations", "entries"),
        log_context: bool = False,
        varying: bool = True,
        likelihood: Likelihood | None = None,
        inference: Inference | None = None,
        optimizer: OptimizerCallable = torch.optim.Adam,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        likelihood = likelihood or Normal(min_scale=0.01, link="exp")
        inference = inference or Ensemble(members=8, prior="logistic")
        self.seasons = None if seasons is None else {str(period): count for period, count in seasons.items()}
        super().__init__(likelihood, inference, "zero", optimizer, lr_scheduler)
        check_counts(width=(width, 4), depth=(depth, 1), graph=(graph, 0))
        check_counts(neighbours=(neighbours, 1), heads=(heads, 1), knots=(knots, 0), path=(path, 1))
        if graph % heads:
            raise RequestError(f"graph {graph}: does not divide among {heads} heads; give a multiple")
        if width % (4 * heads):
            raise RequestError(f"width {width}: a quarter of it goes to {heads} heads; give a multiple of {4 * heads}")
        self.degree = dict(degree) if isinstance(degree, Mapping) else degree
        for value in self.degree.values() if isinstance(self.degree, dict) else [self.degree]:
            check_counts(degree=(value, 0))
        self.interactions, self.neighbours = [list(pair) for pair in interactions], neighbours
        self.hide, self.coordinates = list(hide), None if coordinates is None else list(coordinates)
        for pattern in self.hide or [""]:
            if pattern not in PATTERNS:
                raise RequestError(f"hide {pattern!r}: {did_you_mean(pattern, PATTERNS)}")
        self.hparams.update(seasons=self.seasons, degree=self.degree, interactions=self.interactions)
        plain = {"hide": self.hide, "coordinates": self.coordinates}
        self.hparams.update({name: value for name, value in plain.items() if name in self.hparams})
        self.options: dict[str, Any] = {"width": width, "depth": depth, "activation": activation, "gate": gate}
        self.options |= {"residual": residual, "graph": graph, "heads": heads, "path": (knots, path)}
        self.varying, self.log_context = varying, log_context
        if log_context and self.likelihood.support == "real":
            kind = type(self.likelihood).__name__
            raise RequestError(f"log_context: likelihood {kind} takes values below zero; leave it out")
        self.reconstruction_calibration: dict[str, Any] | None = None

    # Building

    def build(self, spec: PanelSpec) -> nn.Module:
        """See `stgate.nn.field.network.FieldNetwork`."""
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
        """Which of some coordinates are features."""
        return [i for i, name in enumerate(names) if self.coordinates is None or name in self.coordinates]

    def _degrees(self, names: Sequence[str]) -> list[int]:
        if not isinstance(self.degree, dict):
            return [self.degree] * len(names)
        for name in self.degree:
            _check_coordinate("degree", name, names)
        return [self.degree.get(name, 5) for name in names]

    def _seasons(self, spec: PanelSpec) -> list[tuple[float, int]]:
        """Periods in steps, and how many harmonics of each."""
        if self.seasons is None:
            if spec.time == "model":
                return []
            steps = [SEASONS[name] / spec.step for name in ("day", "week", "year")]
            return [(period, min(4, int(period / 2))) for period in steps if period >= 2]
        found = []
        for name, count in self.seasons.items():
            try:
                period = SEASONS[name] / spec.step if name in SEASONS and spec.time == "calendar" else float(name)
            except ValueError as error:
                raise RequestError(f"seasons {name!r}: a number of steps, or one of {', '.join(SEASONS)}") from error
            found.append((period, count))
        return found

    def configure_model(self) -> None:
        """See `Forecaster`."""
        super().configure_model()
        if self.spec is not None and not hasattr(self, "ground"):
            spec = self.spec
            self.ground = FieldGeometry(len(spec.nodes), len(spec.static_covariates))
            kept = self._kept(spec.static_covariates)
            self.neighbourhoods = Neighbourhoods(self.ground, spec.places, self.neighbours, kept)

    def adopt(self, data: L.LightningDataModule | None) -> None:
        """See `Forecaster`.

        Raises:
            RequestError: No `FieldData`.
        """
        if not isinstance(data, FieldData):
            raise RequestError(f"{type(self).__name__} learns its panel from a FieldData: pass datamodule=FieldData(…)")
        super().adopt(data)

    def prepare(self, data: WindowData) -> None:
        """Where the stations are, how coordinates are scaled, and how large the noise is to begin with."""
        spec, (start, stop) = self.fitted_spec, data.parts.train
        if not self.standardized:
            self.scaler.center[: len(spec.targets)] = 0.0
            self.scaler.scale[: len(spec.targets)] = 1.0
        static = data.series.static.double()
        seen, last = torch.zeros(len(static), dtype=torch.float64), start
        for first, end in data.series.blocks(start, stop):
            there = (~torch.isnan(data.series.read(first, end)[..., : len(spec.targets)])).any(-1)
            seen += there.sum((0, 1))
            rows = torch.nonzero(there.flatten(2).any(2).any(0))
            last = first + int(rows[-1]) if len(rows) else last
        share = (seen / seen.sum()).unsqueeze(-1)
        center = (share * static).sum(0)
        spread = (share * (static - center).square()).sum(0).sqrt()
        ground, times = self.ground, data.series.clock.time
        ground.static.copy_(static)
        ground.center.copy_(center)
        ground.scale.copy_(torch.where(spread > 0, spread, 1.0))
        ground.start.copy_(times[start])
        ground.length.copy_(((times[last] - times[start]) / spec.step).clamp(min=1))
        if len(static) > 1:
            _, distance = nearest(self.neighbourhoods.places(static), 1)
            ground.typical.fill_(float(distance.mean()) or 1.0)
        self.neighbourhoods.forget()
        constant = self._field.constant
        if constant is not None and isinstance(self.likelihood, Normal):
            half = data.statistics().scale[: len(spec.targets)] / (2 * self.scaler.target_scale)
            inverse = half.log() if self.likelihood.link == "exp" else torch.expm1(half).log()
            constant.data.copy_(inverse.expand(constant.shape))

    @property
    def _field(self) -> FieldNetwork:
        return next(m for m in self.built.modules() if isinstance(m, FieldNetwork))

    def on_fit_start(self) -> None:
        """See `Forecaster`."""
        super().on_fit_start()
        self.reconstruction_calibration = None  # of other weights

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """See `Forecaster`."""
        super().on_save_checkpoint(checkpoint)
        checkpoint[ckpt.KEY]["reconstruction_calibration"] = self.reconstruction_calibration

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """See `Forecaster`."""
        super().on_load_checkpoint(checkpoint)
        self.reconstruction_calibration = checkpoint[ckpt.KEY].get("reconstruction_calibration")

    # Evaluating

    def members(self, batch: Batch, *options: Any) -> Distribution:  # noqa: ANN401
        """See `Forecaster`."""
        window = self.fitted_spec.window
        leads = range(1, batch["time"].shape[1] - window + 1)
        return self.distribution(torch.cat([self._at(batch, lead) for lead in leads], -4))

    def reconstruction(self, batch: Batch) -> Distribution:
        """What the field says of the last step of each window, at all nodes: (batch, 1, node, target)."""
        return self.inference.predictive(self.distribution(self._at(batch, 0)))

    def _at(self, batch: Batch, lead: int) -> Tensor:
        """Raw outputs (member?, batch, 1, node, target, parameter) so many steps after the window."""
        size, nodes = len(batch["time"]), len(batch["static"])
        pieces = torch.split(torch.arange(size * nodes, device=self.device), ROWS)
        raw = torch.cat([self.built(self._inputs(batch, lead, rows)) for rows in pieces], -2)
        made: Tensor = self._unflattened(raw).unflatten(-3, (size, 1, nodes))  # type: ignore[no-untyped-call]
        return made

    def training_forward(self, batch: Batch) -> Distribution:
        """Of each observed entry of the windows' last step, a case of its own: (member?, case, 1, 1, target)."""
        raw = self.built(self._inputs(batch, 0, self._cases_of(batch)))
        return self.distribution(self._unflattened(raw).unsqueeze(-3).unsqueeze(-3))

    def training_target(self, batch: Batch) -> Tensor:
        """(case, 1, 1, target)."""
        return self._now(batch).flatten(0, 1)[self._cases_of(batch)][:, None, None]

    def training_pieces(self, batch: Batch) -> list[tuple[Batch, float]]:
        """The times of a batch, as many together as a layer gives out `HELD` numbers for."""
        count, same = len(batch["time"]), {name: batch[name] for name in ("static", "ever")}
        together = max(HELD // (self.options["width"] * len(batch["static"])), 1)
        if together >= count:
            return [(batch, 1.0)]
        pieces = [
            same | {name: value[first : first + together] for name, value in batch.items() if name not in same}
            for first in range(0, count, together)
        ]
        cases = [int((~torch.isnan(self.training_target(piece))).sum()) for piece in pieces]
        return [(piece, share / sum(cases)) for piece, share in zip(pieces, cases, strict=True)]

    def training_leads(self) -> int:
        """See `Forecaster`."""
        return self.fitted_spec.horizon

    def _unflattened(self, raw: Tensor) -> Tensor:
        """(…, row, output) -> (…, row, target, parameter): locations of all targets come first."""
        shape = (self.likelihood.parameters, len(self.fitted_spec.targets))
        made: Tensor = raw.unflatten(-1, shape).transpose(-1, -2)  # type: ignore[no-untyped-call]
        return made

    def _now(self, batch: Batch) -> Tensor:
        now: Tensor = batch["past"][:, -1, :, : len(self.fitted_spec.targets)]
        return now

    def _cases_of(self, batch: Batch) -> Tensor:
        """Which of (batch, node) observe anything."""
        return torch.nonzero((~torch.isnan(self._now(batch))).any(-1).flatten()).squeeze(-1)

    def _inputs(self, batch: Batch, lead: int, rows: Tensor) -> FieldInputs:
        """What the field sees of rows of (batch, node), so many steps after the window."""
        spec, ground = self.fitted_spec, self.ground
        nodes, first = len(batch["static"]), len(spec.channels) - len(spec.future_covariates)
        which, place = rows // nodes, rows % nodes
        steps = (batch["time"][:, spec.window - 1 + lead] - ground.start) / spec.step
        given = batch["future"][:, lead - 1] if lead else batch["past"][:, -1, :, first:]
        given = torch.nan_to_num((given - self.scaler.center[first:]) / self.scaler.scale[first:], nan=0.0)
        given = given[..., self._kept(spec.future_covariates)]
        sites, stations, among = self.neighbourhoods.of(batch["static"], batch["ever"])
        elapsed = (steps / ground.length).to(given).unsqueeze(-1)
        seen = self._seen(batch, lead, which, place, among.near) if spec.window > 1 else given[:0, 0]
        return FieldInputs(steps, elapsed, which, place, given[which, place], sites, stations, seen, among.edges)

    def _seen(self, batch: Batch, lead: int, which: Tensor, place: Tensor, near: Tensor) -> Tensor:
        """What each row's place and those near it, (place, neighbour), observed; see `with_latest`."""
        targets = len(self.fitted_spec.targets)
        past, center = (x / self.scaler.target_scale for x in (batch["past"][..., :targets], self.scaler.target_center))
        past = torch.log1p(8 * past) - torch.log1p(8 * center) if self.log_context else past - center
        past = torch.cat([past[:, lead:], torch.full_like(past[:, :lead], torch.nan)], 1)  # (batch, lag, node, target)
        own = torch.zeros(len(past), dtype=torch.bool, device=past.device)
        if self.training:
            past, own = mask_context(past, self.fitted_spec.horizon, self.hide)
        among = torch.cat([torch.arange(len(near), device=near.device)[:, None], near], 1)[place]
        values = past.transpose(1, 2).flatten(2)[which.unsqueeze(-1), among]  # (row, 1 + neighbour, lag * target)
        values = values.masked_fill((among < 0).unsqueeze(-1), torch.nan)
        values[:, 0, -targets:] = torch.nan  # never the entry that is asked for
        values[:, 0] = values[:, 0].masked_fill(own[which].unsqueeze(-1), torch.nan)
        return with_latest(values.view(*values.shape[:-1], -1, targets))


def _check_coordinate(option: str, name: str, names: Sequence[str]) -> None:
    if name not in names:
        raise RequestError(f"{option} {name!r}: {did_you_mean(name, names)}")
