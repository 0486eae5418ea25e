"""Levels and quantiles by the incomplete beta function, against scipy over a wide grid, and scores against sums."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from stgate.distributions import Mixture, counts
from stgate.distributions import incomplete_beta as beta
from stgate.metrics.torch import crps_of

MEANS, DISPERSIONS = np.logspace(-4, 6, 6), np.logspace(-3, 4, 5)
LEVELS = (1e-6, 1e-3, 0.05, 0.5, 0.9, 0.999, 1 - 1e-6)
ROUNDING = 1e-12
"""Rounding of a cumulative probability in float64, in this module or in scipy."""


def tensors(*values):
    return [torch.as_tensor(np.asarray(value, "float64")) for value in values]


def grid(*axes):
    return [axis.ravel() for axis in np.meshgrid(*axes)]


@pytest.mark.parametrize("level", LEVELS)
def test_counts_have_the_quantiles_and_levels_of_scipy(level):
    mean, dispersion = grid(MEANS, DISPERSIONS)
    size = 1 / dispersion
    found = beta.negative_binomial_quantile(*tensors(level, mean, dispersion)).numpy()
    expected = stats.nbinom.ppf(level, size, size / (size + mean))
    reached, before = (
        np.where(k < 0, 0.0, special.betainc(size, np.maximum(k, 0) + 1, size / (size + mean)))
        for k in (found, found - 1)
    )
    tie = (np.abs(reached - level) < ROUNDING) | (np.abs(before - level) < ROUNDING)
    assert ((found == np.maximum(expected, 0)) | tie).all()
    for k in (found, found + 3, np.maximum(found - 1, 0)):
        made, _ = beta.negative_binomial_levels(*tensors(k, mean, dispersion))
        np.testing.assert_allclose(made, special.betainc(size, k + 1, size / (size + mean)), rtol=1e-9)


@given(mean=st.floats(1e-4, 1e6), dispersion=st.floats(1e-3, 1e4), count=st.integers(0, 10**6))
@settings(deadline=None, max_examples=60)
def test_any_count_has_scipys_level_and_probability(mean, dispersion, count):
    size = 1 / dispersion
    level, chance = beta.negative_binomial_levels(*tensors(count, mean, dispersion))
    np.testing.assert_allclose(level, special.betainc(size, count + 1.0, size / (size + mean)), rtol=1e-8, atol=1e-300)
    before = beta.negative_binomial_levels(*tensors(count - 1, mean, dispersion))[0]
    np.testing.assert_allclose(level - before, chance, rtol=1e-6, atol=1e-13)


@pytest.mark.parametrize("level", [*LEVELS, 0.3, 1e-9])
def test_students_t_has_scipys_quantiles_for_one_level_and_for_each(level):
    df = np.logspace(-0.5, 7, 200)
    expected = stats.t.ppf(level, df)
    one = beta.student_quantiles(*tensors([level], df))[0]
    each = beta.student_quantile(*tensors(np.full(200, level), df))
    for found in (one, each):
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("df", [0.5, 1.0, 2.01, 9.0, 300.0, 1e6])
def test_students_t_has_scipys_levels(df):
    value = np.concatenate([-np.logspace(-4, 3, 40), [0.0], np.logspace(-4, 3, 40)])
    expected = special.stdtr(df, value)
    found = beta.student_cdf(*tensors(value, df)).numpy()
    np.testing.assert_allclose(found[expected > 1e-300], expected[expected > 1e-300], rtol=1e-8)


@pytest.mark.parametrize("inflation", [0.0, 0.3])
@pytest.mark.parametrize(("mean", "dispersion"), [(1e-3, 5.0), (0.5, 0.3), (30.0, 0.01), (30.0, 5.0), (3000.0, 1e-3)])
def test_the_score_of_counts_is_the_sum_of_squares_of_their_levels(mean, dispersion, inflation):
    mean_, dispersion_, inflation_ = tensors(mean, dispersion, inflation)
    if inflation:
        made = counts.ZeroInflatedNegativeBinomial(mean_, dispersion_, inflation_)
    else:
        made = counts.NegativeBinomial(mean_, dispersion_)
    k = np.arange(20_000)
    levels = inflation + (1 - inflation) * stats.nbinom.cdf(k, 1 / dispersion, 1 / (1 + mean * dispersion))
    for truth in (0, 1, 7, 40):
        expected = ((levels - (k >= truth)) ** 2).sum()
        assert float(crps_of(made, tensors(truth)[0])) == pytest.approx(expected, rel=1e-7)
        both = Mixture(type(made)(*(p.expand(2) for p in (mean_, dispersion_, inflation_)[: 3 if inflation else 2])))
        assert float(crps_of(both, tensors(truth)[0])) == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("apart", [1.0, 3.0, 30.0])
def test_the_score_of_a_mixture_of_counts_is_about_the_sum_of_squares(apart):
    mean, dispersion = np.array([4.0, 4 * apart, 5 * apart]), np.array([0.2, 0.5, 0.01])
    k = np.arange(20_000)
    levels = stats.nbinom.cdf(k[:, None], 1 / dispersion, 1 / (1 + mean * dispersion)).mean(1)
    mixture = Mixture(counts.NegativeBinomial(*(x.unsqueeze(-1) for x in tensors(mean, dispersion))))
    for truth in (0.0, 5.0, 60.0):
        expected = ((levels - (k >= truth)) ** 2).sum()
        assert float(crps_of(mixture, tensors([truth])[0])) == pytest.approx(expected, rel=5e-3)


def test_what_is_unknown_stays_unknown_and_shapes_broadcast():
    mean = torch.tensor([[1.0], [torch.nan]])
    made = beta.negative_binomial_quantile(torch.tensor(0.5), mean, torch.ones(3))
    assert made.shape == (2, 3)
    assert torch.isnan(made).any(1).tolist() == [False, True]
    assert torch.isnan(beta.negative_binomial_levels(torch.tensor(3.0), mean, torch.ones(3))[0]).any(1).tolist() == [
        False,
        True,
    ]
    for found in (beta.student_quantile(*tensors(0.1, mean)), beta.student_quantiles(*tensors([0.1], mean))[0]):
        assert torch.isnan(found).flatten().tolist() == [False, True]


def test_float32_parameters_are_computed_with_in_float64():
    made = counts.NegativeBinomial(torch.tensor([3.7, 1e5]), torch.tensor([0.3, 0.01]))
    wide = counts.NegativeBinomial(made._mean.double(), made.dispersion.double())
    for level in (0.1, 0.5, 0.99):
        assert torch.equal(made.icdf(torch.tensor(level)).double(), wide.icdf(torch.tensor(level)))
