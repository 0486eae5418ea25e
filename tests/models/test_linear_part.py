"""The linear part of a network's forecast: where training starts, and what it cannot spoil."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import batch_of, built, fitted, make_data, make_panel

import stgate
from stgate.commands.fit.runs import Reference
from stgate.distributions import Normal, Quantiles, StudentT
from stgate.errors import RequestError
from stgate.fitting.training import keep_choices
from stgate.inference import Ensemble
from stgate.models import GatedRNN, GatedTransformer, Ridge, STHSepNet
from stgate.nn import RollOut
from stgate.prediction.checkpoint import read_checkpoint

SMALL = {"hidden": 8, "width": 8, "heads": 2, "embedding": 4, "prototypes": 8, "neighbours": 2}
KINDS = {
    "rnn": lambda **o: GatedRNN(hidden=8, **o),
    "transformer": lambda **o: GatedTransformer(hidden=8, **o),
    "sepnet": lambda **o: STHSepNet(**SMALL, **o),
    "sepnet_attention": lambda **o: STHSepNet(**SMALL, fusion="attention", **o),
    "sepnet_lstm": lambda **o: STHSepNet(**SMALL, fusion="lstm", **o),
    "sepnet_time": lambda **o: STHSepNet(**SMALL, spatial=False, **o),
    "sepnet_space": lambda **o: STHSepNet(**SMALL, backbone=None, **o),
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_untrained_network_forecasts_what_ridge_does(kind):
    data = make_data(make_panel(steps=300))
    network = built(KINDS[kind](), data).eval()
    ridge = fitted(Ridge(), data)
    batch = batch_of(data)
    assert ridge.predictor.built.linear.weight.abs().max() > 0
    torch.testing.assert_close(network(batch).mean, ridge(batch).mean, rtol=1e-4, atol=1e-4)
    for level in (0.025, 0.5, 0.975):
        bound = ridge(batch).icdf(torch.tensor(level))
        torch.testing.assert_close(network(batch).icdf(torch.tensor(level)), bound, rtol=2e-3, atol=2e-3)
    without = built(KINDS[kind](linear=False), data).eval()
    assert without.predictor.linear is None
    assert (without(batch).mean - ridge(batch).mean).abs().max() > 0.1


@pytest.mark.parametrize(
    "likelihood", [Normal(), Normal(link="exp"), StudentT(), Quantiles([0.5, 0.8, 0.95]), Quantiles([0.9])]
)
def test_an_untrained_network_has_about_the_errors_of_ridge_whatever_its_likelihood(likelihood):
    data = make_data(make_panel(steps=300))
    network = built(GatedRNN(hidden=8, likelihood=likelihood), data).eval()
    ratio = network(batch_of(data)).stddev.detach() / fitted(Ridge(), data)(batch_of(data)).stddev
    assert float(ratio.min()) > 0.85 and float(ratio.max()) < 1.25


def jammed(steps=400):
    """A panel whose values fall far in one step of forty."""
    panel = make_panel(steps=steps)
    fall = np.random.default_rng(5).random((steps, 3)) < 1 / 40
    panel["y"] = panel["y"] - 60 * fall
    return panel


@pytest.mark.parametrize("kind", ["rnn", "transformer", "sepnet"])
def test_errors_with_long_tails_are_fitted_by_quantiles_and_others_by_a_normal(kind, tmp_path):
    calm, data = built(KINDS[kind](transforms=None)), make_data(jammed())
    assert isinstance(calm.predictor.likelihood, Normal) and not calm.predictor.likelihood_report
    model = fitted(KINDS[kind](transforms=None), data)
    assert model.predictor.likelihood.levels == [0.5, 0.8, 0.95]
    assert (
        "long tails" in model.predictor.likelihood_report and "--model.likelihood" in model.predictor.likelihood_report
    )
    model.save(tmp_path / "m.ckpt")
    again = stgate.load(tmp_path / "m.ckpt")
    assert isinstance(again.likelihood, Quantiles)
    assert model.hparams["likelihood"]["class_path"] == model.hparams_initial["likelihood"]["class_path"] == "Quantiles"
    made = stgate.forecast(model, jammed())
    assert made.drop_attrs().identical(stgate.forecast(tmp_path / "m.ckpt", jammed()).drop_attrs())


def test_long_tails_of_counts_that_are_mostly_zero_are_no_reason_for_quantiles():
    panel = jammed()
    floor = float(panel["y"].quantile(0.3))
    model = built(GatedRNN(hidden=4), make_data(panel.assign(y=panel["y"].clip(min=floor))))
    assert isinstance(model.predictor.likelihood, Normal)


def test_later_fits_keep_the_likelihood_of_the_first():
    first = built(GatedRNN(hidden=8, transforms=None), make_data(jammed())).predictor
    later = keep_choices(GatedRNN(hidden=8, transforms=None), first.transforms, first.likelihood)
    assert isinstance(built(later, make_data(make_panel(steps=300))).predictor.likelihood, Quantiles)
    given = keep_choices(GatedRNN(hidden=8, likelihood=Normal()), (), first.likelihood)
    assert isinstance(built(given, make_data(jammed())).predictor.likelihood, Normal)


def test_a_panel_that_is_refused_leaves_no_choice_behind():
    model = GatedRNN(hidden=4)
    model.prepare = lambda data: (_ for _ in ()).throw(RequestError("refused"))
    with pytest.raises(RequestError, match="refused"):
        model.adopt(make_data(jammed()))
    del model.prepare
    assert isinstance(model.predictor.likelihood, Normal) and not model.predictor.likelihood_report
    assert not model.predictor.transforms_report
    model.adopt(make_data(make_panel()))
    assert isinstance(model.predictor.likelihood, Normal)


def test_a_fit_that_goes_on_notes_the_likelihood_of_its_checkpoint(tmp_path):
    model = fitted(GatedRNN(hidden=4), make_data(jammed()))
    assert isinstance(model.predictor.likelihood, Quantiles)
    model.save(tmp_path / "m.ckpt")
    again = GatedRNN(hidden=4)
    again.on_load_checkpoint(read_checkpoint(tmp_path / "m.ckpt"))
    assert again.hparams["likelihood"] == model.hparams["likelihood"]
    assert again.hparams["likelihood"]["class_path"].endswith("Quantiles")


def test_intervals_of_fitted_quantiles_keep_their_shape_and_others_are_symmetric():
    data = make_data(make_panel())
    for likelihood, score in ((Quantiles([0.5, 0.9]), "distribution"), (Normal(), "scaled")):
        model = fitted(GatedRNN(hidden=4, likelihood=likelihood), data)
        stgate.calibrate(model, data, levels=[0.5, 0.8])
        assert model.calibration.conformity_score == score


@pytest.mark.parametrize("kind", ["rnn", "transformer", "sepnet"])
def test_the_learning_rate_is_that_of_the_docs(kind):
    model = built(KINDS[kind](), make_data(make_panel()))
    assert [group["lr"] for group in model.make_optimizer().param_groups] == [0.003]


def test_a_fit_tells_what_the_data_have_chosen_on_a_terminal_too(capsys):
    predictor = SimpleNamespace(transforms_report="transforms: none", likelihood_report="likelihood: Quantiles")
    Reference("val_crps").on_train_start(SimpleNamespace(datamodule=None), SimpleNamespace(predictor=predictor))
    assert capsys.readouterr().err.splitlines() == ["transforms: none", "likelihood: Quantiles"]


def test_quantiles_without_a_level_are_refused():
    with pytest.raises(RequestError, match="give at least one"):
        Quantiles([])


def test_a_likelihood_that_is_given_a_rollout_and_an_ensemble_keep_theirs():
    data = make_data(jammed())
    for options in ({"likelihood": Normal()}, {"rollout": RollOut()}, {"inference": Ensemble(members=2)}):
        assert isinstance(built(GatedRNN(hidden=8, **options), data).predictor.likelihood, Normal)
    assert isinstance(built(GatedRNN(hidden=8, linear=False), data).predictor.likelihood, Normal)


@pytest.mark.parametrize("kind", ["rnn", "transformer", "sepnet", "sepnet_lstm"])
def test_every_parameter_is_trained_after_the_first_step(kind):
    data = make_data(make_panel(steps=200))
    model = fitted(KINDS[kind](), data, epochs=2).train()
    model.log = lambda *_, **__: None  # the trainer is gone
    loss = model.training_step(batch_of(data), 0)
    loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()] == []


def test_the_linear_part_is_in_the_checkpoint(tmp_path):
    panel = make_panel(steps=200)
    model = fitted(GatedRNN(hidden=8), make_data(panel))
    model.save(tmp_path / "m.ckpt")
    made = stgate.forecast(model, panel)
    assert made.drop_attrs().identical(stgate.forecast(tmp_path / "m.ckpt", panel).drop_attrs())


def test_a_rollout_has_no_linear_part_no_transforms_and_no_statistics_of_nodes():
    model = built(GatedRNN(hidden=8, rollout=RollOut()), make_data(make_panel(steps=200)))
    predictor = model.predictor
    assert predictor.linear is None and predictor.transforms == () and predictor.directions == 0
    assert predictor.node_inputs.statistics.numel() == 0


def test_a_gap_in_the_window_leaves_the_forecast_finite():
    data = make_data(make_panel(steps=300))
    model = built(GatedRNN(hidden=8), data).eval()
    batch = batch_of(data)
    batch["past"][:, -5:, 0] = np.nan
    batch["past"][:, :, 1] = np.nan
    assert torch.isfinite(model(batch).mean).all()
