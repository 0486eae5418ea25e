"""Errors of point forecasts: other packages, closed cases, and what is left out."""

import numpy as np
import pytest
import xarray as xr
from scores import continuous as sc
from sklearn import metrics as sk

from stgate.metrics import mae, mape, mase, naive_scale, r2, rmse, skill_score

RNG = np.random.default_rng(0)
TRUTH = xr.DataArray(RNG.normal(5, 2, (40, 6)), dims=("init_time", "node"))
FORECAST = TRUTH + xr.DataArray(RNG.normal(0, 1, (40, 6)), dims=TRUTH.dims)
GAPS = TRUTH.where(xr.DataArray(RNG.random((40, 6)) > 0.3, dims=TRUTH.dims))


def test_r2_and_mape_are_those_of_scikit_learn_on_what_is_observed():
    seen = GAPS.notnull().values
    y, x = GAPS.values[seen], FORECAST.values[seen]
    assert float(r2(GAPS, FORECAST)) == pytest.approx(sk.r2_score(y, x), rel=1e-9)
    assert float(mape(GAPS, FORECAST)) == pytest.approx(sk.mean_absolute_percentage_error(y, x), rel=1e-9)
    weights = RNG.random((40, 6))
    found = r2(GAPS.values, FORECAST.values, weights=weights)
    assert found == pytest.approx(sk.r2_score(y, x, sample_weight=weights[seen]), rel=1e-9)


def test_r2_by_node_is_the_nash_sutcliffe_efficiency():
    expected = sc.nse(FORECAST, GAPS, reduce_dims="init_time")
    xr.testing.assert_allclose(r2(GAPS, FORECAST, by="node"), expected)
    np.testing.assert_allclose(r2(GAPS.values, FORECAST.values, by=1), expected)


def test_r2_of_observations_that_do_not_vary_is_nan():
    flat = xr.ones_like(TRUTH)
    assert np.isnan(r2(flat, FORECAST)) and np.isnan(r2(flat.values, FORECAST.values))


def test_an_observation_of_zero_has_no_share_of_error():
    truth, forecast = np.array([0.0, 0.5, 2.0, np.nan]), np.array([1.0, 1.0, 3.0, 1.0])
    assert mape(truth, forecast) == pytest.approx((1 + 0.5) / 2)
    assert mape(truth, forecast, zero=0.5) == pytest.approx(0.5)
    assert np.isnan(mape(np.zeros(3), np.ones(3)))


def test_mase_is_one_for_the_naive_forecast_on_its_own_training_data():
    history = TRUTH.rename(init_time="time")
    for season in (1, 7):
        naive = history.shift(time=season)
        scale = naive_scale(history, season=season)
        np.testing.assert_allclose(mase(history, naive, scale, by="node"), 1)
        np.testing.assert_allclose(naive_scale(history.values, season=season), scale)


def test_a_node_that_never_changed_drops_out_of_the_mase():
    truth, forecast = np.array([[1.0, 5.0]]), np.array([[2.0, 9.0]])
    assert mase(truth, forecast, np.array([0.5, 0.0])) == 2
    assert mase(truth, forecast, np.array([0.5, np.nan])) == 2


def test_a_skill_is_the_share_of_the_references_score_that_is_gone():
    assert skill_score(mae(TRUTH, TRUTH), mae(TRUTH, FORECAST)) == 1
    assert skill_score(rmse(TRUTH, FORECAST), rmse(TRUTH, FORECAST)) == 0
    np.testing.assert_array_equal(skill_score(np.array([1.0, 2.0]), np.array([2.0, 1.0])), [0.5, -1])
