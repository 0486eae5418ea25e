"""Scores while training are those of the arrays, whatever the batches."""

import numpy as np
import pytest
import torch
import xarray as xr
from scipy import stats
from torch.distributions import Laplace, Normal

from stgate import metrics
from stgate.metrics.torch import (
    CRPS,
    Coverage,
    MeanAbsoluteError,
    RootMeanSquaredError,
    ValidPredictionTime,
    crps_of,
)

torch.manual_seed(0)
SHAPE = (24, 6, 5, 2)  # (batch, lead, node, target)
TRUTH, LOC, SCALE = torch.randn(SHAPE).double(), 0.5 * torch.randn(SHAPE).double(), 0.5 + torch.rand(SHAPE).double()
GAPS = TRUTH.masked_fill(torch.rand(SHAPE) < 0.3, torch.nan)
GAPS[:, 3] = torch.nan


def fed(metric, sizes, *more):
    start = 0
    for size in sizes:
        part = slice(start, start + size)
        metric.update(GAPS[part], Normal(LOC[part], SCALE[part]), *more)
        start += size
    return float(metric.compute())


def expected():
    y, loc, scale = GAPS.numpy(), LOC.numpy(), SCALE.numpy()
    low, high = stats.norm.ppf(0.1, loc, scale), stats.norm.ppf(0.9, loc, scale)
    return {
        "mae": float(metrics.mae(y, loc)),
        "rmse": float(metrics.rmse(y, loc)),
        "crps": float(metrics.crps_normal(y, loc, scale, by=())),
        "coverage": float(metrics.coverage(y, low, high, by=())),
    }


@pytest.mark.parametrize("sizes", [[24], [1, 23], [7, 7, 7, 3]])
def test_the_scores_of_an_epoch_are_those_of_its_arrays(sizes):
    made = {"mae": MeanAbsoluteError(), "rmse": RootMeanSquaredError(), "crps": CRPS(), "coverage": Coverage(0.8)}
    wanted = expected()
    for name, metric in made.items():
        assert fed(metric, sizes) == pytest.approx(wanted[name], rel=1e-6), name


@pytest.mark.parametrize("sizes", [[24], [5, 19]])
@pytest.mark.parametrize("threshold", [0.9, 1.1, 50.0])
def test_the_valid_prediction_time_of_an_epoch_is_that_of_its_arrays(sizes, threshold):
    sigma = 0.5 + torch.rand(5, 2).double()
    found = fed(ValidPredictionTime(threshold), sizes, sigma, 0.25)
    times = []
    for target in range(2):
        truth, forecast = (
            xr.DataArray(x[..., target], {"lead_time": 0.25 * np.arange(1, 7)}, ("init_time", "lead_time", "node"))
            for x in (GAPS.numpy(), LOC.numpy())
        )
        spread = xr.DataArray(sigma[:, target].numpy(), dims="node")
        times.append(metrics.valid_prediction_time(truth, forecast, spread, threshold=threshold)[0])
    assert found == pytest.approx(float(xr.concat(times, "target").mean()))


def test_two_processes_reduce_to_the_scores_of_all_cases():
    """What distributed training does: states are summed over processes, then computed once."""
    for make, wanted in ((RootMeanSquaredError, "rmse"), (CRPS, "crps")):
        parts = [make() for _ in range(2)]
        parts[0].update(GAPS[:3], Normal(LOC[:3], SCALE[:3]))
        parts[1].update(GAPS[3:], Normal(LOC[3:], SCALE[3:]))
        assert all(reduce(torch.tensor([1.0, 2.0])) == 3 for reduce in parts[0]._reductions.values())
        whole = make()
        whole.total, whole.count = (sum(getattr(p, s) for p in parts) for s in ("total", "count"))
        whole._update_count = 1
        assert float(whole.compute()) == pytest.approx(expected()[wanted], rel=1e-6)
        assert whole.total.dtype == torch.float64


def test_an_epoch_that_observed_nothing_is_nan():
    for metric in (MeanAbsoluteError(), RootMeanSquaredError(), CRPS(), Coverage()):
        metric.update(torch.full((3,), torch.nan), Normal(torch.zeros(3), torch.ones(3)))
        assert torch.isnan(metric.compute())


def test_a_distribution_without_closed_form_is_scored_by_its_quantiles():
    y, zero, one = torch.linspace(-3, 3, 50).double(), torch.zeros(50).double(), torch.ones(50).double()
    closed = y.abs() + torch.exp(-y.abs()) - 0.75  # of the Laplace distribution
    assert (crps_of(Laplace(zero, one), y) - closed).abs().max() < 0.05
    exact = metrics.crps_normal(y.numpy(), 0.0, 1.0)
    np.testing.assert_allclose(crps_of(Normal(zero, one), y), exact, rtol=1e-9)
