"""CGLUBNF: a Bayesian neural field with a graph encoder and channel gated learning units."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.distributions import Distribution

from stgate.data.field_data import FieldData
from stgate.data.window_data import WindowData
from stgate.distributions.likelihoods import Likelihood, Normal
from stgate.inference.base import Inference
from stgate.models.forecaster import Forecaster
from stgate.nn.field.context_masking import MaskPattern
from stgate.nn.gates import GateName
from stgate.panels.geometry import nearest
from stgate.prediction.field import Activation, FieldPredictor
from stgate.schema.batch import Batch
from stgate.schema.spec import PanelSpec

HELD = 2**19
"""Numbers that a layer gives out at once in training: what a backward pass needs of more is not kept in memory, nor is
as much memory taken anew each time."""


class FieldForecaster(Forecaster):
    """Training of the neural fields: on observed entries only, a part of the times at once.

    Args:
        predictor: What forecasts.
        optimizer: Makes the optimizer from the parameters.
        lr_scheduler: Makes the scheduler from the optimizer; None for one cycle over the whole fit.
    """

    data_class: ClassVar[type[WindowData]] = FieldData
    predictor: FieldPredictor

    @abstractmethod
    def __init__(
        self, *, predictor: FieldPredictor, optimizer: OptimizerCallable, lr_scheduler: LRSchedulerCallable | None
    ) -> None:
        super().__init__(predictor=predictor, optimizer=optimizer, lr_scheduler=lr_scheduler)
        options = ("seasons", "degree", "interactions", "context_masking", "coordinates")
        # Mappings and sequences of any kind are kept as plain dicts and lists.
        self.hparams.update({name: getattr(predictor, name) for name in options if name in self.hparams})

    def build(self, spec: PanelSpec) -> nn.Module:
        """Build a `stgate.nn.field.network.FieldNetwork`."""
        return self.predictor.build(spec)

    def prepare(self, data: WindowData) -> None:
        """Take the stations' places, the scales of coordinates, and the scale of the noise to begin with.

        Args:
            data: The data that the forecaster is fitted on.
        """
        predictor, spec, (start, stop) = self.predictor, data.spec, data.parts.train
        if not predictor.standardized:
            predictor.scaler.center[: len(spec.targets)] = 0.0
            predictor.scaler.scale[: len(spec.targets)] = 1.0
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
        ground, times = predictor.ground, data.series.clock.time
        ground.static.copy_(static)
        ground.center.copy_(center)
        ground.scale.copy_(torch.where(spread > 0, spread, 1.0))
        ground.start.copy_(times[start])
        ground.length.copy_(((times[last] - times[start]) / spec.step).clamp(min=1))
        if len(static) > 1:
            _, distance = nearest(predictor.neighbourhoods.places(static), 1)
            ground.typical.fill_(float(distance.mean()) or 1.0)
        predictor.neighbourhoods.forget()
        constant = predictor.field.constant
        if constant is not None and isinstance(predictor.likelihood, Normal):
            half = data.statistics().scale[: len(spec.targets)] / (2 * predictor.scaler.target_scale)
            inverse = half.log() if predictor.likelihood.link == "exp" else torch.expm1(half).log()
            constant.data.copy_(inverse.expand(constant.shape))

    def on_fit_start(self) -> None:
        """Forget the calibrations of other weights, and fix the seed that gives each batch its random state."""
        super().on_fit_start()
        self.predictor.reconstruction_calibration = None

    def training_forward(self, batch: Batch) -> Distribution:
        """Evaluate each observed entry of the windows' last step: (member?, entry, 1, 1, target)."""
        return self.predictor.observed_entries(batch)

    def training_target(self, batch: Batch) -> Tensor:
        """Return the observed entries of the windows' last step, (entry, 1, 1, target)."""
        return self.predictor.now(batch).flatten(0, 1)[self.predictor.entries_of(batch)][:, None, None]

    def training_pieces(self, batch: Batch) -> list[tuple[Batch, float]]:
        """Cut a batch by its times, as many together as a layer gives out `HELD` numbers for."""
        shared = ("static", "ever")
        count, width = len(batch["time"]), int(self.predictor.options["width"])
        together = max(HELD // (width * len(batch["static"])), 1)
        if together >= count:
            return [(batch, 1.0)]
        pieces = []
        for first in range(0, count, together):
            tensors: dict[str, Any] = dict(batch)
            part = {n: t if n in shared else t[first : first + together] for n, t in tensors.items()}
            pieces.append(cast(Batch, part))
        entries = [int((~torch.isnan(self.training_target(piece))).sum()) for piece in pieces]
        return [(piece, share / sum(entries)) for piece, share in zip(pieces, entries, strict=True)]


class CGLUBNF(FieldForecaster):
    """A field: a value at any time and place, from Fourier features, a graph encoder and channel gated learning units.

    It is fitted on observed entries only, and knows places by their coordinates: stations that training never saw join
    by their nearest neighbours. With `FieldData(context=…)` it also sees what was observed there and near by, of which
    training masks a part at random, and never the entry that is asked for. Forecasts, gaps (`stgate.reconstruct`) and
    new places are then the same call at other coordinates.

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
        context_masking: Patterns by which training masks the context, one of these a window: `late` (the last one to
            horizon steps, as forecasts do, few more often than many), `stations` (a share of the nodes for good, as
            where there is none), `entries` (a share of all entries), `own` (each node's own record, as at a new
            station).
        log_context: Whether what was observed is seen by its logarithm (of 1 + 8 times the value in units of its spread
            in training): for counts, and others that vary by orders of magnitude. Of likelihoods of what is never
            below zero.
        varying: Whether the likelihood's other numbers, such as the noise, vary over time and place.
        likelihood: The family of distributions of the values; a normal with scale 0.01 + exp(·) when None.
        inference: The way from weights to distributions; an ensemble of eight maximum a posteriori estimates under
            logistic priors when None.
        optimizer: Makes the optimizer from the parameters. It is not part of the checkpoint.
        lr_scheduler: Makes the scheduler from the optimizer, stepped once an epoch. None: one cycle over the whole fit,
            stepped once a batch, peaking at the optimizer's learning rate.

    Raises:
        RequestError: An option is out of range.

    References:
        Saad et al. (2024), Scalable spatiotemporal prediction with Bayesian neural fields. Nature Communications 15.
        CGLU-BNF ("channel gated learning unit based spatio-temporal Bayesian neural field"): reconstructed from the
        abstract, which names Fourier features, a graph attention encoder, channel gated learning units with learnable
        activations and gated residual connections, and Bayesian inference. What these are in detail is ours.
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
        context_masking: Sequence[MaskPattern] = ("late", "stations", "entries"),
        log_context: bool = False,
        varying: bool = True,
        likelihood: Likelihood | None = None,
        inference: Inference | None = None,
        optimizer: OptimizerCallable = torch.optim.Adam,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        predictor = FieldPredictor(
            width=width,
            depth=depth,
            seasons=seasons,
            degree=degree,
            interactions=interactions,
            activation=activation,
            gate=gate,
            residual=residual,
            graph=graph,
            neighbours=neighbours,
            heads=heads,
            coordinates=coordinates,
            knots=knots,
            path=path,
            context_masking=context_masking,
            log_context=log_context,
            varying=varying,
            likelihood=likelihood,
            inference=inference,
        )
        super().__init__(predictor=predictor, optimizer=optimizer, lr_scheduler=lr_scheduler)
