"""Several processes are refused where they cannot share the work, before anything is made and before any is started."""

import sys

import pytest
from helpers import make_panel, one_line

import stgate
from stgate.commands.fit import ranks
from stgate.fitting.training import quiet_trainer

FIT = ("--model", "GatedRNN", "--model.hidden", "4", "--data.panel", "panel.nc", "--data.targets", "y")
FIT += ("--data.window", "12", "--data.horizon", "3", "--trainer.max_epochs", "1", "--calibration", "split")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stgate.write(make_panel(steps=200), "panel.nc")
    return tmp_path


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (("--trainer.devices", 98, "--trainer.strategy", "ddp"), ("--trainer.devices 98", "cores")),
        (("--trainer.devices", 2, "--trainer.strategy", "ddp_spawn"), ("--trainer.strategy", "give ddp")),
        (("--trainer.devices", 1, "--trainer.strategy", "ddp_spawn"), ("--trainer.strategy", "give ddp")),
        (("--trainer.num_nodes", 2), ("--trainer.num_nodes 2", "torchrun or srun")),
        (("--trainer.num_nodes", 3, "--trainer.devices", 2), ("--trainer.num_nodes 3", "torchrun or srun")),
        (("--model", "Ridge", "--trainer.devices", 2), ("2 processes, but Ridge", "closed form", "give devices 1")),
    ],
    ids=str,
)
def test_processes_that_cannot_share_a_fit_are_refused_and_nothing_is_made(folder, stgate_command, asked, words):
    argv, given = [*sys.argv], FIT if "--model" not in asked else FIT[4:]
    one_line(stgate_command("fit", *given, *asked, "--trainer.accelerator", "cpu", "--out", "run"), *words)
    assert [path.name for path in folder.iterdir()] == ["panel.nc"]
    assert sys.argv == argv


@pytest.mark.parametrize(
    ("given", "several", "first", "repeats"),
    [
        ({}, False, True, False),
        ({}, True, True, False),
        ({"LOCAL_RANK": "0"}, True, True, False),
        ({"LOCAL_RANK": "1"}, True, False, True),
        ({"RANK": "2", "LOCAL_RANK": "0"}, True, False, False),  # the first of another machine tells its own errors
        ({"RANK": "3", "LOCAL_RANK": "1"}, True, False, True),
        ({"SLURM_PROCID": "1", "SLURM_LOCALID": "1"}, True, False, True),
        ({"SLURM_PROCID": "2", "SLURM_LOCALID": "0"}, True, False, False),
        ({"SLURM_PROCID": "1", "SLURM_LOCALID": "1"}, False, True, False),  # tasks with a fit each
    ],
    ids=str,
)
def test_one_process_writes_and_one_of_each_machine_tells_errors(monkeypatch, given, several, first, repeats):
    for name in (*ranks.RANKS, "SLURM_LOCALID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert ranks.is_first(several=several) == first
    assert ranks.repeats(several=several) == repeats


@pytest.mark.parametrize(
    ("arguments", "several"),
    [
        ([], False),
        (["--trainer.devices", "1"], False),
        (["--trainer.devices=1", "--trainer.num_nodes", "1"], False),
        (["--trainer.devices", "2"], True),
        (["--trainer.devices=auto"], True),
        (["--trainer.devices", "[0,1]"], True),
        (["--trainer.num_nodes=2"], True),
    ],
    ids=str,
)
def test_the_words_tell_whether_there_may_be_several(arguments, several):
    assert ranks.asked_for_several(arguments) == several


@pytest.mark.parametrize(
    "asked",
    [("--out", "run"), ("--out", "new", "--monitor", "val_crsp"), ("--out", "new", "--data.window", "999")],
    ids=str,
)
def test_an_error_is_told_by_one_process_of_a_machine(folder, stgate_command, monkeypatch, asked):
    (folder / "run").mkdir()
    (folder / "run" / "last.ckpt").touch()
    many = ("fit", *FIT, "--trainer.devices", 2, "--trainer.accelerator", "cpu", *asked)
    assert stgate_command(*many)[0] == 2
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert stgate_command(*many) == (2, "", "")


@pytest.mark.parametrize("command", ["validate", "test"])
def test_so_are_they_where_a_checkpoint_is_scored(folder, stgate_command, command):
    assert stgate_command("fit", *FIT, "--out", "run")[0] == 0
    given = ("--ckpt_path", "run/best.ckpt", "--trainer.accelerator", "cpu")
    one_line(stgate_command(command, *given, "--trainer.devices", 2), "--trainer.devices: 2 processes", command)
    assert stgate_command(command, *given)[0] == 0


def test_an_automatic_fit_takes_one_process(folder, stgate_command):
    asked = ("--model", "auto", "--data.panel", "panel.nc", "--data.targets", "y", "--trainer.devices", 2)
    one_line(stgate_command("fit", *asked, "--out", "run"), "trainer.devices")
    assert [path.name for path in folder.iterdir()] == ["panel.nc"]


def test_one_device_is_the_default_everywhere(folder, stgate_command):
    assert quiet_trainer().world_size == 1 == quiet_trainer(accelerator="cpu").world_size
    code, out, _ = stgate_command("fit", *FIT, "--print_config")
    assert code == 0 and "\n  devices: 1\n" in out
