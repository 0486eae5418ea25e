"""Scores in closed form, and of quantiles: scoringrules, scipy, and integrals."""

import numpy as np
import pytest
import scoringrules as sr
import xarray as xr
from scipy import integrate, stats

from stgate import metrics
from stgate.errors import RequestError
from stgate.schema.forecast import quantiles_of

RNG = np.random.default_rng(0)
SIZE = 400
TRUTH, LOC, SCALE = RNG.normal(0, 2, SIZE), RNG.normal(0, 1, SIZE), RNG.uniform(0.2, 3, SIZE)
DF = RNG.uniform(1.5, 30, SIZE)
LOCS, SCALES = RNG.normal(0, 2, (SIZE, 5)), RNG.uniform(0.2, 3, (SIZE, 5))
WEIGHT = RNG.dirichlet(np.ones(5), SIZE)
POSITIVE = np.exp(TRUTH)
LEVELS = quantiles_of([0.2, 0.5, 0.8, 0.95])
QUANTILES = stats.norm.ppf(LEVELS, LOC[:, None], SCALE[:, None])


def test_scoringrules_gives_the_same_closed_forms():
    for ours, theirs in (
        (metrics.crps_student_t(TRUTH, DF, LOC, SCALE), sr.crps_t(TRUTH, DF, LOC, SCALE)),
        (metrics.crps_lognormal(POSITIVE, LOC, SCALE), sr.crps_lognormal(POSITIVE, LOC, SCALE)),
        (metrics.crps_normal_mixture(TRUTH, LOCS, SCALES, WEIGHT), sr.crps_mixnorm(TRUTH, LOCS, SCALES, WEIGHT)),
        (metrics.crps_normal_mixture(TRUTH, LOCS, SCALES), sr.crps_mixnorm(TRUTH, LOCS, SCALES)),
        (metrics.log_score_normal(TRUTH, LOC, SCALE), sr.logs_normal(TRUTH, LOC, SCALE)),
        (metrics.log_score_student_t(TRUTH, DF, LOC, SCALE), sr.logs_t(TRUTH, DF, LOC, SCALE)),
        (metrics.log_score_lognormal(POSITIVE, LOC, SCALE), sr.logs_lognormal(POSITIVE, LOC, SCALE)),
        (metrics.log_score_normal_mixture(TRUTH, LOCS, SCALES), sr.logs_mixnorm(TRUTH, LOCS, SCALES)),
        (metrics.pinball(TRUTH, LOC, 0.9), sr.quantile_score(TRUTH, LOC, 0.9)),
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)


def test_scoringrules_gives_the_same_weighted_interval_score():
    half = len(LEVELS) // 2
    alpha = 2 * np.asarray(LEVELS[:half])
    lower, upper = QUANTILES[:, :half], QUANTILES[:, :half:-1]
    expected = sr.weighted_interval_score(TRUTH, QUANTILES[:, half], lower, upper, alpha)
    np.testing.assert_allclose(metrics.weighted_interval_score(TRUTH, QUANTILES, LEVELS), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("score", "distribution", "parameters"),
    [
        (metrics.crps_student_t, stats.t, (3.0, 0.5, 2.0)),
        (metrics.crps_lognormal, lambda mu, s: stats.lognorm(s, scale=np.exp(mu)), (0.3, 0.8)),
    ],
)
def test_a_closed_form_is_the_integral_that_defines_the_score(score, distribution, parameters):
    made = distribution(*parameters)
    for y in (0.2, 1.5, 4.0):
        low = integrate.quad(lambda x: made.cdf(x) ** 2, -np.inf, y)[0]
        high = integrate.quad(lambda x: made.sf(x) ** 2, y, np.inf)[0]
        assert float(score(np.array(y), *parameters)) == pytest.approx(low + high, rel=1e-6)


def test_a_mixture_of_one_is_that_one_and_of_equals_too():
    expected = metrics.crps_normal(TRUTH, LOC, SCALE)
    np.testing.assert_allclose(metrics.crps_normal_mixture(TRUTH, LOC[:, None], SCALE[:, None]), expected, atol=1e-9)
    three = (np.repeat(x[:, None], 3, 1) for x in (LOC, SCALE))
    np.testing.assert_allclose(metrics.crps_normal_mixture(TRUTH, *three), expected, atol=1e-9)


def test_a_student_t_of_many_degrees_is_normal_and_of_one_has_no_score():
    many = metrics.crps_student_t(TRUTH, 1e7, LOC, SCALE)
    np.testing.assert_allclose(many, metrics.crps_normal(TRUTH, LOC, SCALE), atol=1e-5)
    assert metrics.crps_student_t(np.array(0.0), 1.0, 0.0, 1.0) == np.inf
    assert np.isnan(metrics.crps_student_t(np.array(np.nan), 1.0, 0.0, 1.0))


def test_a_lognormal_puts_nothing_below_zero():
    at_zero = metrics.crps_lognormal(np.array(0.0), LOC, SCALE)
    assert np.isfinite(at_zero).all()
    np.testing.assert_allclose(metrics.crps_lognormal(np.array(-2.0), LOC, SCALE), at_zero + 2)
    assert metrics.log_score_lognormal(np.array(-2.0), 0.0, 1.0) == np.inf


CLOSED = {
    "crps_normal": lambda y: metrics.crps_normal(y, LOC, SCALE),
    "crps_student_t": lambda y: metrics.crps_student_t(y, DF, LOC, SCALE),
    "crps_lognormal": lambda y: metrics.crps_lognormal(y, LOC, SCALE),
    "crps_normal_mixture": lambda y: metrics.crps_normal_mixture(y, LOCS, SCALES),
    "log_score_normal": lambda y: metrics.log_score_normal(y, LOC, SCALE),
    "log_score_student_t": lambda y: metrics.log_score_student_t(y, DF, LOC, SCALE),
    "log_score_normal_mixture": lambda y: metrics.log_score_normal_mixture(y, LOCS, SCALES),
    "pinball": lambda y: metrics.pinball(y, LOC, 0.2),
    "weighted_interval_score": lambda y: metrics.weighted_interval_score(y, QUANTILES, LEVELS),
    "crps_quantiles": lambda y: metrics.crps_quantiles(y, QUANTILES, LEVELS),
}


@pytest.mark.parametrize("score", CLOSED.values(), ids=CLOSED.keys())
def test_a_missing_truth_gives_nan_and_changes_nothing_else(score):
    gaps = np.where(np.random.default_rng(1).random(SIZE) < 0.1, np.nan, TRUTH)
    np.testing.assert_array_equal(score(gaps), np.where(np.isnan(gaps), np.nan, score(TRUTH)))


@pytest.mark.parametrize("score", list(CLOSED)[:4])
def test_names_are_kept_and_broadcast(score):
    truth = xr.DataArray(TRUTH.reshape(20, 20), dims=("time", "node"))
    loc = xr.DataArray(LOC[:20], dims="node")
    if score == "crps_normal_mixture":
        loc = loc.expand_dims(component=2)
        scale = loc * 0 + 1.0
        found = metrics.crps_normal_mixture(truth, loc, scale)
        expected = metrics.crps_normal(truth.values, LOC[:20], 1.0)
    else:
        freedom = (3.0,) if score == "crps_student_t" else ()
        found = getattr(metrics, score)(truth, *freedom, loc, 1.0)
        expected = getattr(metrics, score)(truth.values, *freedom, LOC[:20], 1.0)
    assert found.dims == ("time", "node")
    np.testing.assert_allclose(found, expected)
    np.testing.assert_allclose(average_of(found), average_of(expected))


def average_of(values):
    return metrics.average(values, "node" if isinstance(values, xr.DataArray) else 1)


def test_the_reliability_curve_of_a_calibrated_forecast_is_the_diagonal():
    rng = np.random.default_rng(3)
    truth = np.where(rng.random((500, 100)) < 0.1, np.nan, rng.standard_normal((500, 100)))
    levels = quantiles_of([0.5, 0.9])
    forecast = np.broadcast_to(stats.norm.ppf(levels), (500, 100, 5))
    curve = metrics.reliability(truth, forecast, levels)
    np.testing.assert_allclose(curve, levels, atol=0.006)
    assert metrics.calibration_error(truth, forecast, levels) < 0.004
    narrow = metrics.calibration_error(truth, 0.5 * forecast, levels)
    expected = np.abs(stats.norm.cdf(0.5 * stats.norm.ppf(levels)) - levels).mean()
    assert narrow == pytest.approx(expected, abs=0.004)
    names = xr.DataArray(forecast, {"quantile": levels}, ("time", "node", "quantile"))
    found = metrics.reliability(xr.DataArray(truth, dims=("time", "node")), names)
    np.testing.assert_allclose(found, curve)
    assert metrics.calibration_error(xr.DataArray(truth, dims=("time", "node")), names) == pytest.approx(
        metrics.calibration_error(truth, forecast, levels)
    )


@pytest.mark.parametrize(
    ("levels", "message"),
    [(None, "does not say"), ([0.1, 0.9], "2 levels"), ([0.9, 0.5, 0.1], "increasing"), ([0.0, 0.5, 1.0], "between")],
)
def test_levels_that_cannot_be_are_refused(levels, message):
    for score in (metrics.crps_quantiles, metrics.weighted_interval_score, metrics.reliability):
        with pytest.raises(RequestError, match=message):
            score(np.zeros(4), np.zeros((4, 3)), levels)


def test_intervals_need_both_bounds_and_the_median():
    for levels in ([0.1, 0.5, 0.8], [0.1, 0.9]):
        with pytest.raises(RequestError, match="both bounds"):
            metrics.weighted_interval_score(np.zeros(4), np.zeros((4, len(levels))), levels)
    with pytest.raises(RequestError, match="between 0 and 1"):
        metrics.pinball(np.zeros(4), np.zeros(4), 90)
