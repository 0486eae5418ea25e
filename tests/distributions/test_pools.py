"""Weighted pools: closed forms where there are some, and what holds for any pool."""

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from stgate.distributions.counts import NegativeBinomial
from stgate.distributions.families import ShiftedLogNormal
from stgate.distributions.pools import POOLS, LinearPool, QuantilePool

BOTH = pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
SHAPE = (4, 3, 2)


def normals(*pairs):
    return [Normal(torch.full(SHAPE, float(m)), torch.full(SHAPE, float(s))) for m, s in pairs]


def weights(*values):
    return torch.tensor(values).view(-1, 1, 1, 1)


def test_quantiles_of_pooled_normals_are_those_of_the_normal_of_mean_location_and_mean_scale():
    pool = QuantilePool(normals((0, 1), (10, 3)), weights(0.75, 0.25))
    same = Normal(2.5, 1.5)
    for level in (0.01, 0.3, 0.5, 0.99):
        torch.testing.assert_close(pool.icdf(torch.tensor(level)), same.icdf(torch.tensor(level)).expand(SHAPE))
    y = torch.linspace(-1, 6, 24).view(SHAPE)
    torch.testing.assert_close(pool.cdf(y), same.cdf(y), atol=1e-5, rtol=0)
    torch.testing.assert_close(pool.log_prob(y), same.log_prob(y), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(pool.stddev, torch.full(SHAPE, 1.5), rtol=1e-4, atol=0)


def test_a_linear_pool_is_the_mixture():
    parts = normals((0, 1), (10, 3))
    pool, share = LinearPool(parts, weights(0.75, 0.25)), (0.75, 0.25)
    y = torch.linspace(-2, 14, 24).view(SHAPE)
    torch.testing.assert_close(pool.cdf(y), sum(w * one.cdf(y) for w, one in zip(share, parts, strict=True)))
    density = sum(w * one.log_prob(y).exp() for w, one in zip(share, parts, strict=True))
    torch.testing.assert_close(pool.log_prob(y), density.log())
    torch.testing.assert_close(pool.variance, torch.full(SHAPE, 0.75 + 0.25 * 9 + 0.75 * 0.25 * 100))


@BOTH
def test_the_quantile_undoes_the_distribution_function(pool):
    made = pool(
        [*normals((5, 1), (6, 2)), ShiftedLogNormal(torch.ones(SHAPE), torch.ones(SHAPE), torch.zeros(SHAPE))],
        weights(0.5, 0.3, 0.2),
    )
    level = torch.rand(SHAPE, generator=torch.Generator().manual_seed(0)) * 0.98 + 0.01
    torch.testing.assert_close(made.cdf(made.icdf(level)), level, atol=2e-5, rtol=0)


@BOTH
def test_one_component_is_itself(pool):
    one = normals((3, 2))
    made = pool(one, weights(1.0))
    for level in (0.05, 0.5, 0.9):
        torch.testing.assert_close(made.icdf(torch.tensor(level)), one[0].icdf(torch.tensor(level)))
    torch.testing.assert_close(made.mean, one[0].mean)
    torch.testing.assert_close(made.stddev, one[0].stddev, rtol=1e-4, atol=1e-4)


@BOTH
def test_the_order_of_the_components_does_not_matter(pool):
    parts, share = normals((0, 1), (4, 2), (9, 1)), [0.2, 0.5, 0.3]
    first, second = pool(parts, weights(*share)), pool(parts[::-1], weights(*share[::-1]))
    torch.testing.assert_close(first.icdf(torch.tensor(0.3)), second.icdf(torch.tensor(0.3)), atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(first.mean, second.mean)


@BOTH
def test_the_weight_of_a_missing_component_goes_to_the_others(pool):
    parts = normals((0, 1), (4, 2))
    parts[1].loc[0] = torch.nan
    made, alone = pool(parts, weights(0.5, 0.5)), pool(parts[:1], weights(1.0))
    torch.testing.assert_close(made.icdf(torch.tensor(0.8))[0], alone.icdf(torch.tensor(0.8))[0])
    torch.testing.assert_close(made.mean[0], torch.zeros(SHAPE[1:]))
    assert float(made.mean[1].min()) == 2.0
    parts[0].loc[0] = torch.nan
    none = pool(parts, weights(0.5, 0.5))
    assert bool(torch.isnan(none.icdf(torch.tensor(0.8))[0]).all())
    assert bool(torch.isfinite(none.icdf(torch.tensor(0.8))[1]).all())


def test_the_quantile_of_a_linear_pool_that_jumps_is_where_it_jumps():
    counts = NegativeBinomial(torch.full(SHAPE, 2.0), torch.full(SHAPE, 0.5))
    pool = LinearPool([counts, *normals((2, 1))], weights(0.5, 0.5))
    for level in (0.1, 0.4, 0.7):
        found = pool.icdf(torch.tensor(level))
        assert bool((pool.cdf(found) >= level - 1e-4).all())
        assert bool((pool.cdf(found - 1e-3) <= level + 1e-3).all())


@BOTH
def test_samples_have_the_moments_of_the_pool(pool):
    torch.manual_seed(0)
    made = pool(normals((0, 1), (4, 2)), weights(0.5, 0.5))
    drawn = made.sample([1000])
    np.testing.assert_allclose(drawn.mean(), made.mean.mean(), atol=0.05)
    np.testing.assert_allclose(drawn.std(0).mean(), made.stddev.mean(), rtol=0.03)
