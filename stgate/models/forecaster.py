"""The base of all forecasters: a LightningModule that trains a predictor; its checkpoint is the whole model."""

from __future__ import annotations

import inspect
import itertools
import os
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import lightning as L
import numpy as np
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.distributions import Distribution

from stgate._configured import check_options
from stgate.data.window_data import WindowData
from stgate.distributions.likelihoods import Likelihood
from stgate.errors import CheckpointError, RequestError
from stgate.inference.base import Inference
from stgate.models.training.adoption import check_again, check_data, take_scales
from stgate.models.training.pieces import pieces_of
from stgate.models.training.precision import keep_precision
from stgate.models.training.processes import SharedBatches
from stgate.models.training.schedule import one_cycle
from stgate.models.training.steps import WatchedLosses, keep_what_is_freed, make_scores, objective, score
from stgate.models.training.taken_up import check_optimizer, keep_rows, later
from stgate.nn.imputation import ImputationName
from stgate.prediction import checkpoint as ckpt
from stgate.prediction import registry
from stgate.prediction.intervals import Calibration
from stgate.prediction.migrations import migrate
from stgate.prediction.parts import FAMILIES, plain_options
from stgate.prediction.prediction import Prediction
from stgate.prediction.predictor import Predictor, WindowPredictor
from stgate.schema.batch import Batch
from stgate.schema.forecast import quantiles_of
from stgate.schema.spec import PanelSpec

PREDICTORS_OWN = ("forward", "members", "distribution", "predicted", "scaler")
"""Names, of today or of 0.1.0, that a predictor defines in the place of its forecaster."""


class Forecaster(WatchedLosses, SharedBatches, ABC):
    """Base class of forecasters: a subclass defines `build`, and brings its own predictor if it needs more than that.

    The attribute `predictor`, a plain torch module, makes the forecasts: it holds network, scaler, likelihood,
    calibration and spec. The forecaster trains it and writes it to checkpoints. The network is built once the panel's
    spec is known: from the data module in a fit, from the checkpoint when it is loaded.

    Args:
        predictor: The torch module that forecasts; None for a network that reads standardised windows and is built by
            `build`.
        likelihood: The family of distributions whose parameters the network predicts; Normal when None.
        inference: The inference of the weights, a class of `stgate.inference`; PointEstimate, one set of weights, when
            None.
        imputation: Imputation of missing inputs, beside their mask: `zero` (the channel's mean), `last` (the last
            observation of the window) or `climatology` (the node's training mean in that month and hour).
        optimizer: Makes the optimizer from the parameters; AdamW with a learning rate of 0.003 by default. It is not
            part of the checkpoint.
        lr_scheduler: Makes the scheduler from the optimizer, stepped once an epoch. None: one cycle over the whole fit,
            stepped once a batch, peaking at the optimizer's learning rate.
    """

    data_class: ClassVar[type[WindowData]] = WindowData
    unsaved: ClassVar[tuple[str, ...]] = ()
    """Options that a checkpoint does not hold by name."""
    predictor: Predictor

    def __init__(
        self,
        *,
        predictor: Predictor | None = None,
        likelihood: Likelihood | None = None,
        inference: Inference | None = None,
        imputation: ImputationName = "zero",
        optimizer: OptimizerCallable = lambda weights: torch.optim.AdamW(weights, lr=0.003),
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__()
        check_options(Forecaster.__init__, {"optimizer": optimizer, "lr_scheduler": lr_scheduler})
        if predictor is None:
            predictor = WindowPredictor(self.build, likelihood=likelihood, inference=inference, imputation=imputation)
        self.predictor = predictor
        predictor.name = type(self).__name__
        self._optimizer, self._lr_scheduler = optimizer, lr_scheduler
        self._save_options()
        self.scores = make_scores()

    def __init_subclass__(cls, **options: Any) -> None:  # noqa: ANN401
        super().__init_subclass__(**options)
        theirs = [kind for kind in cls.__mro__[: cls.__mro__.index(Forecaster)] if not registry.is_ours(kind)]
        for kind, name in itertools.product(theirs, PREDICTORS_OWN):
            if name in vars(kind):
                raise RequestError(
                    f"{kind.__name__}.{name}: the predictor makes the forecasts and would not call it; override it in "
                    "a `stgate.prediction.Predictor` and pass predictor=…"
                )
        registry.register(cls)

    def _save_options(self) -> None:
        """Keep the options as plain values: a checkpoint that holds objects does not load with `weights_only=True`."""
        options = inspect.signature(type(self)).parameters
        if rest := [name for name, option in options.items() if option.kind is option.VAR_KEYWORD]:
            owner = type(self).__name__
            raise RequestError(f"**{rest[0]} of {owner}: a checkpoint holds options by name; name each one in __init__")
        given = {name: getattr(self.predictor, name) for name in FAMILIES if name in options}
        if "transforms" in options:
            given["transforms"] = self.predictor.transforms_option
        left_out = [
            *self.unsaved,
            *FAMILIES,
            "transforms",
            "predictor",
            "optimizer",
            "lr_scheduler",
            *(inspect.signature(Forecaster).parameters.keys() - options.keys()),
        ]
        self.save_hyperparameters(ignore=left_out)
        self.save_hyperparameters({name: value or None for name, value in plain_options(given).items()})
        for name, value in list(self.hparams.items()):
            if name not in options:  # an option of a class between, which this class fixes
                del self.hparams[name]
            elif isinstance(value, np.generic):
                self.hparams[name] = value.item()

    # What a subclass defines

    @abstractmethod
    def build(self, spec: PanelSpec) -> nn.Module:
        """Build the network of a panel: `Inputs` -> (batch, lead, node, target, likelihood parameter)."""

    def prepare(self, data: WindowData) -> None:
        """Prepare a new fit: take more than the scales from the data, if a subclass needs it."""

    def training_forward(self, batch: Batch) -> Distribution:
        """Make the forecast that enters the loss, with a leading member axis if there are several members."""
        return self.predictor.members(batch)

    def training_target(self, batch: Batch) -> Tensor:
        """Return the truth of `training_forward`, (batch, lead, node, target); it may have more leads."""
        return batch["target"]

    def training_pieces(self, batch: Batch) -> list[Batch]:
        """Cut an encoded batch into pieces that are evaluated one by one; `[batch]` if windows depend on each other."""
        return pieces_of(self, batch)

    def training_leads(self) -> int:
        """Return the number of leads in the loss; by default the whole horizon."""
        return self.predictor.fitted_spec.horizon

    def validation_forward(self, batch: Batch) -> Distribution:
        """Forecast a batch for validation; by default with `forward`."""
        return self.forward(batch)

    @property
    def monitor(self) -> str:
        """The score on the validation part whose lowest value marks the best epoch."""
        return "val_crps"

    @property
    def stops_early(self) -> bool:
        """True if a fit may end before its last epoch where the score does not fall."""
        return True

    @property
    def has_scheduler(self) -> bool:
        """True if a schedule of the learning rate was given."""
        return self._lr_scheduler is not None

    # The predictor

    @property
    def spec(self) -> PanelSpec | None:
        """The spec of the panel, once it is known."""
        return self.predictor.spec

    @property
    def calibration(self) -> Calibration | None:
        """The calibration of the forecast's intervals, if there is one."""
        return self.predictor.calibration

    @calibration.setter
    def calibration(self, calibration: Calibration | None) -> None:
        self.predictor.calibration = calibration

    def forward(self, batch: Batch) -> Distribution:
        """Forecast a raw batch in the targets' units: a distribution of batch shape (batch, lead, node, target)."""
        forecast: Distribution = self.predictor(batch)
        return forecast

    # Building

    def setup(self, stage: str) -> None:
        """Take the spec, and for a new fit the scales, from the trainer's data module."""
        keep_precision(self.trainer)
        self.adopt(data := getattr(self.trainer, "datamodule", None))
        self.join(check_data(self, data))

    def adopt(self, data: L.LightningDataModule | None) -> None:
        """Take spec and scales from a data module and build the network; a fitted forecaster checks that they agree.

        Args:
            data: A data module.

        Raises:
            RequestError: The data module is of another kind, or its data do not suit the fit or the likelihood.
        """
        checked = check_data(self, data)
        if self.spec is None:
            try:
                take_scales(self.predictor, checked)
                self.prepare(checked)
                self._note_likelihood()
            except BaseException:  # half adopted, the next fit would train on what was not prepared
                self.predictor.forget()
                raise
        else:
            check_again(self.predictor, checked)

    def _note_likelihood(self) -> None:
        """Write the likelihood that the data have chosen among the options."""
        if "likelihood" in self.hparams:
            self.save_hyperparameters({**self.hparams, "likelihood": self.predictor.likelihood.config()})

    def configure_model(self) -> None:
        """Take the trainer's data where Lightning asks for the network before `setup`, as its weight averaging does."""
        if self.spec is None and self._trainer is not None:
            self.adopt(getattr(self._trainer, "datamodule", None))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Make the optimizer, with one cycle of the learning rate unless another schedule was given."""
        optimizer = self.make_optimizer()
        if self._lr_scheduler is not None:
            return {"optimizer": optimizer, "lr_scheduler": self._lr_scheduler(optimizer)}
        steps = self.trainer.estimated_stepping_batches
        if not np.isfinite(steps) or steps < 10:
            return optimizer
        cycle = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: one_cycle(step, int(steps)))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}

    def make_optimizer(self) -> torch.optim.Optimizer:
        """Make the optimizer of all parameters.

        Raises:
            RequestError: The optimizer refuses its options.
        """
        try:
            return self._optimizer(self.parameters())
        except ValueError as error:  # of torch: an option out of range
            raise RequestError(f"optimizer: {error}") from error

    # Steps

    def on_fit_start(self) -> None:
        """Remove calibration and errors of other weights, and fix the seed that gives each batch its random state."""
        predictor = self.predictor
        predictor.calibration = predictor.past_errors = None
        if predictor.has_linear:
            predictor.share.fill_(1.0)
        keep_what_is_freed()
        data = check_data(self, getattr(self.trainer, "datamodule", None))
        last = max(data.parts.train[1], data.parts.validation[1]) - 1
        predictor.seen = later(predictor.seen, data.panel["time"].values[last])  # data after it are new
        if predictor.seed is None:
            predictor.seed = self.trainer.strategy.broadcast(torch.initial_seed() % 2**63)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        """Compute the training objective of a batch, a scalar."""
        return objective(self, batch)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip gradients like Lightning, but by the norm of each member's gradient.

        Args:
            optimizer: The optimizer.
            gradient_clip_val: Largest norm, or largest value; None for no clipping.
            gradient_clip_algorithm: `norm` or `value`; `norm` when None.
        """
        by_norm = gradient_clip_val and gradient_clip_algorithm in (None, "norm")
        inference, network = self.predictor.inference, self.predictor.built
        if not by_norm or not inference.clip_gradients(network, float(gradient_clip_val or 0)):
            super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the training loss, and over all leads the error of the median, the CRPS and the coverage.

        For model time also `vpt`, the valid prediction time.
        """
        score(self, "val", batch_idx, lambda: self.validation_forward(batch), batch["target"])

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the same scores as in validation."""
        score(self, "test", batch_idx, lambda: self(batch), batch["target"])

    def predict_step(self, batch: Batch, batch_idx: int) -> Prediction:
        """Forecast a batch with 50 and 90 % intervals, calibrated where the forecaster is."""
        return self.predictor.predict(batch, quantiles_of((0.5, 0.9)))

    # Checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the predictor's state to Lightning's checkpoint, as plain containers and tensors."""
        checkpoint[ckpt.KEY] = ckpt.section_of(self.predictor)
        keep_rows(checkpoint, getattr(self._trainer, "datamodule", None))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take spec and calibration from a checkpoint of any format, and build the network that its weights fit.

        Args:
            checkpoint: The checkpoint as the file holds it.

        Raises:
            RequestError: The forecaster has been given other data than the checkpoint's.
        """
        migrate(checkpoint)
        spec = PanelSpec.from_dict(checkpoint[ckpt.KEY]["spec"])
        if self.spec is not None and self.spec != spec:
            raise RequestError(ckpt.difference(spec, self.spec))
        ckpt.take(self.predictor, checkpoint, "the checkpoint")
        self._note_likelihood()
        if self._trainer is not None and self._trainer.training and self.automatic_optimization:
            check_optimizer(checkpoint, self)

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
        """Load a fitted forecaster of any class from a checkpoint, to train it further.

        The class is looked up by name among `stgate.models` and imported subclasses; no code in the file is run. To
        forecast, `stgate.load` is enough and needs no Lightning.

        Args:
            checkpoint_path: Path of the checkpoint.
            map_location: Device of the weights.
            weights_only: True or None; False is refused.
            **changed: Options that differ from those of the fit, such as the new folder of a language model.

        Raises:
            StoreError: There is no such file.
            CheckpointError: The file is not a forecaster's checkpoint, is of another class, carries a pickled object,
                its class does not take its options, or its weights do not fit the changed options.
            RequestError: `weights_only=False`, which would run code from the file; or there is no such option.
        """
        if weights_only is False:
            raise RequestError("weights_only=False: a forecaster's checkpoint never needs it; leave it out")
        checkpoint = ckpt.read_checkpoint(checkpoint_path)
        name = checkpoint[ckpt.KEY]["class"]
        kind = cls if cls.__name__ == name else find_class(name)  # a notebook may have defined the name again
        if not issubclass(kind, cls):
            held, wanted = (f"{c.__module__}.{c.__qualname__}" for c in (kind, cls))
            raise CheckpointError(f"{checkpoint_path}: holds a {held}, not a {wanted}; load it with its own class")
        registry.check_options(name, inspect.signature(kind).parameters, changed)
        model: Self = registry.construct(name, kind, ckpt.options_in(checkpoint, checkpoint_path) | changed)
        ckpt.restore(model.predictor, checkpoint, checkpoint_path, changed)
        return model.to(map_location).eval()


def find_class(name: str) -> type[Any]:
    """Find a forecaster of `stgate.models`, or an imported subclass of `Forecaster`, by its name.

    Args:
        name: The class's name; nothing else is imported.

    Raises:
        CheckpointError: There is none.
    """
    from stgate import models

    if name in models.__all__:
        found: type[Any] = getattr(models, name)
        return found
    return registry.holder(name)
