"""Every forecaster is Bayesian by one option: training, reductions, checkpoints, honest spread."""

import math

import lightning as L
import numpy as np
import pytest
import torch
from helpers import batch_of, make_data, make_panel, same, trainer
from helpers import built as built_model
from helpers import fitted as fitted_model
from torch import nn
from torch.distributions import Normal, kl_divergence

import stgate
from stgate.distributions import Mixture
from stgate.errors import InferenceWarning, RequestError
from stgate.inference import Ensemble, MeanField, PointEstimate
from stgate.inference.priors import log_prior
from stgate.models import Forecaster, GatedRNN


class Perceptron(Forecaster):
    """The smallest forecaster whose layers can be vectorised: a network on each node's window."""

    def __init__(self, hidden: int = 8, inference=None, optimizer=torch.optim.Adam):
        super().__init__(inference=inference, optimizer=optimizer)
        self.hidden = hidden

    def build(self, spec):
        return PerceptronNetwork(spec, self.hidden)


class PerceptronNetwork(nn.Module):
    def __init__(self, spec, hidden):
        super().__init__()
        self.shape = (spec.horizon, len(spec.targets), 2)
        inputs = 2 * spec.window * len(spec.channels)
        self.layers = nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, math.prod(self.shape)))

    def forward(self, inputs):
        seen = torch.cat([inputs.values, inputs.mask], -1).transpose(1, 2).flatten(2)  # (batch, node, feature)
        return self.layers(seen).unflatten(-1, self.shape).transpose(1, 2)


def built(inference, model=Perceptron):
    """A model of an inference with random weights, in training mode."""
    return built_model(model(inference=inference)).train()


def fitted(inference, model=Perceptron, epochs=2, **options):
    return fitted_model(model(inference=inference), make_data(), epochs, **options)


# Reductions


def test_an_ensemble_of_one_is_the_point_estimate():
    one, single = fitted(Ensemble(members=1)), fitted(PointEstimate())
    batch = batch_of(make_data(), "train")
    torch.testing.assert_close(one(batch).mean, single(batch).mean, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(one(batch).stddev, single(batch).stddev, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("clip", [None, 0.1])
def test_each_member_is_the_network_that_its_start_alone_would_have_become(clip):
    """Fitted together or in a loop, with gradients clipped for each: the same members to a millionth of their scale."""
    together, looped = (
        fitted(Ensemble(members=3, vectorized=v), gradient_clip_val=clip, gradient_clip_algorithm="norm")
        for v in (True, False)
    )
    alone = built(Ensemble(members=3))
    starts = {name: weight.detach().clone() for name, weight in alone.predictor.network.network.named_parameters()}
    for name, weight in together.predictor.network.network.named_parameters():
        other = looped.predictor.network.network.get_parameter(name)
        torch.testing.assert_close(weight, other, atol=1e-6, rtol=1e-6)
        assert starts[name].shape == weight.shape
    single = Perceptron()
    L.seed_everything(0, verbose=False)
    single.adopt(make_data())  # the first start
    machine = trainer(2, gradient_clip_val=clip, gradient_clip_algorithm="norm")
    L.seed_everything(0, verbose=False)
    machine.fit(single, make_data())
    for name, weight in single.predictor.network.named_parameters():
        torch.testing.assert_close(
            together.predictor.network.network.get_parameter(name)[0], weight, atol=2e-6, rtol=1e-5
        )


def test_posteriors_without_spread_or_pull_to_the_prior_are_the_point_estimate():
    narrow = built(MeanField(initial_stddev=1.01e-4, kl_weight=0.0, draws=2))
    single = built(PointEstimate())
    batch = batch_of(make_data(), "train")
    torch.testing.assert_close(narrow.eval()(batch).mean, single.eval()(batch).mean, atol=5e-3, rtol=1e-3)


# The objective


@pytest.mark.parametrize("prior", ["logistic", "normal"])
def test_the_objective_of_an_ensemble_is_minus_the_log_posterior_of_one_case_summed_over_members(prior):
    model, batch = built(Ensemble(members=3, prior=prior, prior_scale=0.5)), batch_of(make_data(), "train")
    seen = ~batch["target"].isnan()
    members = model.predictor.members(batch)
    likelihood = torch.stack([-m[seen].mean() for m in members.log_prob(batch["target"].nan_to_num(0.0))])
    weights = list(model.predictor.network.parameters())
    prior_density = sum(log_prior(prior, w, 0.5) for w in weights)
    start, stop = make_data().parts.train
    cases = int(make_panel(steps=160)["y"][start:stop].notnull().sum())
    torch.testing.assert_close(model.training_step(batch, 0), likelihood.sum() - prior_density / cases)


def test_the_divergence_is_that_of_torch_for_normal_priors():
    model = built(MeanField(members=2, prior_scale=0.7))
    weights = dict(model.predictor.network.network.named_parameters())
    expected = sum(
        kl_divergence(
            Normal(mean, 1e-4 + nn.functional.softplus(weights[name + "_posterior_rho"])), Normal(0.0, 0.7)
        ).sum()
        for name, mean in weights.items()
        if not name.endswith("_posterior_rho")
    )
    torch.testing.assert_close(model.predictor.network.divergence(), expected, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize("model", [Perceptron, GatedRNN])
@pytest.mark.filterwarnings("ignore::stgate.errors.InferenceWarning")
def test_every_mean_and_every_spread_gets_a_gradient(model, local):
    made = built(MeanField(members=2, kl_weight=0.0, local=local), model)
    made.train()
    made.training_step(batch_of(make_data(), "train"), 0).backward()
    for name, weight in made.predictor.network.named_parameters():
        assert weight.grad is not None and torch.isfinite(weight.grad).all(), name
        assert (weight.grad.flatten(1).abs().sum(1) > 0).all(), name


def test_locally_drawn_outputs_have_the_mean_and_spread_of_those_of_drawn_weights():
    """And gradients of their sum are less noisy, which is what it is for."""
    batch = batch_of(make_data(), "train")
    raws, noise = {}, {}
    for local in (False, True):
        model = built(MeanField(samples=2, initial_stddev=0.1, local=local)).train()
        inputs = model.predictor.scaler(batch)
        drawn = torch.stack([model.predictor.network(inputs) for _ in range(300)]).flatten(0, 1)
        raws[local] = drawn.mean(0), drawn.std(0)
        rho = model.predictor.network.network.get_parameter("layers.0.weight_posterior_rho")
        gradients = [torch.autograd.grad(model.training_step(batch, 0), rho)[0] for _ in range(40)]
        noise[local] = torch.stack(gradients).std(0).mean()
    assert (raws[True][0] - raws[False][0]).abs().mean() < 0.1 * raws[False][1].mean()
    torch.testing.assert_close(raws[True][1].mean(), raws[False][1].mean(), rtol=0.05, atol=0)
    assert noise[True] < 0.8 * noise[False]


def test_running_statistics_of_one_set_of_weights_are_refused_where_weights_are_drawn():
    """They would be updated on copies, and stay as they began."""
    with pytest.raises(RequestError, match="BatchNorm1d keeps running statistics"):
        MeanField().wrap(lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)))
    assert MeanField().wrap(lambda: nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)))(torch.ones(2, 3)).shape == (
        2,
        2,
        4,
    )


# What comes out


@pytest.mark.parametrize("inference", [Ensemble(members=3), MeanField(members=2, draws=4), PointEstimate()])
def test_a_forecast_is_the_mixture_of_its_members_and_the_same_each_time(inference):
    model, batch = built(inference).eval(), batch_of(make_data(), "train")
    forecast = model(batch)
    assert forecast.batch_shape == batch["target"].shape
    assert isinstance(forecast, Mixture) == (not isinstance(inference, PointEstimate))
    torch.testing.assert_close(model(batch).mean, forecast.mean, atol=0, rtol=0)
    if isinstance(inference, MeanField):
        assert forecast.members == 8
        half = {k: v[:5] if k not in ("static",) else v for k, v in batch.items()}
        torch.testing.assert_close(model(half).mean, forecast.mean[:5], atol=1e-5, rtol=1e-5)  # one function a draw


def test_what_members_disagree_about_is_larger_where_training_has_never_been():
    """Beyond all inputs seen the spread of a single network says nothing of it; that of several does."""
    L.seed_everything(0, verbose=False)
    model = Perceptron(hidden=16, inference=Ensemble(members=6), optimizer=lambda p: torch.optim.Adam(p, 0.02))
    trainer(15).fit(model, make_data())
    model.eval()
    batch = batch_of(make_data(), "train")
    far = batch | {"past": batch["past"] + 60 * torch.randn(3, 1)}
    assert model(far).epistemic_variance.mean() > 5 * model(batch).epistemic_variance.mean()


@pytest.mark.parametrize(
    "inference",
    [Ensemble(members=2, prior="logistic", prior_scale=2.0), MeanField(draws=3, local=True, kl_weight=0.1)],
)
@pytest.mark.filterwarnings("ignore::stgate.errors.InferenceWarning")
def test_the_checkpoint_is_the_whole_model_with_its_inference(tmp_path, inference):
    for kind in (Perceptron, GatedRNN):
        model = fitted(inference, kind, epochs=1)
        stgate.calibrate(model, make_data(), levels=[0.5, 0.8])
        model.save(tmp_path / "m.ckpt")
        loaded = Forecaster.load_from_checkpoint(tmp_path / "m.ckpt")
        assert loaded.predictor.inference.config() == inference.config()
        panel = make_panel(steps=60, seed=5)
        one, two = (stgate.backtest(m, panel, levels=[0.5, 0.8]) for m in (model, loaded))
        assert same(one, two)
        assert np.isfinite(one["y"].dropna("init_time", how="all").values[:-3]).all()


def test_a_fit_that_goes_on_is_the_fit_that_never_stopped(tmp_path):
    def fit(epochs, resume=None):
        L.seed_everything(0, verbose=False)
        model = Perceptron(inference=MeanField(members=2, prior="logistic"))
        machine = trainer(epochs)
        data = make_data(batch_size=64)  # few steps: no cycle of the learning rate, which knows how many there will be
        machine.fit(model, data, ckpt_path=resume, weights_only=True if resume else None)
        return model, machine

    whole, _ = fit(3)
    _, machine = fit(1)
    machine.save_checkpoint(tmp_path / "half.ckpt")
    again, _ = fit(3, tmp_path / "half.ckpt")
    assert whole.predictor.fingerprint() == again.predictor.fingerprint()


@pytest.mark.parametrize("calibration", ["stored", "adaptive"])
def test_a_forecast_says_what_its_members_disagree_about(calibration):
    model = fitted(Ensemble(members=3), epochs=1)
    panel = make_panel(steps=80, seed=3)
    hindcast = stgate.backtest(model, panel, calibration=calibration, calibration_window=20)
    for part in ("aleatoric", "epistemic"):
        spread = hindcast[f"y_{part}"]
        assert spread.dims == hindcast["y_mean"].dims and spread.attrs["units"] == "ug/m3"
        assert (spread.where(hindcast["y_mean"].notnull(), 1.0) > 0).all()
    assert hindcast.attrs["inference"] == "Ensemble"
    single = stgate.backtest(fitted(PointEstimate(), epochs=1), panel)
    assert "y_epistemic" not in single and single.attrs["inference"] == "PointEstimate"


def test_a_recurrent_forecaster_runs_its_members_in_a_loop_and_says_so():
    with pytest.warns(InferenceWarning, match="HybridNetwork cannot be vectorised"):
        model = fitted(Ensemble(members=2), GatedRNN, epochs=1)
    assert model.predictor.members(batch_of(make_data(), "train")).batch_shape[0] == 2


def test_same_seed_same_bits():
    for inference in (Ensemble(members=2, prior="normal"), MeanField(local=True)):
        one, two = (fitted(inference, epochs=1).predictor.fingerprint() for _ in range(2))
        assert one == two


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Ensemble(members=0), "members 0"),
        (lambda: Ensemble(prior="laplace"), "prior 'laplace'"),
        (lambda: Ensemble(prior="normal", prior_scale=0.0), "prior_scale 0"),
        (lambda: Ensemble(members=2.5), "members 2.5"),
        (lambda: GatedRNN(inference="Ensemble"), "inference 'Ensemble': not an inference; give an object such as"),
        (lambda: GatedRNN(likelihood=1), "likelihood 1: not a likelihood"),
        (lambda: MeanField(samples=0), "samples 0"),
        (lambda: MeanField(draws=0), "draws 0"),
        (lambda: MeanField(kl_weight=-1.0), "kl_weight -1"),
        (lambda: MeanField(initial_stddev=0.0), "initial_stddev 0"),
    ],
)
def test_an_option_out_of_range_is_refused_by_name(make, said):
    with pytest.raises(RequestError, match=said):
        make()
