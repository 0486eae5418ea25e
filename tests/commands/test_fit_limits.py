"""Fits that stop early, are never validated, or log elsewhere: a whole run in `--out`, or one line before it."""

import importlib.util

import pytest
import torch
from helpers import make_panel, one_line

import stgate

DATA = ("--data.panel", "panel.nc", "--data.targets", "y", "--data.window", "12", "--data.horizon", "3")
NETWORK = ("--model", "GatedRNN", "--model.hidden", "4", "--model.transforms", "null", "--data.calendar", "[hour]")
RIDGE = ("--model", "Ridge", "--model.transforms", "null")


@pytest.fixture
def fit(tmp_path, monkeypatch, stgate_command):
    monkeypatch.chdir(tmp_path)
    stgate.write(make_panel(steps=200), "panel.nc")

    def run(*options, model=NETWORK, out="run"):
        return stgate_command("fit", *model, *DATA, *options, "--out", out)

    return run


LIMITS = [
    ("max_steps", 2),
    ("max_epochs", 1, "limit_val_batches", 0),
    ("max_epochs", 2, "limit_val_batches", 0.0, "num_sanity_val_steps", 2),
    ("max_epochs", 2, "check_val_every_n_epoch", 9),
    ("max_time", "00:00:00:00"),
    ("fast_dev_run", "true"),
    ("max_epochs", 1, "overfit_batches", 1),
    ("max_epochs", 12, "check_val_every_n_epoch", 5),
    ("max_epochs", 1, "val_check_interval", 1),
    ("max_epochs", 1, "limit_train_batches", 1),
]
SAID = "best.ckpt holds the last epoch: none could be chosen by its val_crps"
VALIDATED = ("overfit_batches", "limit_train_batches", "val_check_interval")


def trainer(limits):
    return [
        word for name, value in zip(limits[::2], limits[1::2], strict=True) for word in (f"--trainer.{name}", value)
    ]


@pytest.mark.parametrize("limits", LIMITS, ids=str)
@pytest.mark.parametrize("calibration", ["split", "refit"])
def test_a_fit_within_any_limit_has_a_best_checkpoint_that_forecasts(fit, limits, calibration):
    code, _, err = fit(*trainer(limits), "--calibration", calibration)
    assert code == 0, err
    once = limits[-2] in VALIDATED or 12 in limits
    assert (SAID in err) is not once or limits[0] in ("max_steps", "max_time", "fast_dev_run")
    assert "monitor" not in err
    assert stgate.forecast("run/best.ckpt", "panel.nc", levels=[0.5])["y"].notnull().all()


@pytest.mark.parametrize("limits", LIMITS[:7], ids=str)
def test_so_has_one_in_closed_form(fit, limits):
    code, _, err = fit(*trainer(limits), "--calibration", "split", model=RIDGE)
    assert code == 0 and SAID not in err, err
    assert stgate.forecast("run/best.ckpt", "panel.nc", levels=[0.5])["y"].notnull().all()


def test_the_epochs_of_a_fit_that_is_not_validated_are_counted_right(fit):
    assert fit("--trainer.max_epochs", 2, "--trainer.limit_val_batches", 0, "--calibration", "split")[0] == 0
    best, last = (torch.load(f"run/{name}.ckpt", weights_only=True) for name in ("best", "last"))
    assert best["epoch"] == last["epoch"] == 1


def test_a_resume_without_validation_keeps_the_best_epoch(fit, stgate_command):
    assert fit("--trainer.max_epochs", 1, "--calibration", "split")[0] == 0
    more = ("--trainer.max_epochs", 2, "--trainer.limit_val_batches", 0)
    code, _, err = stgate_command("fit", "--out", "run", "--resume", *more)
    assert code == 0 and "no further epoch was validated" in err, err
    assert torch.load("run/best.ckpt", weights_only=True)["epoch"] == 0


@pytest.mark.parametrize(
    "wrong",
    [
        ("enable_checkpointing", "false"),
        ("limit_train_batches", 0),
        ("limit_train_batches", 0.0),
        ("max_steps", 0),
        ("max_epochs", 0),
    ],
    ids=str,
)
def test_a_fit_that_could_keep_nothing_is_refused_and_the_old_run_stays(fit, wrong, tmp_path):
    one_line(fit(*trainer(wrong)), f"--trainer.{wrong[0]}", "leave it out")
    assert not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "best.ckpt").write_bytes(b"precious")
    one_line(fit(*trainer(wrong), "--overwrite"), f"--trainer.{wrong[0]}")
    assert [path.read_bytes() for path in (tmp_path / "run").iterdir()] == [b"precious"]


def test_early_stopping_of_the_users_own_that_never_sees_its_score_is_named(fit, tmp_path):
    own = ("--trainer.callbacks", "EarlyStopping", "--trainer.callbacks.monitor", "val_mae")
    code, _, err = fit(*own, "--trainer.max_epochs", 1, "--trainer.limit_val_batches", 0)
    assert code == 2 and "--trainer.callbacks: Early stopping conditioned on metric `val_mae`" in err, err


LOGGERS = [
    ("--trainer.logger", "CSVLogger", "--trainer.logger.save_dir", "logs"),
    ("--trainer.logger", "false"),
    ("--trainer.default_root_dir", "elsewhere"),
    ("--trainer.logger", "CSVLogger", "--trainer.logger.save_dir", ".", "--trainer.default_root_dir", "elsewhere"),
    ("--trainer.logger", "true"),
]


@pytest.mark.parametrize("logger", LOGGERS, ids=str)
def test_a_run_is_resumed_wherever_it_logs(fit, stgate_command, tmp_path, logger):
    code, _, err = fit("--trainer.max_epochs", 1, "--calibration", "split", *logger)
    assert code == 0, err
    assert {"best.ckpt", "last.ckpt", "config.yaml"} <= {path.name for path in (tmp_path / "run").iterdir()}
    assert [path.parent.name for path in tmp_path.rglob("config.yaml")] == ["run"]
    code, _, err = stgate_command("fit", "--out", "run", "--resume", "--trainer.max_epochs", 2)
    assert code == 0, err
    assert torch.load("run/last.ckpt", weights_only=True)["epoch"] == 1


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is not None, reason="is about a package that is missing")
def test_a_logger_whose_package_is_missing_is_named_and_leaves_nothing(fit, tmp_path):
    one_line(
        fit("--trainer.logger", "TensorBoardLogger", "--trainer.logger.save_dir", "logs"),
        "TensorBoardLogger: Neither `tensorboard` nor",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["panel.nc"]
