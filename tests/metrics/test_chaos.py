"""Scores of chaotic forecasts: closed cases, and a loop that does the same the long way."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from stgate.metrics import nrmse, valid_prediction_time

LEADS = np.array([0.1, 0.2, 0.3, 0.4, 0.5])


def valid_time(errors, leads=LEADS, sigma=1.0, **options):
    """Of a forecast whose NRMSE over the leads is `errors` (..., lead): times and whether they are censored."""
    errors = np.asarray(errors, "float64")
    dims = (*(f"d{i}" for i in range(errors.ndim - 1)), "lead_time", "node")
    signs = np.array([1.0, -1.0, 1.0])
    forecast = xr.DataArray(errors[..., None] * signs * sigma, {"lead_time": leads}, dims)
    spread = xr.DataArray(np.full(3, sigma), dims="node")
    times, censored = valid_prediction_time(xr.zeros_like(forecast), forecast, spread, **options)
    assert times.dims == censored.dims == dims[:-2]
    return times.values, censored.values


@pytest.mark.parametrize(
    ("errors", "time", "censored"),
    [
        ([0.1, 0.2, 0.6, 0.1, 0.9], 0.2, False),  # the first miss counts, not a later return
        ([0.1, 0.2, 0.3, 0.4, 0.5], 0.4, False),  # reaching the threshold is missing it
        ([0.7, 0.1, 0.1, 0.1, 0.1], 0.0, False),  # the first lead misses
        ([0.1, 0.2, 0.3, 0.4, 0.4], 0.5, True),  # never: a lower bound
        ([0.1, np.nan, 0.3, 0.6, 0.9], 0.3, False),  # a gap is no miss
        ([0.1, 0.2, 0.3, np.nan, np.nan], 0.3, True),  # valid as far as anyone looked
        ([np.nan, 0.1, 0.1, 0.9, 0.9], np.nan, False),  # nothing is known at the first lead
        ([np.nan] * 5, np.nan, False),
    ],
)
def test_valid_time_in_closed_cases(errors, time, censored):
    found, open_end = valid_time(errors)
    np.testing.assert_array_equal(found, time)
    assert open_end == censored


def long_way(errors, leads, threshold):
    if np.isnan(errors[0]):
        return np.nan, False
    for i, error in enumerate(errors):
        if error >= threshold:
            return (leads[i - 1] if i else 0.0), False
    return leads[np.flatnonzero(~np.isnan(errors))[-1]], True


@given(st.data())
@settings(deadline=None, max_examples=50)
def test_valid_time_equals_the_long_way_round(data):
    count = data.draw(st.integers(1, 6))
    entry = st.floats(0, 2, width=32) | st.just(float("nan"))
    errors = data.draw(st.lists(st.lists(entry, min_size=count, max_size=count), min_size=1, max_size=4))
    threshold = data.draw(st.sampled_from([0.3, 0.5, 1.0]))
    leads = 0.25 * np.arange(1, count + 1)
    times, censored = valid_time(errors, leads, sigma=2.0, threshold=threshold)
    expected = [long_way(row, leads, threshold) for row in np.asarray(errors)]
    np.testing.assert_array_equal(times, [t for t, _ in expected])
    np.testing.assert_array_equal(censored, [c for _, c in expected])


def test_valid_time_of_clock_time_comes_in_clock_time():
    times, _ = valid_time([0.1, 0.2, 0.6, 0.9, 0.9], leads=pd.to_timedelta([1, 2, 3, 4, 5], "h"))
    assert times == np.timedelta64(2, "h")


def test_an_exponentially_growing_error_is_valid_for_its_closed_form_time():
    leads = np.arange(1, 2001) * 0.01
    for rate in (0.5, 1.7):
        time, censored = valid_time(1e-4 * np.exp(rate * leads), leads)
        assert time == pytest.approx(np.log(0.5 / 1e-4) / rate, abs=0.01) and not censored


def draws(seed, shape=(4000, 30)):
    sigma = xr.DataArray(np.linspace(0.5, 4, shape[1]), dims="node")
    return xr.DataArray(np.random.default_rng(seed).standard_normal(shape), dims=("time", "node")) * sigma + 5, sigma


def test_the_climatological_mean_scores_one_and_a_stranger_root_two():
    truth, sigma = draws(0)
    other, _ = draws(1)
    assert float(nrmse(truth, xr.full_like(truth, 5.0), sigma).mean()) == pytest.approx(1, abs=0.02)
    assert float(nrmse(truth, other, sigma).mean()) == pytest.approx(np.sqrt(2), abs=0.03)
    assert (nrmse(truth, truth, sigma) == 0).all()


def test_nodes_that_are_missing_drop_out_of_the_nrmse():
    truth, sigma = draws(2, (20, 6))
    gaps = truth.where(xr.DataArray(np.random.default_rng(3).random(truth.shape) > 0.3, dims=truth.dims))
    gaps[4] = np.nan
    found = nrmse(gaps, xr.full_like(truth, 5.0), sigma)
    for time in range(20):
        seen = gaps[time].notnull()
        expected = np.sqrt((((truth[time] - 5) / sigma)[seen] ** 2).mean()) if seen.any() else np.nan
        np.testing.assert_allclose(found[time], expected)
    assert np.isnan(found[4])
