"""kill -9 in the middle of a fit, then --resume: the same weights, bit for bit, as an uninterrupted run."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest
import torch
from helpers import environment, make_panel, one_line

import stgate
from stgate.errors import StoreError
from stgate.io.safe.lock import claimed
from stgate.prediction import registry
from stgate.prediction.checkpoint import write_checkpoint as _write

DATA = ("--data.targets", "[y]", "--data.window", "12", "--data.horizon", "6")
DROPPING = ("--model", "GatedRNN", "--model.hidden", "16", "--model.dropout", "0.2", "--trainer.max_epochs", "6")
"""What draws random numbers in every step."""


def wait_for(done, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not done():
        time.sleep(0.02)


def test_a_fit_killed_and_resumed_ends_in_the_same_bits(stgate_command, tmp_path, monkeypatch):
    """Killed as a process of its own; what is compared with it began in another one, with other random numbers."""
    monkeypatch.chdir(tmp_path)
    stgate.write(make_panel(steps=1200), "panel.nc")
    fit = ("fit", *DROPPING, "--data.panel", "panel.nc", *DATA, "--calibration", "split", "--out")
    killed = subprocess.Popen(
        [sys.executable, "-m", "stgate", *fit, "killed"], env=environment(), stderr=subprocess.PIPE
    )
    last = tmp_path / "killed" / "last.ckpt"
    wait_for(lambda: last.exists() and _epoch(last) >= 1, 120)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert _epoch(last) < 5  # it was killed before the end

    code, _, err = stgate_command(*fit, "whole")
    assert code == 0, err
    code, _, err = stgate_command("fit", "--out", "killed", "--resume")
    assert code == 0, err
    assert not list((tmp_path / "killed").glob(".*"))
    for name in ("last.ckpt", "best.ckpt"):
        ours, theirs = (torch.load(tmp_path / run / name, weights_only=True) for run in ("killed", "whole"))
        assert ours["epoch"] == theirs["epoch"]
        assert ours["state_dict"].keys() == theirs["state_dict"].keys()
        for key, value in ours["state_dict"].items():
            assert torch.equal(value, theirs["state_dict"][key]), (name, key)


@pytest.fixture
def interruptible():
    """SIGINT is an interrupt, also where a shell's background job ignores it, and after Lightning has caught one."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


# An interrupt may fall between the opening of a file and its `with`.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_says_how_to_go_on(stgate_command, tmp_path, monkeypatch, interruptible):
    monkeypatch.chdir(tmp_path)
    stgate.write(make_panel(), "panel.nc")

    def press():
        wait_for((tmp_path / "run" / "last.ckpt").exists, 60)
        os.kill(os.getpid(), signal.SIGINT)

    pressing = threading.Thread(target=press)
    pressing.start()
    endless = ("--trainer.max_epochs", "1000")
    code, _, err = stgate_command("fit", *DROPPING, *endless, "--data.panel", "panel.nc", *DATA, "--out", "run")
    pressing.join()
    assert code == 130, err
    assert "continue with: stgate fit --out run --resume" in err.splitlines()[-1]


def test_a_finished_fit_can_be_lengthened_and_keeps_its_scores(stgate_command, tmp_path):
    stgate.write(make_panel(), tmp_path / "panel.nc")
    data = ("--data.panel", tmp_path / "panel.nc", "--data.targets", "[y]", "--data.window", 12, "--data.horizon", 6)
    out = ("--out", tmp_path / "run")
    model = ("--model", "GatedRNN", "--model.hidden", 4)
    assert stgate_command("fit", *model, *data, "--trainer.max_epochs", 2, *out)[0] == 0
    assert stgate_command("fit", "--resume", "--trainer.max_epochs", 3, *out)[0] == 0
    assert _epoch(tmp_path / "run" / "last.ckpt") == 2  # counted from 0
    logged = pd.read_csv(tmp_path / "run" / "metrics.csv")
    assert sorted(logged["epoch"].unique()) == [0, 1, 2]


def test_a_forecaster_of_a_users_module_is_resumed_and_validated(stgate_command, tmp_path, monkeypatch):
    """It is a field, so that its data module has to be known too."""
    (tmp_path / "theirs.py").write_text(
        "from stgate.inference import PointEstimate\n"
        "from stgate.models import CGLUBNF\n"
        "class Small(CGLUBNF):\n"
        "    def __init__(self, *, width: int = 4) -> None:\n"
        "        super().__init__(width=width, graph=0, heads=1, inference=PointEstimate())\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_HOLDERS", dict(registry._HOLDERS))
    stgate.write(make_panel(steps=120), tmp_path / "panel.nc")
    data = ("--data.panel", tmp_path / "panel.nc", "--data.targets", "[y]", "--data.horizon", 2)
    epochs, out = "--trainer.max_epochs", ("--out", tmp_path / "run")

    def forget():
        """What the next command knows, in a process of its own."""
        sys.modules.pop("theirs", None)
        registry._HOLDERS.pop("Small", None)

    code, _, err = stgate_command("fit", "--model", "theirs.Small", "--model.width", 8, *data, epochs, 1, *out)
    assert code == 0, err
    forget()
    code, _, err = stgate_command("fit", *out, "--resume", epochs, 2)
    assert code == 0, err
    forget()
    checkpoint = ("--ckpt_path", tmp_path / "run" / "last.ckpt")
    one_line(stgate_command("validate", *checkpoint, *data), "holds a Small, which is not imported", "as --model")
    one_line(stgate_command("validate", "--model", "theirs.Smal", *checkpoint), "theirs.Smal: no such class", "Small?")
    one_line(stgate_command("validate", "--model", "their.Small", *checkpoint), "No module named 'their'; install it")
    forget()
    code, out, err = stgate_command("validate", "--model", "theirs.Small", *checkpoint)
    assert code == 0 and "val_mae" in out, err


def test_the_last_checkpoint_is_the_last_epochs_and_not_the_best_ones(stgate_command, tmp_path):
    stgate.write(make_panel(), tmp_path / "panel.nc")
    data = ("--data.panel", tmp_path / "panel.nc", "--data.targets", "[y]", "--data.window", 12, "--data.horizon", 6)
    worse = ("--model", "GatedRNN", "--model.hidden", 4, "--model.optimizer", "SGD", "--model.optimizer.lr", 0.0)
    code, _, err = stgate_command(
        "fit", *worse, *data, "--trainer.max_epochs", 3, "--calibration", "split", "--out", tmp_path / "run"
    )
    assert code == 0, err
    assert _epoch(tmp_path / "run" / "last.ckpt") == 2
    assert _epoch(tmp_path / "run" / "best.ckpt") == 0  # a fit that learns nothing is best at its first epoch


def _epoch(path):
    try:
        return torch.load(path, weights_only=True)["epoch"]
    except (RuntimeError, EOFError, OSError):
        return -1


def test_a_checkpoint_broken_off_leaves_the_one_before(tmp_path, monkeypatch):
    from stgate.commands.fit.runs import AtomicCheckpoints

    last = tmp_path / "run" / "last.ckpt"
    AtomicCheckpoints().save_checkpoint({"epoch": 1}, last)

    def broken_off(checkpoint, path):
        path.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", broken_off)
    with pytest.raises(OSError, match="no space"):
        AtomicCheckpoints().save_checkpoint({"epoch": 2}, last)
    assert torch.load(last, weights_only=True) == {"epoch": 1}
    assert [path.name for path in last.parent.iterdir()] == ["last.ckpt"]


def test_a_fit_writes_its_checkpoints_in_one_step(stgate_command, tmp_path, monkeypatch):
    from stgate.commands.fit import runs

    written = []
    monkeypatch.setattr(
        runs, "write_checkpoint", lambda checkpoint, path: written.append(str(path)) or _write(checkpoint, path)
    )
    stgate.write(make_panel(), tmp_path / "panel.nc")
    data = ("--data.panel", tmp_path / "panel.nc", "--data.targets", "[y]", "--data.window", 12, "--data.horizon", 6)
    small = ("--model", "GatedRNN", "--model.hidden", 4, "--trainer.max_epochs", 1)
    assert stgate_command("fit", *small, *data, "--out", tmp_path / "run")[0] == 0
    assert {path.rsplit("/", 1)[-1] for path in written} == {"best.ckpt", "last.ckpt"}


def test_resume_without_a_run_is_refused(stgate_command, tmp_path):
    code, _, err = stgate_command("fit", "--out", tmp_path / "none", "--resume")
    assert code == 2
    assert "no last.ckpt" in err
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "last.ckpt").touch()
    one_line(stgate_command("fit", "--out", tmp_path / "none", "--resume"), "no config.yaml; give --config or --model")


def calibrated_fit(calibration, *more):
    return ("fit", *DROPPING, "--data.panel", "panel.nc", *DATA, "--calibration", calibration, *more)


@pytest.mark.parametrize("calibration", ["refit", "cross"])
def test_a_fit_on_all_rows_that_is_killed_is_done_again_on_resume(stgate_command, tmp_path, monkeypatch, calibration):
    """Until the end `best.ckpt` is whole: that of the first fit, then, in one step, that of the fit on all rows."""
    from stgate.fitting import completion

    monkeypatch.chdir(tmp_path)
    stgate.write(make_panel(), "panel.nc")
    usual = completion.train

    def killed(forecaster, data, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(completion, "train", killed)
    code, _, err = stgate_command(*calibrated_fit(calibration, "--out", "run"))
    assert code == 130 and "continue with: stgate fit --out run --resume" in err.splitlines()[-1]
    first = torch.load("run/best.ckpt", weights_only=True)
    assert first["stgate"]["calibration"] is None and first["epoch"] >= 0
    stgate.forecast("run/best.ckpt", "panel.nc", levels=[0.5])
    monkeypatch.setattr(completion, "train", usual)
    code, _, err = stgate_command("fit", "--out", "run", "--resume")
    assert code == 0, err
    last = torch.load("run/best.ckpt", weights_only=True)
    assert "refitted on all" in last["stgate"]["calibration"]["method"]
    assert last["stgate"]["past_errors"] is not None
    assert stgate.load("run/best.ckpt").seen > str(first["stgate"]["seen"])
    assert not list((tmp_path / "run").glob(".*"))
    code, _, err = stgate_command(*calibrated_fit(calibration, "--out", "whole"))
    assert code == 0, err
    whole = torch.load("whole/best.ckpt", weights_only=True)
    for key, value in whole["state_dict"].items():
        assert torch.equal(value, last["state_dict"][key]), key
    code, _, err = stgate_command("fit", "--out", "run", "--resume")
    assert code == 0 and "its fit on all rows stands" in err


def test_the_way_is_said_and_can_be_chosen(stgate_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stgate.write(make_panel(), "panel.nc")
    given = ("fit", "--model", "Ridge", "--data.panel", "panel.nc", *DATA)
    code, _, err = stgate_command(*given, "--out", "a")
    assert code == 0 and "calibration: cross (340 steps before the test part)" in err
    assert "otherwise --calibration split or refit" in err
    code, _, err = stgate_command(*given, "--calibration", "split", "--out", "b")
    assert code == 0 and "calibration: split (as asked)" in err
    assert stgate.load("b/best.ckpt").seen < stgate.load("a/best.ckpt").seen
    one_line(stgate_command(*given, "--calibration", "crss", "--out", "c"), "--calibration")


def test_a_folder_takes_one_fit_at_a_time(stgate_command, tmp_path):
    stgate.write(make_panel(), tmp_path / "panel.nc")
    data = ("--data.panel", tmp_path / "panel.nc", "--data.targets", "[y]", "--data.window", 12, "--data.horizon", 6)
    small = ("--model", "GatedRNN", "--model.hidden", 4, "--trainer.max_epochs", 1)
    fit = ("fit", *small, *data, "--out", tmp_path / "run")

    def meanwhile(*way):
        """The same fit by somebody else: a claim is that of one thread."""
        before = {path.name: path.read_bytes() for path in (tmp_path / "run").glob("*")}
        with claimed(tmp_path / "run"), ThreadPoolExecutor(1) as other:
            refused = other.submit(stgate_command, *fit, *way).result()
        one_line(refused, "run: another process is writing it", "give another --out")
        assert {path.name: path.read_bytes() for path in (tmp_path / "run").glob("*")} == before

    meanwhile()
    assert not (tmp_path / "run").exists()
    assert stgate_command(*fit)[0] == 0
    meanwhile("--resume")
    meanwhile("--overwrite")


@pytest.mark.parametrize("way", [(), ("--overwrite",)])
def test_a_folder_takes_one_automatic_fit_at_a_time(stgate_command, tmp_path, way):
    stgate.write(make_panel(steps=120), tmp_path / "panel.nc")
    data = ("--data.panel", tmp_path / "panel.nc", "--data.targets", "[y]", "--data.window", 12, "--data.horizon", 2)
    with claimed(tmp_path / "run"), ThreadPoolExecutor(1) as other:
        fit = ("fit", "--model", "auto", *data, "--out", tmp_path / "run", *way)
        one_line(other.submit(stgate_command, *fit).result(), "run: another process is writing it")
        with pytest.raises(StoreError, match="another process is writing it"):
            other.submit(stgate.fit, tmp_path / "panel.nc", targets="y", horizon=2, out=tmp_path / "run").result()
    assert not (tmp_path / "run").exists()
