"""Levels of values at the end of a forecast's range: uniform for a forecast that is right, unchanged elsewhere."""

import pytest
import torch
from scipy import stats
from torch.distributions import Normal

from stgate.distributions.counts import NegativeBinomial
from stgate.distributions.ties import encoded_truth, level_in, whole
from stgate.distributions.transformed import BoundTransforms, Transformed
from stgate.distributions.transforms import Log, Power
from stgate.prediction.intervals import conformity_scores


def zero_inflated(transform, spread=1.0, seed=0):
    """Return a forecast with about two thirds of its probability at zero, and values drawn from it."""
    torch.manual_seed(seed)
    base = Normal(torch.randn(400, 2, 5, 1) * 0.3 - 0.4, torch.full((400, 2, 5, 1), spread))
    forecast = Transformed(base, BoundTransforms((transform,), (torch.tensor([1.0, 0.5]).expand(1, 1, 1, 1, 2),)))
    return forecast, forecast.sample()


@pytest.mark.parametrize("transform", [Power(0.5), Log(1.0)])
def test_levels_of_a_forecast_that_is_right_are_uniform(transform):
    forecast, truth = zero_inflated(transform)
    assert float((truth == 0).float().mean()) > 0.5
    assert stats.kstest(level_in(forecast, truth).flatten().numpy(), "uniform").pvalue > 0.01
    encoded = encoded_truth(forecast, truth)
    levels = forecast.base.cdf(encoded).flatten().numpy()
    assert stats.kstest(levels, "uniform").pvalue > 0.01
    torch.testing.assert_close(forecast.bound.decode(encoded), truth, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["distribution", "scaled", "quantile"])
def test_calibration_leaves_a_forecast_with_an_atom_as_it_is_if_it_is_right(kind):
    forecast, truth = zero_inflated(Power(0.5))
    scores = conformity_scores(forecast, truth, kind, [0.5])[0]
    own = 0.0 if kind == "quantile" else float(stats.norm.ppf(0.75))
    assert abs(float(scores.quantile(0.5)) - own) < 0.03


def test_values_that_are_no_atom_keep_their_level():
    forecast, truth = zero_inflated(Power(0.5))
    inner = truth > 0
    torch.testing.assert_close(level_in(forecast, truth)[inner], forecast.cdf(truth)[inner])
    normal = Normal(torch.zeros(50, 1), torch.ones(50, 1))
    rounded = normal.sample().round(decimals=1)  # ties, but no atom
    torch.testing.assert_close(level_in(normal, rounded), normal.cdf(rounded))


def test_levels_of_counts_are_uniform_if_the_forecast_is_right_for_what_was_rounded():
    forecast, drawn = zero_inflated(Power(0.25), spread=0.6)
    truth = drawn.round()
    assert float((truth == 0).float().mean()) > 0.5 and float(truth.max()) > 2
    assert stats.kstest(level_in(forecast, truth).flatten().numpy(), "uniform").pvalue > 0.01
    encoded = encoded_truth(forecast, truth)
    assert stats.kstest(forecast.base.cdf(encoded).flatten().numpy(), "uniform").pvalue > 0.01
    torch.testing.assert_close(forecast.bound.decode(encoded).round(), truth)


def test_missing_values_stay_missing():
    forecast, truth = zero_inflated(Log(1.0))
    truth[::3] = torch.nan
    assert torch.equal(torch.isnan(level_in(forecast, truth)), torch.isnan(truth))
    assert torch.equal(torch.isnan(encoded_truth(forecast, truth)), torch.isnan(truth))
    assert bool(torch.isnan(level_in(forecast, torch.full_like(truth, torch.nan))).all())


def test_levels_of_a_distribution_of_counts_are_uniform():
    torch.manual_seed(0)
    counts = NegativeBinomial(torch.rand(4000, 1) * 3 + 0.2, torch.full((4000, 1), 0.5))
    assert stats.kstest(level_in(counts, counts.sample()).flatten().numpy(), "uniform").pvalue > 0.01


def test_each_target_has_its_own_rule():
    """Counts beside a continuous target with values below zero: the zeros of the counts are an atom still."""
    torch.manual_seed(0)
    base = Normal(torch.tensor([-0.4, 0.0]).expand(300, 2, 5, 2), torch.tensor([0.6, 1.0]).expand(300, 2, 5, 2))
    counts = Transformed(base, BoundTransforms((Power(0.25),), (torch.tensor([1.0, 0.5]).expand(1, 1, 1, 1, 2),)))
    truth = torch.stack([counts.sample()[..., 0].round(), base.sample()[..., 1]], -1)
    assert whole(truth).tolist() == [True, False]
    assert float(truth.min()) < 0
    levels = level_in(counts, truth)[..., 0]
    assert stats.kstest(levels.flatten().numpy(), "uniform").pvalue > 0.01
