"""kill -9 at chosen moments of a fit: the folder holds one run, never a mixture of two, and a resume has all scores."""

import os
import shutil
import signal
import sys
import warnings

import pandas as pd
import pytest
import torch
import yaml
from helpers import make_panel

import stgate
from stgate.__main__ import main
from stgate.commands.fit import auto, resumption, runs
from stgate.commands.fit.folder import AUTOMATIC
from stgate.commands.fit.runs import Scores
from stgate.errors import FitWarning
from stgate.fitting.shortlist import Candidate
from stgate.io import store
from stgate.io.safe import temporaries
from stgate.models import GatedRNN, Persistence, Ridge

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the process that is killed is a fork")
DATA = ("--data.panel", "panel.nc", "--data.targets", "y", "--data.window", "12", "--data.horizon", "3")
MODEL = ("--model", "GatedRNN", "--model.hidden", "4", "--model.transforms", "null", "--data.calendar", "[hour]")
FIT = ("fit", *MODEL, *DATA, "--calibration", "split", "--trainer.max_epochs", "2")


def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def dying(function, name, when):
    """The function, which kills its process in its call number `when`, before its work; calls name their file."""
    calls = []

    def call(*given, **options):
        if name in str(given):
            calls.append(given)
        if len(calls) == when:
            die()
        return function(*given, **options)

    return call


def killed(work):
    """Do work in a fork that is killed by it."""
    child = os.fork()
    if child == 0:
        try:
            sys.stderr = open(os.devnull, "w")  # noqa: SIM115
            work()
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def snapshot(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def hidden(folder):
    return [path.name for path in folder.rglob(".*")]


def state_of(run, name="last.ckpt"):
    return torch.load(run / name, weights_only=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a panel, and of two runs that differ in their seed."""
    folder = tmp_path_factory.mktemp("made")
    stgate.write(make_panel(steps=200), folder / "panel.nc")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        patch.chdir(folder)
        assert main([*FIT, "--out", "old", "--seed_everything", "1"]) == 0
        assert main([*FIT, "--out", "new"]) == 0
    return folder


@pytest.fixture
def folder(made, tmp_path, monkeypatch):
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    shutil.copytree(tmp_path / "old", tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def in_the_first_batch(patch):
    patch.setattr(GatedRNN, "training_step", die)


def in_the_first_validation(patch):
    patch.setattr(GatedRNN, "on_validation_epoch_end", die)


def before_its_options(patch):
    patch.setattr(resumption.RunFolder, "begin", die)


@pytest.mark.parametrize("moment", [in_the_first_batch, in_the_first_validation, before_its_options])
def test_a_run_is_untouched_until_the_first_epoch_of_the_one_that_replaces_it(folder, moment, monkeypatch):
    moment(monkeypatch)
    killed(lambda: main([*FIT, "--out", "run", "--overwrite"]))
    assert snapshot(folder / "run") == snapshot(folder / "old")


WRITES = [
    (store, "atomic", "config.yaml", 1),
    (runs.store, "atomic", "metrics.csv", 1),
    (runs.store, "atomic", "hparams.yaml", 1),
    (runs, "write_checkpoint", "best.ckpt", 1),
    (runs, "write_checkpoint", "last.ckpt", 1),
    (runs, "write_checkpoint", "last.ckpt", 2),
    (temporaries.os, "replace", "last.ckpt", 2),
]


@pytest.mark.parametrize(("module", "function", "name", "when"), WRITES)
def test_what_replaces_a_run_is_never_mixed_with_it(folder, stgate_command, module, function, name, when):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, function, dying(getattr(module, function), name, when))
        killed(lambda: main([*FIT, "--out", "run", "--overwrite"]))
    run, new = folder / "run", folder / "new"
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["seed_everything"] == (1 if name == "config.yaml" else 0)
    for file in run.glob("*.ckpt"):
        assert config["seed_everything"] == 0 and state_of(run, file.name)["stgate"]["seed"] == 0
    if (run / "metrics.csv").exists():
        rows, whole = pd.read_csv(run / "metrics.csv"), pd.read_csv(new / "metrics.csv")
        pd.testing.assert_frame_equal(rows, whole.iloc[: len(rows)][rows.columns])
    on = ["fit", "--out", "run", "--resume"] if (run / "last.ckpt").exists() else [*FIT, "--out", "run", "--overwrite"]
    code, _, err = stgate_command(*on)
    assert code == 0, err
    for file in ("best.ckpt", "last.ckpt"):
        ours, theirs = state_of(run, file)["state_dict"], state_of(new, file)["state_dict"]
        assert all(torch.equal(value, ours[key]) for key, value in theirs.items())
    assert (run / "metrics.csv").read_text() == (new / "metrics.csv").read_text()
    assert not hidden(run)


def test_what_a_kill_left_of_a_fit_that_was_complete_is_removed(folder, stgate_command):
    """The last step of a write, which leaves the result whole."""
    assert stgate_command("fit", "--out", "new", "--resume", "--calibration", "refit")[0] == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(temporaries.shutil, "rmtree", die)
        killed(lambda: stgate.load("new/best.ckpt").eval() and store.write(make_panel(steps=3), "new/best.nc"))
    (folder / "new" / "best.nc").unlink()
    assert hidden(folder / "new")
    code, _, err = stgate_command("fit", "--out", "new", "--resume")
    assert code == 0 and "its fit on all rows stands" in err
    assert not hidden(folder / "new")


@pytest.mark.parametrize("name", ["Persistence.ckpt", "Ridge.json", "scores.csv", "scores.md", "best.ckpt"])
def test_an_automatic_fit_goes_on(folder, name):
    def again():
        few = [Candidate("Persistence", Persistence), Candidate("Ridge", Ridge)]
        given = {"targets": "y", "window": 12, "horizon": 3, "calibration": "split"}
        stgate.fit("panel.nc", **given, shortlist=lambda data: few, out=folder / "auto")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(temporaries.os, "replace", dying(os.replace, name, 1))
        killed(again)
    assert not (folder / "auto" / "best.ckpt").exists() and hidden(folder / "auto")
    again()
    assert {path.name for path in (folder / "auto").iterdir()} == {"best.ckpt", "members", "scores.csv", "scores.md"}
    assert not hidden(folder / "auto")


def test_of_an_automatic_run_that_is_replaced_the_result_goes_first(folder):
    (folder / "auto" / "members").mkdir(parents=True)
    for name in AUTOMATIC:
        (folder / "auto" / name).write_text(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auto.shutil, "rmtree", die)
        patch.setattr(auto.Path, "unlink", dying(auto.Path.unlink, "auto", 2))
        killed(lambda: auto._empty(folder / "auto"))
    assert not (folder / "auto" / "best.ckpt").exists()


# Scores


@pytest.fixture
def scores(tmp_path):
    return Scores(tmp_path)


def test_scores_wait_for_the_run_to_begin(scores, tmp_path):
    (tmp_path / "metrics.csv").write_text("old")
    scores.log_hyperparams({"hidden": 4})
    scores.log_metrics({"epoch": 0, "a": 0.5}, 4)
    scores.save()
    scores.finalize("failed")
    assert snapshot(tmp_path) == {"metrics.csv": b"old"}
    scores.begin(0)
    assert (tmp_path / "metrics.csv").read_text().split() == ["a,epoch,step", "0.5,0,4"]
    assert (tmp_path / "hparams.yaml").read_text() == "hidden: 4\n"


@pytest.mark.parametrize(
    ("later", "rows"),
    [
        (({"epoch": 0, "a": 1.0, "b": 2.0}, 4), ["1.0,2.0,0,4"]),  # the same moment, and more
        (({"epoch": 0, "b": 2.0}, 4), ["1.0,,0,4", ",2.0,0,4"]),
        (({"epoch": 1, "a": 1.0}, 4), ["1.0,0,4", "1.0,1,4"]),
        (({"epoch": 0, "a": 1.0}, 5), ["1.0,0,4", "1.0,0,5"]),
    ],
)
def test_scores_of_one_moment_are_one_row(scores, tmp_path, later, rows):
    scores.begin(0)
    scores.log_metrics({"epoch": 0, "a": 1.0}, 4)
    scores.log_metrics(*later)
    scores.save()
    assert (tmp_path / "metrics.csv").read_text().split()[1:] == rows


@pytest.mark.parametrize(
    ("held", "kept"),
    [
        ("a,epoch,step\n0.10,0,4\n0.2,1,9\n0.3,2,14\n", ["0.10,,0,4", "0.2,,1,9"]),
        ("a,epoch,step\n0.10,0,4\n0.2,1", ["0.10,,0,4", "0.2,,1,"]),  # broke off, of an earlier version
        ("a,epoch,step\n0.10,0,4\n0.2", ["0.10,,0,4"]),
        ("", []),
        ("nothing of ours", []),
    ],
)
def test_a_resume_keeps_the_scores_of_the_epochs_before_it(scores, tmp_path, held, kept):
    (tmp_path / "metrics.csv").write_text(held)
    scores.begin(2)
    scores.log_metrics({"epoch": 2, "b": 7.0}, 14)
    scores.save()
    found = (tmp_path / "metrics.csv").read_text().split()
    assert found[1:] == [*kept, ",7.0,2,14"] or (not kept and found[1:] == ["7.0,2,14"])
