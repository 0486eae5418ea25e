"""The training step: from a batch to the loss, with the scores that are logged."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import lightning as L
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from stgate.distributions.counts import NegativeBinomial
from stgate.distributions.mixture import sample_of
from stgate.errors import TrainingError
from stgate.inference.batch_loss import BatchLoss
from stgate.inference.members import Members
from stgate.metrics.torch.forms import CRPS, Coverage, MaskedMean, Mean, MeanAbsoluteError, ValidPredictionTime
from stgate.models.training.processes import of_all_processes, reaching_all
from stgate.nn.once import fixed_weights
from stgate.nn.single import single_precision
from stgate.schema.batch import Batch

if TYPE_CHECKING:
    from stgate.models.forecaster import Forecaster

EVERY, ENTRIES = 16, 512
"""Steps of training from one to the next in which the median of counts is scored, and the number of entries then."""
Stage = Literal["train", "val", "test", "val_hidden"]
CHECKED = 32
"""Number of training steps after which their losses are read: a device is not waited for at each."""


class WatchedLosses(L.LightningModule):
    """Training that ends where a loss is not finite; the losses stay on their device until they are read.

    They are read every `CHECKED` steps, before an epoch is scored, and at its end: no epoch with such a loss is kept.
    """

    _first: tuple[Tensor, Tensor] | None = None  # step and value of the first loss that is not finite; step -1 for none
    _noted = 0

    def note_loss(self, loss: Tensor) -> None:
        """Note the loss of a training step.

        Args:
            loss: The loss, a scalar.

        Raises:
            TrainingError: The loss of one of the last steps is not finite.
        """
        loss = loss.detach()
        step, value = self._first or (torch.full_like(loss, -1, dtype=torch.int64), loss)
        new = ~torch.isfinite(loss) & (step < 0)
        self._first = torch.where(new, self.global_step, step), torch.where(new, loss, value)
        self._noted += 1
        if self._noted % CHECKED == 0:
            self.check_losses()

    def check_losses(self) -> None:
        """Read the losses that were noted.

        Raises:
            TrainingError: A loss is not finite; the message names the first such step.
        """
        if self._first is None:
            return
        (step, value), self._first = self._first, None
        if step >= 0:
            raise TrainingError(
                f"the training loss is {value.item():g} at step {int(step)}: lower the learning rate, or clip "
                "gradients (gradient_clip_val)"
            )

    def on_train_start(self) -> None:
        """Forget the losses of another fit."""
        self._first, self._noted = None, 0

    def on_validation_start(self) -> None:
        """Read the losses before the epoch is scored."""
        self.check_losses()

    def on_train_epoch_end(self) -> None:
        """Read the losses of an epoch that is not scored."""
        self.check_losses()


def objective(forecaster: Forecaster, batch: Batch) -> Tensor:
    """Compute the objective that a training step minimises.

    Args:
        forecaster: A forecaster in training mode.
        batch: Windows in raw units.

    Returns:
        A scalar: the mean negative log-likelihood of the observed targets, with the terms of the inference.

    Raises:
        TrainingError: The loss of one of the last steps is not finite.
    """
    predictor, losses = forecaster.predictor, forecaster.scores["train_loss"]
    network = predictor.built
    assert isinstance(losses, Mean)
    before = losses.count
    if len(batch["origin"]) == 0:  # a share of fewer windows than processes
        log_nothing(forecaster, "train")
        nothing = of_all_processes(forecaster, torch.zeros((), device=before.device), 0 * before)
        return reaching_all(forecaster, predictor.inference.objective(nothing, network, predictor.n_observations))
    pieces = forecaster.training_pieces(predictor.encode(batch))
    if isinstance(network, Members) and not network.decided:
        with network.probing():
            forecaster.training_forward(pieces[0])
    total = BatchLoss(network, forecaster.parameters(), whole=len(pieces) == 1)
    for turn in total.turns():
        with turn, fixed_weights():
            for piece in pieces:
                members = forecaster.training_forward(piece)
                total.add(*_scored(forecaster, "train", members, forecaster.training_target(piece)))
    _log(forecaster, "train")
    loss = of_all_processes(forecaster, total.mean(), losses.count - before)
    forecaster.note_loss(loss)
    return reaching_all(forecaster, predictor.inference.objective(loss, network, predictor.n_observations))


def score(
    forecaster: Forecaster, stage: Stage, number: int, forecast: Callable[[], Distribution], target: Tensor
) -> None:
    """Log the scores of a batch of a validation or a test, of which each process scores its own.

    Args:
        forecaster: The forecaster.
        stage: `val` or `test`.
        number: Number of the batch.
        forecast: A function that makes the forecast.
        target: (batch, lead, node, target), NaN where missing.
    """
    if forecaster.evaluates(number):
        masked_loss(forecaster, stage, forecast(), target)
    else:
        log_nothing(forecaster, stage)


def log_nothing(forecaster: Forecaster, stage: Stage) -> None:
    """Log the scores of a stage without a case: processes add them up together, also one that scores no batch.

    Args:
        forecaster: The forecaster.
        stage: The stage.
    """
    _log(forecaster, stage)


def masked_loss(forecaster: Forecaster, stage: Stage, forecast: Distribution, target: Tensor) -> Tensor:
    """Compute the mean loss over observed targets, and log it with the other scores of a stage.

    Args:
        forecaster: The forecaster that made the forecast.
        stage: `train`, `val`, `test`, or `val_hidden` for entries hidden from a field.
        forecast: A distribution of batch shape (member?, batch, lead, node, target).
        target: (batch, lead, node, target), NaN where missing; it may have more leads than the forecast.

    Returns:
        A scalar: the mean of the likelihood's loss in training, else of the negative log-likelihood.
    """
    total, count = _scored(forecaster, stage, forecast, target)
    _log(forecaster, stage)
    return total / count.clamp(min=1)


@single_precision()
def _scored(forecaster: Forecaster, stage: Stage, forecast: Distribution, target: Tensor) -> tuple[Tensor, Tensor]:
    """Add to the scores of a stage; return the sum of the losses over observed targets, and their number."""
    predictor, leads = forecaster.predictor, forecast.batch_shape[-3]
    trained = leads if stage == "train" else min(forecaster.training_leads(), leads)
    target = target[:, :leads]
    observed = ~torch.isnan(target).expand_as(forecast.mean)  # expands over members, if the forecast has that axis
    if stage != "train":  # a baseline may have no forecast for lack of observations: it is not scored there
        observed = observed & ~torch.isnan(forecast.mean)
    # A missing target is imputed before the likelihood sees it: NaN * 0 is NaN, in gradients too.
    complete = torch.where(observed, target, forecast.mean.detach())
    # A weighted likelihood is for training only: epochs and forecasters are compared by the likelihood itself.
    losses = predictor.likelihood.loss(forecast, complete) if stage == "train" else -forecast.log_prob(complete)
    losses, counted = losses[..., :trained, :, :], observed[..., :trained, :, :]
    _update(forecaster, stage, "loss", losses.detach(), counted)
    with torch.no_grad():
        if stage != "train" or not predictor.transforms:  # in training both are transformed: no error in its own units
            _update_median(forecaster, stage, forecast, target)
        if stage != "train":
            _update(forecaster, stage, "crps", target, forecast)
            _update(forecaster, stage, "coverage_90", target, forecast)
            spec = predictor.fitted_spec
            if spec.time == "model":
                _update(forecaster, stage, "vpt", target, forecast, predictor.scaler.node_scale, spec.step)
    return torch.where(counted, losses, 0.0).sum(), counted.sum()


def make_scores() -> nn.ModuleDict:
    """Make the scores that are logged, named `<stage>_<name>`."""
    scores = nn.ModuleDict()
    for stage in ("train", "val", "test", "val_hidden"):
        named: dict[str, nn.Module] = {"loss": MaskedMean(), "mae": MeanAbsoluteError()}
        if stage != "train":
            named |= {"crps": CRPS(), "coverage_90": Coverage(0.9), "vpt": ValidPredictionTime()}
        scores.update({f"{stage}_{name}": score for name, score in named.items()})
    return scores


def keep_what_is_freed() -> None:
    """Raise glibc's mmap threshold so that freed blocks are reused, not returned to the system.

    When glibc frees a block that it got by mmap (of at most 32 MiB), it raises the threshold to the size of that block.
    So one block just below 32 MiB is allocated, never written to, and freed. With other C libraries this does nothing.
    """
    torch.empty(31 * 2**20, dtype=torch.uint8)


def _update_median(forecaster: Forecaster, stage: Stage, forecast: Distribution, target: Tensor) -> None:
    """Score the median; in training, if the median takes iterations, of some entries in some steps."""
    if stage == "train" and isinstance(forecast, NegativeBinomial):
        metric = forecaster.scores["train_mae"]
        assert isinstance(metric, Mean)
        if metric.update_called and forecaster.global_step % EVERY:
            return
        forecast, target = sample_of(forecast, target.expand(forecast.batch_shape), ENTRIES)
    _update(forecaster, stage, "mae", target, forecast)


def _update(forecaster: Forecaster, stage: Stage, name: str, *given: Any) -> None:  # noqa: ANN401 (what it takes)
    metric = forecaster.scores[f"{stage}_{name}"]
    assert isinstance(metric, Mean)
    metric.update(*given)


def _log(forecaster: Forecaster, stage: Stage) -> None:
    """Log the scores of a stage."""
    names = ["loss"]
    if stage != "train" or not forecaster.predictor.transforms:
        names.append("mae")
    if stage != "train":
        names += ["crps", "coverage_90"]
        if forecaster.predictor.fitted_spec.time == "model":
            names.append("vpt")
    for name in names:
        key = f"{stage}_{name}"
        metric = forecaster.scores[key]
        assert isinstance(metric, Mean)
        forecaster.log(key, metric, on_step=False, on_epoch=True, prog_bar=stage != "train")
