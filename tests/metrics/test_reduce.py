"""Means over what was observed: never of what was not, never of means."""

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scores.continuous import mae, mse

from stgate.metrics import absolute_error, mean_over, squared_error
from stgate.metrics.torch import MaskedMean

RNG = np.random.default_rng(0)
FORECAST = xr.DataArray(RNG.standard_normal((6, 5, 4)), dims=("init_time", "lead_time", "node"))
TRUTH = FORECAST + xr.DataArray(RNG.standard_normal((6, 5, 4)), dims=FORECAST.dims)
GAPS = TRUTH.where(xr.DataArray(RNG.random((6, 5, 4)) > 0.4, dims=FORECAST.dims))
GAPS[:, 2] = np.nan


@pytest.mark.parametrize("dims", [["init_time"], ["init_time", "node"], ["init_time", "lead_time", "node"]])
def test_scores_gives_the_same_means(dims):
    xr.testing.assert_allclose(mean_over(absolute_error(GAPS, FORECAST), dims), mae(FORECAST, GAPS, reduce_dims=dims))
    xr.testing.assert_allclose(mean_over(squared_error(GAPS, FORECAST), dims), mse(FORECAST, GAPS, reduce_dims=dims))


def test_a_mean_of_nothing_is_nan_never_zero():
    by_lead = mean_over(GAPS, ["init_time", "node"])
    np.testing.assert_array_equal(np.isnan(by_lead), [False, False, True, False, False])
    assert np.isnan(mean_over(xr.full_like(GAPS, np.nan), GAPS.dims))


def test_a_mean_over_no_dimension_changes_nothing():
    xr.testing.assert_equal(mean_over(GAPS, []), GAPS)


def test_a_mean_of_many_float32_values_is_taken_in_float64():
    values = xr.DataArray(np.full(2**20, 1e4, "float32"), dims="time") + np.float32(0.1)
    found = mean_over(values, ["time"])
    assert found.dtype == np.float64 and float(found) == float(values[0])


def fed(values, observed, sizes) -> torch.Tensor:
    metric = MaskedMean()
    for v, o in zip(torch.split(values, sizes), torch.split(observed, sizes), strict=True):
        metric.update(v, o)
    return metric.compute()


@given(st.data())
@settings(deadline=None, max_examples=40)
def test_the_pooled_mean_does_not_depend_on_how_it_was_batched(data):
    values = data.draw(arrays("float32", 12, elements=st.floats(-100, 100, width=32)))
    observed = data.draw(arrays(bool, 12)) | (np.arange(12) == 5)
    cuts = data.draw(st.sampled_from([[12], [1, 11], [4, 4, 4], [7, 3, 2]]))
    found = fed(torch.tensor(np.where(observed, values, np.nan)), torch.tensor(observed), cuts)
    assert float(found) == pytest.approx(values[observed].astype("float64").mean(), abs=1e-9)


def test_unequal_batches_weigh_what_they_hold():
    """Trap 2: a mean of batch means is another number."""
    values = torch.tensor([[1.0, 1.0, 1.0, 1.0], [9.0, 0.0, 0.0, 0.0]])
    observed = torch.tensor([[True] * 4, [True, False, False, False]])
    assert fed(values, observed, [1, 1]) == 13 / 5
    assert torch.stack([v[o].mean() for v, o in zip(values, observed, strict=True)]).mean() == 5  # the trap


def test_a_long_epoch_of_float32_values_adds_up_in_float64():
    metric, batch = MaskedMean(), torch.full((1000,), 16_777.217)
    for _ in range(200):
        metric.update(batch, torch.ones(1000, dtype=torch.bool))
    assert metric.compute().dtype == torch.float64
    assert float(metric.compute()) == pytest.approx(float(batch[0]), rel=1e-12)


def test_an_epoch_that_observed_nothing_is_nan_never_zero():
    assert torch.isnan(fed(torch.full((3,), torch.nan), torch.zeros(3, dtype=torch.bool), [2, 1]))


def test_a_reset_forgets():
    metric = MaskedMean()
    metric.update(torch.tensor([5.0]), torch.tensor([True]))
    metric.reset()
    metric.update(torch.tensor([1.0]), torch.tensor([True]))
    assert metric.compute() == 1
