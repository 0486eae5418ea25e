"""Commands take one process: more are refused before anything is made, and none is ever started."""

import subprocess
import sys

import pytest
from helpers import environment, make_panel, one_line

import stgate
from stgate.fitting.training import quiet_trainer

FIT = ("--model", "GatedRNN", "--model.hidden", "4", "--data.panel", "panel.nc", "--data.targets", "y")
FIT += ("--data.window", "12", "--data.horizon", "3", "--trainer.max_epochs", "1", "--calibration", "split")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stgate.write(make_panel(steps=200), "panel.nc")
    return tmp_path


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        (("--trainer.devices", 2), 2),
        (("--trainer.devices", 98, "--trainer.strategy", "ddp"), 98),
        (("--trainer.devices", 2, "--trainer.strategy", "ddp_spawn"), 2),
        (("--trainer.num_nodes", 2), 2),
        (("--trainer.num_nodes", 3, "--trainer.devices", 2), 6),
    ],
    ids=str,
)
def test_several_processes_are_refused_and_nothing_is_made(folder, stgate_command, asked, count):
    argv = [*sys.argv]
    cpu = ("--trainer.accelerator", "cpu", "--out", "run")
    one_line(stgate_command("fit", *FIT, *asked, *cpu), f"--trainer.devices: {count} processes", "give 1")
    assert [path.name for path in folder.iterdir()] == ["panel.nc"]
    assert sys.argv == argv


@pytest.mark.parametrize("command", ["validate", "test"])
def test_so_are_they_where_a_checkpoint_is_scored(folder, stgate_command, command):
    assert stgate_command("fit", *FIT, "--out", "run")[0] == 0
    given = ("--ckpt_path", "run/best.ckpt", "--trainer.accelerator", "cpu")
    one_line(stgate_command(command, *given, "--trainer.devices", 2), "--trainer.devices: 2 processes", command)
    assert stgate_command(command, *given)[0] == 0


def test_the_command_itself_starts_none(folder):
    words = [sys.executable, "-m", "stgate", "fit", *FIT, "--trainer.devices", "2", "--trainer.accelerator", "cpu"]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 2 and "can't open file" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("stgate: --trainer.devices: 2 processes")


def test_one_device_is_the_default_everywhere(folder, stgate_command):
    assert quiet_trainer().world_size == 1 == quiet_trainer(accelerator="cpu").world_size
    code, out, _ = stgate_command("fit", *FIT, "--print_config")
    assert code == 0 and "\n  devices: 1\n" in out
