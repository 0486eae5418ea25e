"""The plan of a fit: its epochs, what it has to beat, and the warning of a fit that does not."""

import numpy as np
import pytest
import torch
from helpers import make_data, make_panel, model_time_panel
from lightning.pytorch.callbacks import EarlyStopping

from stgate.fitting.training import train
from stgate.models import GatedRNN
from stgate.models.training.plan import EPOCHS, STEPS, early_stopping, epochs_for
from stgate.models.training.reference import ReferenceErrors, reference_errors
from stgate.nn import RollOut


@pytest.mark.parametrize(("batches", "epochs"), [(1, EPOCHS[1]), (STEPS // 20, 20), (10 * STEPS, EPOCHS[0]), (0, 60)])
def test_few_batches_take_many_epochs(batches, epochs):
    assert epochs_for(batches) == epochs


def test_a_fit_stops_after_a_quarter_of_its_epochs_without_a_better_score():
    assert early_stopping("val_crps", 60).patience == 15 and early_stopping("val_crps", 8).patience == 10


def test_a_rollout_does_not_stop_early():
    """The demo ended with its first epoch: the score of a rollout rises until the learning rate comes down."""

    class MadeError(Exception):
        pass

    def stops(model):
        def make(**options):
            raise MadeError(any(isinstance(one, EarlyStopping) for one in options["callbacks"]))

        with pytest.raises(MadeError) as made:
            train(model, make_data(make_panel(steps=200)), seed=0, make_trainer=make)
        return made.value.args[0]

    assert stops(GatedRNN())
    assert not stops(GatedRNN(rollout=RollOut()))


@pytest.mark.parametrize(
    "panel", [make_panel(steps=300, missing=0.3), model_time_panel(steps=300)], ids=["hours", "model"]
)
def test_reference_errors_are_those_by_hand(panel):
    target = next(iter(panel.data_vars))
    data = make_data(panel, targets=target)
    found = reference_errors(data)
    means = data.cell_means()
    errors = [[], []]
    for batch in data.val_dataloader():
        for case in range(len(batch["target"])):
            for lead in range(batch["target"].shape[1]):
                for node in range(batch["target"].shape[2]):
                    truth = float(batch["target"][case, lead, node, 0])
                    if np.isnan(truth):
                        continue
                    known = batch["past"][case, :, node, 0]
                    known = known[~torch.isnan(known)]
                    usual = means[batch["future_cell"][case], node, 0]
                    last = float(known[-1]) if len(known) else float(usual.mean())
                    errors[0].append(abs(last - truth))
                    errors[1].append(abs(float(usual[lead]) - truth))
    assert found.persistence == pytest.approx(np.mean(errors[0]), rel=1e-5)
    assert found.climatology == pytest.approx(np.mean(errors[1]), rel=1e-5)


def test_a_forecaster_that_is_no_better_is_told_so():
    errors = ReferenceErrors(2.0, 1.5)
    assert errors.warning(1.4) is None
    assert "val_mae 1.6 is no better than the 1.5 of climatology" in errors.warning(1.6)


def test_a_split_without_validation_has_nothing_to_beat():
    data = make_data(make_panel(steps=200), split=[0.8, 0.0, 0.1, 0.1])
    assert reference_errors(data) is None


def test_fit_prints_what_to_beat_and_warns_of_a_fit_that_does_not(stgate_command, tmp_path):
    make_panel(steps=300).to_netcdf(tmp_path / "p.nc")
    given = ["--data.panel", tmp_path / "p.nc", "--data.targets", "[y]", "--data.window", 6, "--data.horizon", 3]
    given += ["--model", "GatedRNN", "--model.hidden", 4, "--trainer.max_epochs", 1, "--out", tmp_path / "run"]
    code, _, error = stgate_command("fit", *given)
    assert code == 0 and "val_mae to beat: persistence" in error and "no better" not in error
    bad = ["--model.linear", "false", "--model.transforms", "null", "--model.optimizer", "torch.optim.SGD"]
    code, _, error = stgate_command("fit", *given, *bad, "--model.optimizer.lr", 1e-9, "--overwrite")
    assert code == 0 and "stgate: warning: val_mae" in error and "is no better than the" in error
