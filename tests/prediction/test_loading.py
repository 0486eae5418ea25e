"""What forecasts is loaded without Lightning; formats are migrated, and later ones refused."""

import inspect
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import stgate
from stgate.errors import CheckpointError, RequestError
from stgate.models import Forecaster
from stgate.prediction import registry
from stgate.prediction.checkpoint import KEY, read_checkpoint, write_calibrated
from stgate.prediction.migrations import FORMAT, migrate, migrate_config

FORMAT1 = Path(__file__).parents[1] / "checkpoints" / "format1"


@pytest.fixture(scope="module")
def used(tmp_path_factory):
    """What one process printed after each verb on a checkpoint, and the checkpoint that it calibrated anew."""
    panel = str(FORMAT1 / "panel.nc")
    path = shutil.copy(FORMAT1 / "run_gated_rnn" / "last.ckpt", tmp_path_factory.mktemp("used") / "last.ckpt")
    calls = {
        "forecast": FORMAT1 / "gated_rnn.ckpt",
        "backtest": FORMAT1 / "gated_rnn.ckpt",
        "reconstruct": FORMAT1 / "cglubnf.ckpt",
        "recalibrate": path,
    }
    code = "import sys, stgate\n" + "".join(
        f"stgate.{verb}({str(checkpoint)!r}, {panel!r}, levels=[0.5])\n"
        f"print({verb!r}, sorted({{'lightning', 'torchmetrics', 'torch_geometric'}} & sys.modules.keys()))\n"
        for verb, checkpoint in calls.items()
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    return dict(line.split(maxsplit=1) for line in done.stdout.splitlines()), path


@pytest.mark.parametrize("verb", ["forecast", "backtest", "reconstruct", "recalibrate"])
def test_the_verbs_of_a_checkpoint_need_no_lightning(used, verb):
    printed, _ = used
    assert printed[verb] == "[]"


def test_calibrating_a_checkpoint_keeps_what_a_resume_needs(used, tmp_path):
    _, path = used
    held = read_checkpoint(path)
    assert held[KEY]["calibration"]["levels"] == [0.5]
    assert "optimizer_states" in held
    write_calibrated(stgate.load(path), path, tmp_path / "small.ckpt", resumable=False)
    assert "optimizer_states" not in read_checkpoint(tmp_path / "small.ckpt")


def test_a_predictor_and_its_forecaster_forecast_the_same():
    with_lightning = Forecaster.load_from_checkpoint(FORMAT1 / "sth_sepnet.ckpt")
    predictor = stgate.load(FORMAT1 / "sth_sepnet.ckpt")
    assert predictor.fingerprint() == with_lightning.predictor.fingerprint()
    one, two = (stgate.forecast(m, FORMAT1 / "panel.nc", levels=[0.5, 0.8]) for m in (predictor, with_lightning))
    assert one.drop_attrs().identical(two.drop_attrs())
    assert one.attrs["model"] == two.attrs["model"] == "STHSepNet"


@pytest.mark.parametrize("name", registry.PREDICTORS)
def test_a_predictor_has_the_defaults_of_its_forecaster(name):
    """An option that has come since a checkpoint was written takes its default, in both ways of loading."""
    forecaster = getattr(stgate.models, name)
    options = inspect.signature(forecaster).parameters
    made = registry.make_predictor(
        name, {k: p.default for k, p in options.items() if k not in ("optimizer", "lr_scheduler")}
    )
    assert type(made) is type(forecaster().predictor)
    maker = registry.PREDICTORS[name].rpartition(".")[2]
    signature = registry.signature_of(name).parameters
    assert options.keys() - signature.keys() <= {"optimizer", "lr_scheduler"}
    assert signature.keys() - options.keys() <= {"standardized"}  # which BayesNF turns off
    for option in signature.keys() & options.keys():
        assert signature[option].default == options[option].default, f"{maker}: {option}"


def rewritten(path, name="gated_rnn", **options):
    """Write a kept checkpoint with other stored options; None leaves one out."""
    held = read_checkpoint(FORMAT1 / f"{name}.ckpt")
    held["hyper_parameters"] |= options
    held["hyper_parameters"] = {k: v for k, v in held["hyper_parameters"].items() if k not in options or v is not None}
    torch.save(held, path)
    return path


LOADERS = pytest.mark.parametrize("load", [stgate.load, Forecaster.load_from_checkpoint], ids=["load", "models"])


@LOADERS
@pytest.mark.parametrize("name", ["gated_rnn", "gated_transformer", "bayesnf"])
def test_an_option_that_a_checkpoint_lacks_has_its_default(load, name, tmp_path):
    late = {"gated_rnn": ["free_carry", "dropout", "imputation"], "gated_transformer": ["norm"], "bayesnf": ["degree"]}
    whole = load(FORMAT1 / f"{name}.ckpt")
    less = load(rewritten(tmp_path / "less.ckpt", name, **dict.fromkeys(late[name])))
    weights = less.state_dict()
    assert all(torch.equal(weights[key], value) for key, value in whole.state_dict().items())


@LOADERS
def test_options_are_changed_by_the_names_that_the_class_takes(load):
    checkpoint = FORMAT1 / "gated_rnn.ckpt"
    assert "spatial" not in read_checkpoint(checkpoint)["hyper_parameters"]  # it has come since
    load(checkpoint, spatial=None)
    with pytest.raises(RequestError, match="spatia: not an option of GatedRNN; did you mean spatial"):
        load(checkpoint, spatia=None)


@LOADERS
def test_a_stored_option_that_the_class_does_not_take_is_named(load, tmp_path):
    with pytest.raises(CheckpointError, match="zzz 3: the checkpoint holds it, but GatedRNN takes no such option"):
        load(rewritten(tmp_path / "more.ckpt", zzz=3))


def test_a_class_with_a_new_option_without_default_says_so():
    def make(*, hidden, new):
        return hidden, new

    with pytest.raises(CheckpointError, match=r"Mine: does not take the checkpoint's options .*'new'.*a default"):
        registry.construct("Mine", make, {"hidden": 3})


def test_a_checkpoint_says_its_format_and_a_later_one_is_refused(tmp_path):
    model = Forecaster.load_from_checkpoint(FORMAT1 / "persistence.ckpt")
    model.save(tmp_path / "new.ckpt")
    held = torch.load(tmp_path / "new.ckpt", weights_only=True)
    assert held[KEY]["format"] == FORMAT
    held[KEY]["format"] = FORMAT + 1
    torch.save(held, tmp_path / "later.ckpt")
    with pytest.raises(CheckpointError, match=rf"later.ckpt: checkpoint format {FORMAT + 1}: .*install a newer stgate"):
        stgate.load(tmp_path / "later.ckpt")


@pytest.mark.parametrize(
    ("owner", "kept"),
    [("Own", {"fill": 1, "context_masking": 2}), ("Ridge", {"imputation": 1, "context_masking": 2}), ("Gone", {})],
)
def test_only_options_that_the_class_takes_by_todays_name_are_renamed(owner, kept, monkeypatch):
    """A user's own option may be called `fill`."""

    def own(*, fill=0, context_masking=0):
        return fill, context_masking

    monkeypatch.setattr(registry, "_HOLDERS", {**registry._HOLDERS, "Own": own})
    options = {"fill": 1, "hide": 2}
    ours = {"class": owner, "cases": 1}
    checkpoint = {"stgate": ours, "state_dict": {}, "hyper_parameters": options}
    migrate(checkpoint)
    config = migrate_config({"model": {"class_path": f"mine.{owner}", "init_args": options}})
    assert checkpoint["hyper_parameters"] == config["model"]["init_args"]
    assert checkpoint["hyper_parameters"].items() >= (kept or options).items()
    assert ("transforms" in checkpoint["hyper_parameters"]) == (owner == "Ridge")  # as it was without: None


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"format": 0}, "format 0: must be a whole number from 1 to 5; fit the model again"),
        ({"format": "2"}, "format '2': must be a whole number"),
        ({"format": True}, "format True: must be a whole number"),
        ({"format": 1}, "format 1: must hold `cases`; fit the model again"),
        ({"format": 2}, "format 2: must hold `n_observations`; fit the model again"),
        ({"format": 3, "n_observations": 1}, "format 3: must hold `transforms`; fit the model again"),
    ],
    ids=str,
)
def test_a_broken_format_of_a_checkpoint_is_named(entries, words):
    with pytest.raises(CheckpointError, match=f"^checkpoint {words}"):
        migrate({"stgate": {"class": "Ridge"} | entries, "state_dict": {}, "hyper_parameters": {}})


@pytest.mark.filterwarnings("ignore:The dirpath has changed", "ignore:You.re using the WeightAveraging callback")
@pytest.mark.parametrize("run", ["run_gated_rnn", "run_cglubnf", "run_ema"])
def test_a_run_folder_of_an_earlier_version_goes_on(run, stgate_command, tmp_path, monkeypatch):
    shutil.copytree(FORMAT1 / run, tmp_path / "run")
    panel = stgate.open_panel(FORMAT1 / "panel.nc")
    panel["y"].attrs["units"], panel["u"].attrs["units"] = "ug/m3", "1"
    stgate.write(panel, tmp_path / "panel.nc")
    monkeypatch.chdir(tmp_path)
    before = read_checkpoint("run/last.ckpt")
    code, _, error = stgate_command("fit", "--out", "run", "--resume", "--trainer.max_epochs", before["epoch"] + 2)
    assert code == 0, error
    after = read_checkpoint("run/last.ckpt")
    assert after["epoch"] == before["epoch"] + 1
    assert after["hyper_parameters"].keys() >= before["hyper_parameters"].keys()
    code, _, error = stgate_command("test", "--ckpt_path", "run/best.ckpt")
    assert code == 0, error
    assert np.isfinite(stgate.forecast("run/best.ckpt", "panel.nc")["y_mean"]).any()


def test_the_parts_of_a_config_are_found_by_their_class_wherever_their_module_is_now():
    paths = {
        "likelihood": "stgate.nn.StudentT",
        "inference": "stgate.inference.ensemble.Ensemble",
        "rollout": "stgate.nn.rollout.RollOut",
        "optimizer": "torch.optim.AdamW",
    }
    model = {name: {"class_path": path, "init_args": {"a": 1}} for name, path in paths.items()}
    config = {"model": {"class_path": "stgate.models.GatedRNN", "init_args": model}}
    kept = migrate_config(config)["model"]["init_args"]
    kept = {name: kept[name] for name in paths}
    assert {name: part["class_path"] for name, part in kept.items()} == {
        "likelihood": "StudentT",
        "inference": "Ensemble",
        "rollout": "RollOut",
        "optimizer": "torch.optim.AdamW",
    }
    assert all(part["init_args"] == {"a": 1} for part in kept.values())
    model["likelihood"] = {"class_path": "theirs.StudentT"}
    assert migrate_config(config)["model"]["init_args"]["likelihood"]["class_path"] == "theirs.StudentT"


@pytest.mark.parametrize(
    ("options", "new"),
    [
        (["--model.fill", "last"], "--model.imputation"),
        (
            ["--model.inference", "MeanField", "--model.inference.initial_spread", "0.1"],
            "--model.inference.initial_stddev",
        ),
    ],
)
def test_a_renamed_option_is_answered_with_its_new_name(stgate_command, options, new):
    code, _, error = stgate_command("fit", "--model", "GatedRNN", *options, "--data.panel", "x.nc")
    assert code == 2 and f"its name is now {new}" in error


@LOADERS
def test_a_changed_option_of_an_old_name_is_answered_with_the_new_one(load):
    with pytest.raises(RequestError, match="fill: not an option of GatedRNN; its name is now imputation"):
        load(FORMAT1 / "gated_rnn.ckpt", fill="last")


def test_a_forecaster_without_a_maker_is_loaded_from_the_room_of_forecasters(monkeypatch):
    """As one that was added by `build` alone, where no forecaster has been imported yet."""
    monkeypatch.delitem(registry.PREDICTORS, "GatedRNN")
    monkeypatch.setattr(registry, "_HOLDERS", {})
    monkeypatch.setattr(stgate, "models", stgate.models)  # and put back
    for module in [name for name in sys.modules if name.partition(".models")[0] == "stgate"]:
        monkeypatch.delitem(sys.modules, module)
    assert stgate.load(FORMAT1 / "gated_rnn.ckpt").name == "GatedRNN"
    assert "stgate.models.gated_rnn" in sys.modules


def test_what_is_no_forecaster_is_refused():
    with pytest.raises(RequestError, match="model: is a int; give a fitted forecaster"):
        stgate.forecast(3, FORMAT1 / "panel.nc")
