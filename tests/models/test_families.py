"""Every likelihood through the whole of a forecaster: fit, calibrate, checkpoint, forecast."""

import numpy as np
import pytest
from helpers import fit, make_data, make_panel

import stgate
from stgate.distributions import LogNormal, NegativeBinomial, Quantiles, StudentT, ZeroInflatedNegativeBinomial
from stgate.errors import RequestError
from stgate.inference import Ensemble
from stgate.models import Forecaster, GatedRNN
from stgate.nn import RollOut

LEVELS = [0.5, 0.9]


def counts():
    """An hourly panel of small counts with a daily cycle, many of them zero."""
    panel = make_panel(steps=200)
    rng = np.random.default_rng(0)
    return panel.assign(y=(panel["y"].dims, rng.poisson(np.exp((panel["y"].fillna(10) - 12).values)).astype("float32")))


def calibrated(panel, model, epochs=1):
    data = make_data(panel, batch_size=32)
    fit(model, data, epochs, limit_val_batches=1)
    stgate.calibrate(model, data, levels=LEVELS)
    return model


FAMILIES = {
    "t": (StudentT(), None),
    "quantiles": (Quantiles(levels=[0.5, 0.9]), None),
    "lognormal": (LogNormal(), None),
    "shifted": (LogNormal(shift=20.0), None),
    "counts": (NegativeBinomial(), counts),
    "inflated": (ZeroInflatedNegativeBinomial(), counts),
}


@pytest.mark.filterwarnings("ignore:.*far beyond:stgate.errors.ForecastWarning")  # one epoch, heavy tails
@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("inference", [None, Ensemble(members=2, vectorized=False)], ids=["one", "ensemble"])
def test_a_forecaster_of_any_family_fits_is_calibrated_and_comes_back_from_its_checkpoint(name, inference, tmp_path):
    likelihood, make = FAMILIES[name]
    panel = make() if make else make_panel(steps=200)
    model = calibrated(panel, GatedRNN(hidden=8, likelihood=likelihood, inference=inference))
    model.save(tmp_path / "m.ckpt")
    again = Forecaster.load_from_checkpoint(tmp_path / "m.ckpt")
    assert again.predictor.likelihood.config() == likelihood.config()
    hindcast = stgate.backtest(again, panel, levels=LEVELS)
    bounds = hindcast["y"].transpose(..., "quantile").values
    if likelihood.support != "real":
        assert np.nanmin(bounds) >= 0
    rolling = stgate.backtest(again, panel, start="2020-01-07", levels=LEVELS, every=3, calibration="rolling")
    if likelihood.support != "real":
        assert float(rolling["y"].min()) >= 0
    scores = stgate.evaluate(hindcast)
    assert np.isfinite(scores["crps"])
    own = stgate.forecast(GatedRNN.load_from_checkpoint(tmp_path / "m.ckpt"), panel, levels=LEVELS)
    assert own["y"].notnull().all()


@pytest.mark.parametrize("likelihood", [LogNormal(), Quantiles()], ids=lambda f: type(f).__name__)
def test_trajectories_are_sampled_from_any_family(likelihood):
    step = RollOut(unroll=2, width=8, samples=4)
    model = calibrated(make_panel(steps=160, missing=0), GatedRNN(cell="none", rollout=step, likelihood=likelihood), 16)
    made = stgate.forecast(model, make_panel(steps=160, missing=0), levels=LEVELS)
    assert made["y"].notnull().all()
    assert abs(float(made["y_mean"].mean()) - 13) < 6


def test_values_that_the_family_cannot_have_are_refused_before_the_fit():
    model = GatedRNN(hidden=8, likelihood=NegativeBinomial())
    with pytest.raises(RequestError, match="`y` has values that are no whole numbers"):
        model.adopt(make_data(make_panel()))
    assert model.spec is None


def test_the_command_takes_a_family_by_its_name(stgate_command, tmp_path):
    stgate.write(make_panel(steps=160), tmp_path / "p.nc")
    small = ("--data.targets", "[y]", "--data.window", 6, "--data.horizon", 3, "--trainer.max_epochs", 1)
    asked = ("fit", "--model", "GatedRNN", "--model.hidden", 8, "--data.panel", tmp_path / "p.nc", *small)
    code, _, error = stgate_command(*asked, "--model.likelihood", "StudentT", "--out", tmp_path / "run")
    assert code == 0, error
    code, _, error = stgate_command(*asked, "--model.likelihood", "NegativeBinomial", "--out", tmp_path / "other")
    assert code == 2
    assert "takes counts" in error
    assert not (tmp_path / "other").exists()
    code, _, error = stgate_command(*asked, "--model.likelihood", "Poison", "--out", tmp_path / "other")
    assert code == 2
    assert len(error.strip().splitlines()) == 1
