"""The base of all predictors: network, scaler, likelihood, inference, calibration and spec in one torch module."""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, TypeVar, cast, get_args

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from stgate.data.bounds import CovariateBounds
from stgate.data.encoded import EncodedSeries
from stgate.data.streaming import StoredSeries
from stgate.data.windows import Series
from stgate.distributions.likelihoods import Likelihood, Normal, Quantiles
from stgate.distributions.transformed import Transformed
from stgate.distributions.transforms import Auto, Transform
from stgate.errors import CheckpointError, RequestError, did_you_mean
from stgate.inference.base import Inference, PointEstimate
from stgate.inference.pieces import in_pieces
from stgate.nn.imputation import ImputationName, check_imputation, make_imputation
from stgate.nn.inputs import Inputs, Standardize
from stgate.nn.linear import LinearTable
from stgate.nn.node_inputs import NodeInputs
from stgate.nn.once import fixed_weights
from stgate.panels.calendar import CELLS, cell_keys
from stgate.prediction.intervals import Calibration, ConformityScore, quantiles_of_forecast
from stgate.prediction.normal_scores import normal_scores, quantiles_at
from stgate.prediction.parts import check_part, check_transforms
from stgate.prediction.past_errors import PastErrors
from stgate.prediction.prediction import Prediction, prediction_of
from stgate.prediction.target_transforms import TargetTransforms
from stgate.schema.batch import Batch
from stgate.schema.spec import PanelSpec

Part = TypeVar("Part", bound=nn.Module)
NeighbourMeans = Literal["auto", "graph", "none"]
"""Sources of the means over neighbours."""


class Predictor(nn.Module, ABC):
    """A network with everything that a forecast needs: scaler, likelihood, inference, calibration and spec.

    It needs torch only; Lightning is for training. The network is built once the panel's spec is known: from the data
    in a fit, from the checkpoint when it is loaded.

    Args:
        likelihood: The family of distributions whose parameters the network predicts; Normal when None.
        inference: The inference of the weights; PointEstimate, one set of weights, when None.
        imputation: Imputation of missing inputs: `zero`, `last` or `climatology`.
        transforms: Transforms of the targets, in the order in which they are applied; the network forecasts the
            transformed targets, and every output is in the targets' own units. `auto` chooses them from the training
            part, None is for none.
        node_statistics: Give the network each node's training mean and standard deviation as static inputs; not in
            rollouts.
        neighbour_means: Give the network the mean of each node's neighbours as channels: `auto` (if the panel has edges
            or coordinates), `graph` (they are required) or `none`.
        linear: Add a linear forecast, a ridge regression on the window that is fitted before the training; the network
            learns what it leaves. Rollouts have none.
    """

    share: Tensor
    """Share of the network's correction that is added to the linear part, (lead, 1, target, 1), where there is one."""
    always_forecasts: ClassVar[bool] = True
    """True if a forecast that is not finite is a fault; a baseline may lack the observations for a forecast."""
    spread_out_of_fold: ClassVar[bool] = False
    """True if the spread of a forecast is that of errors that the fit had not seen."""

    def __init__(
        self,
        *,
        likelihood: Likelihood | None = None,
        inference: Inference | None = None,
        imputation: ImputationName = "zero",
        transforms: Sequence[Transform] | Auto | None = None,
        node_statistics: bool = False,
        neighbour_means: NeighbourMeans = "none",
        linear: bool = False,
    ) -> None:
        super().__init__()
        check_imputation(imputation)
        self.likelihood_option = likelihood
        self.likelihood_report = ""
        self.likelihood, self.inference = likelihood or Normal(), inference or PointEstimate()
        check_part("likelihood", self.likelihood)
        check_part("inference", self.inference)
        self.imputation = imputation
        self.transforms_option = transforms
        self.transforms = check_transforms(None if transforms == "auto" else transforms)
        self.transforms_report = ""
        if neighbour_means not in get_args(NeighbourMeans):
            raise RequestError(
                f"neighbour_means {neighbour_means!r}: {did_you_mean(neighbour_means, get_args(NeighbourMeans))}"
            )
        self.node_statistics, self.neighbour_means = node_statistics, neighbour_means
        self.linear_option = linear
        self.linear: LinearTable | None = None
        self.directions = 0
        self.name = type(self).__name__
        self.plain_options: dict[str, Any] | None = None  # those of the forecaster, as a checkpoint holds them
        self.spec: PanelSpec | None = None
        self.network: nn.Module | None = None
        self.calibration: Calibration | None = None
        self.past_errors: PastErrors | None = None
        self.seed: int | None = None
        self.n_observations = 1
        self.seen: str | None = None
        self.range: list[tuple[float, float]] | None = None
        """Smallest and largest value of each target in the training part; None if an earlier version fitted it."""
        self.bounds: CovariateBounds | None = None

    # Building

    @abstractmethod
    def build(self, spec: PanelSpec) -> nn.Module:
        """Build the network of a panel: `Inputs` -> (batch, lead, node, target, likelihood parameter)."""

    @property
    def lowest(self) -> float:
        """The value below which no quantile lies: the end of the likelihood's range."""
        return self.likelihood.lowest

    @property
    def conformity_score(self) -> ConformityScore:
        """Conformity score of a calibration that names none; intervals from fitted quantiles keep their shape."""
        return "distribution" if isinstance(self.likelihood, Quantiles) else "scaled"

    @property
    def rolls_out(self) -> bool:
        """True if a forecast is made step by step from its own output."""
        return False

    @property
    def knows_nodes(self) -> bool:
        """True if each node's statistics are static inputs."""
        return self.node_statistics and not self.rolls_out

    @property
    def has_linear(self) -> bool:
        """True if the network's location is added to a linear forecast."""
        return self.linear_option and not self.rolls_out

    @property
    def chooses_likelihood(self) -> bool:
        """True if the errors of the linear part choose the likelihood; posteriors of weights need a density."""
        return self.likelihood_option is None and self.has_linear and isinstance(self.inference, PointEstimate)

    def take_likelihood(self, likelihood: Likelihood) -> None:
        """Take another likelihood, and build the network again with as many outputs as it needs.

        Args:
            likelihood: The likelihood.
        """
        self.likelihood = likelihood
        self.network = self.inference.wrap(lambda: self.build(self.node_inputs.spec))

    def configure(self, spec: PanelSpec) -> None:
        """Take the spec, and build the scaler and the network; once only."""
        if self.network is not None:
            return
        self.spec = spec
        channels, nodes = len(spec.channels), len(spec.nodes)
        cells = math.prod(CELLS[key] for key in cell_keys(spec.time_step))
        self.transform = TargetTransforms(self.transforms, spec)
        if self.transform.of_window and (self.rolls_out or self.imputation == "climatology"):
            other = "rollout" if self.rolls_out else "imputation climatology"
            raise RequestError(
                f"transforms Difference: measures from the last value, {other} does not; drop one of them"
            )
        imputation = make_imputation(self.imputation, cells, nodes, channels)
        self.scaler = Standardize(channels, len(spec.static_covariates), nodes, len(spec.targets), imputation)
        self.node_inputs = NodeInputs(spec, statistics=self.knows_nodes, directions=self.directions)
        self.linear = LinearTable(self.node_inputs.spec) if self.has_linear else None
        if self.has_linear:
            self.register_buffer("share", torch.ones(spec.horizon, 1, len(spec.targets), 1))
        self.network = self.inference.wrap(lambda: self.build(self.node_inputs.spec))

    def adapt(self, n_observations: int, nodes: int) -> None:
        """Choose sizes of the network by the number of observed values, before it is built; here there are none.

        Args:
            n_observations: Number of observed values of all targets in the training part.
            nodes: Number of nodes.
        """

    def forget(self) -> None:
        """Forget the panel, the network and what was chosen by the panel, so that another panel can be taken."""
        self.spec = self.network = self.bounds = None
        self.likelihood, self.likelihood_report = self.likelihood_option or Normal(), ""
        if self.transforms_option == "auto":
            self.transforms, self.transforms_report = (), ""

    @property
    def built(self) -> nn.Module:
        """The network.

        Raises:
            CheckpointError: The forecaster has not seen a panel yet.
        """
        if self.network is None:
            raise CheckpointError(f"{self.name}: not fitted; fit it, or load a checkpoint")
        return self.network

    @property
    def fitted_spec(self) -> PanelSpec:
        """The spec of the panel that the predictor was fitted on.

        Raises:
            CheckpointError: The forecaster has not seen a panel yet.
        """
        if self.spec is None:
            raise CheckpointError(f"{self.name}: not fitted; fit it, or load a checkpoint")
        return self.spec

    @property
    def device(self) -> torch.device:
        """The device of the scales and the weights.

        Raises:
            CheckpointError: The forecaster has not seen a panel yet.
        """
        self.fitted_spec  # noqa: B018 (refused before there are scales)
        return self.scaler.center.device

    def part(self, kind: type[Part]) -> Part:
        """Find a module of a kind inside the network, also if several members are stacked in it."""
        return next(module for module in self.built.modules() if isinstance(module, kind))

    # Forecasting

    def forward(self, batch: Batch) -> Distribution:
        """Forecast a raw batch in the targets' units: a distribution of batch shape (batch, lead, node, target)."""
        return self.decoded(self.forecast(self.encode(batch)), batch)

    def encode(self, batch: Batch) -> Batch:
        """Transform the targets of a raw batch, past and to be forecast, and bound its covariates."""
        return self.transform.encode(self.bounded(batch))

    def bounded(self, batch: Batch) -> Batch:
        """Return a raw batch whose covariates are no farther out than the training part tells of."""
        return batch if self.bounds is None else self.bounds(batch)

    def decoded(self, forecast: Distribution, batch: Batch) -> Distribution:
        """Return the distribution of the targets in their own units, from that of the transformed ones."""
        made: Distribution = self.transform.decoded(forecast, batch)
        return made

    def encoded_series(self, series: Series | StoredSeries) -> Series | StoredSeries | EncodedSeries:
        """Return the panel's tensors with transformed targets."""
        if not self.transforms:
            return series
        return EncodedSeries(series, self.transform.encode_rows, len(self.fitted_spec.targets))

    def inputs_of(self, batch: Batch) -> Inputs:
        """Return the network's inputs of an encoded batch: standardised, imputed, with what is known of the nodes."""
        inputs: Inputs = self.node_inputs(self.scaler(batch))
        return inputs

    def forecast(self, batch: Batch) -> Distribution:
        """Forecast the transformed targets of an encoded batch, of batch shape (batch, lead, node, target)."""
        return self.inference.predictive(self.members(batch))

    def members(self, batch: Batch, *options: Any) -> Distribution:  # noqa: ANN401 (those of the network)
        """Forecast an encoded batch with each member, (member, batch, lead, node, target); one has no such axis."""
        with fixed_weights():
            raw, *around = in_pieces(self.built, batch, lambda piece: self._raw_and_around(piece, *options))
        return self.likelihood(raw, *around) if around else self.distribution(raw)

    def raw_outputs(self, batch: Batch, inputs: Inputs, *options: Any) -> Tensor:  # noqa: ANN401 (those of the network)
        """Return the network's raw outputs, (member?, batch, lead, node, target, output)."""
        return cast(Tensor, self.built(inputs, *options))

    def _raw_and_around(self, batch: Batch, *options: Any) -> tuple[Tensor, ...]:  # noqa: ANN401
        """Return raw outputs and, with a linear part, its forecast and the standard deviation of its errors as unit.

        Outputs of zero give about the linear forecast with these errors, whatever the likelihood.
        """
        inputs = self.inputs_of(batch)
        raw = self.raw_outputs(batch, inputs, *options)
        if self.linear is None:
            return (raw,)
        location, stddev = self.linear(inputs)
        center, scale = self.scaler.target_center, self.scaler.target_scale
        unit = scale * stddev / self.likelihood.spread_at_zero
        return raw.float() * self.share, center + scale * location, unit

    def distribution(self, raw: Tensor) -> Distribution:
        """Turn raw outputs (…, target, parameter) into a distribution (…, target) in the targets' units."""
        forecast: Distribution = self.likelihood(raw.float(), *self.scaler.of_targets)
        return forecast

    def predict(self, batch: Batch, quantiles: Sequence[float]) -> Prediction:
        """Forecast a raw batch without gradients, as numbers for a forecast dataset.

        Args:
            batch: Windows in raw units.
            quantiles: Quantile levels, ascending, 0.5 among them.

        Raises:
            RequestError: The calibration does not hold a level.
        """
        with torch.no_grad():
            forecast, since = self(batch), batch["since"][:, -1].amin(-1)
            quantile = quantiles_of_forecast(forecast, self.calibration, since, quantiles, self.lowest)
            return prediction_of(forecast, batch, quantile)

    def predict_online(self, batch: Batch) -> Prediction:
        """Forecast a raw batch without gradients, as online intervals need it.

        Args:
            batch: Windows in raw units.

        Returns:
            A prediction whose quantiles are those of transformed targets at normal scores (those of `nodes_of`), in the
            predictor's own distribution, with the score of the truth. A difference is undone: it needs the window.
        """
        with torch.no_grad():
            forecast = self(batch)
            base = forecast.base if isinstance(forecast, Transformed) else forecast
            quantiles = self.transform.levels(quantiles_at(base, self.conformity_score), batch)
            made = prediction_of(forecast, batch, quantiles)
            return {**made, "score": normal_scores(forecast, batch["target"], self.conformity_score)}

    # The checkpoint

    def to_plain(self) -> dict[str, Any]:
        """Return the entries of a checkpoint besides weights and options, as plain containers and tensors."""
        return {
            "spec": self.fitted_spec.to_dict(),
            "calibration": self.calibration and self.calibration.to_plain(),
            "past_errors": self.past_errors and self.past_errors.to_plain(),
            "seed": self.seed,
            "n_observations": self.n_observations,
            "seen": self.seen,
            "directions": self.directions,
            "range": None if self.range is None else [list(ends) for ends in self.range],
            "covariates": None if self.bounds is None else self.bounds.to_plain(),
            "transforms": [transform.config() for transform in self.transforms],
            "likelihood": self.likelihood.config(),
        }

    def restore(self, plain: dict[str, Any]) -> None:
        """Take the entries that `to_plain` returned, and build the network of the weights."""
        stored = plain["calibration"]
        self.calibration = None if stored is None else Calibration.from_plain(stored)
        errors = plain.get("past_errors")  # checkpoints of earlier versions lack them
        self.past_errors = None if errors is None else PastErrors.from_plain(errors)
        self.seed, self.n_observations, self.seen = plain["seed"], plain["n_observations"], plain["seen"]
        self.directions = plain["directions"]
        self.range = None if plain["range"] is None else [(low, high) for low, high in plain["range"]]
        self.transforms = tuple(Transform.from_config(held) for held in plain["transforms"])
        if "likelihood" in plain:  # the one that the fit has chosen; checkpoints of earlier versions lack it
            self.likelihood = Likelihood.from_config(plain["likelihood"])
        spec, covariates = PanelSpec.from_dict(plain["spec"]), plain.get("covariates")  # earlier versions lack them
        self.bounds = None if covariates is None else CovariateBounds(spec, covariates)
        self.configure(spec)

    def fingerprint(self) -> str:
        """Return twelve hexadecimal digits of the SHA-256 of the weights and their names."""
        digest = hashlib.sha256()
        for name, value in sorted(self.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:12]


class WindowPredictor(Predictor):
    """A predictor whose network reads standardised windows and is built by a function.

    Args:
        build: A function that makes the network of a panel's spec.
        **options: Options of `Predictor`: `likelihood`, `inference` and `imputation`.
    """

    def __init__(self, build: Callable[[PanelSpec], nn.Module], **options: Any) -> None:  # noqa: ANN401
        super().__init__(**options)
        self._build = build

    def build(self, spec: PanelSpec) -> nn.Module:
        """Build the network by the given function."""
        return self._build(spec)
