"""Closed forms at a spread of zero, and spreads that are none."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stgate import metrics
from stgate.distributions.mixture import Mixture
from stgate.errors import RequestError
from stgate.metrics.torch import crps_of

NUMBERS = st.floats(-1e6, 1e6)
CRPS = {
    "crps_normal": lambda y, m, s: metrics.crps_normal(y, m, s),
    "crps_student_t": lambda y, m, s: metrics.crps_student_t(y, 4.0, m, s),
    "crps_normal_mixture": lambda y, m, s: metrics.crps_normal_mixture(y, np.stack([m, m], -1), np.stack([s, s], -1)),
}
LOGS = {
    "log_score_normal": lambda y, m, s: metrics.log_score_normal(y, m, s),
    "log_score_student_t": lambda y, m, s: metrics.log_score_student_t(y, 4.0, m, s),
    "log_score_lognormal": lambda y, m, s: metrics.log_score_lognormal(np.exp(y), m, s),
    "log_score_normal_mixture": lambda y, m, s: metrics.log_score_normal_mixture(
        y, np.stack([m, m], -1), np.stack([s, s], -1)
    ),
}
LOGNORMAL = {"crps_lognormal": lambda y, m, s: metrics.crps_lognormal(np.exp(y), m, s)}


@pytest.mark.parametrize("name", CRPS)
@given(y=NUMBERS, loc=NUMBERS)
def test_a_spread_of_zero_leaves_the_absolute_error(name, y, loc):
    truth, centre = np.array([y]), np.array([loc])
    at_zero = CRPS[name](truth, centre, np.zeros(1))
    assert at_zero == pytest.approx(abs(y - loc), rel=1e-12)
    assert at_zero == pytest.approx(CRPS[name](truth, centre, np.array([1e-300])), rel=1e-9)


@given(y=st.floats(-5, 5), loc=st.floats(-5, 5))
def test_a_lognormal_of_spread_zero_is_a_point_at_its_median(y, loc):
    made = metrics.crps_lognormal(np.exp([y]), np.array([loc]), np.zeros(1))
    assert made == pytest.approx(abs(math.exp(y) - math.exp(loc)), rel=1e-9, abs=1e-12)


def test_a_mixture_of_points_scores_like_an_ensemble():
    members = np.array([[0.0, 1.0, 4.0]])
    made = metrics.crps_normal_mixture(np.array([2.0]), members, np.zeros((1, 3)))
    assert made == pytest.approx(metrics.crps(np.array([2.0]), members, fair=False))


@pytest.mark.parametrize("name", {**CRPS, **LOGS, **LOGNORMAL})
@pytest.mark.parametrize("scale", [-1.0, -1e-30, np.nan])
def test_negative_and_missing_spreads_are_refused(name, scale):
    with pytest.raises(RequestError, match=r"scale: (negative|missing)"):
        {**CRPS, **LOGS, **LOGNORMAL}[name](np.zeros(2), np.zeros(2), np.array([1.0, scale]))


@pytest.mark.parametrize("name", {**CRPS, **LOGS, **LOGNORMAL})
def test_a_case_without_truth_or_forecast_is_missing(name):
    given = [np.array([np.nan, 0.0, 0.0]), np.array([0.0, np.nan, 0.0]), np.array([1.0, np.nan, 1.0])]
    assert np.isnan({**CRPS, **LOGS, **LOGNORMAL}[name](*given)).tolist() == [True, True, False]


@pytest.mark.parametrize("name", LOGS)
def test_log_scores_of_points_are_infinite(name):
    made = LOGS[name](np.array([1.0, 2.0]), np.array([1.0, 1.0]), np.zeros(2))
    assert made.tolist() == [-np.inf, np.inf]


def test_other_parameters_are_checked_too():
    with pytest.raises(RequestError, match="df: negative"):
        metrics.log_score_student_t(np.zeros(1), -1.0, 0.0, 1.0)
    with pytest.raises(RequestError, match="df: negative"):
        metrics.crps_student_t(np.zeros(1), np.array([-1.0]), 0.0, 1.0)
    with pytest.raises(RequestError, match="probability"):
        metrics.crps_normal_mixture(np.zeros(1), np.zeros((1, 2)), np.ones((1, 2)), np.full((1, 2), 0.2))
    with pytest.raises(RequestError, match="scale: negative"):
        metrics.mase(np.zeros(2), np.zeros(2), np.array([-1.0, 1.0]))


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-3, 1.0, 1e30])
@pytest.mark.parametrize("truth", [1.0, 3.0])
def test_gradients_of_a_normals_score_are_exact_at_every_spread(scale, truth):
    loc, width = (torch.tensor([v], dtype=torch.float64, requires_grad=True) for v in (1.0, scale))
    made = crps_of(torch.distributions.Normal(loc, width, validate_args=False), torch.tensor([truth]).double())
    made.sum().backward()
    z = (truth - 1.0) / scale if scale else (math.inf if truth > 1 else 0.0)
    density = math.exp(-0.5 * min(z, 1e3) ** 2) / math.sqrt(2 * math.pi)
    assert loc.grad.item() == pytest.approx(-math.erf(z / math.sqrt(2)), abs=1e-12)
    assert width.grad.item() == pytest.approx(2 * density - 1 / math.sqrt(math.pi), rel=1e-9)


def test_gradients_of_a_mixtures_score_are_finite_at_a_spread_of_zero():
    loc = torch.tensor([[0.0], [0.0], [1.0]], requires_grad=True)
    width = torch.zeros(3, 1, requires_grad=True)
    mixture = Mixture(torch.distributions.Normal(loc, width, validate_args=False))
    crps_of(mixture, torch.tensor([0.5])).sum().backward()
    assert torch.isfinite(loc.grad).all() and torch.isfinite(width.grad).all()


@pytest.mark.parametrize("scale", [-1.0, math.nan])
def test_the_score_of_a_normal_refuses_spreads_that_are_none(scale):
    forecast = torch.distributions.Normal(torch.zeros(2), torch.tensor([1.0, scale]), validate_args=False)
    with pytest.raises(RequestError, match="scale"):
        crps_of(forecast, torch.zeros(2))


@pytest.mark.parametrize("name", {**CRPS, **LOGNORMAL})
@pytest.mark.parametrize("scale", [np.inf, 1e300])
def test_spreads_without_bound_are_infinitely_bad_and_never_left_out(name, scale):
    given = [np.array([1.0, np.nan]), np.array([0.5, 0.5]), np.array([scale, scale])]
    made = {**CRPS, **LOGNORMAL}[name](*given)
    assert made[0] > 1e299 and np.isnan(made[1])
