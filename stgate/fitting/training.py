"""Training of one forecaster: a number of epochs chosen by validation, or given."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.warnings import PossibleUserWarning
from torch import Tensor

from stgate.data.window_data import WindowData
from stgate.distributions.likelihoods import Likelihood
from stgate.distributions.transforms import Transform
from stgate.fitting.share import Share, choose_share, set_share
from stgate.models.forecaster import Forecaster
from stgate.models.training.plan import early_stopping, epochs_for

MakeTrainer = Callable[..., L.Trainer]
"""A function that makes a trainer from the options that it is given, `max_epochs` and `callbacks` among them."""


@dataclasses.dataclass(frozen=True)
class Length:
    """Length of a fit.

    Attributes:
        planned: Number of epochs over which the learning rate runs its cycle.
        done: Number of epochs after which the fit ends.
        share: Share of a network's correction to its linear part that is kept at each lead, for each target.
    """

    planned: int
    done: int
    share: Share = ()


def quiet_trainer(**options: Any) -> L.Trainer:  # noqa: ANN401 (those of a trainer)
    """Make a trainer that neither prints nor writes files, and takes one device unless asked for more.

    Args:
        **options: Options of the trainer.
    """
    silent = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    return L.Trainer(**{**silent, "num_sanity_val_steps": 0, "devices": 1, **options})


def train(
    forecaster: Forecaster,
    data: WindowData,
    *,
    seed: int,
    epochs: int | None = None,
    length: Length | None = None,
    make_trainer: MakeTrainer = quiet_trainer,
) -> Length:
    """Train a new forecaster, and leave it with the weights of the best epoch.

    Args:
        forecaster: A forecaster that has not been fitted.
        data: Its data.
        seed: Seed of weights and dropout.
        epochs: Number of epochs; None plans them by the number of batches.
        length: Length of the fit, where it is known; no epoch is chosen then.
        make_trainer: Maker of the trainer.

    Returns:
        The epochs that were planned, and the epoch with the lowest score on the validation part, with the share of the
        network that is kept; the last epoch where there is no validation part, or where the forecaster is fitted in
        closed form.
    """
    if length is not None:
        planned = length.planned
    elif epochs is not None or not forecaster.automatic_optimization:
        planned = epochs or 1
    else:
        planned = epochs_for(len(data.train_dataloader()))
    keeper = _Best(forecaster.monitor) if length is None else _Stop(length.done)
    options: dict[str, Any] = {"max_epochs": planned, "callbacks": [keeper]}
    if data.parts.validation[0] == data.parts.validation[1]:
        options["limit_val_batches"] = 0
    elif length is None and forecaster.automatic_optimization and forecaster.stops_early:
        options["callbacks"].append(early_stopping(forecaster.monitor, planned))
    with _seeded(seed), _quiet():
        trainer = make_trainer(**options)
        trainer.fit(forecaster, datamodule=data)
    forecaster.eval()
    if isinstance(keeper, _Best) and keeper.weights is not None:
        forecaster.load_state_dict(keeper.weights)
        return Length(planned, keeper.epoch, choose_share(forecaster.predictor, data))
    if length is not None:
        set_share(forecaster.predictor, length.share)
    return length or Length(planned, trainer.current_epoch)


def keep_choices(forecaster: Forecaster, transforms: Sequence[Transform], likelihood: Likelihood) -> Forecaster:
    """Give a new forecaster the transforms and the likelihood that an earlier fit has chosen; return it.

    Errors are scaled, and intervals are calibrated, in transformed units: fits that calibrate each other need the same.
    A forecaster that is given transforms or a likelihood by its options keeps those.

    Args:
        forecaster: A forecaster that has not been fitted; it is changed in place.
        transforms: Transforms of the earlier fit.
        likelihood: Likelihood of the earlier fit.
    """
    predictor = forecaster.predictor
    if predictor.transforms_option == "auto":
        predictor.transforms = tuple(Transform.from_config(one.config()) for one in transforms)
        predictor.transforms_report = "transforms: those of the first fit"
    if predictor.chooses_likelihood:
        predictor.likelihood = predictor.likelihood_option = Likelihood.from_config(likelihood.config())
    return forecaster


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed torch; its random state is as before afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence Lightning's hints; errors and warnings of ours remain."""
    loggers = [logging.getLogger(f"lightning.{name}") for name in ("pytorch", "fabric", "pytorch.utilities.rank_zero")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PossibleUserWarning)
            warnings.filterwarnings("ignore", message=".*(LeafSpec|isinstance\\(treespec).*", category=FutureWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class _Best(L.Callback):
    """Keep the weights of the epoch with the lowest score on the validation part."""

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor
        self.lowest, self.epoch = float("inf"), 0
        self.weights: dict[str, Tensor] | None = None

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        loss = trainer.callback_metrics.get(self.monitor)
        if loss is None or not pl_module.automatic_optimization or trainer.sanity_checking:
            return
        if float(loss) < self.lowest:
            self.lowest, self.epoch = float(loss), trainer.current_epoch + 1
            self.weights = {name: value.detach().clone() for name, value in pl_module.state_dict().items()}


class _Stop(L.Callback):
    """End a fit before its schedule does."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch + 1 >= self.epochs:
            trainer.should_stop = True
