"""Distributions that torch lacks: against scipy, and against themselves by quadrature and draws."""

import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from stgate.distributions import Mixture, counts
from stgate.distributions import families as own
from stgate.metrics.torch import crps_of, inside

DOUBLE = torch.float64


def quantile_function(count=50, seed=0, levels=(0.05, 0.25, 0.5, 0.75, 0.95)):
    generator = torch.Generator().manual_seed(seed)
    gaps = 0.1 + torch.rand(count, len(levels), generator=generator, dtype=DOUBLE)
    return own.QuantileFunction(gaps.cumsum(-1) - 1, torch.tensor(2.0, dtype=DOUBLE), levels)


def test_students_t_has_the_levels_and_quantiles_of_scipy():
    df = torch.tensor([2.5, 4.0, 30.0], dtype=DOUBLE)
    made = own.StudentT(df, torch.tensor(1.0, dtype=DOUBLE), torch.tensor(2.0, dtype=DOUBLE))
    for level in (0.01, 0.5, 0.9):
        expected = stats.t.ppf(level, df.numpy(), 1.0, 2.0)
        np.testing.assert_allclose(made.icdf(torch.tensor(level, dtype=DOUBLE)), expected, rtol=1e-9)
        np.testing.assert_allclose(made.cdf(torch.from_numpy(expected)), level, rtol=1e-9)


@given(mean=st.floats(0.01, 500), shape=st.floats(1e-3, 5), inflation=st.floats(0.01, 0.9))
@settings(deadline=None, max_examples=40)
def test_counts_have_the_probabilities_levels_and_quantiles_of_scipy(mean, shape, inflation):
    r = 1 / shape
    reference = stats.nbinom(r, r / (r + mean))
    k = np.arange(0, 40)
    values = torch.from_numpy(k).to(DOUBLE)
    mean, shape, inflation = (torch.tensor(v, dtype=DOUBLE).expand(len(k)) for v in (mean, shape, inflation))
    plain = counts.NegativeBinomial(mean, shape)
    np.testing.assert_allclose(plain.log_prob(values), reference.logpmf(k), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(plain.cdf(values), reference.cdf(k), rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(plain.variance[0], reference.var(), rtol=1e-9)
    zeros = counts.ZeroInflatedNegativeBinomial(mean, shape, inflation)
    assert float(zeros.log_prob(values[:1])[0].exp()) == pytest.approx(
        float(inflation[0]) + (1 - float(inflation[0])) * reference.pmf(0)
    )
    for made in (plain, zeros):
        for level in (0.03, 0.5, 0.97):
            found = made.icdf(torch.tensor(level, dtype=DOUBLE))
            assert bool((made.cdf(found) >= level).all())
            assert bool((made.cdf(found - 1) < level).all())
    for level in (0.2, 0.9):
        assert float(plain.icdf(torch.tensor(level, dtype=DOUBLE))[0]) == pytest.approx(reference.ppf(level), abs=1)


def test_counts_drawn_have_the_mean_and_variance_that_they_say():
    torch.manual_seed(0)
    for made in (
        counts.NegativeBinomial(torch.tensor([3.0, 40.0]), torch.tensor([0.5, 0.1])),
        counts.ZeroInflatedNegativeBinomial(torch.tensor([3.0, 40.0]), torch.tensor(0.2), torch.tensor([0.1, 0.6])),
    ):
        drawn = made.sample((200_000,))
        torch.testing.assert_close(drawn.mean(0), made.mean, rtol=0.02, atol=0)
        torch.testing.assert_close(drawn.var(0), made.variance, rtol=0.03, atol=0)


def test_a_shifted_log_normal_is_scipys():
    made = own.ShiftedLogNormal(*(torch.tensor(x, dtype=DOUBLE) for x in (0.5, 0.8, 2.0)))
    theirs = stats.lognorm(0.8, loc=-2.0, scale=np.exp(0.5))
    x = np.array([-3.0, -1.9, 0.0, 5.0])
    np.testing.assert_allclose(made.cdf(torch.tensor(x)), theirs.cdf(x), atol=1e-12)
    np.testing.assert_allclose(made.log_prob(torch.tensor(x[1:])), theirs.logpdf(x[1:]))
    np.testing.assert_allclose([made.mean, made.variance], theirs.stats())
    np.testing.assert_allclose(made.icdf(torch.tensor(0.3, dtype=DOUBLE)), theirs.ppf(0.3))
    assert made.rsample((5,)).shape == (5,)


def test_few_counts_near_poisson_keep_their_digits():
    made = counts.NegativeBinomial(torch.tensor(2.0), torch.tensor(1e-6))
    np.testing.assert_allclose(made.log_prob(torch.arange(8.0)), stats.poisson(2.0).logpmf(np.arange(8)), rtol=1e-4)


def test_a_quantile_function_passes_through_its_knots_and_back():
    made = quantile_function()
    for i, level in enumerate(made.levels):
        torch.testing.assert_close(made.icdf(torch.tensor(level, dtype=DOUBLE)), made.knots[:, i])
    for level in (0.001, 0.05, 0.1, 0.6, 0.97, 0.9999):
        there = made.icdf(torch.tensor(level, dtype=DOUBLE))
        torch.testing.assert_close(made.cdf(there), torch.full((50,), level, dtype=DOUBLE))


def test_the_density_of_a_quantile_function_is_the_slope_of_its_levels_and_its_moments_are_those_of_its_draws():
    made = quantile_function()
    for x in (-3.0, 0.1, 1.3, 9.0):
        x = torch.full((50,), x, dtype=DOUBLE)
        slope = (made.cdf(x + 1e-6) - made.cdf(x - 1e-6)) / 2e-6
        torch.testing.assert_close(made.log_prob(x).exp(), slope, rtol=1e-4, atol=1e-9)
    torch.manual_seed(0)
    drawn = made.sample((100_000,))
    torch.testing.assert_close(drawn.mean(0), made.mean, atol=0.03, rtol=0)
    torch.testing.assert_close(drawn.var(0), made.variance, rtol=0.06, atol=0)


@pytest.mark.parametrize("kind", ["counts", "inflated", "t", "quantiles", "shifted"])
def test_mixtures_of_them_have_exact_quantiles(kind):
    generator = torch.Generator().manual_seed(1)
    first, second, third = (0.1 + torch.rand(4, 30, generator=generator, dtype=DOUBLE) for _ in range(3))
    components = {
        "counts": lambda: counts.NegativeBinomial(20 * first, second),
        "inflated": lambda: counts.ZeroInflatedNegativeBinomial(20 * first, second, third.clamp(max=0.9)),
        "t": lambda: own.StudentT(2.01 + 5 * first, 3 * second, third),
        "shifted": lambda: own.ShiftedLogNormal(first, second, third),
        "quantiles": lambda: own.QuantileFunction(
            torch.stack([first, first + second, first + second + third], -1), torch.ones(1).double(), (0.1, 0.5, 0.9)
        ),
    }[kind]()
    mixture = Mixture(components)
    for level in (0.05, 0.5, 0.9):
        found = mixture.icdf(torch.tensor(level, dtype=DOUBLE))
        assert found.shape == (30,)
        if kind in ("counts", "inflated"):
            assert bool((mixture.cdf(found) >= level).all())
            assert bool((mixture.cdf(found - 1) < level).all())
        else:
            assert (mixture.cdf(found) - level).abs().max() < 1e-5


def test_inside_of_counts_is_between_the_quantiles():
    made = counts.NegativeBinomial(torch.tensor(4.0).expand(30), torch.tensor(0.5).expand(30))
    lower, upper = (made.icdf(torch.tensor(q)) for q in (0.1, 0.9))
    values = torch.arange(30.0)
    expected = (values >= lower) & (values <= upper)
    assert torch.equal(inside(made, values, 0.8), expected)
    both = Mixture(counts.NegativeBinomial(torch.tensor(4.0).expand(2, 30), torch.tensor(0.5).expand(2, 30)))
    assert torch.equal(inside(both, values, 0.8), expected)


@pytest.mark.parametrize("kind", ["t", "lognormal", "shifted"])
def test_closed_forms_of_the_crps_agree_with_many_draws(kind):
    torch.manual_seed(0)
    made = {
        "t": own.StudentT(torch.tensor([5.0, 9.0]), torch.tensor(1.0), torch.tensor(2.0)),
        "lognormal": torch.distributions.LogNormal(torch.tensor([0.1, 1.0]), torch.tensor(0.5), validate_args=False),
        "shifted": own.ShiftedLogNormal(torch.tensor([0.1, 1.0]), torch.tensor(0.5), torch.tensor(0.7)),
    }[kind]
    truth = torch.tensor([0.5, 4.0])
    a, b = made.sample((400_000,)), made.sample((400_000,))
    expected = (a - truth).abs().mean(0) - 0.5 * (a - b).abs().mean(0)
    torch.testing.assert_close(crps_of(made, truth), expected, rtol=0.02, atol=0.002)


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize("inflation", [0.0, 0.3, 0.95])
@pytest.mark.parametrize("mean", [1e-3, 1.0, 1e3, 2.0**24, 1e7, 1e10, 1e12])
def test_quantiles_of_counts_of_any_size_are_found_without_end(mean, inflation, dtype):
    dispersion, inflation = (
        torch.tensor([1e-4, 0.1, 1.0, 10.0], dtype=dtype),
        float(torch.tensor(inflation, dtype=dtype)),
    )
    means = torch.full_like(dispersion, mean)
    if inflation:
        made = counts.ZeroInflatedNegativeBinomial(means, dispersion, torch.full_like(dispersion, inflation))
    else:
        made = counts.NegativeBinomial(means, dispersion)
    r = 1 / dispersion.double().numpy()
    for level in (0.01, 0.5, 0.975, 0.99999):
        beyond = (level - inflation) / (1 - inflation)
        expected = stats.nbinom.ppf(max(beyond, 0.0), r, r / (r + means.double().numpy())).clip(min=0)
        found = made.icdf(torch.tensor(level, dtype=DOUBLE))
        assert found.dtype == dtype
        np.testing.assert_allclose(found.double(), expected, rtol=2e-6 if dtype == torch.float32 else 1e-8, atol=1)


def test_quantiles_of_a_mixture_of_large_counts_lie_between_those_of_its_members():
    mean = torch.tensor([[1e7, 3e7, 5.0], [2e7, 2.5e7, 1e9]])
    members = counts.ZeroInflatedNegativeBinomial(mean, torch.full_like(mean, 0.2), torch.full_like(mean, 0.05))
    for level in (0.05, 0.5, 0.99):
        found, each = Mixture(members).icdf(torch.tensor(level)), members.icdf(torch.tensor(level))
        assert ((found >= each.amin(0)) & (found <= each.amax(0))).all()
        torch.testing.assert_close(Mixture(members).cdf(found), torch.full((3,), level), atol=0.1, rtol=0)


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_quantiles_of_counts_at_the_ends_and_of_unknown_ones_end(level):
    made = counts.NegativeBinomial(torch.tensor([5.0, 1e9, torch.nan, 1e30]), torch.tensor([0.1, 3.0, 0.1, 0.1]), False)
    found = made.icdf(torch.tensor(level))
    assert (found[:2] >= 0).all()
    assert torch.isnan(found[2])


def test_a_thousand_large_counts_take_no_time():
    mean = torch.logspace(3, 9, 10_000)
    made = counts.ZeroInflatedNegativeBinomial(mean, torch.full_like(mean, 0.5), torch.full_like(mean, 0.1))
    begun = time.perf_counter()
    made.icdf(torch.tensor(0.95))
    assert time.perf_counter() - begun < 10
