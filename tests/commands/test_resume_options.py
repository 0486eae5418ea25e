"""Each option of a fit that is changed on a resume takes a side: it is used, or refused and the run left alone."""

import copy
import shutil
import warnings

import pytest
import torch
import yaml
from helpers import make_panel, one_line

import stgate
from stgate.__main__ import main
from stgate.commands.fit.cli import ForecasterCLI
from stgate.commands.fit.resumption import GOES_ON, check_resumed
from stgate.errors import FitWarning, RequestError

FIT = ("--model", "GatedRNN", "--model.hidden", "4", "--model.transforms", "null", "--model.linear", "false")
FIT += ("--data.panel", "panel.nc", "--data.targets", "y", "--data.window", "6", "--data.horizon", "3")
FIT += ("--calibration", "split", "--trainer.max_epochs", "1")
PARTS = ("--model.likelihood", "StudentT", "--model.inference", "Ensemble", "--model.inference.members", "2")
PARTS += ("--model.cell", "rhn")
STOPPING = (
    "--trainer.callbacks",
    "lightning.pytorch.callbacks.EarlyStopping",
    "--trainer.callbacks.monitor",
    "val_mae",
)
USED = {
    "accelerator": "cpu",
    "strategy": "single_device",
    "precision": "32-true",
    "max_epochs": 3,
    "min_epochs": 1,
    "max_steps": 40,
    "min_steps": 1,
    "max_time": "00:01:00:00",
    "limit_train_batches": 2,
    "limit_val_batches": 1,
    "limit_test_batches": 1,
    "limit_predict_batches": 1,
    "val_check_interval": 1,
    "check_val_every_n_epoch": 2,
    "num_sanity_val_steps": 0,
    "log_every_n_steps": 1,
    "enable_model_summary": False,
    "accumulate_grad_batches": 2,
    "gradient_clip_val": 0.5,
    "gradient_clip_algorithm": "value",
    "deterministic": "warn",
    "benchmark": False,
    "inference_mode": False,
    "use_distributed_sampler": False,
    "detect_anomaly": False,
    "reload_dataloaders_every_n_epochs": 1,
    "default_root_dir": "elsewhere",
}


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A folder of runs of one epoch: a plain one, and one that names its parts and stops early."""
    folder = tmp_path_factory.mktemp("begun")
    stgate.write(make_panel(steps=160), folder / "panel.nc")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        patch.chdir(folder)
        assert main(["fit", *FIT, "--out", "run"]) == 0
        assert main(["fit", *FIT, *PARTS, *STOPPING, "--trainer.callbacks.patience", "3", "--out", "parts"]) == 0
    return folder


@pytest.fixture
def folder(begun, tmp_path, monkeypatch):
    shutil.copytree(begun, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def leaves(options, name=""):
    """The options of a config, by the names that the command line has for them, each with its place."""
    for key, value in options.items():
        deeper = name if key in ("class_path", "init_args") else f"{name}.{key}" if name else key
        if isinstance(value, dict):
            yield from ((n, (key, *path)) for n, path in leaves(value, deeper))
        else:
            yield deeper, (key,)


def snapshot(run):
    return {path.name: path.read_bytes() for path in run.iterdir()}


def test_each_option_takes_a_side(begun):
    options = yaml.safe_load((begun / "run" / "config.yaml").read_text())
    saved = torch.load(begun / "run" / "last.ckpt", weights_only=True)["hyper_parameters"]
    free = {*GOES_ON, *(f"model.{name}" for name in saved)}
    names = 0
    for name, (*path, last) in leaves(options):
        changed = place = copy.deepcopy(options)
        for key in path:
            place = place[key]
        place[last] = "changed"
        names += 1
        if name in free or name.partition(".")[0] in free:
            check_resumed(changed, options, compared=",".join(saved))
        else:
            with pytest.raises(RequestError, match=f"--{name} changed: the run was begun with"):
                check_resumed(changed, options, compared=",".join(saved))
    assert names > 80


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *[("hidden", 5), ("layers", 2), ("cell", "lstm"), ("gate", "additive"), ("attention", 1), ("span", 17)],
        *[("gated_heads", True), ("depth", 3), ("free_carry", True), ("patch", 2), ("halo", 1), ("dropout", 0.25)],
        *[("rollout", "RollOut"), ("spatial", "torch_geometric.nn.GCNConv"), ("spatial_options", "{a: 1}")],
        *[("imputation", "last"), ("transforms", "auto"), ("node_statistics", False), ("neighbour_means", "none")],
        *[("linear", True), ("node_embedding", 4), ("likelihood", "StudentT"), ("inference", "Ensemble")],
    ],
)
def test_options_of_the_forecaster_are_refused(folder, stgate_command, option, value):
    before = snapshot(folder / "run")
    one_line(stgate_command("fit", "--out", "run", "--resume", f"--model.{option}", value), f"--model.{option}")
    assert snapshot(folder / "run") == before


@pytest.mark.parametrize("part", ["likelihood", "inference"])
@pytest.mark.parametrize("again", [(), FIT])
def test_a_part_that_is_left_to_its_default_is_not_that_of_the_run(folder, stgate_command, part, again):
    before = snapshot(folder / "parts")
    told = stgate_command("fit", *again, "--out", "parts", "--resume", f"--model.{part}", "null")
    one_line(told, f"--model.{part} null: the run was begun with")
    assert snapshot(folder / "parts") == before


def test_options_of_the_trainer_reach_it(folder, stgate_command, monkeypatch):
    options = yaml.safe_load((folder / "run" / "config.yaml").read_text())["trainer"]
    assert {*USED} <= {*options}
    seen, usual = {}, ForecasterCLI._instantiate_trainer

    def spied(self, config, callbacks):
        seen.update(config)
        return usual(self, config, callbacks)

    monkeypatch.setattr(ForecasterCLI, "_instantiate_trainer", spied)
    words = [word for name, value in USED.items() for word in (f"--trainer.{name}", value)]
    code, _, err = stgate_command("fit", "--out", "run", "--resume", *words)
    assert code == 0, err
    assert {name: seen[name] for name in USED} == USED
    assert torch.load(folder / "run" / "last.ckpt", weights_only=True)["epoch"] > 0


def test_the_patience_that_is_asked_for_is_used(folder, stgate_command):
    again = ("--trainer.callbacks.patience", 7, "--trainer.max_epochs", 2)
    code, _, err = stgate_command("fit", "--out", "parts", "--resume", *STOPPING, *again)
    assert code == 0, err
    states = torch.load(folder / "parts" / "last.ckpt", weights_only=True)["callbacks"]
    assert [state["patience"] for name, state in states.items() if name.startswith("EarlyStopping")] == [7]
