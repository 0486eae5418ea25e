"""Online intervals of forecasts that are not normal: they keep the shape that the forecaster gives them."""

import numpy as np
import pytest
import torch
from helpers import FEW, make_data, make_panel, trainer
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Normal

import stgate
from stgate.distributions.reshaped import curve_at
from stgate.distributions.transforms import Log
from stgate.models import GradientBoosting, Ridge, Stack
from stgate.prediction.normal_scores import nodes_of, normal_scores, quantiles_at


@given(st.floats(-50, 50), st.floats(0.1, 20), st.floats(-3.5, 3.5), st.sampled_from(["scaled", "distribution"]))
def test_a_normal_forecast_has_the_same_scores_and_intervals_by_error_and_by_level(mean, stddev, score, kind):
    forecast, truth = Normal(torch.full((1, 1, 2, 1), mean), stddev), torch.full((1, 1, 2, 1), mean + stddev * score)
    truth[..., 1, :] = torch.nan
    sizes = normal_scores(forecast, truth, kind)
    assert float(sizes[0, 0, 0]) == pytest.approx(abs(score), abs=2e-3)
    assert torch.isnan(sizes[0, 0, 1])
    reached = curve_at(quantiles_at(forecast, kind), torch.tensor(score), nodes_of(kind))
    torch.testing.assert_close(reached[0, 0, 0], truth[0, 0, 0], rtol=2e-4, atol=2e-3 * stddev)


def skewed(steps=900):
    """A panel of log-normal values: what lies above the median is twice as far as what lies below."""
    panel = make_panel(steps=steps)
    noise = np.random.default_rng(2).normal(0, 0.8, (steps, 3))
    panel["y"] = panel["y"].copy(data=np.exp(noise).astype("float32"))
    return panel


@pytest.mark.parametrize("mode", ["rolling", "adaptive"])
@pytest.mark.parametrize("make", [lambda: Stack(members=[fitted(Ridge(transforms=[Log()]))]), None])
def test_online_intervals_miss_as_many_values_above_as_below(make, mode):
    model = make() if make else fitted(GradientBoosting())
    hindcast = stgate.backtest(
        model, skewed(), start="2020-01-24", levels=[0.8], calibration=mode, calibration_window=200
    )
    truth, bounds = hindcast["y_truth"], hindcast["y"]
    known = int(truth.notnull().sum())
    above = float((truth > bounds.sel(quantile=0.9)).sum()) / known
    below = float((truth < bounds.sel(quantile=0.1)).sum()) / known
    assert above == pytest.approx(0.1, abs=0.03)
    assert below == pytest.approx(0.1, abs=0.03)
    upper, lower = (
        bounds.sel(quantile=0.9) - bounds.sel(quantile=0.5),
        bounds.sel(quantile=0.5) - bounds.sel(quantile=0.1),
    )
    assert float(upper.mean() / lower.mean()) > 1.8  # exp(0.8 · 1.28) = 2.8 for the truth


def fitted(model):
    trainer(1, **FEW).fit(model, make_data(skewed(), batch_size=32, split=("2020-01-14", "2020-01-19", "2020-01-24")))
    return model.eval()


@pytest.mark.parametrize("stddevs", [6.0, 40.0, -25.0])
def test_a_score_far_beyond_all_levels_still_grows_with_the_error(stddevs):
    forecast, truth = Normal(torch.zeros(1, 1, 1, 1), 2.0), torch.full((1, 1, 1, 1), 2 * stddevs)
    assert float(normal_scores(forecast, truth, "distribution")) == pytest.approx(abs(stddevs), rel=0.02)


@pytest.mark.parametrize("make", [lambda: Stack(members=[fitted(Ridge(transforms=None))]), None])
def test_intervals_come_back_after_a_shift_that_no_level_can_tell(make):
    model = make() if make else fitted(GradientBoosting(transforms=None))
    panel = skewed(steps=1200)
    panel["y"][900:] = 60 * panel["y"][900:] + 100  # later than 2020-02-07
    late = stgate.backtest(model, panel, start="2020-02-13", levels=[0.8], calibration="rolling", calibration_window=80)
    assert float(stgate.evaluate(late)["coverage_80"]) == pytest.approx(0.8, abs=0.08)
