"""Checkpoints of a fit whose trainer's state is odd, and options of a config that are none: one line, the run kept."""

import shutil
import warnings
from pathlib import Path

import pytest
import torch
from helpers import make_panel, one_line

import stgate
from stgate.__main__ import main
from stgate.errors import FitWarning

FIT = ("--model", "GatedRNN", "--model.hidden", "4", "--model.transforms", "null", "--model.linear", "false")
FIT += ("--data.panel", "panel.nc", "--data.targets", "y", "--data.window", "6", "--data.horizon", "3")
FIT += ("--calibration", "split", "--trainer.max_epochs", "1")
NONE = object()


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    folder = tmp_path_factory.mktemp("begun")
    stgate.write(make_panel(steps=160), folder / "panel.nc")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        patch.chdir(folder)
        assert main(["fit", *FIT, "--out", "run"]) == 0
    return folder


@pytest.fixture
def folder(begun, tmp_path, monkeypatch):
    shutil.copytree(begun, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def snapshot(run):
    return {path.name: path.read_bytes() for path in run.iterdir()}


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        *[("lr_schedulers", NONE), ("pytorch-lightning_version", NONE), ("pytorch-lightning_version", "abc")],
        *[("optimizer_states", [1]), ("loops", "x"), ("loops", {}), ("callbacks", [1]), ("rows", 5), ("rows", [1])],
        *[("state_dict", {}), ("state_dict", 3), ("state_dict", {"a": 5}), ("state_dict", {"a": torch.zeros(1)})],
        *[("hyper_parameters", [1]), ("hyper_parameters", None)],
    ],
)
def test_a_state_that_is_missing_or_of_another_type_is_one_line(folder, stgate_command, entry, value):
    held = torch.load("run/last.ckpt", weights_only=True)
    torch.save({**{k: v for k, v in held.items() if k != entry}, **({} if value is NONE else {entry: value})}, "odd")
    shutil.move("odd", "run/last.ckpt")
    before = snapshot(folder / "run")
    code, _, err = stgate_command("fit", "--out", "run", "--resume", "--trainer.max_epochs", 2)
    assert code == 2 and "failed" not in err, err
    assert ("ckpt_path" in err or "last.ckpt" in err) and "Traceback" not in err
    assert snapshot(folder / "run") == before


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
@pytest.mark.parametrize("weights", [{}, {"a": torch.zeros(1)}, {"a": "text"}])
def test_weights_that_do_not_fit_are_one_line_of_each_command(folder, stgate_command, command, weights):
    held = torch.load("run/best.ckpt", weights_only=True)
    torch.save({**held, "state_dict": weights}, "run/best.ckpt")
    one_line(stgate_command(command, "--ckpt_path", "run/best.ckpt", "--out", "p.nc"), "ckpt")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("trainer: null", "--trainer null: write its options"),
        ("trainer: 5", "--trainer 5: write its options"),
        ("seed_everything: null", "--seed_everything None: must lie between"),
        ("trainer: {val_check_interval: '00:00:00:10'}", "val_check_interval: expected a number of batches"),
        ("trainer: {val_check_interval: {seconds: 9}}", "val_check_interval: expected a number of batches"),
        ("ckpt_path: run/none.ckpt", "run/none.ckpt: no such checkpoint"),
        ("ckpt_path: panel.nc", "panel.nc: refused, it holds a pickled object or is not a checkpoint"),
    ],
)
def test_options_of_a_config_that_are_none_are_one_line(folder, stgate_command, content, words):
    Path("odd.yaml").write_text(content)
    given = FIT[:-2] if content.startswith("trainer") else FIT
    one_line(stgate_command("fit", *given, "--config", "odd.yaml", "--out", "new"), words)
    assert not Path("new").exists()


def test_a_checkpoint_that_a_config_names_is_compared_like_one_of_the_command_line(folder, stgate_command):
    Path("from.yaml").write_text("ckpt_path: run/last.ckpt")
    again = ("fit", *FIT[:-1], 2, "--config", "from.yaml", "--out", "new")
    one_line(stgate_command(*again, "--model.hidden", 5), "--model.hidden 5: the checkpoint was fitted with 4")
    assert stgate_command(*again)[0] == 0
    assert torch.load("new/last.ckpt", weights_only=True)["epoch"] == 1


@pytest.mark.parametrize("strategy", ["ddp_spawn", "ddp_fork", "ddp_notebook"])
def test_a_strategy_that_starts_processes_is_refused(folder, stgate_command, strategy):
    given = ("--trainer.strategy", strategy, "--trainer.accelerator", "cpu", "--out", "new")
    one_line(stgate_command("fit", *FIT, *given), "--trainer.strategy: starts processes")
    assert not Path("new").exists()


def test_a_folder_may_begin_with_a_hyphen(folder, stgate_command):
    assert stgate_command("fit", *FIT, "--out=-new")[0] == 0
    assert stgate_command("fit", "--out=-new", "--resume", "--trainer.max_epochs", 2)[0] == 0
    assert torch.load("./-new/last.ckpt", weights_only=True)["epoch"] == 1


@pytest.mark.parametrize("option", ["model", "model.optimizer", "model.likelihood", "trainer.callbacks"])
@pytest.mark.parametrize("module", ["1/0", "def f(:", "import sys; sys.exit(3)", "raise OSError('no\\nway')", "x = y"])
def test_a_module_that_raises_when_it_is_imported_is_named(folder, stgate_command, monkeypatch, option, module):
    Path("raising.py").write_text(module)
    monkeypatch.syspath_prepend(folder)
    given = ("fit", *FIT, "--out", "new", f"--{option}", "raising.Thing")
    one_line(stgate_command(*given), f"--{option} raising.Thing: cannot be imported (")
    assert not Path("new").exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--out", "null"), "--out null: give the run's folder"),
        (("--data", "panel.nc"), "panel.nc: not valid YAML (not text)"),
        (("--trainer=panel.nc",), "panel.nc: not valid YAML (not text)"),
    ],
)
def test_options_that_are_no_files_and_no_folder(folder, stgate_command, given, words):
    one_line(stgate_command("fit", *FIT, "--out", "new", *given), words)
    assert not Path("new").exists()
