"""Arrays of a score have one shape, or broadcast inwards; a column against a row is refused."""

import numpy as np
import pytest
import xarray as xr

from stgate import metrics
from stgate.errors import RequestError

ROW = np.arange(1.0, 5.0)
COLUMN = ROW[:, None]
SCORES = {
    "mae": lambda y, x: metrics.mae(y, x),
    "rmse": lambda y, x: metrics.rmse(y, x),
    "bias": lambda y, x: metrics.bias(y, x),
    "mape": lambda y, x: metrics.mape(y, x),
    "r2": lambda y, x: metrics.r2(y, x),
    "pinball": lambda y, x: metrics.pinball(y, x, 0.5),
    "mase": lambda y, x: metrics.mase(y, y, x),
    "coverage": lambda y, x: metrics.coverage(y, x, x + 1),
    "interval_width": lambda y, x: metrics.interval_width(y, x, x + 1),
    "interval_score": lambda y, x: metrics.interval_score(y, x, x + 1, level=0.9),
    "crps_normal": lambda y, x: metrics.crps_normal(y, x, 1.0),
    "crps_student_t": lambda y, x: metrics.crps_student_t(y, 4.0, 0.0, x),
    "crps_lognormal": lambda y, x: metrics.crps_lognormal(y, 0.0, x),
    "log_score_normal": lambda y, x: metrics.log_score_normal(y, x, 1.0),
    "skill_score": lambda y, x: metrics.skill_score(y, x),
    "average": lambda y, x: metrics.average(y, (), x),
}
WITH_AXIS = {
    "crps": lambda y, x: metrics.crps(y, x),
    "pit": lambda y, x: metrics.pit(y, x),
    "rank_histogram": lambda y, x: metrics.rank_histogram(y, x),
    "crps_quantiles": lambda y, x: metrics.crps_quantiles(y, x, [0.1, 0.5, 0.9]),
    "weighted_interval_score": lambda y, x: metrics.weighted_interval_score(y, x, [0.1, 0.5, 0.9]),
    "reliability": lambda y, x: metrics.reliability(y, x, [0.1, 0.5, 0.9]),
}


@pytest.mark.parametrize("name", SCORES)
def test_a_column_against_a_row_is_refused(name):
    for pair in ((ROW, COLUMN), (np.stack([ROW, ROW]), np.stack([ROW, ROW]).T)):
        with pytest.raises(RequestError, match="shape"):
            SCORES[name](*pair)


@pytest.mark.parametrize("name", WITH_AXIS)
def test_a_column_of_truths_against_members_is_refused(name):
    with pytest.raises(RequestError, match="shape"):
        WITH_AXIS[name](COLUMN, np.zeros((4, 3)))
    WITH_AXIS[name](ROW, np.zeros((4, 3)))


def test_single_numbers_and_shapes_that_fit_inwards_broadcast():
    assert float(metrics.mae(ROW, 2.0)) == 1.0
    assert metrics.crps_normal(np.ones((3, 4)), ROW, 1.0).shape == (3, 4)
    assert metrics.coverage(np.ones((3, 4)), 0.0, np.full((1, 4), 2.0)).shape == (3, 4)


def test_named_dims_broadcast_and_labels_that_differ_are_refused():
    named = xr.DataArray(ROW, dims="node", coords={"node": list("abcd")})
    more = xr.DataArray(np.ones((2, 4)), dims=("time", "node"), coords={"node": list("abcd")})
    assert metrics.absolute_error(more, named).dims == ("time", "node")
    for name in ("mae", "coverage", "crps_normal"):
        with pytest.raises(RequestError, match="labels differ"):
            SCORES[name](named, named.assign_coords(node=list("abce")))


def test_lazy_arrays_stay_lazy():
    pytest.importorskip("dask.array")
    lazy = xr.DataArray(ROW, dims="time").chunk(time=2)
    error = metrics.absolute_error(lazy, lazy + 1)
    assert error.chunks is not None and float(error.mean()) == 1.0
