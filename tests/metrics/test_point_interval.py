"""Errors and interval scores: one value a forecast, NaN where the truth is missing."""

import numpy as np
import pytest
import scoringrules
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from stgate.errors import RequestError
from stgate.metrics import absolute_error, coverage, interval_score, interval_width, squared_error

RNG = np.random.default_rng(0)
TRUTH = RNG.standard_normal((50, 20))
MIDDLE = RNG.standard_normal((50, 20)) * 0.5
LOWER, UPPER = MIDDLE - RNG.random((50, 20)), MIDDLE + RNG.random((50, 20))
GAPS = np.where(RNG.random(TRUTH.shape) < 0.1, np.nan, TRUTH)

SCORES = {
    "absolute_error": lambda y: absolute_error(y, MIDDLE),
    "squared_error": lambda y: squared_error(y, MIDDLE),
    "coverage": lambda y: coverage(y, LOWER, UPPER),
    "interval_width": lambda y: interval_width(y, LOWER, UPPER),
    "interval_score": lambda y: interval_score(y, LOWER, UPPER, level=0.8),
}
each_score = pytest.mark.parametrize("score", SCORES.values(), ids=SCORES.keys())


@each_score
def test_a_missing_truth_gives_nan_and_changes_nothing_else(score):
    np.testing.assert_array_equal(score(GAPS), np.where(np.isnan(GAPS), np.nan, score(TRUTH)))


@each_score
def test_arrays_and_data_arrays_score_alike(score):
    named = score(xr.DataArray(GAPS, dims=("time", "node")))
    assert named.dims == ("time", "node")
    np.testing.assert_array_equal(named.values, score(GAPS))


def test_errors_are_what_they_are_called():
    np.testing.assert_array_equal(absolute_error(TRUTH, MIDDLE), np.abs(TRUTH - MIDDLE))
    np.testing.assert_allclose(squared_error(TRUTH, MIDDLE), absolute_error(TRUTH, MIDDLE) ** 2)


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9, 0.95])
def test_scoringrules_gives_the_same_interval_score(level):
    expected = scoringrules.interval_score(TRUTH, LOWER, UPPER, 1 - level)
    np.testing.assert_allclose(interval_score(TRUTH, LOWER, UPPER, level=level), expected, rtol=1e-9)


@given(truth=st.floats(-1e3, 1e3), lower=st.floats(-1e3, 1e3), width=st.floats(0, 1e3), level=st.floats(0.01, 0.99))
@settings(deadline=None)
def test_the_interval_score_is_the_width_exactly_where_covered_and_more_elsewhere(truth, lower, width, level):
    truth, lower, upper = np.array(truth), np.array(lower), np.array(lower + width)
    score = interval_score(truth, lower, upper, level=level)
    if coverage(truth, lower, upper):
        assert score == interval_width(truth, lower, upper)
    else:
        miss = max(lower - truth, truth - upper)
        assert score == pytest.approx(upper - lower + 2 / (1 - level) * miss)
        assert score >= upper - lower


@pytest.mark.parametrize("level", [0, 1, 90, float("nan")])
def test_a_level_that_is_no_share_is_refused(level):
    with pytest.raises(RequestError, match="level"):
        interval_score(TRUTH, LOWER, UPPER, level=level)


def test_the_true_quantiles_score_best():
    draws = np.random.default_rng(1).standard_normal(40_000)
    best = 1.6448536269514722  # the .95 quantile of the normal distribution
    means = {
        b: interval_score(draws, np.full(draws.shape, -b), np.full(draws.shape, b), level=0.9).mean()
        for b in (best - 0.3, best, best + 0.3)
    }
    assert min(means, key=means.get) == best


def test_bounds_count_as_covered():
    edge = np.array([0.0, 2.0])
    np.testing.assert_array_equal(coverage(edge, np.zeros(2), np.full(2, 2.0)), [1, 1])


def test_coverage_with_a_tenth_missing_is_that_of_the_observed_part():
    """Trap 3: a plain comparison counts a missing truth as a miss."""
    truth = np.random.default_rng(2).standard_normal(50_000)
    gaps = np.where(np.random.default_rng(3).random(truth.shape) < 0.1, np.nan, truth)
    lower, upper = np.full(truth.shape, -2.0537), np.full(truth.shape, 2.0537)  # 96 %
    found = float(coverage(gaps, lower, upper, by=()))
    seen = ~np.isnan(gaps)
    assert found == coverage(truth, lower, upper)[seen].mean() == pytest.approx(0.96, abs=0.004)
    assert ((gaps >= lower) & (gaps <= upper)).mean() == pytest.approx(0.864, abs=0.008)


def test_a_missing_bound_covers_nothing_and_misses_nothing():
    none = np.array([np.nan])
    assert np.isnan(coverage(np.zeros(1), none, np.ones(1))) and np.isnan(coverage(np.zeros(1), -np.ones(1), none))


def test_an_infinite_interval_covers_all_and_is_infinitely_wide():
    infinite = np.array([np.inf])
    assert coverage(np.zeros(1), -infinite, infinite) == 1
    assert interval_width(np.zeros(1), -infinite, infinite) == np.inf
    assert interval_score(np.zeros(1), -infinite, infinite, level=0.9) == np.inf
