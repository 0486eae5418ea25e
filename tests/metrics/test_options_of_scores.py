"""Options of scores that are none are refused in one line; labels of tables are not passed over; limits are exact."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from stgate import metrics
from stgate.errors import RequestError

RNG = np.random.default_rng(0)
RUN, OTHER = RNG.normal(size=(2, 40, 3))
ORIGINS = xr.DataArray(RUN, dims=("init_time", "node"))
LEADS = xr.DataArray(RNG.normal(size=(5, 4, 3)), {"lead_time": [1.0, 2, 3, 4]}, ("init_time", "lead_time", "node"))
SIGMA = xr.DataArray(np.ones(3), dims="node")
FAN = xr.DataArray(np.sort(RUN, -1), {"quantile": [0.1, 0.5, 0.9]}, ("time", "quantile"))
WRONG = {
    "season": (lambda bad: metrics.naive_scale(RUN, season=bad), (0, -1, 1.5, "a", None)),
    "zero": (lambda bad: metrics.mape(RUN, OTHER, zero=bad), (-1.0, np.nan, np.inf, "a")),
    "step": (lambda bad: metrics.power_spectrum(RUN, step=bad), (0, -1.0, np.nan, "h")),
    "step ": (lambda bad: metrics.spectrum_error(RUN, OTHER, step=bad), (0, np.inf)),
    "segment": (lambda bad: metrics.power_spectrum(RUN, segment=bad), (0, -4, 2.5)),
    "segment ": (lambda bad: metrics.spectrum_error(RUN, OTHER, segment=bad), (0, "a")),
    "bins": (lambda bad: metrics.histogram_distance(RUN, OTHER, bins=bad), (0, "auto", [0, 1, 2])),
    "spacing": (lambda bad: metrics.correlation_length(RUN, spacing=bad), (0, np.nan, "1")),
    "boundary": (lambda bad: metrics.correlation_length(RUN, boundary=bad), ("ring", None)),
    "threshold": (lambda bad: metrics.valid_prediction_time(LEADS, LEADS, SIGMA, threshold=bad), (0, -1, np.nan, "a")),
    "samples": (lambda bad: metrics.bootstrap(ORIGINS, samples=bad), (0, 1.5, 10**9)),
    "seed": (lambda bad: metrics.bootstrap(ORIGINS, seed=bad), (-1, "a", 0.5)),
    "seed ": (lambda bad: metrics.pit(RUN[:, 0], OTHER, seed=bad), (-1, None)),
    "seed  ": (lambda bad: metrics.rank_histogram(RUN[:, 0], OTHER, seed=bad), (-1, "a")),
    "weights": (lambda bad: metrics.mae(RUN, OTHER, weights=np.array([1, bad, 1])), (np.inf, -1.0, np.nan)),
    "latitude": (lambda bad: metrics.latitude_weights(xr.DataArray([50.0, bad], dims="node")), (91, -9999, np.inf)),
    "quantiles": (lambda bad: metrics.crps_quantiles(RUN[:, 0], FAN, bad), ([0.2, 0.5, 0.8], [0.5])),
    "values": (lambda bad: metrics.wasserstein_distance(RUN, np.array([1.0, bad])), (np.inf, -np.inf)),
    "values ": (lambda bad: metrics.histogram_distance(np.array([1.0, bad]), RUN), (np.inf,)),
    "probability": (
        lambda bad: metrics.crps_normal_mixture(np.zeros(1), np.zeros((1, 2)), 1.0, np.array([[1 - bad, bad]])),
        (np.nan, -0.5),
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_options_that_are_none_are_refused_by_name(name):
    call, bad = WRONG[name]
    for value in bad:
        with pytest.raises(RequestError, match=rf"^{name.strip()}[^\n]*$"):
            call(value)


SERIES = pd.Series([1.0, 2.0, 4.0], index=list("abc"))
NAMED = xr.DataArray(SERIES.values, {"node": list("abc")}, "node")
TURNED = SERIES[::-1]


@pytest.mark.parametrize(
    "call",
    [
        lambda: metrics.mae(SERIES, TURNED),
        lambda: metrics.rmse(NAMED, TURNED),
        lambda: metrics.bias(TURNED, NAMED),
        lambda: metrics.mae(SERIES, SERIES.rename({"c": "d"})),
        lambda: metrics.mae(SERIES.to_frame().T, TURNED.to_frame().T),
        lambda: metrics.crps(SERIES, pd.DataFrame(np.ones((3, 4)), TURNED.index)),
        lambda: metrics.coverage(SERIES, SERIES, TURNED),
        lambda: metrics.mae(NAMED, NAMED, weights=TURNED),
        lambda: metrics.mae(pd.Series([1.0, 2.0]), pd.Series([1.0, 2.0], index=[1, 0])),
        lambda: metrics.mae(
            SERIES.set_axis(pd.date_range("2020", periods=3)), SERIES.set_axis(pd.date_range("2021", periods=3))
        ),
    ],
)
def test_tables_whose_labels_differ_are_refused(call):
    with pytest.raises(RequestError, match="labels"):
        call()


def test_tables_of_the_same_labels_and_rows_that_are_only_numbered_are_scored():
    numbered = pd.Series(SERIES.values + 1)
    for pair in ((SERIES, SERIES + 1), (SERIES, numbered), (NAMED, numbered), (SERIES + 1, NAMED)):
        assert float(metrics.mae(*pair)) == 1.0
    later = pd.Series([1.0, 2.0], index=[80, 81])
    assert float(metrics.mae(later, pd.Series([2.0, 3.0]))) == 1.0
    assert float(metrics.mae(NAMED, NAMED + 1, weights=SERIES)) == 1.0
    frame = pd.DataFrame(np.ones((3, 4)), SERIES.index, columns=[10, 11, 12, 13])
    assert metrics.crps(SERIES, frame).tolist() == [0.0, 1.0, 3.0]


@pytest.mark.parametrize("scale", [0.0, 0.5, 2.0])
def test_a_student_t_without_bound_on_its_freedom_is_a_normal(scale):
    truth = np.array([-3.0, 0.0, 0.2, 5.0])
    for infinite in (np.inf, 1e15):
        made = metrics.crps_student_t(truth, infinite, 0.0, scale)
        np.testing.assert_allclose(made, metrics.crps_normal(truth, 0.0, scale), rtol=1e-6)
    assert (metrics.log_score_student_t(truth, 0.0, 0.0, 1.0) == np.inf).all()  # never left out of a mean


@pytest.mark.parametrize("value", [0.1, 1e8 + 0.3, 1e-9 / 3, 1e17 + 16])
@pytest.mark.parametrize("count", [3, 10, 1001])
def test_truth_that_never_varies_has_no_variance_but_rounding(value, count):
    flat = np.full(count, value)
    assert np.isnan(metrics.r2(flat, np.arange(float(count))))
    assert np.isnan(metrics.r2(xr.DataArray(flat, dims="node"), xr.DataArray(np.arange(float(count)), dims="node")))
    with pytest.raises(RequestError, match="does not vary"):
        metrics.wasserstein_distance(flat, RUN)
    assert metrics.histogram_distance(flat, flat) == 0


def test_the_order_of_leads_does_not_change_the_valid_prediction_time():
    forecast = LEADS + np.array([0.1, 0.2, 3.0, 4.0])[:, None]
    times = metrics.valid_prediction_time(LEADS, forecast, SIGMA)[0]
    assert (times == 2).all()
    assert (metrics.valid_prediction_time(LEADS[:, ::-1], forecast[:, ::-1], SIGMA)[0] == times).all()
