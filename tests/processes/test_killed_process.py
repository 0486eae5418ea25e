"""A fit one of whose processes is killed ends at once, and goes on to what it would have been."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers import environment, make_panel

import stgate

FIT = "fit --model GatedRNN --model.hidden 4 --model.transforms null --data.panel panel.nc --data.targets y"
FIT += " --data.window 12 --data.horizon 3 --trainer.max_epochs 12 --trainer.accelerator cpu --calibration split"
FIT += " --trainer.devices 2 --trainer.strategy ddp --out"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the other process by /proc")
def test_a_killed_process_ends_the_others_and_the_resumed_fit_is_the_whole_one(tmp_path):
    stgate.write(make_panel(steps=400), tmp_path / "panel.nc")
    command = [sys.executable, "-m", "stgate", *FIT.split()]
    options = {"cwd": tmp_path, "env": environment(), "stderr": subprocess.PIPE, "text": True}
    assert subprocess.run([*command, "whole"], check=False, **options).returncode == 0

    fit = subprocess.Popen([*command, "killed"], **options)
    last, until = tmp_path / "killed" / "last.ckpt", time.monotonic() + 600
    while not last.exists() and fit.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    begun = Path(f"/proc/{fit.pid}/task/{fit.pid}/children").read_text().split()
    (other,) = (pid for pid in begun if b"\0LOCAL_RANK=1\0" in Path(f"/proc/{pid}/environ").read_bytes())
    os.kill(int(other), signal.SIGKILL)
    killed = time.monotonic()
    _, error = fit.communicate(timeout=60)
    assert fit.returncode == 1 and time.monotonic() - killed < 30
    assert error.splitlines()[-1] == (
        "stgate: process 2 of 2 has ended by signal 9; continue with: stgate fit --out killed --resume"
    )

    assert subprocess.run([*command, "killed", "--resume"], check=False, **options).returncode == 0
    whole, resumed = (tmp_path / run for run in ("whole", "killed"))
    assert (resumed / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()
    for name in ("last.ckpt", "best.ckpt"):
        ours, theirs = (torch.load(run / name, weights_only=True)["state_dict"] for run in (resumed, whole))
        assert all(torch.equal(tensor, theirs[key]) for key, tensor in ours.items())
