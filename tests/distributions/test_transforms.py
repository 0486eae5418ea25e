"""Transforms of targets: exact inverses, densities by the change of variables, moments, and what is refused."""

import math

import numpy as np
import pytest
import torch
from helpers import TrainingRows, transform_spec
from torch.distributions import Normal

from stgate.distributions import Anomaly, Asinh, Difference, Log, Logit, Mixture, Power, Rate
from stgate.distributions.transformed import BoundTransforms, Transformed
from stgate.errors import PanelError, RequestError
from stgate.prediction.intervals import conformity_scores, quantiles_of_forecast
from stgate.prediction.target_transforms import TargetTransforms


def positive(steps=400, targets=1, seed=0):
    values = torch.from_numpy(np.random.default_rng(seed).gamma(2.0, 3.0, (2, steps, 3, targets))).float() + 0.01
    values[0, 5:9, 1] = torch.nan
    return values


CHAINS = {
    "log": [Log()],
    "log with an offset": [Log(2.0)],
    "root": [Power(0.25)],
    "asinh": [Asinh()],
    "asinh of a scale": [Asinh(0.5)],
    "logit": [Logit(-10.0, 200.0)],
    "rate": [Rate()],
    "anomaly": [Anomaly()],
    "rate, log, anomaly": [Rate(), Log(), Anomaly()],
    "log, difference": [Log(), Difference()],
}


def learned(chain, part):
    transforms = TargetTransforms(chain, part.spec)
    transforms.learn(part)
    return transforms


@pytest.mark.parametrize("targets", [1, 2])
@pytest.mark.parametrize("name", CHAINS)
def test_decoding_undoes_encoding_and_gaps_stay_gaps(name, targets):
    part = TrainingRows(positive(targets=targets), transform_spec(targets=("y", "z")[:targets]))
    transforms = learned(CHAINS[name], part)
    encoded = transforms.encode_rows(part.values, part.time)
    assert torch.equal(encoded.isnan(), part.values.isnan())
    decoded = transforms.bind(part.time[None]).decode(encoded)
    torch.testing.assert_close(decoded, part.values, rtol=2e-4, atol=2e-4, equal_nan=True)


@pytest.mark.parametrize("name", CHAINS)
def test_the_map_rises_and_its_slope_is_the_derivative(name):
    part = TrainingRows(positive(), transform_spec())
    bound = learned(CHAINS[name], part).bind(part.time[None, :2])
    values = torch.linspace(0.5, 30, 40, dtype=torch.float64).view(40, 1, 1, 1).expand(40, 2, 3, 1).clone()
    values.requires_grad_()
    encoded = bound.encode(values)
    assert (encoded.diff(dim=0) > 0).all()
    (slope,) = torch.autograd.grad(encoded.sum(), values)
    torch.testing.assert_close(bound.log_slope(values).exp(), slope, rtol=1e-5, atol=1e-8)


def one(transform, **state):
    """A transform bound at one step of one node, its parameters given."""
    given = torch.stack(list(state.values()), -1) if state else torch.zeros(0)
    return BoundTransforms((transform,), (given,))


def test_a_normal_logarithm_is_a_log_normal():
    loc, scale = torch.tensor([0.3, -1.0]).view(2, 1, 1, 1), torch.tensor([0.4, 0.9]).view(2, 1, 1, 1)
    forecast = Transformed(Normal(loc, scale), one(Log(), offset=torch.zeros(1, 1), floor=torch.full((1, 1), 1e-9)))
    exact = torch.distributions.LogNormal(loc, scale)
    value = torch.tensor([0.2, 3.0]).view(2, 1, 1, 1)
    for name in ("log_prob", "cdf"):
        torch.testing.assert_close(getattr(forecast, name)(value), getattr(exact, name)(value))
    torch.testing.assert_close(forecast.icdf(torch.tensor(0.9)), exact.icdf(torch.tensor(0.9)))
    torch.testing.assert_close(forecast.mean, exact.mean, rtol=2e-3, atol=0)
    torch.testing.assert_close(forecast.variance, exact.variance, rtol=5e-2, atol=0)
    assert (forecast.icdf(torch.tensor(1e-6)) >= 0).all()


def test_moments_of_an_affine_transform_are_exact_and_of_a_square_root_those_of_its_draws():
    given = torch.tensor([5.0, 2.0]).view(1, 1, 1, 1, 2)
    bound = BoundTransforms((Anomaly(),), (given,))
    forecast = Transformed(Normal(torch.full((1, 1, 1, 1), 0.5), 0.3), bound)
    assert float(forecast.mean) == pytest.approx(6.0) and float(forecast.stddev) == pytest.approx(0.6)
    root = Transformed(Normal(torch.full((1, 1, 1, 1), 2.0), 0.5), one(Power(0.5), smallest=torch.ones(1, 1)))
    assert float(root.mean) == pytest.approx(4.25, rel=1e-3)  # E z² = 2² + 0.5²
    assert float(root.variance) == pytest.approx(4 * 4 * 0.25 + 2 * 0.0625, rel=1e-2)
    torch.manual_seed(0)
    assert float(root.sample((20_000,)).mean()) == pytest.approx(4.25, abs=0.05)


def test_a_mixture_is_split_into_what_members_and_their_differences_say():
    loc = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1, 1)
    members = Normal(loc, torch.full_like(loc, 0.5))
    forecast = Transformed(Mixture(members), one(Log(), offset=torch.zeros(1, 1), floor=torch.full((1, 1), 1e-9)))
    means = torch.exp(loc + 0.125).flatten()
    assert float(forecast.epistemic_variance) == pytest.approx(float(means.var(unbiased=False)), rel=1e-2)
    inner = (math.exp(0.25) - 1) * means.square().mean()
    assert float(forecast.aleatoric_variance) == pytest.approx(float(inner), rel=2e-2)
    total = forecast.aleatoric_variance + forecast.epistemic_variance
    torch.testing.assert_close(forecast.variance, total)
    level = torch.tensor(0.8)
    torch.testing.assert_close(forecast.cdf(forecast.icdf(level)).flatten(), level.view(1), rtol=1e-4, atol=1e-4)


def test_conformity_is_measured_on_transformed_values_and_intervals_are_decoded():
    bound = one(Log(), offset=torch.zeros(1, 1), floor=torch.full((1, 1), 1e-9))
    base = Normal(torch.ones(1, 2, 1, 1), torch.full((1, 2, 1, 1), 0.5))
    truth = torch.tensor([2.0, torch.nan]).view(1, 2, 1, 1)
    score = conformity_scores(Transformed(base, bound), truth, "scaled", [0.8])
    assert float(score[0, 0, 0, 0, 0]) == pytest.approx(abs(math.log(2.0) - 1) / 0.5)
    assert score[0, 0, 1].isnan().all()
    made = quantiles_of_forecast(Transformed(base, bound), None, torch.zeros(1, 1), [0.1, 0.5, 0.9])
    torch.testing.assert_close(made, quantiles_of_forecast(base, None, torch.zeros(1, 1), [0.1, 0.5, 0.9]).exp())


def test_a_value_below_all_of_training_is_no_extreme_of_the_logarithm():
    part = TrainingRows(positive(), transform_spec())
    bound = learned([Log()], part).bind(part.time[None, :1])
    least = float(part.values[~part.values.isnan()].min())
    made = bound.encode(torch.tensor([0.0, -5.0, least]).view(3, 1, 1, 1).expand(3, 1, 3, 1))
    np.testing.assert_allclose(made[:, 0, 0, 0], np.log([least / 2, least / 2, least]), rtol=1e-5)


def test_the_offset_of_a_logarithm_is_learned_only_where_there_are_zeros():
    values = positive()
    assert float(Log().learn(TrainingRows(values, transform_spec()))["offset"]) == 0
    values[0, 0, 0] = 0.0
    smallest = values[values > 0].min()
    assert float(Log().learn(TrainingRows(values, transform_spec()))["offset"]) == pytest.approx(float(smallest) / 2)


@pytest.mark.parametrize(
    ("chain", "shift", "words"),
    [
        ([Log()], -1.0, "transform log: `y` .* is below zero"),
        ([Log(0.0)], None, "transform log: `y` 0 has no logarithm"),
        ([Power()], -1.0, "transform power: `y` .* is below zero"),
        ([Logit()], 1.0, "transform logit: `y` .* values lie beyond 0 to 1"),
        ([Rate("empty")], 0.0, "`empty`: is 0 at node 'b'; Rate needs it above zero"),
    ],
)
def test_values_that_a_transform_does_not_take_are_named(chain, shift, words):
    values = positive()
    values = values + shift if shift is not None else values.where(values > values.nanquantile(0.01), 0.0)
    with pytest.raises(PanelError, match=words):
        learned(chain, TrainingRows(values, transform_spec()))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Log(-1.0), "offset -1: must not be negative"),
        (lambda: Power(2.0), "power 2: must be above 0"),
        (lambda: Asinh(0.0), "scale 0: must be above zero"),
        (lambda: Logit(1.0, 0.0), "low 1: must be below high 0"),
        (lambda: Logit(margin=0.7), "margin 0.7: must be above 0"),
        (lambda: Anomaly(harmonics=0), "harmonics 0: must be at least 1"),
        (lambda: Anomaly(by=["yerday"]), "by 'yerday': did you mean yearday"),
    ],
)
def test_an_option_out_of_range_is_refused(make, words):
    with pytest.raises(RequestError, match=words):
        make()
