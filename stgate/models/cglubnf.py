"""CGLUBNF: a Bayesian neural field with a graph encoder and channel gated learning units."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import lightning as L
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.distributions import Distribution

from stgate.data.field_data import FieldData
from stgate.data.window_data import WindowData
from stgate.distributions.likelihoods import Likelihood, Normal
from stgate.distributions.transforms import Auto, Transform
from stgate.inference.base import Inference
from stgate.models.forecaster import Forecaster
from stgate.models.training.field_start import choose_field_transforms, start_kriging, withhold
from stgate.models.training.geometry import take_geometry
from stgate.models.training.hidden import HiddenReference, hidden_estimates
from stgate.models.training.steps import log_nothing, masked_loss
from stgate.nn.field.context_masking import MaskPattern
from stgate.nn.gates import GateName
from stgate.prediction.field.cglubnf import cglubnf
from stgate.prediction.field.kriged import KrigedFieldPredictor
from stgate.prediction.field.predictor import Activation, FieldPredictor
from stgate.schema.batch import Batch
from stgate.schema.spec import PanelSpec

ADAM = functools.partial(torch.optim.Adam, lr=0.005)
"""Optimizer of fields by default."""


class FieldForecaster(Forecaster):
    """Training of the neural fields: on observed entries only, a part of the times at once.

    Args:
        predictor: The torch module that forecasts.
        optimizer: Makes the optimizer from the parameters; Adam with a learning rate of 0.005 when None.
        lr_scheduler: Makes the scheduler from the optimizer; None for one cycle over the whole fit.
    """

    data_class: ClassVar[type[WindowData]] = FieldData
    reference: HiddenReference
    sees_context: ClassVar[bool] = True
    predictor: FieldPredictor

    @abstractmethod
    def __init__(
        self,
        *,
        predictor: FieldPredictor,
        optimizer: OptimizerCallable | None,
        lr_scheduler: LRSchedulerCallable | None,
    ) -> None:
        super().__init__(predictor=predictor, optimizer=optimizer or ADAM, lr_scheduler=lr_scheduler)
        options = ("seasons", "degree", "interactions", "context_masking", "coordinates")
        # Mappings and sequences of any kind are kept as plain dicts and lists.
        given = [name for name in options if self.hparams.get(name) is not None]
        self.hparams.update({name: getattr(predictor, name) for name in given})

    def adopt(self, data: L.LightningDataModule | None) -> None:
        """Take spec and scales from a data module; a new field says whether it sees observations, and takes transforms.

        Args:
            data: A data module.
        """
        predictor = self.predictor
        if isinstance(data, FieldData) and self.spec is None:
            data.take_context(self.sees_context)
            if predictor.transforms_option == "auto":
                kriged = isinstance(predictor, KrigedFieldPredictor) and data.spec.window > 1
                real = kriged and predictor.likelihood.support == "real"
                choice = choose_field_transforms(data, predictor.context_masking) if real else None
                predictor.transforms = choice.transforms if choice else ()
                predictor.transforms_report = (
                    choice.report if choice else "transforms: none (only a kriging of real values has them)"
                )
        super().adopt(data)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the scores of forecasts, and those of entries that are hidden from the field (`val_hidden_…`)."""
        super().validation_step(batch, batch_idx)
        predictor = self.predictor
        if isinstance(predictor, KrigedFieldPredictor) and self.hides and not self.evaluates(batch_idx):
            log_nothing(self, "val_hidden")
        elif isinstance(predictor, KrigedFieldPredictor) and self.hides:
            forecast, truth, hidden = hidden_estimates(predictor, batch)
            masked_loss(self, "val_hidden", forecast, truth)
            self.reference.update(hidden, truth, predictor.fitted_spec.window - 1)

    @property
    def monitor(self) -> str:
        """Score by which the best epoch is chosen: that of hidden entries where validation has it."""
        return "val_hidden_crps" if self.hides else super().monitor

    @property
    def hides(self) -> bool:
        """True if validation scores entries that are hidden from the field."""
        return isinstance(self.predictor, KrigedFieldPredictor) and self.predictor.kriged

    def build(self, spec: PanelSpec) -> nn.Module:
        """Build a `stgate.nn.field.network.FieldNetwork`."""
        return self.predictor.build(spec)

    def prepare(self, data: WindowData) -> None:
        """Take the stations' places, the scales of coordinates, and the initial scale of the noise.

        Args:
            data: The data that the forecaster is fitted on.
        """
        predictor, spec = self.predictor, data.spec
        if not predictor.standardized:
            predictor.scaler.center[: len(spec.targets)] = 0.0
            predictor.scaler.scale[: len(spec.targets)] = 1.0
        take_geometry(predictor, data)
        if isinstance(predictor, KrigedFieldPredictor) and predictor.kriged:
            withhold(predictor, data)
            start_kriging(predictor, data)
        constant = predictor.field.constant
        if constant is not None and isinstance(predictor.likelihood, Normal):
            half = data.statistics().scale[: len(spec.targets)] / (2 * predictor.scaler.target_scale)
            inverse = half.log() if predictor.likelihood.link == "exp" else torch.expm1(half).log()
            constant.data.copy_(inverse.expand(constant.shape))

    def on_validation_epoch_start(self) -> None:
        """Start to sum the errors of interpolation."""
        self.reference = HiddenReference()

    def on_validation_epoch_end(self) -> None:
        """Add up the errors of interpolation over the processes."""
        self.reference = self.reference.of_all(self.trainer.strategy)

    def on_fit_start(self) -> None:
        """Remove the calibrations of other weights, and fix the seed that gives each batch its random state."""
        super().on_fit_start()
        self.predictor.reconstruction_calibration = None

    def training_forward(self, batch: Batch) -> Distribution:
        """Evaluate each observed entry of the windows' last step: (member?, entry, 1, 1, target)."""
        return self.predictor.observed_entries(batch)

    def training_target(self, batch: Batch) -> Tensor:
        """Return the observed entries of the windows' last step, (entry, 1, 1, target)."""
        return self.predictor.now(batch).flatten(0, 1)[self.predictor.entries_of(batch)][:, None, None]


class CGLUBNF(FieldForecaster):
    """A field: a value at any time and place, from Fourier features, a graph encoder and channel gated learning units.

    It is fitted on observed entries only, and knows places by their coordinates: a station that training never saw
    connects to its nearest neighbours. With `FieldData(context=…)` the field also sees the observations at a place and
    its neighbours, never the entry itself; training masks a part of this context at random. Forecasts, gaps
    (`stgate.reconstruct`) and new places are then the same evaluation at other coordinates.

    With graph, gate and residual off and `activation="shared"` it is a Bayesian neural field (`BayesNF`).

    Args:
        width: Width of the hidden layers. None: 32 with kriging, else 128.
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
            window), `entries` (a share of all entries), `own` (each node's own observations, as at a new station),
            `gaps` (runs of a node's own observations around the entry; with kriging). None: `own`, `gaps`, `late` and
            `stations` with kriging, else `late`, `stations` and `entries`.
        log_context: Take the logarithm of the context (of 1 + 8 times the value in units of its training standard
            deviation), for counts and other values that vary by orders of magnitude. It needs a likelihood of
            non-negative values.
        varying: Let the likelihood's other parameters, such as the scale of the noise, vary over time and place.
        kriging: Correct a kriging of the nearest observations in space and time, whose covariance the fit learns. It
            needs a context. Only covariates are coordinates then, unless `coordinates` names others.
        transforms: Transforms of the targets, in the order in which they are applied; `auto` chooses them from the
            training part, None is for none. At a new place the climatology of `Anomaly` is interpolated.
        likelihood: The family of distributions of the values. None: Student's t with kriging, else a normal with scale
            0.01 + exp(·).
        inference: The inference of the weights. None: an ensemble of maximum a posteriori estimates under logistic
            priors, of four members with kriging, else of eight.
        optimizer: Makes the optimizer from the parameters; Adam with a learning rate of 0.005 when None. It is not part
            of the checkpoint.
        lr_scheduler: Makes the scheduler from the optimizer, stepped once an epoch. None: one cycle over the whole fit,
            stepped once a batch, peaking at the optimizer's learning rate.

    Raises:
        RequestError: An option is out of range.

    References:
        Saad et al. (2024), Scalable spatiotemporal prediction with Bayesian neural fields. Nature Communications 15.
        CGLU-BNF ("channel gated learning unit based spatio-temporal Bayesian neural field"): reconstructed from the
        abstract, which names Fourier features, a graph attention encoder, channel gated learning units with learnable
        activations and gated residual connections, and Bayesian inference. The details are ours.
    """

    def __init__(
        self,
        *,
        width: int | None = None,
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
        context_masking: Sequence[MaskPattern] | None = None,
        log_context: bool = False,
        varying: bool = True,
        kriging: bool = True,
        transforms: Sequence[Transform] | Auto | None = "auto",
        likelihood: Likelihood | None = None,
        inference: Inference | None = None,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        predictor = cglubnf(
            kriging=kriging,
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
            transforms=transforms,
            likelihood=likelihood,
            inference=inference,
        )
        super().__init__(predictor=predictor, optimizer=optimizer, lr_scheduler=lr_scheduler)
