"""Normal scores: those of values, values at scores, and both beyond the tails."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import LogNormal, Normal

from stgate.distributions.families import QuantileFunction, StudentT
from stgate.distributions.normal_scores import score_in, value_at
from stgate.prediction.intervals import Calibration, conformity_scores, quantiles_of_forecast
from stgate.prediction.migrations import migrate

LEVELS = (0.1, 0.5, 0.9)


@given(st.floats(-50, 50), st.floats(0.1, 20), st.floats(-30, 30))
def test_of_a_normal_distribution_they_are_errors_in_standard_deviations(mean, stddev, score):
    forecast = Normal(torch.tensor([mean]), torch.tensor([stddev]))
    truth = torch.tensor([mean + score * stddev])
    assert float(score_in(forecast, truth)) == pytest.approx(score, rel=0.01, abs=0.01)
    assert float(value_at(forecast, torch.tensor([score]))) == pytest.approx(float(truth), rel=0.01, abs=0.01 * stddev)


def knots():
    return QuantileFunction(torch.tensor([[1.0, 2.0, 5.0]]), torch.ones(1), LEVELS)


@pytest.mark.parametrize(
    "forecast",
    [StudentT(torch.full((1,), 4.0)), LogNormal(torch.zeros(1), torch.ones(1)), knots()],
    ids=["student", "log-normal", "quantiles"],
)
@given(score=st.floats(-4, 12))
def test_a_value_at_a_score_has_that_score(forecast, score):
    value = value_at(forecast, torch.tensor([score]))
    assert float(score_in(forecast, value)) == pytest.approx(score, rel=0.02, abs=0.02)


def test_values_rise_with_scores_and_infinite_scores_give_infinite_values():
    scores = torch.tensor([-torch.inf, -9.0, -4.3, -4.2, 0.0, 4.2, 4.3, 9.0, torch.inf])
    values = value_at(StudentT(torch.full((9,), 3.0)), scores)
    assert (values.diff() > 0).all() and values[0] == -torch.inf and values[-1] == torch.inf


def test_intervals_reach_values_that_no_level_can_tell_apart():
    torch.manual_seed(0)
    forecast = Normal(torch.zeros(400, 1, 1, 1), torch.full((400, 1, 1, 1), 0.05))  # far too sure of itself
    truth = torch.randn(400, 1, 1, 1)
    score = conformity_scores(forecast, truth, "distribution", [0.9])[0]
    half = score.flatten().sort().values[int(0.9 * 401) - 1]
    held = Calibration("", "distribution", (0.9,), (), half.view(1, 1, 1, 1, 1), torch.ones(1, 1), (), "", "")
    low, _, high = quantiles_of_forecast(forecast, held, torch.zeros(400, 1), [0.05, 0.5, 0.95]).unbind(-1)
    assert float(((truth >= low) & (truth <= high)).float().mean()) == pytest.approx(0.9, abs=0.01)


def test_calibrations_by_levels_of_format_4_give_the_same_intervals():
    levels = torch.tensor([0.2, 0.45, torch.inf]).view(1, 1, 3, 1, 1)
    held = Calibration("", "distribution", (0.4, 0.9, 0.99), (), levels, torch.ones(1, 1), (), "", "")
    ours = {"format": 4, "class": "Stack", "n_observations": 1, "transforms": [], "directions": 0}
    checkpoint = {"stgate": {**ours, "calibration": held.to_plain()}, "state_dict": {}, "hyper_parameters": {}}
    migrate(checkpoint)
    forecast = LogNormal(torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1))
    again = Calibration.from_plain(checkpoint["stgate"]["calibration"])
    wanted = [0.005, 0.05, 0.3, 0.5, 0.7, 0.95, 0.995]
    made = quantiles_of_forecast(forecast, again, torch.zeros(1, 1), wanted).flatten()
    inner = forecast.icdf(torch.tensor([0.05, 0.3, 0.5, 0.7, 0.95])).flatten()
    torch.testing.assert_close(made[1:-1], inner, rtol=1e-4, atol=1e-4)
    assert made[0] == -torch.inf and made[-1] == torch.inf
