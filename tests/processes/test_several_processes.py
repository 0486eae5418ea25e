"""A fit by two processes is that of one with the same batches: gradients, scores, best epoch, weights."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import shared_fits
import torch
from helpers import environment, make_panel

import stgate
from stgate.__main__ import main

HERE = Path(__file__).parent
LAUNCHERS = ("RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "PL_GLOBAL_SEED")
FIT = "fit --model GatedRNN --model.hidden 4 --model.transforms null --data.panel panel.nc --data.targets y"
FIT += " --data.window 12 --data.horizon 3 --data.batch_size 37 --trainer.max_epochs 2"
FIT += " --trainer.accelerator cpu --calibration refit"


def clean():
    """The environment of a process that no launcher has started."""
    return {name: value for name, value in environment().items() if name not in LAUNCHERS}


def run(words, cwd, **more):
    command = [sys.executable, *(str(word) for word in words)]
    return subprocess.run(
        command, cwd=cwd, env=clean() | more, capture_output=True, text=True, timeout=900, check=False
    )


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What two processes have found, which torchrun started."""
    folder = tmp_path_factory.mktemp("found")
    torchrun = ("-m", "torch.distributed.run", "--nproc-per-node", 2, "--master-port", 0, "--standalone")
    done = run((*torchrun, HERE / "shared_fits.py", folder / "of"), folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(folder / f"of.{rank}", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("made", shared_fits.SAME, ids=lambda made: made.__name__)
def test_two_processes_fit_what_one_does(found, made):
    alone, two = shared_fits.fit(made, 1), found[0]["fits"][made.__name__]
    for part in ("gradients", "weights"):
        assert two[part].keys() == alone[part].keys()
        for name, tensor in alone[part].items():
            torch.testing.assert_close(two[part][name], tensor, atol=1e-5, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}")
    assert two["best"] == alone["best"] and len(two["scores"]) == len(alone["scores"]) == 2
    for now, before in zip(two["scores"], alone["scores"], strict=True):
        assert now == pytest.approx(before, abs=1e-5, rel=1e-5, nan_ok=True)


@pytest.mark.parametrize("made", [*shared_fits.SAME, *shared_fits.DRAWN], ids=lambda made: made.__name__)
def test_processes_agree_on_weights_scores_and_best_epoch(found, made):
    ours, theirs = (one["fits"][made.__name__] for one in found)
    assert all(torch.equal(tensor, theirs["weights"][name]) for name, tensor in ours["weights"].items())
    assert all(torch.isfinite(tensor).all() for tensor in ours["gradients"].values())
    assert [ours[name] for name in ("scores", "best", "seed")] == [theirs[name] for name in ("scores", "best", "seed")]


def test_a_forecaster_in_closed_form_is_refused(found):
    assert [one["refused"] for one in found] == 2 * [
        "devices: 2 processes, but Ridge is fitted in closed form, by one; give devices 1"
    ]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A folder with the run of one process."""
    folder = tmp_path_factory.mktemp("runs")
    stgate.write(make_panel(steps=160), folder / "panel.nc")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main([*FIT.split(), "--out", "alone"]) == 0
    return folder


def same_runs(folder, name):
    first, second = (
        np.genfromtxt(folder / run / "metrics.csv", delimiter=",", names=True).tolist() for run in ("alone", name)
    )
    np.testing.assert_allclose(second, first, atol=1e-5, rtol=1e-5)
    held = [torch.load(folder / run / "best.ckpt", weights_only=True)["state_dict"] for run in ("alone", name)]
    for key, tensor in held[0].items():
        torch.testing.assert_close(held[1][key], tensor, atol=1e-4, rtol=1e-4)
    assert sorted(p.name for p in (folder / name).iterdir()) == sorted(p.name for p in (folder / "alone").iterdir())


def test_the_command_starts_its_processes_and_one_of_them_writes(alone):
    devices = ("--trainer.devices", 2, "--trainer.strategy", "ddp")
    done = run(("-m", "stgate", *FIT.split(), "--out", "two", *devices), alone)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert len([line for line in lines if line.startswith("epoch 2/2")]) == 1 == lines.count("wrote two/best.ckpt")
    same_runs(alone, "two")


def test_slurm_starts_them_and_one_of_them_prints(alone):
    """The tasks of `srun --ntasks-per-node 2`, as its variables describe them."""
    job = {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_JOB_NAME": "fit", "SLURM_JOB_ID": str(os.getpid())}
    job |= {"SLURM_NNODES": "1", "SLURM_NODEID": "0", "SLURM_NODELIST": "127.0.0.1", "MASTER_ADDR": "127.0.0.1"}

    command = [sys.executable, "-m", "stgate", *FIT.split(), "--trainer.devices", "2", "--out", "slurm"]
    options = {"cwd": alone, "stderr": subprocess.PIPE, "text": True}
    ranks = ({"SLURM_PROCID": str(n), "SLURM_LOCALID": str(n)} for n in (0, 1))
    tasks = [subprocess.Popen(command, env=clean() | job | rank, **options) for rank in ranks]
    errors = [one.communicate(timeout=900)[1] for one in tasks]
    codes = [one.returncode for one in tasks]
    assert codes == [0, 0], errors
    assert errors[1] == "" and "epoch 2/2" in errors[0]
    same_runs(alone, "slurm")
