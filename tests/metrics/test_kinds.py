"""Scores of every kind of number are those of the same numbers in float64; what is no number is refused."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from stgate import metrics
from stgate.errors import RequestError

TRUTH, CLOSE = np.array([3, 120, 7, 9]), np.array([5, 100, 8, 1])
LEVELS = [0.1, 0.5, 0.9]
MEMBERS = np.stack([CLOSE, CLOSE + 1, CLOSE - 1], -1)
FIELD = np.array([[1, 2, 3, 120], [120, 1, 4, 2], [5, 6, 1, 9], [7, 3, 2, 1]])
NAMED = ("time", "node")
CALLS = {
    "absolute_error": lambda c: metrics.absolute_error(c(TRUTH), c(CLOSE)),
    "squared_error": lambda c: metrics.squared_error(c(TRUTH), c(CLOSE)),
    "mae": lambda c: metrics.mae(c(TRUTH), c(CLOSE)),
    "rmse": lambda c: metrics.rmse(c(TRUTH), c(CLOSE)),
    "bias": lambda c: metrics.bias(c(TRUTH), c(CLOSE)),
    "mape": lambda c: metrics.mape(c(TRUTH), c(CLOSE)),
    "mase": lambda c: metrics.mase(c(TRUTH), c(CLOSE), c(CLOSE)),
    "r2": lambda c: metrics.r2(c(TRUTH), c(CLOSE)),
    "naive_scale": lambda c: metrics.naive_scale(c(TRUTH)),
    "skill_score": lambda c: metrics.skill_score(c(TRUTH), c(CLOSE)),
    "coverage": lambda c: metrics.coverage(c(TRUTH), c(CLOSE), c(CLOSE + 5)),
    "interval_width": lambda c: metrics.interval_width(c(TRUTH), c(CLOSE), c(CLOSE + 5)),
    "interval_score": lambda c: metrics.interval_score(c(TRUTH), c(CLOSE), c(CLOSE + 5), level=0.9),
    "pinball": lambda c: metrics.pinball(c(TRUTH), c(CLOSE), 0.9),
    "crps": lambda c: metrics.crps(c(TRUTH), c(MEMBERS)),
    "crps_quantiles": lambda c: metrics.crps_quantiles(c(TRUTH), c(MEMBERS), LEVELS),
    "weighted_interval_score": lambda c: metrics.weighted_interval_score(c(TRUTH), c(MEMBERS), LEVELS),
    "reliability": lambda c: metrics.reliability(c(TRUTH), c(MEMBERS), LEVELS),
    "calibration_error": lambda c: metrics.calibration_error(c(TRUTH), c(MEMBERS), LEVELS),
    "pit": lambda c: metrics.pit(c(TRUTH), c(MEMBERS)),
    "rank_histogram": lambda c: metrics.rank_histogram(c(TRUTH), c(MEMBERS)),
    "energy_score": lambda c: metrics.energy_score(c(TRUTH), c(MEMBERS.T)),
    "crps_normal": lambda c: metrics.crps_normal(c(TRUTH), c(CLOSE), c(CLOSE)),
    "crps_student_t": lambda c: metrics.crps_student_t(c(TRUTH), c(CLOSE), c(CLOSE), c(CLOSE)),
    "crps_lognormal": lambda c: metrics.crps_lognormal(c(TRUTH), c(CLOSE), c(CLOSE)),
    "crps_normal_mixture": lambda c: metrics.crps_normal_mixture(c(TRUTH), c(MEMBERS), c(MEMBERS + 1)),
    "log_score_normal": lambda c: metrics.log_score_normal(c(TRUTH), c(CLOSE), c(CLOSE)),
    "log_score_student_t": lambda c: metrics.log_score_student_t(c(TRUTH), c(CLOSE), c(CLOSE), c(CLOSE)),
    "log_score_lognormal": lambda c: metrics.log_score_lognormal(c(TRUTH), c(CLOSE), c(CLOSE)),
    "log_score_normal_mixture": lambda c: metrics.log_score_normal_mixture(c(TRUTH), c(MEMBERS), c(MEMBERS + 1)),
    "correlation_length": lambda c: metrics.correlation_length(c(FIELD)),
    "wasserstein_distance": lambda c: metrics.wasserstein_distance(c(TRUTH), c(CLOSE)),
    "histogram_distance": lambda c: metrics.histogram_distance(c(TRUTH), c(CLOSE)),
    "power_spectrum": lambda c: metrics.power_spectrum(c(FIELD)),
    "spectrum_error": lambda c: metrics.spectrum_error(c(FIELD), c(FIELD + 1)),
    "average": lambda c: metrics.average(c(TRUTH), (), c(CLOSE)),
    "latitude_weights": lambda c: metrics.latitude_weights(xr.DataArray(c(np.array([50, 60, 70])), dims="node")),
    "nrmse": lambda c: metrics.nrmse(*(xr.DataArray(c(a), dims="node") for a in (TRUTH, CLOSE, CLOSE))),
}
ELSEWHERE = {"bootstrap", "valid_prediction_time"}
"""Scores whose arguments are results of others."""
DTYPES = ("float32", "float16", "int64", "int32", "int16", "int8", "uint64", "uint16", "uint8", "bool")


def test_every_score_is_among_these():
    assert set(CALLS) | ELSEWHERE == set(metrics.__all__)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_score_of_another_kind_of_number_is_that_of_float64(name, dtype):
    made, refused = [], []
    for kind in (dtype, "float64"):
        try:
            made.append(CALLS[name](lambda a, kind=kind: a.astype(dtype).astype(kind)))
        except RequestError as error:  # such as constant values: both alike
            refused.append(str(error))
    assert len(set(refused)) <= 1 and len(refused) in (0, 2)
    assert made or dtype == "bool"  # flags alone may be constant
    if made:
        ours, wanted = (list(a.values()) if isinstance(a, dict) else a for a in made)
        np.testing.assert_allclose(np.asarray(ours, float), np.asarray(wanted, float), rtol=1e-9)


@pytest.mark.parametrize("kind", [np.uint8, np.int8, bool, object, np.float16])
def test_dataarrays_are_cast_too(kind):
    truth, close = (xr.DataArray(a.astype(kind), dims="node") for a in (TRUTH, CLOSE))
    wanted = metrics.mae(TRUTH.astype(kind).astype(float), CLOSE.astype(kind).astype(float))
    assert float(metrics.mae(truth, close)) == pytest.approx(float(wanted))


def test_lists_tables_masks_and_decimals_are_numbers():
    known = float(metrics.mae(TRUTH[[0, 2, 3]] * 1.0, CLOSE[[0, 2, 3]] * 1.0))
    assert float(metrics.mae(list(TRUTH), list(CLOSE))) == float(metrics.mae(TRUTH * 1.0, CLOSE * 1.0))
    missing = pd.array([3, None, 7, 9], dtype="Int64")
    masked = np.ma.MaskedArray(TRUTH, mask=[False, True, False, False])
    decimals = np.array([Decimal(3), None, Decimal(7), Decimal(9)], dtype=object)
    for truth in (pd.Series(missing), masked, decimals):
        assert float(metrics.mae(truth, CLOSE)) == known


@pytest.mark.parametrize(
    "values",
    [
        np.array(list("abcd")),
        pd.date_range("2020", periods=4),
        TRUTH * 1j,
        TRUTH.astype("m8[s]"),
        pd.Series(list("abcd")),
    ],
)
def test_what_is_no_number_is_refused_by_name(values):
    with pytest.raises(RequestError, match="forecast: holds no real numbers"):
        metrics.mae(TRUTH, values)
    with pytest.raises(RequestError, match="observation: holds no real numbers"):
        metrics.rmse(values, TRUTH)


@pytest.mark.parametrize("unit", [1e-30, 1e-25, 1e25, 1e30])
def test_squares_of_small_and_large_float32_are_not_lost(unit):
    truth, close = (np.asarray(a * unit, "float32") for a in (TRUTH, CLOSE))
    assert float(metrics.rmse(truth, close)) == pytest.approx(float(metrics.rmse(TRUTH, CLOSE)) * unit, rel=1e-6)
