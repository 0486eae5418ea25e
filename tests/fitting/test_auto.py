"""The automatic fit: a short list is compared and stacked; nothing that is finished is lost; failures are one line."""

import shutil
from functools import partial

import pandas as pd
import pytest
import torch
import yaml
from helpers import make_panel

import stgate
from stgate.__main__ import main
from stgate.errors import RequestError, TrainingError
from stgate.fitting import auto, workers
from stgate.fitting.auto import fit
from stgate.fitting.identity import digest_of
from stgate.fitting.shortlist import Candidate, short_list
from stgate.models import Climatology, GatedRNN, Persistence, Ridge

PANEL = make_panel(steps=300)
OPTIONS = {"targets": "y", "horizon": 3, "window": 6}


def quick(data):
    return [
        Candidate("Persistence", partial(Persistence, carry=True)),
        Candidate("Climatology", Climatology),
        Candidate("Ridge", Ridge),
    ]


@pytest.fixture(scope="module", autouse=True)
def in_this_process():
    """Fit in this process: `test_workers` has fits in others, which take seconds to start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "workers_for", lambda data: 1)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An automatic fit that several tests start from, and its folder, which they copy."""
    folder = tmp_path_factory.mktemp("whole")
    return fit(PANEL, **OPTIONS, shortlist=quick, out=folder), folder


@pytest.mark.parametrize("how", ["split", "refit", "cross"])
def test_a_short_list_is_scored_stacked_and_calibrated(how, tmp_path):
    lines = []
    listed = (lambda data: quick(data)[1:]) if how == "cross" else quick  # which makes the most fits
    made = fit(PANEL, **OPTIONS, shortlist=listed, calibration=how, out=tmp_path, tell=lines.append)
    assert made.calibration == how
    assert {one.name for one in listed(None)} <= set(made.table.index)
    assert made.table.loc["Ridge", "crps"] < made.table.loc["Climatology", "crps"]
    members = made.table.drop("Stack")
    assert members["weight"].sum() == pytest.approx(1, abs=1e-5)
    assert made.model.calibration is not None
    seen = {"split": 0.7, "refit": 0.85, "cross": 0.85}[how]
    last = str(PANEL["time"].values[int(seen * 300) - 1])
    assert made.model.predictor.seen[:13] == last[:13]
    forecast = stgate.forecast(tmp_path / "best.ckpt", PANEL, levels=[0.5, 0.8])
    stgate.check_forecast(forecast)
    kept = pd.read_csv(tmp_path / "scores.csv", index_col="name")
    pd.testing.assert_series_equal(kept["crps"], made.table["crps"], check_exact=False)
    assert any(line.startswith("Ridge") for line in lines)
    assert (tmp_path / "scores.md").read_text().startswith("| candidate |")


def test_the_record_decides_how(whole):
    assert whole[0].calibration == "cross"


def test_a_candidate_that_fails_is_left_out_in_one_line():
    def broken(**_):
        raise RuntimeError("no such thing\nin two lines")

    made = fit(PANEL, **OPTIONS, shortlist=lambda data: [Candidate("Ridge", Ridge), Candidate("Broken", broken)])
    assert made.table.loc["Broken", "note"] == "left out: no such thing in two lines"
    assert "Broken" not in made.model.predictor.names
    with pytest.raises(TrainingError, match=r"no candidate could be fitted.*no such thing"):
        fit(PANEL, **OPTIONS, shortlist=lambda data: [Candidate("Broken", broken)])


def test_a_candidate_for_which_there_is_no_time_is_left_out(monkeypatch):
    monkeypatch.setattr("stgate.fitting.attempts.epoch_seconds", lambda *_: (100.0, 5))
    slow = Candidate("Network", partial(GatedRNN, hidden=4))
    made = fit(PANEL, **OPTIONS, shortlist=lambda data: [Candidate("Ridge", Ridge), slow], budget=1)
    assert "left out: 3 epochs take about 300 s" in made.table.loc["Network", "note"]
    assert made.table.loc["Ridge", "weight"] == pytest.approx(1)


def test_a_reference_is_scored_and_not_stacked():
    listed = [Candidate("Ridge", Ridge), Candidate("Climatology", Climatology, reference=True)]
    made = fit(PANEL, **OPTIONS, shortlist=lambda data: listed)
    assert made.table.loc["Climatology", "crps"] > 0
    assert made.table.loc["Climatology", "weight"] == 0


def test_networks_are_members_too():
    listed = [Candidate("Ridge", Ridge), Candidate("Network", partial(GatedRNN, hidden=4))]
    made = fit(PANEL, **OPTIONS, shortlist=lambda data: listed, calibration="refit", budget=5)
    assert made.table.loc["Network", "epochs"] >= 1


def test_what_a_killed_run_has_finished_is_taken_up_again(whole, tmp_path, monkeypatch):
    calls = []
    usual = workers.train

    def dying(forecaster, *given, **options):
        calls.append(type(forecaster).__name__)
        if len(calls) == 4:  # of the fits that follow the first ones
            raise KeyboardInterrupt
        return usual(forecaster, *given, **options)

    monkeypatch.setattr(workers, "train", dying)
    with pytest.raises(KeyboardInterrupt):
        fit(PANEL, **OPTIONS, shortlist=quick, out=tmp_path / "killed")
    assert not (tmp_path / "killed" / "best.ckpt").exists()
    done = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "killed" / "members").glob("*.ckpt")}
    assert len(done) == 3 + 3  # the first fits, and three folds
    again = fit(PANEL, **OPTIONS, shortlist=quick, out=tmp_path / "killed")
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "killed" / "members").glob("*.ckpt")}
    assert all(after[name] == when for name, when in done.items())
    torch.testing.assert_close(again.model.predictor.weights, whole[0].model.predictor.weights)
    one, two = (stgate.forecast(made.model, PANEL, levels=[0.5]) for made in (whole[0], again))
    assert one.drop_attrs().equals(two.drop_attrs())


def test_fits_that_are_kept_are_not_those_of_other_data(whole, tmp_path):
    shutil.copytree(whole[1], tmp_path / "both")
    other = PANEL.assign(y=PANEL["y"] + 1)
    again = fit(other, **OPTIONS, shortlist=quick, out=tmp_path / "both")
    fresh = fit(other, **OPTIONS, shortlist=quick, out=tmp_path / "fresh")
    pd.testing.assert_series_equal(again.table["crps"], fresh.table["crps"])
    one, two = (stgate.forecast(made.model, other, levels=[0.5]) for made in (again, fresh))
    assert one.drop_attrs().equals(two.drop_attrs())


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.isel(time=slice(0, 280)),
        lambda p: p.isel(node=slice(None, None, -1)),
        lambda p: p.assign(y=p["y"] + 1),
        lambda p: p.assign(y=p["y"].where(p["time"] > p["time"][0])),
        lambda p: p.assign_coords(time=p["time"] + pd.Timedelta("1h")),
        lambda p: p.assign_coords(lat=p["lat"] + 1),
    ],
    ids=["fewer rows", "nodes in another order", "other values", "a gap", "an hour later", "other places"],
)
def test_other_data_have_another_digest(change):
    one, two, same = (stgate.WindowData(panel, **OPTIONS) for panel in (PANEL, change(PANEL), PANEL.copy(deep=True)))
    for data in (one, two, same):
        data.setup()
    assert digest_of(one) == digest_of(same) != digest_of(two)


def test_a_kept_fit_that_is_broken_is_made_again(whole, tmp_path):
    shutil.copytree(whole[1], tmp_path, dirs_exist_ok=True)
    (tmp_path / "members" / "Ridge.ckpt").write_bytes(b"half")
    (tmp_path / "members" / "Climatology.json").write_text("{")
    again = fit(PANEL, **OPTIONS, shortlist=quick, out=tmp_path)
    pd.testing.assert_series_equal(again.table["crps"], whole[0].table["crps"])
    assert (again.table["note"].drop("Stack") == "").all()


def test_the_short_list_has_what_the_data_ask_for():
    data = stgate.WindowData(PANEL, **OPTIONS)
    names = [one.name for one in short_list(data)]
    tabular = ["Ridge", "Ridge-other", "GradientBoosting", "GradientBoosting-other"]
    assert names == ["Persistence", "Climatology", *tabular, "GatedRNN"]


def test_wrong_requests_name_the_fix():
    with pytest.raises(RequestError, match=r"calibration 'crosss'.*cross"):
        fit(PANEL, **OPTIONS, calibration="crosss")
    with pytest.raises(RequestError, match="budget -1: must be above zero"):
        fit(PANEL, **OPTIONS, budget=-1)
    with pytest.raises(RequestError, match="split: leaves no validation part"):
        fit(PANEL, **OPTIONS, split=(0.8, 0.0, 0.0, 0.2))


def test_the_command_fits_resumes_and_keeps_its_options(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(auto, "short_list", quick)
    monkeypatch.setattr("stgate.commands.fit.auto.fit", partial(fit, shortlist=quick))
    PANEL.to_netcdf(tmp_path / "panel.nc")
    out = str(tmp_path / "run")
    words = ["fit", "--model", "auto", "--data.panel", str(tmp_path / "panel.nc"), "--data.targets", "y"]
    words += ["--data.horizon", "3", "--data.window", "6", "--calibration", "refit", "--out", out]
    assert main(words) == 0
    shown = capsys.readouterr()
    assert "| Ridge |" in shown.out and "Ridge" in shown.err
    held = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert held["model"] == "auto" and held["data"]["horizon"] == 3 and held["calibration"] == "refit"
    assert main(words) == 2
    assert "--resume" in capsys.readouterr().err
    assert main(["fit", "--out", out, "--resume"]) == 0
    assert main(["fit", f"--out={out}", "--resume"]) == 0
    options = (tmp_path / "run" / "config.yaml").read_bytes()
    capsys.readouterr()
    for option, value in (("--data.window", "9"), ("--data.split", "[0.5,0.2,0.1,0.2]"), ("--seed_everything", "4")):
        assert main(["fit", "--out", out, "--resume", option, value]) == 2
        assert f"{option} " in (told := capsys.readouterr().err) and "the run was begun with" in told
    assert (tmp_path / "run" / "config.yaml").read_bytes() == options
    assert main([*words, "--overwrite"]) == 0
    assert main([*words[:-1], str(tmp_path / "other"), "--data.horizn", "3"]) == 2
    assert "horizon" in capsys.readouterr().err.splitlines()[-1]


def test_the_other_choice_of_transforms_is_a_candidate_of_its_own(tmp_path):
    def listed(data):
        return [one for one in short_list(data) if one.name.startswith("Ridge")]

    made = fit(PANEL, **OPTIONS, shortlist=listed, out=tmp_path)
    first, other = (stgate.load(tmp_path / "members" / f"{name}.ckpt").transforms for name in ("Ridge", "Ridge-other"))
    assert bool(first) != bool(other)
    assert set(made.model.predictor.names) <= {"Ridge", "Ridge-other"}
    assert {"Ridge", "Ridge-other"} <= set(made.table.index)
