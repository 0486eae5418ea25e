"""`stgate tune`: from the arguments of a fit to a config that fits."""

import pytest
import yaml
from helpers import make_panel, one_line

import stgate

FIT = (
    *("--model", "GatedRNN", "--model.transforms", "null", "--data.panel", "panel.nc", "--data.targets", "y"),
    *("--data.window", "6", "--data.horizon", "2", "--data.calendar", "[hour]", "--trainer.max_epochs", "2"),
    *("--trainer.limit_train_batches", "2"),
)
SEARCH = ("--search", "model.hidden=4,8", "model.optimizer.lr=0.001..0.01:log")


@pytest.fixture
def tune(tmp_path, monkeypatch, stgate_command):
    monkeypatch.chdir(tmp_path)
    stgate.write(make_panel(steps=200), "panel.nc")
    return lambda *options, fit=FIT: stgate_command("tune", *fit, *options)


def test_the_config_that_it_writes_fits(tune, tmp_path, stgate_command):
    code, out, err = tune(*SEARCH, "--trials", "3", "--out", "tuned.yaml")
    assert code == 0, err
    assert "trial 1 of 3" in err
    assert "as asked" in err
    assert "score" in out
    held = yaml.safe_load((tmp_path / "tuned.yaml").read_text())
    assert held["out"] is None
    assert held["data"]["panel"] == "panel.nc"
    again = tune(*SEARCH, "--trials", "3", "--out", "tuned.yaml")
    assert again[:2] == (0, out), "nothing is left to do, and the table is the same"
    code, _, err = stgate_command("fit", "--config", "tuned.yaml", "--out", "run")
    assert code == 0, err
    assert stgate.forecast("run/best.ckpt", "panel.nc", levels=[0.5])["y"].notnull().all()


@pytest.mark.parametrize("model", ["Ridge", "GradientBoosting"])
def test_forecasters_in_closed_form_are_searched_too(tune, model):
    fit = ("--model", model, *FIT[4:-4])
    options = {"Ridge": "model.neighbour_means=auto,none", "GradientBoosting": "model.trees=2,4"}
    code, _, err = tune("--search", options[model], "--trials", "2", "--out", "tuned.yaml", fit=fit)
    assert code == 0, err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--out", "t.yaml", "--search", "model.hiden=1,2"), "hiden"),
        (("--out", "t.yaml", "--search", "model.hidden=a,b"), "model.hidden a: expected int"),
        (("--out", "t.yaml", "--search", "nonsense"), "NAME=A,B,C"),
        (("--out", "t.yaml", "--search", "model.hidden=4,8", "--resume"), "--resume"),
        (("--out", "t.yaml", "--search", "model.hidden=4,8", "--ckpt_path=x"), "--ckpt_path"),
        (("--out", "t.yaml", "--trainer.devices", "2"), "--trainer.devices"),
        (("--out", "t.yaml", "--trials", "0"), "trials 0"),
        (("--out", "t.yaml", "--minutes", "-1"), "--minutes"),
        (("--out", "t.yaml", "--data.split", "[0.8,0,0,0.2]", "--search", "model.hidden=4,8"), "validation"),
        (("--out", "t.nc"), ".yaml"),
        (("--out", "nowhere/t.yaml"), "nowhere"),
        ((), "--out"),
        (("--out", "t.yaml", "--storage", "t.txt", "--search", "model.hidden=4,8"), "--storage t.txt"),
        (("--out", "t.yaml", "--data.targets", "z", "--search", "model.hidden=4,8"), "`z`"),
    ],
    ids=str,
)
def test_a_wrong_request_is_one_line_and_leaves_nothing_behind(tune, tmp_path, options, said):
    one_line(tune(*options), said)
    assert sorted(p.name for p in tmp_path.iterdir() if p.suffix != ".db") == ["panel.nc"]


def test_auto_is_not_searched(tune):
    fit = ("--model", "auto", "--data.panel", "panel.nc", "--data.targets", "y")
    one_line(tune("--out", "t.yaml", fit=fit), "--model auto")
