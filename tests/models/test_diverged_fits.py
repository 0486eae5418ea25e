"""A fit whose loss is not finite ends with one line that names the step, without waiting for a device at each step."""

import math

import pytest
import torch
from helpers import built, fit, make_data
from lightning.pytorch.callbacks import ModelCheckpoint

from stgate.errors import TrainingError
from stgate.models import GatedRNN
from stgate.models.training import steps


class Breaking(GatedRNN):
    """A forecaster whose loss is not finite from a step on."""

    broken, value = 0, math.nan

    def training_target(self, batch):
        target = super().training_target(batch)
        return target * self.value if self.global_step == self.broken else target


def broken_at(step, value):
    model = Breaking(hidden=4, transforms=None, linear=False)
    model.broken, model.value = step, value
    return model


@pytest.mark.parametrize("step", [0, 1, 3, 6, 7])
def test_the_first_step_is_named_wherever_it_is_found(step, monkeypatch):
    monkeypatch.setattr(steps, "CHECKED", 4)
    with pytest.raises(TrainingError, match=f"the training loss is inf at step {step}: lower the learning rate"):
        fit(broken_at(step, math.inf), make_data(), epochs=3)


@pytest.mark.parametrize("validated", [True, False])
def test_it_is_found_at_the_end_of_the_epoch_at_the_latest(validated):
    model, seen = broken_at(2, math.inf), []
    model.on_train_epoch_start = lambda: seen.append(model.current_epoch)
    with pytest.raises(TrainingError, match="at step 2:"):
        fit(model, make_data(), epochs=3, **({} if validated else {"limit_val_batches": 0}))
    assert seen == [0]


def test_no_checkpoint_is_of_an_epoch_whose_loss_was_not_finite(tmp_path):
    model = broken_at(9, math.inf)  # in the second epoch
    keeper = ModelCheckpoint(tmp_path, "best", monitor="val_crps", save_last=True, save_on_train_epoch_end=True)
    with pytest.raises(TrainingError, match="at step 9:"):
        fit(model, make_data(), epochs=3, callbacks=[keeper], enable_checkpointing=True)
    for name in ("best.ckpt", "last.ckpt"):
        held = torch.load(tmp_path / name, weights_only=True)
        assert held["epoch"] == 0 and all(torch.isfinite(w).all() for w in held["state_dict"].values())


def test_a_fit_after_one_that_diverged_starts_anew():
    model = broken_at(1, math.inf)
    with pytest.raises(TrainingError):
        fit(model, make_data())
    model = broken_at(-1, math.inf)
    fit(model, make_data())


def test_the_losses_are_read_once_in_many_steps():
    model, read = built(GatedRNN(hidden=4, transforms=None)), []
    model.check_losses = lambda: read.append(1)
    for _ in range(2 * steps.CHECKED + 1):
        model.note_loss(torch.tensor(1.0))
    assert len(read) == 2
