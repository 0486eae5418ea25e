"""The CRPS: closed forms, another package, and its bond with the interval score."""

import numpy as np
import pytest
import scoringrules
import xarray as xr
from scipy.stats import norm

from stgate.metrics import crps_normal, crps_quantiles, interval_score
from stgate.schema.forecast import quantiles_of

RNG = np.random.default_rng(0)
TRUTH, LOC, SCALE = RNG.normal(0, 2, 500), RNG.normal(0, 1, 500), RNG.uniform(0.1, 3, 500)


def normal_quantiles(levels) -> np.ndarray:
    return norm.ppf(np.asarray(levels), LOC[:, None], SCALE[:, None])


def test_scoringrules_gives_the_same_crps_of_a_normal():
    np.testing.assert_allclose(crps_normal(TRUTH, LOC, SCALE), scoringrules.crps_normal(TRUTH, LOC, SCALE), atol=1e-6)


def test_the_crps_of_a_normal_is_homogeneous_and_blind_to_shifts_and_reflection():
    score = crps_normal(TRUTH, LOC, SCALE)
    np.testing.assert_allclose(crps_normal(3 * TRUTH + 1, 3 * LOC + 1, 3 * SCALE), 3 * score)
    np.testing.assert_allclose(crps_normal(-TRUTH, -LOC, SCALE), score)


def test_a_sharp_normal_scores_its_absolute_error():
    np.testing.assert_allclose(crps_normal(TRUTH, LOC, np.full(500, 1e-9)), np.abs(TRUTH - LOC), atol=1e-8)


def test_the_expected_crps_of_the_truth_itself_is_sigma_over_root_pi():
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    expected = (crps_normal(nodes, 0.0, 1.0) * weights).sum() / np.sqrt(2 * np.pi)
    assert expected == pytest.approx(1 / np.sqrt(np.pi), abs=1e-3)


def test_the_crps_from_quantiles_converges_to_the_closed_form():
    exact = crps_normal(TRUTH, LOC, SCALE)

    def worst(count):
        levels = np.arange(1, count + 1) / (count + 1)
        return np.abs((crps_quantiles(TRUTH, normal_quantiles(levels), levels) - exact) / SCALE).max()

    assert worst(999) < 2e-3 < worst(9)
    assert worst(999) < worst(99) / 5 < worst(9) / 25


def test_one_median_scores_its_absolute_error():
    np.testing.assert_allclose(crps_quantiles(TRUTH, LOC[:, None], [0.5]), np.abs(TRUTH - LOC))


def test_quantiles_that_all_agree_score_their_absolute_error_on_average_over_the_level():
    levels = (np.arange(200) + 0.5) / 200
    np.testing.assert_allclose(crps_quantiles(TRUTH, np.repeat(LOC[:, None], 200, 1), levels), np.abs(TRUTH - LOC))


def test_the_crps_is_the_interval_scores_weighed_by_their_miss_rate():
    levels = [0.2, 0.5, 0.8, 0.95]
    quantiles = np.asarray(quantiles_of(levels))
    forecast = normal_quantiles(quantiles)
    edges = np.r_[0, (quantiles[1:] + quantiles[:-1]) / 2, 1]
    weight = dict(zip(quantiles, np.diff(edges), strict=True))
    total = weight[0.5] * np.abs(TRUTH - LOC)
    for level in levels:
        low, high = (np.argmin(np.abs(quantiles - q)) for q in ((1 - level) / 2, (1 + level) / 2))
        score = interval_score(TRUTH, forecast[:, low], forecast[:, high], level=level)
        total += weight[quantiles[low]] * (1 - level) * score
    np.testing.assert_allclose(crps_quantiles(TRUTH, forecast, quantiles), total)


def test_arrays_and_data_arrays_score_alike():
    quantiles = quantiles_of([0.5, 0.9])
    forecast = normal_quantiles(quantiles)
    named = crps_quantiles(
        xr.DataArray(TRUTH, dims="time"),
        xr.DataArray(forecast.T, {"quantile": quantiles}, ("quantile", "time")),
    )
    assert named.dims == ("time",)
    np.testing.assert_allclose(named.values, crps_quantiles(TRUTH, forecast, quantiles))


def test_a_missing_truth_gives_nan_never_zero():
    quantiles = quantiles_of([0.5, 0.9])
    gaps = np.where(RNG.random(500) < 0.1, np.nan, TRUTH)
    forecast = normal_quantiles(quantiles)
    named = crps_quantiles(
        xr.DataArray(gaps, dims="time"), xr.DataArray(forecast, {"quantile": quantiles}, ("time", "quantile"))
    )
    for found in (crps_normal(gaps, LOC, SCALE), crps_quantiles(gaps, forecast, quantiles), named.values):
        np.testing.assert_array_equal(np.isnan(found), np.isnan(gaps))


def test_the_true_distribution_scores_best():
    draws = np.random.default_rng(1).standard_normal(40_000)
    means = {(m, s): crps_normal(draws, m, s).mean() for m in (-0.3, 0.0, 0.3) for s in (0.7, 1.0, 1.4)}
    assert min(means, key=means.get) == (0.0, 1.0)
