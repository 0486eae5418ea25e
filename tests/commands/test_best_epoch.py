"""The best epoch is that of the lowest finite score; NaN and infinity are never the best."""

import math

import pytest
import torch
from helpers import make_data, make_panel, trainer

import stgate
from stgate.models import GatedRNN
from stgate.models.training.plan import BestEpoch

NAN, INF = math.nan, math.inf


class Scored(GatedRNN):
    """A network that logs given scores."""

    given: tuple[float, ...] = ()

    def validation_step(self, batch, batch_idx):
        super().validation_step(batch, batch_idx)
        self.log("made", self.given[self.current_epoch], on_epoch=True, batch_size=1)


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ((NAN, INF, 1.0, NAN), 3),
        ((NAN, 2.0, 1.0, INF), 3),
        ((1.0, NAN, 2.0), 1),
        ((-INF, 5.0, 4.0), 3),
        ((3.0, 2.0, 2.0), 2),
        ((NAN, NAN), None),
        ((INF, -INF), None),
    ],
)
def test_no_epoch_with_a_score_that_is_not_finite_is_kept(scores, best, tmp_path):
    model, keeper = Scored(hidden=4), BestEpoch(tmp_path, "best", monitor="made", save_on_train_epoch_end=True)
    model.given = scores
    machine = trainer(
        len(scores),
        callbacks=[keeper],
        enable_checkpointing=True,
        limit_train_batches=1,
        limit_val_batches=1,
        num_sanity_val_steps=0,
    )
    machine.fit(model, datamodule=make_data())
    path = tmp_path / "best.ckpt"
    assert (torch.load(path, weights_only=True)["epoch"] + 1 if path.exists() else None) == best


def test_runs_begun_with_the_callback_of_lightning_keep_their_best_score(tmp_path):
    from lightning.pytorch.callbacks import ModelCheckpoint

    options = {"dirpath": tmp_path, "filename": "best", "monitor": "val_crps"}
    assert BestEpoch(**options)._legacy_state_key == ModelCheckpoint(**options).state_key


@pytest.mark.parametrize("monitor", ["null", "val_crps"])
def test_a_user_may_keep_checkpoints_of_their_own(monitor, stgate_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stgate.write(make_panel(steps=160), "panel.nc")
    command = ["fit", "--model", "GatedRNN", "--model.hidden", "4", "--calibration", "split", "--out", "run"]
    data = ["--data.panel", "panel.nc", "--data.targets", "y", "--data.window", "6", "--data.horizon", "3"]
    own = f"--trainer.callbacks ModelCheckpoint --trainer.callbacks.dirpath own --trainer.callbacks.monitor {monitor}"
    code, _, err = stgate_command(*command, *data, *own.split(), "--trainer.max_epochs", 1)
    assert code == 0 and len(list((tmp_path / "own").iterdir())) == 1, err
    run = torch.load("run/last.ckpt", weights_only=True)
    best = next(state for key, state in run["callbacks"].items() if key.startswith("Keeper{'monitor': 'val_crps'"))
    run["callbacks"] = {key.replace("Keeper", "ModelCheckpoint", 1): v for key, v in run["callbacks"].items()}
    best["best_model_score"] = best["current_score"] = torch.tensor(-1.0)
    best["best_k_models"] = dict.fromkeys(best["best_k_models"], torch.tensor(-1.0))
    torch.save(run, "run/last.ckpt")  # as an older version wrote it, whose best score no later epoch reaches
    code, _, err = stgate_command(*command[:1], "--out", "run", "--resume", "--trainer.max_epochs", 2)
    assert code == 0 and torch.load("run/best.ckpt", weights_only=True)["epoch"] == 0, err


def test_a_fit_without_a_finite_score_says_so_and_keeps_its_last_epoch(stgate_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stgate.write(make_panel(steps=160), "panel.nc")
    monkeypatch.setattr(BestEpoch, "check_monitor_top_k", lambda *_: False)
    command = "fit --model GatedRNN --model.hidden 4 --trainer.max_epochs 1 --calibration split --out run"
    data = "--data.panel panel.nc --data.targets y --data.window 6 --data.horizon 3"
    code, _, err = stgate_command(*command.split(), *data.split())
    assert code == 0, err
    assert "val_crps was never finite: best.ckpt is the last epoch" in err
    assert bool(stgate.forecast("run/best.ckpt", "panel.nc")["y"].notnull().all())
