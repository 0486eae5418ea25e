"""Options of the trainer and the data that mean nothing: one line that names the option, and no run."""

import importlib.util
from pathlib import Path

import pytest
import yaml
from helpers import make_panel, one_line

import stgate

MODEL = ("--model", "GatedRNN", "--model.hidden", "4", "--model.transforms", "null", "--model.linear", "false")
DATA = ("--data.panel", "panel.nc", "--data.targets", "y", "--data.window", "6", "--data.horizon", "3")
FIT = ("fit", *MODEL, *DATA, "--calibration", "split", "--trainer.max_epochs", "1")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stgate.write(make_panel(steps=160), "panel.nc")


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("trainer.max_epochs", "-5", "at least -1"),
        ("trainer.max_epochs", "0", "nothing would be fitted"),
        ("trainer.max_epochs", "1.5", "expected int"),
        ("trainer.max_epochs", "a", "expected int"),
        ("trainer.max_epochs", "inf", "expected int"),
        ("trainer.max_epochs", "true", "expected int"),
        ("trainer.max_steps", "-2", "at least -1"),
        ("trainer.min_epochs", "-1", "at least 0"),
        ("trainer.min_steps", "-1", "at least 0"),
        ("trainer.precision", "7", "known: 64, 32"),
        ("trainer.precision", "bf16-truu", "did you mean bf16-true"),
        ("trainer.devices", "0", "devices"),
        ("trainer.devices", "-1", "devices"),
        ("trainer.num_nodes", "0", "num_nodes"),
        ("trainer.accelerator", "abacus", "accelerator"),
        ("trainer.accumulate_grad_batches", "0", "at least 1"),
        ("trainer.accumulate_grad_batches", "-1", "at least 1"),
        ("trainer.gradient_clip_val", "-0.1", "at least 0"),
        ("trainer.gradient_clip_val", "nan", "expected int or float"),
        ("trainer.check_val_every_n_epoch", "0", "at least 1"),
        ("trainer.check_val_every_n_epoch", "-1", "at least 1"),
        ("trainer.val_check_interval", "0", "above zero"),
        ("trainer.val_check_interval", "-1", "val_check_interval"),
        ("trainer.val_check_interval", "99", "number of the training batches"),
        ("trainer.log_every_n_steps", "-1", "at least 0"),
        ("trainer.num_sanity_val_steps", "-2", "at least -1"),
        ("trainer.limit_val_batches", "-1", "limit_val_batches"),
        ("trainer.limit_train_batches", "1.5", "limit_train_batches"),
        ("trainer.overfit_batches", "nan", "expected int or float"),
        ("trainer.deterministic", "a", "expected bool or warn"),
        ("trainer.max_time", "7", "days:hours:minutes:seconds"),
        ("trainer.logger", "5", "expected iterable or bool"),
        ("trainer.callbacks", "5", "expected list"),
        ("data.num_workers", "-1", "at least 0"),
        ("data.num_workers", "1.5", "expected int"),
        ("data.num_workers", "100000", "each is a process"),
        ("data.targets", "[]", "none are given"),
        ("seed_everything", "-5", "between 0 and 4294967295"),
        ("seed_everything", "4294967296", "between 0 and"),
        ("data.batch_size", "0", "at least 1"),
        ("data.max_memory", "nan", "expected float"),
        ("data.split", "5", "expected sequence"),
        ("data.split", "[nan,0.3,0.3,0.4]", "split"),
        ("model.dropout", "nan", "expected float"),
        ("model.hidden", "true", "expected int"),
    ],
)
def test_it_is_refused_in_one_line(folder, stgate_command, option, value, words):
    one_line(stgate_command(*FIT, "--out", "run", f"--{option}", value), option.split(".")[-1], words)
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("option", "value", "package"),
    [
        ("model", "some_package.models.Thing", "some-package"),
        ("model", "sklearnn.linear_model.Ridge", "sklearnn"),
        ("model.likelihood", "some_package.Thing", "some-package"),
        ("model.inference", "some_package.Thing", "some-package"),
        ("model.transforms", "[Log,some_package.Thing]", "some-package"),
        ("model.optimizer", "bitsandbytes.optim.Adam8bit", "bitsandbytes"),
        ("model.lr_scheduler", "some_package.Thing", "some-package"),
        ("data", "some_package.Thing", "some-package"),
        ("trainer.logger", "some_package.Thing", "some-package"),
        ("trainer.callbacks", "some_package.Thing", "some-package"),
        ("trainer.plugins", "some_package.Thing", "some-package"),
        ("trainer.strategy", "some_package.Thing", "some-package"),
    ],
)
def test_a_class_whose_package_is_missing_says_which_to_install(folder, stgate_command, option, value, package):
    said = (f"--{option} ", f"pip install {package}")
    one_line(stgate_command(*FIT, "--out", "run", f"--{option}", value), *said)
    if option != "model":  # in a config alike
        keys = [key for name in option.split(".") for key in ((name, "init_args") if name == "model" else (name,))]
        config = yaml.safe_load(value) if value[0] == "[" else {"class_path": value}
        for key in reversed(keys):
            config = {key: config}
        if option.startswith("model."):
            config["model"]["class_path"] = "GatedRNN"
        Path("own.yaml").write_text(yaml.safe_dump(config))
        one_line(stgate_command("fit", "--config", "own.yaml", *FIT[3:], "--out", "run"), *said)
    assert not Path("run").exists()


def test_a_package_that_a_class_needs_itself_is_named(folder, stgate_command):
    Path("mine.py").write_text("import some_package\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(".")
        said = ("--model.optimizer mine.Thing", "pip install some-package")
        one_line(stgate_command(*FIT, "--out", "run", "--model.optimizer", "mine.Thing"), *said)
    logger = "lightning.pytorch.loggers.WandbLogger"
    if importlib.util.find_spec("wandb") is None:
        one_line(stgate_command(*FIT, "--out", "run", "--trainer.logger", logger), "pip install", "wandb")
    assert not Path("run").exists()


@pytest.mark.parametrize("name", ["my.own model.yaml", "a\nb.yaml", "é (1).yaml"])
def test_a_file_of_options_may_have_any_name(folder, stgate_command, name):
    Path(name).write_text("class_path: Ridge\ninit_args:\n  transforms: null\n", encoding="utf-8")
    code, _, err = stgate_command("fit", "--model", name, *DATA, "--calibration", "split", "--out", "run")
    assert code == 0, err
