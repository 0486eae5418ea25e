"""The base of all forecasters: a LightningModule whose checkpoint is the whole model."""

from __future__ import annotations

import hashlib
import inspect
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import lightning as L
import numpy as np
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.distributions import Distribution

from stgate.data.window_data import WindowData
from stgate.data.windows import Batch, hash_seed
from stgate.distributions.likelihoods import Likelihood, Normal
from stgate.distributions.mixture import Mixture
from stgate.errors import CheckpointError, RequestError, TrainingError
from stgate.inference.base import Inference, PointEstimate
from stgate.metrics.torch import CRPS, Coverage, MaskedMean, Mean, MeanAbsoluteError, ValidPredictionTime
from stgate.models import checkpoint as ckpt
from stgate.models.intervals import median_of, quantiles_with
from stgate.models.memory import keep_what_is_freed
from stgate.models.parts import FAMILIES, check_part
from stgate.models.schedule import one_cycle
from stgate.nn.imputation import Climatology, check_imputation, make_imputation
from stgate.nn.inputs import Standardize
from stgate.panels.calendar import CELLS, cell_keys
from stgate.schema.forecast import PARTS, quantiles_of
from stgate.schema.spec import PanelSpec


class Forecaster(L.LightningModule, ABC):
    """Base class: a subclass defines `build`, and `members` when its network does not read standardised windows.

    The network is built once the panel's spec is known: from the data module when fitting, from the checkpoint when
    loading. What travels in the checkpoint is plain: weights, scales, spec, calibration, options.

    Args:
        likelihood: What the network's outputs mean; Normal when None.
        inference: How weights become distributions, of `stgate.inference`; PointEstimate, a single set, when None.
        fill: What stands in for a missing input, beside its mask: `zero` (the channel's mean), `last` (the last
            observation of the window) or `climatology` (the node's training mean in that month and hour).
        optimizer: Makes the optimizer from the parameters. It is not part of the checkpoint.
        lr_scheduler: Makes the scheduler from the optimizer, stepped once an epoch. None: one cycle over the whole fit,
            stepped once a batch, peaking at the optimizer's learning rate.
    """

    data_class: ClassVar[type[L.LightningDataModule]] = WindowData

    def __init__(
        self,
        likelihood: Likelihood | None = None,
        inference: Inference | None = None,
        fill: str = "zero",
        optimizer: OptimizerCallable = torch.optim.AdamW,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__()
        check_imputation(fill)
        self.likelihood, self.inference, self.fill = likelihood or Normal(), inference or PointEstimate(), fill
        options = inspect.signature(type(self)).parameters
        given = {name: getattr(self, name) for name in FAMILIES if name in options}
        for name, part in given.items():
            check_part(name, part)
        # Plain values only: a checkpoint that holds an object could not be loaded with weights_only=True.
        ours = inspect.signature(Forecaster).parameters
        left_out = [*FAMILIES, "optimizer", "lr_scheduler", *(ours.keys() - options.keys())]
        self.save_hyperparameters(ignore=left_out)
        self.save_hyperparameters({name: part and part.config() for name, part in given.items()})
        for name, value in list(self.hparams.items()):
            if name not in options:  # of a class between: this one settles it
                del self.hparams[name]
            elif isinstance(value, np.generic):
                self.hparams[name] = value.item()
        self._optimizer, self._lr_scheduler = optimizer, lr_scheduler
        self.spec: PanelSpec | None = None
        self.calibration: dict[str, Any] | None = None
        self.network: nn.Module | None = None
        self._seed: int | None = None
        self._cases = 1
        self.seen: str | None = None
        self.scores = nn.ModuleDict()
        for stage in STAGES:
            made = {"loss": MaskedMean(), "mae": MeanAbsoluteError()}
            if stage != "train":
                made |= {"crps": CRPS(), "coverage_90": Coverage(0.9), "vpt": ValidPredictionTime()}
            self.scores.update({f"{stage}_{name}": score for name, score in made.items()})

    # What a subclass defines

    @abstractmethod
    def build(self, spec: PanelSpec) -> nn.Module:
        """The network for this panel: `Inputs` -> (batch, lead, node, target, likelihood parameter)."""

    def forward(self, batch: Batch) -> Distribution:
        """The forecast of a raw batch, in own units: batch shape (batch, lead, node, target)."""
        return self.inference.predictive(self.members(batch))

    def members(self, batch: Batch, *options: Any) -> Distribution:  # noqa: ANN401 (those of the network)
        """Each member's forecast, (member, batch, lead, node, target); without that axis where there is but one."""
        raw: Tensor = self.built(self.scaler(batch), *options)
        return self.distribution(raw)

    def distribution(self, raw: Tensor) -> Distribution:
        """What raw outputs (…, target, parameter) mean, in own units."""
        made: Distribution = self.likelihood(raw, self.scaler.target_center, self.scaler.target_scale)
        return made

    def training_forward(self, batch: Batch) -> Distribution:
        """The forecasts whose likelihood is maximised, as `members`; they may have fewer leads than `forward`'s."""
        return self.members(batch)

    def training_target(self, batch: Batch) -> Tensor:
        """The values (batch, lead, node, target) that `training_forward` forecasts; it may forecast the first ones."""
        return batch["target"]

    def validation_forward(self, batch: Batch) -> Distribution:
        """The forecast that is validated while training; as `forward`, unless that takes too long."""
        made: Distribution = self(batch)
        return made

    # Building

    @property
    def built(self) -> nn.Module:
        """The network, once it exists.

        Raises:
            CheckpointError: The forecaster has not seen a panel yet.
        """
        if self.network is None:
            raise CheckpointError(f"{type(self).__name__} is not fitted: fit it, or load a checkpoint")
        return self.network

    @property
    def fitted_spec(self) -> PanelSpec:
        """The spec, once it is known.

        Raises:
            CheckpointError: The forecaster has not seen a panel yet.
        """
        if self.spec is None:
            raise CheckpointError(f"{type(self).__name__} is not fitted: fit it, or load a checkpoint")
        return self.spec

    def setup(self, stage: str) -> None:
        """Take the spec, and for a new fit the scales, from the trainer's data module."""
        self.adopt(getattr(self.trainer, "datamodule", None))

    def adopt(self, data: L.LightningDataModule | None) -> None:
        """Take spec and scales from a data module and build the network; when fitted already, check that they agree.

        Raises:
            RequestError: No WindowData, or one that differs from what the forecaster was fitted on.
        """
        if not isinstance(data, WindowData):
            raise RequestError(
                f"{type(self).__name__} learns its panel from a WindowData: pass datamodule=WindowData(…)"
            )
        if data.spec.places and self.data_class is WindowData:
            raise RequestError(f"{type(self).__name__} forecasts from windows, not from a FieldData: pass a WindowData")
        if self.spec is not None:
            if self.spec != data.spec:
                raise RequestError(ckpt.difference(self.spec, data.spec))
            return
        statistics = data.statistics()
        self.likelihood.check(data.spec.targets, statistics.least, statistics.whole)
        self.spec = data.spec
        self.configure_model()
        self._cases = statistics.observed
        for name in ("center", "scale", "static_center", "static_scale", "node_scale"):
            getattr(self.scaler, name).copy_(getattr(statistics, name))
        if isinstance(self.scaler.fill, Climatology):
            means = (data.cell_means() - statistics.center) / statistics.scale
            self.scaler.fill.means.copy_(means)
        self.prepare(data)

    def prepare(self, data: WindowData) -> None:
        """What else a subclass takes from the data before a new fit, the scales being known."""

    def configure_model(self) -> None:
        """Build the network; a no-op while the spec is unknown, or when it is built."""
        if self.spec is None and self._trainer is not None:  # asked for before `setup`: by Lightning's weight averaging
            self.adopt(getattr(self._trainer, "datamodule", None))
        if self.spec is None or self.network is not None:
            return
        spec = self.spec
        channels, nodes = len(spec.channels), len(spec.nodes)
        cells = math.prod(CELLS[key] for key in cell_keys(spec.step, spec.time))
        fill = make_imputation(self.fill, cells, nodes, channels)
        self.scaler = Standardize(channels, len(spec.static_covariates), nodes, len(spec.targets), fill)
        self.network = self.inference.wrap(lambda: self.build(spec))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer, with one cycle of the learning rate unless another schedule was given."""
        optimizer = self.make_optimizer()
        if self._lr_scheduler is not None:
            return {"optimizer": optimizer, "lr_scheduler": self._lr_scheduler(optimizer)}
        steps = self.trainer.estimated_stepping_batches
        if not np.isfinite(steps) or steps < 10:
            return optimizer
        cycle = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: one_cycle(step, int(steps)))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}

    def make_optimizer(self) -> torch.optim.Optimizer:
        """The optimizer of all parameters.

        Raises:
            RequestError: It refuses its options.
        """
        try:
            return self._optimizer(self.parameters())
        except ValueError as error:  # of torch: an option out of range
            raise RequestError(f"optimizer: {error}") from error

    # Steps

    def on_fit_start(self) -> None:
        """Fix the seed that, with the step, gives each batch its random state."""
        self.calibration = None  # of other weights
        keep_what_is_freed()
        data = getattr(self.trainer, "datamodule", None)
        assert isinstance(data, WindowData)  # `setup` has made sure
        last = max(data.parts.train[1], data.parts.validation[1]) - 1
        self.seen = str(data.panel["time"].values[last])  # what lies after it is new
        if self._seed is None:
            self._seed = torch.initial_seed() % 2**63

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> int | None:
        """Seed each batch by (seed, step), so that a resumed fit draws the same dropout."""
        torch.manual_seed(hash_seed(self._seed or 0, self.global_step))
        return None

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        """Mean negative log-likelihood of the batch's observed targets, and what the inference adds to it.

        Raises:
            TrainingError: It is not finite.
        """

        def forecast(piece: tuple[Batch, float]) -> Distribution:
            return self.training_forward(piece[0])

        def loss(piece: tuple[Batch, float], members: Distribution) -> Tensor:
            return piece[1] * self._step(self.training_target(piece[0]), "train", members)

        mean = self.inference.mean_loss(self.built, self.training_pieces(batch), forecast, loss)
        if not torch.isfinite(mean):
            raise TrainingError(
                f"the training loss is {mean.item():g} at step {self.global_step}: lower the learning rate, or clip "
                "gradients (gradient_clip_val)"
            )
        return self.inference.objective(mean, self.built, self._cases)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """As Lightning does, but the norm of each member's gradient apart."""
        by_norm = gradient_clip_val and gradient_clip_algorithm in (None, "norm")
        if not by_norm or not self.inference.clip_gradients(self.built, float(gradient_clip_val or 0)):
            super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """The training loss, and over all leads the error of the median, the CRPS and the coverage.

        For model time also `vpt`, the valid prediction time.
        """
        self._step(batch["target"], "val", self.validation_forward(batch))

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """As validation."""
        self._step(batch["target"], "test", self(batch))

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Calibrated 50 and 90 % intervals; see `predicted`."""
        return self.predicted(batch, quantiles_of((0.5, 0.9)))

    def predicted(self, batch: Batch, quantiles: Sequence[float]) -> dict[str, Tensor]:
        """What `stgate.forecasting.dataset.assemble` makes a forecast of.

        Returns:
            `quantiles` (batch, lead, node, target, quantile), calibrated where the forecaster is; `mean`, `median`,
            `spread` (its own standard deviation) and `truth` (batch, lead, node, target); of several members also
            `aleatoric` and `epistemic`, the two parts of that deviation; `since` (batch, node), steps since any target
            was observed; and `origin` (batch, 2).

        Raises:
            RequestError: A level that the calibration does not hold.
        """
        with torch.no_grad():
            forecast = self(batch)
            since = batch["since"][:, -1].amin(-1)
            parts = {}
            if type(forecast) is Mixture:
                parts = {p: getattr(forecast, f"{p}_variance").sqrt() for p in PARTS}
            made = quantiles_with(forecast, self.calibration, since, quantiles)
            return {
                "quantiles": made.clamp(min=self.likelihood.lowest),
                "mean": forecast.mean,
                "median": median_of(forecast),
                "spread": forecast.stddev,
                "truth": batch["target"],
                "since": since,
                "origin": batch["origin"],
                **parts,
            }

    def _step(self, target: Tensor, stage: str, forecast: Distribution) -> Tensor:
        leads = forecast.batch_shape[-3]
        trained = leads if stage == "train" else min(self.training_leads(), leads)
        target = target[:, :leads]  # each member's, where the forecast has an axis of them
        observed = ~torch.isnan(target).expand_as(forecast.mean)
        if stage != "train":  # a baseline may have no forecast where it has nothing to go by: not scored there
            observed = observed & ~torch.isnan(forecast.mean)
        # A missing target is filled before the likelihood sees it: NaN * 0 is NaN, in gradients too.
        filled = torch.where(observed, target, forecast.mean.detach())
        # A weighted likelihood is for descending only: epochs and forecasters are compared by the likelihood itself.
        losses = self.likelihood.loss(forecast, filled) if stage == "train" else -forecast.log_prob(filled)
        losses = losses[..., :trained, :, :]
        seen = observed[..., :trained, :, :]
        self._log(stage, "loss", losses.detach(), seen)
        with torch.no_grad():
            self._log(stage, "mae", target, forecast)
            if stage != "train":
                self._log(stage, "crps", target, forecast)
                self._log(stage, "coverage_90", target, forecast)
                if self.fitted_spec.time == "model":
                    self._log(stage, "vpt", target, forecast, self.scaler.node_scale, self.fitted_spec.step)
        return torch.where(seen, losses, 0.0).sum() / seen.sum().clamp(min=1)

    def training_pieces(self, batch: Batch) -> list[tuple[Batch, float]]:
        """Parts of a batch that are evaluated one after another, with their shares of its loss; here it is in one."""
        return [(batch, 1.0)]

    def training_leads(self) -> int:
        """How many leads the loss counts; all of them unless a subclass says otherwise."""
        return self.fitted_spec.horizon

    def _log(self, stage: str, name: str, *given: Any) -> None:  # noqa: ANN401 (what that score takes)
        key = f"{stage}_{name}"
        metric = self.scores[key]
        assert isinstance(metric, Mean)
        metric.update(*given)
        self.log(key, metric, on_step=False, on_epoch=True, prog_bar=stage != "train")

    # Checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what is ours, as plain containers and tensors."""
        from stgate._version import __version__

        checkpoint[ckpt.KEY] = {
            "class": type(self).__name__,
            "version": __version__,
            "spec": self.fitted_spec.to_dict(),
            "calibration": self.calibration,
            "seed": self._seed,
            "cases": self._cases,
            "seen": self.seen,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the spec and the calibration, and build the network that the weights belong to."""
        ours = checkpoint[ckpt.KEY]
        spec = PanelSpec.from_dict(ours["spec"])
        if self.spec is not None and self.spec != spec:
            raise RequestError(ckpt.difference(spec, self.spec))
        self.spec, self.calibration, self._seed = spec, ours["calibration"], ours["seed"]
        self._cases, self.seen = ours["cases"], ours["seen"]
        self.configure_model()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a checkpoint that forecasts; to resume a fit, use one that the trainer wrote."""
        checkpoint: dict[str, Any] = {
            "state_dict": self.state_dict(),
            "hyper_parameters": dict(self.hparams),
            "pytorch-lightning_version": L.__version__,
        }
        self.on_save_checkpoint(checkpoint)
        ckpt.write_checkpoint(checkpoint, path)

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls,
        checkpoint_path: str | os.PathLike[str],
        map_location: str | torch.device = "cpu",
        weights_only: bool | None = True,
        **changed: Any,  # noqa: ANN401 (whatever the class takes)
    ) -> Self:
        """The fitted forecaster in a file, of whichever class it is.

        The class is looked up by name among `stgate.models` and imported subclasses; no code in the file is run.

        Args:
            checkpoint_path: The file.
            map_location: Where the weights go.
            weights_only: True; there for those who write it out.
            **changed: Options that are to be others than in the fit, such as the folder of a language model that moved.

        Raises:
            StoreError: No such file.
            CheckpointError: Not a forecaster's checkpoint, of another class, with a pickled object in it, or of weights
                that the changed options do not fit.
            RequestError: `weights_only=False`, which would run code from the file; no such option.
        """
        if weights_only is False:
            raise RequestError("weights_only=False: a forecaster's checkpoint never needs it; leave it out")
        checkpoint = ckpt.read_checkpoint(checkpoint_path)
        kind = ckpt.find_class(checkpoint[ckpt.KEY]["class"], Forecaster)
        if not issubclass(kind, cls):
            raise CheckpointError(f"{checkpoint_path}: holds a {kind.__name__}, not a {cls.__name__}")
        model: Self = ckpt.make(kind, checkpoint, FAMILIES, changed)
        model.on_load_checkpoint(checkpoint)
        try:
            model.load_state_dict(checkpoint["state_dict"])
        except RuntimeError as error:
            given = ", ".join(f"{name} {value!r}" for name, value in changed.items())
            raise CheckpointError(f"{checkpoint_path}: its weights do not fit {given or 'this version'}") from error
        return model.to(map_location).eval()

    def fingerprint(self) -> str:
        """Twelve hexadecimal digits of the weights' SHA-256."""
        digest = hashlib.sha256()
        for name, value in sorted(self.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:12]


STAGES = ("train", "val", "test")
