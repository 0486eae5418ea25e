"""A refused resume, or a refused replacement, leaves the run as it was; what a resume takes, it uses."""

import shutil
import warnings

import lightning as L
import pandas as pd
import pytest
import torch
import yaml
from helpers import make_panel, one_line

import stgate
from stgate.__main__ import main
from stgate.errors import FitWarning, RequestError

DATA = ("--data.panel", "panel.nc", "--data.targets", "y", "--data.window", "12", "--data.horizon", "3")
MODEL = ("--model", "GatedRNN", "--model.hidden", "4", "--model.transforms", "null", "--data.calendar", "[hour]")
SHORT = ("--calibration", "split", "--trainer.max_epochs", "1")


def snapshot(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """The folder of a panel and a run of one epoch."""
    folder = tmp_path_factory.mktemp("begun")
    stgate.write(make_panel(steps=200), folder / "panel.nc")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        patch.chdir(folder)
        assert main(["fit", *MODEL, *DATA, *SHORT, "--out", "run"]) == 0
    return folder


@pytest.fixture
def run(begun, tmp_path, monkeypatch):
    """A copy of it, which has moved thereby."""
    shutil.copytree(begun, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "run"


@pytest.fixture
def resumed(run, stgate_command):
    def again(*more, epochs=2):
        return stgate_command("fit", "--out", "run", "--resume", "--trainer.max_epochs", epochs, *more)

    return again


def last(run):
    return torch.load(run / "last.ckpt", weights_only=True)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--data.window", 24, ("begun with 12",)),
        ("--data.horizon", 2, ("begun with 3",)),
        ("--data.train_horizon", 2, ("begun with null",)),
        ("--data.targets", "u", ("begun with y",)),
        ("--data.past_covariates", "[u]", ("begun with []",)),
        ("--data.calendar", "[hour,weekday]", ("begun with ['hour']",)),
        ("--data.batch_size", 5, ("begun with null",)),
        ("--data.every", 2, ("begun with 1",)),
        ("--data.eval_every", 2, ("begun with 1",)),
        ("--data.seed", 1, ("begun with 0",)),
        ("--seed_everything", 1, ("begun with 0",)),
        ("--monitor", "val_mae", ("begun with null",)),
        ("--model.hidden", 8, ("fitted with 4",)),
        ("--model.optimizer.lr", 0.1, ("begun with 0.003",)),
        ("--model.optimizer", "torch.optim.SGD", ("torch.optim.SGD", "begun with torch.optim.AdamW")),
        ("--model.lr_scheduler", "torch.optim.lr_scheduler.ConstantLR", ("begun with null",)),
        ("--data.split", "[0.3,0.2,0.25,0.25]", ("2020-01-03T11:00:00", "2020-01-05T23:00:00")),
        ("--data.split", "[0.6,0.2,0.1,0.1]", ("last step of the validation part",)),
        ("--trainer.strategy", "no_such", ()),
        ("--trainer.precision", 17, ()),
    ],
)
def test_what_differs_from_the_run_is_refused_and_the_run_is_as_it_was(run, resumed, option, value, words):
    before = snapshot(run)
    code, _, err = resumed(option, value)
    assert code == 2, err
    assert len(err.strip().splitlines()) == 1
    assert all(word in err for word in ((option,) if words else ()) + words), err
    assert snapshot(run) == before


def test_a_run_whose_resume_was_refused_ends_in_the_same_bits(run, resumed, stgate_command):
    resumed("--model.optimizer", "torch.optim.SGD")
    resumed("--data.window", 24)
    assert resumed()[0] == 0
    assert stgate_command("fit", *MODEL, *DATA, *SHORT, "--trainer.max_epochs", 1, "--out", "two")[0] == 0
    assert stgate_command("fit", "--out", "two", "--resume", "--trainer.max_epochs", 2)[0] == 0
    ours, theirs = (last(run.parent / name)["state_dict"] for name in ("run", "two"))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert sorted(pd.read_csv(run / "metrics.csv")["epoch"].unique()) == [0, 1]


def test_a_config_of_its_own_is_compared_too(run, resumed):
    options = yaml.safe_load((run / "config.yaml").read_text())
    options["data"]["every"] = 3
    (run.parent / "other.yaml").write_text(yaml.safe_dump(options))
    before = snapshot(run)
    one_line(resumed("--config", "other.yaml"), "--data.every 3", "begun with 1")
    one_line(resumed(*MODEL, *DATA, "--data.every", 3), "--data.every 3", "begun with 1")
    assert snapshot(run) == before
    assert resumed(*MODEL, *DATA, "--data.targets", "[y]")[0] == 0  # a list of the one name is the same


@pytest.mark.parametrize(
    "honoured",
    [
        ("--data.split", "[2020-01-06,2020-01-06T20:00,2020-01-08]"),  # the rows of the fractions
        ("--data.num_workers", "0", "--data.max_memory", "500"),
        ("--calibration", "refit"),
        ("--trainer.gradient_clip_val", "0.1"),
    ],
)
def test_how_a_fit_goes_on_may_change(run, resumed, honoured):
    code, _, err = resumed(*honoured)
    assert code == 0, err
    assert last(run)["epoch"] == 1
    assert yaml.safe_load((run / "config.yaml").read_text())["trainer"]["max_epochs"] == 2


def test_flags_of_a_run_are_not_options_of_the_next(run, resumed, stgate_command):
    """Neither the flags that it was begun with, nor the checkpoint of a resume, nor those in an old config."""
    again = ("fit", *MODEL, *DATA, *SHORT, "--out", "run")
    assert stgate_command(*again, "--overwrite")[0] == 0
    assert resumed()[0] == 0
    held = yaml.safe_load((run / "config.yaml").read_text())
    assert (held["resume"], held["overwrite"], held["ckpt_path"]) == (False, False, None)
    (run / "config.yaml").write_text(yaml.safe_dump({**held, "resume": True, "overwrite": True}))
    assert resumed(epochs=3)[0] == 0
    code, _, err = stgate_command("fit", "--out", "two", "--config", "run/config.yaml", "--trainer.max_epochs", 1)
    assert code == 0, err
    assert last(run)["epoch"] == 2 and last(run.parent / "two")["epoch"] == 0


def test_a_panel_that_has_grown_keeps_the_rows_of_its_parts(run, resumed):
    stgate.write(make_panel(steps=240), "panel.nc", overwrite=True)
    before = snapshot(run)
    one_line(resumed(), "--data.split", "2020-01-06T23:00:00", "those of the run")
    assert snapshot(run) == before
    code, _, err = resumed("--data.split", "[2020-01-06,2020-01-06T20:00,2020-01-08]")
    assert code == 0, err


def test_a_panel_that_begins_earlier_is_refused(run, resumed):
    panel = make_panel(steps=200)
    stgate.write(panel.isel(time=slice(10, None)), "panel.nc", overwrite=True)
    one_line(resumed("--data.split", "[2020-01-06,2020-01-06T20:00,2020-01-08]"), "2020-01-01T10:00:00, 2020")


def test_an_optimizer_in_a_config_that_was_edited_by_hand_is_refused_by_the_checkpoint(run, resumed):
    whole = (run / "config.yaml").read_text()
    options = yaml.safe_load(whole)
    options["model"]["init_args"]["optimizer"] = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.003}}
    (run / "config.yaml").write_text(yaml.safe_dump(options))
    before = snapshot(run)
    one_line(resumed(), "optimizer: momentum", "begun with an optimizer without momentum")
    assert snapshot(run) == before
    (run / "config.yaml").write_text(whole)
    assert resumed()[0] == 0


def test_a_checkpoint_without_the_trainers_state_is_no_beginning(run, resumed):
    assert resumed("--calibration", "refit")[0] == 0
    before = snapshot(run)
    one_line(resumed("--ckpt_path", run / "best.ckpt", epochs=3), "ckpt_path: holds the weights only", "last.ckpt")
    assert snapshot(run) == before


def test_a_run_that_has_moved_keeps_its_best_epoch(run, resumed):
    held = last(run)
    for name, state in held["callbacks"].items():
        if "val_crps" in name and "best_model_score" in state:
            state |= {"best_model_score": torch.tensor(0.0), "kth_value": torch.tensor(0.0)}
            state["best_k_models"] = dict.fromkeys(state["best_k_models"], torch.tensor(0.0))
    torch.save(held, run / "last.ckpt")
    best = torch.load(run / "best.ckpt", weights_only=True)["epoch"]
    code, _, err = resumed()  # a warning of Lightning's would be an error
    assert code == 0, err
    assert torch.load(run / "best.ckpt", weights_only=True)["epoch"] == best == 0  # no score is below zero


@pytest.mark.parametrize(
    "wrong",
    [
        ("--trainer.strategy", "no_such"),
        ("--trainer.precision", "17"),
        ("--data.split", "[2020-01-06]"),
        ("--model.optimizer.lr", "-1"),
        ("--trainer.max_time", "soon"),
    ],
)
def test_a_replacement_that_is_refused_leaves_the_run(run, stgate_command, wrong):
    before = snapshot(run)
    code, _, err = stgate_command("fit", *MODEL, *DATA, *SHORT, "--out", "run", "--overwrite", *wrong)
    assert code == 2 and len(err.strip().splitlines()) == 1, err
    assert snapshot(run) == before


def test_a_run_is_replaced_when_the_first_epoch_is_complete(run, stgate_command, monkeypatch):
    """Until then a failure loses nothing; afterwards nothing of it is left."""
    from stgate.models import GatedRNN

    before = snapshot(run)
    usual = GatedRNN.training_step

    def failing(self, batch, batch_idx):
        if batch_idx == 1:
            raise OSError("no space left on device")
        return usual(self, batch, batch_idx)

    monkeypatch.setattr(GatedRNN, "training_step", failing)
    again = ("fit", *MODEL, *DATA, *SHORT, "--model.hidden", 5, "--out", "run", "--overwrite")
    code, _, err = stgate_command(*again)
    assert code == 1 and "no space" in err
    assert snapshot(run) == before
    monkeypatch.undo()
    monkeypatch.chdir(run.parent)
    assert stgate_command(*again)[0] == 0
    assert {*before} == {*snapshot(run)}
    assert last(run)["hyper_parameters"]["hidden"] == 5
    assert list(pd.read_csv(run / "metrics.csv")["epoch"].unique()) == [0]


def test_what_training_has_seen_only_grows(run):
    panel = make_panel(steps=200)

    def trainer(**options):
        silent = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
        return L.Trainer(max_epochs=1, accelerator="cpu", **silent, **options)

    def data(*split):
        return stgate.WindowData(panel, targets="y", window=12, horizon=3, calendar=["hour"], split=split)

    model = stgate.GatedRNN(hidden=4, transforms=None)
    trainer().fit(model, datamodule=data(0.8, 0.1, 0.05, 0.05))
    seen = model.predictor.seen
    early = data(0.3, 0.2, 0.25, 0.25)
    trainer().fit(model, datamodule=early)
    assert model.predictor.seen == seen
    with pytest.warns(stgate.errors.CalibrationWarning, match="training has used data until 2020-01-08"):
        stgate.calibrate(model, early, levels=[0.5])
    trainer().fit(model, datamodule=data(0.9, 0.1, 0, 0))
    assert model.predictor.seen > seen


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
@pytest.mark.parametrize(("lr", "taken"), [(0.003, True), (0.1, False)])
def test_a_fit_that_goes_on_in_python_has_the_optimizer_of_its_checkpoint(run, lr, taken):
    data = stgate.WindowData("panel.nc", targets="y", window=12, horizon=3, calendar=["hour"])
    silent = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = L.Trainer(max_epochs=2, accelerator="cpu", **silent)
    model = stgate.GatedRNN(hidden=4, transforms=None, optimizer=lambda weights: torch.optim.AdamW(weights, lr=lr))
    if taken:
        trainer.fit(model, datamodule=data, ckpt_path=run / "last.ckpt")
        assert trainer.current_epoch == 2
    else:
        with pytest.raises(RequestError, match=r"optimizer: lr 0.1, but .* begun with 0.003"):
            trainer.fit(model, datamodule=data, ckpt_path=run / "last.ckpt")
