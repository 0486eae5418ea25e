"""Means over what was observed: never of what was not, never of means."""

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scores import continuous as sc

from stgate import metrics
from stgate.errors import RequestError
from stgate.metrics import average, bootstrap, latitude_weights
from stgate.metrics.torch import MaskedMean

RNG = np.random.default_rng(0)
FORECAST = xr.DataArray(RNG.standard_normal((6, 5, 4)), dims=("init_time", "lead_time", "node"))
TRUTH = FORECAST + xr.DataArray(RNG.standard_normal((6, 5, 4)), dims=FORECAST.dims)
GAPS = TRUTH.where(xr.DataArray(RNG.random((6, 5, 4)) > 0.4, dims=FORECAST.dims))
GAPS[:, 2] = np.nan


WEIGHTS = xr.DataArray([0.5, 2.0, 0.0, 1.5], dims="node")


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("by", [[], ["lead_time"], ["node", "lead_time"], ["init_time"]])
def test_scores_gives_the_same_means(by, weights):
    given = {"preserve_dims": by, "weights": weights}
    ours = {"by": by, "weights": weights}
    for mine, theirs in ((metrics.mae, sc.mae), (metrics.rmse, sc.rmse), (metrics.bias, sc.additive_bias)):
        found, expected = mine(GAPS, FORECAST, **ours), theirs(FORECAST, GAPS, **given)
        xr.testing.assert_allclose(found.transpose(*by), expected.transpose(*by), rtol=1e-6)


@pytest.mark.parametrize("by", [(), 1, (1, 2), (-1,), 0])
def test_arrays_and_data_arrays_are_averaged_alike(by):
    names = [GAPS.dims[k] for k in ([by] if isinstance(by, int) else by)]
    weights = RNG.random(4)
    found = average(GAPS.values, by, weights)
    np.testing.assert_allclose(found, average(GAPS, names, xr.DataArray(weights, dims="node")))


def test_a_mean_of_nothing_is_nan_never_zero():
    by_lead = average(GAPS, "lead_time")
    np.testing.assert_array_equal(np.isnan(by_lead), [False, False, True, False, False])
    assert np.isnan(average(xr.full_like(GAPS, np.nan))) and np.isnan(average(np.full(3, np.nan)))
    assert np.isnan(average(GAPS, weights=xr.zeros_like(WEIGHTS)))


def test_what_is_kept_whole_is_not_changed():
    xr.testing.assert_equal(average(GAPS, GAPS.dims), GAPS)
    assert average(GAPS, None) is GAPS


def test_a_dim_that_is_not_there_and_a_weight_that_is_none_are_refused():
    with pytest.raises(RequestError, match=r"by 'lead'.*init_time, lead_time, node"):
        average(GAPS, "lead")
    for wrong in (-WEIGHTS, WEIGHTS.where(WEIGHTS > 0)):
        with pytest.raises(RequestError, match="weights"):
            average(GAPS, weights=wrong)


def test_a_mean_of_many_float32_values_is_taken_in_float64():
    values = xr.DataArray(np.full(2**20, 1e4, "float32"), dims="time") + np.float32(0.1)
    found = average(values)
    assert found.dtype == np.float64 and float(found) == float(values[0])


def test_a_weighted_mean_over_a_lattice_weighs_by_area():
    latitude = xr.DataArray([-60.0, 0.0, 90.0], dims="node")
    values = xr.DataArray([1.0, 2.0, 1e9], dims="node")
    assert float(average(values, weights=latitude_weights(latitude))) == pytest.approx((0.5 + 2) / 1.5)


def persistent(count, memory, seed):
    """An autoregression of mean 0 over origins, and two nodes that share it."""
    noise = np.random.default_rng(seed).standard_normal(count)
    for i in range(1, count):
        noise[i] += memory * noise[i - 1]
    return xr.DataArray(np.stack([noise, noise + 1], 1), dims=("init_time", "node"))


def test_a_bootstrap_in_blocks_holds_the_true_mean_where_single_draws_do_not():
    held = dict.fromkeys((1, 40), 0)
    for seed in range(60):
        values = persistent(600, 0.9, seed)
        for block in held:
            low, high = bootstrap(values, block=block, samples=300, seed=seed)
            held[block] += bool(low <= 0.5 <= high)
    assert held[40] > 48 and held[1] < 36


def test_a_bootstrap_follows_its_groups_weights_and_seed():
    values = persistent(300, 0.3, 0)
    low, high = bootstrap(values, by="node", block=10)
    np.testing.assert_allclose(low[1] - low[0], 1, atol=1e-9)
    assert (low < values.mean("init_time")).all() and (values.mean("init_time") < high).all()
    again, _ = bootstrap(values, by="node", block=10)
    other, _ = bootstrap(values, by="node", block=10, seed=1)
    assert again.identical(low) and not other.identical(low)
    weighted, _ = bootstrap(values, weights=xr.DataArray([1.0, 0.0], dims="node"), block=10)
    assert float(weighted) == pytest.approx(float(low[0]))
    silent = values.where(values["node"] == 0)
    low, high = bootstrap(silent, by="node", block=10)
    assert np.isnan(low[1]) and np.isnan(high[1]) and low[0] < high[0]
    with pytest.raises(RequestError, match="draws from this dim"):
        bootstrap(values, by="init_time")
    with pytest.raises(RequestError, match="block 301"):
        bootstrap(values, block=301)


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
