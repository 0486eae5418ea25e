"""Mixtures: exact quantiles, two kinds of variance, and what averaging quantiles would do."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch.distributions import LogNormal, Normal

from stgate.distributions import Mixture, counts
from stgate.metrics import crps_lognormal, crps_normal_mixture
from stgate.metrics.torch import crps_of, inside


def normals(members=16, count=200, seed=0, spread=2.0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    loc = spread * torch.randn(members, count, generator=generator, dtype=dtype)
    return Normal(loc, 0.05 + torch.rand(members, count, generator=generator, dtype=dtype), validate_args=False)


@pytest.mark.parametrize("level", [0.001, 0.025, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("spread", [0.0, 2.0, 50.0])
def test_the_distribution_function_at_a_quantile_is_its_level(level, spread):
    mixture = Mixture(normals(spread=spread, count=2000))
    assert (mixture.cdf(mixture.icdf(torch.tensor(level))) - level).abs().max() < 1e-5


@given(members=st.integers(1, 6), level=st.floats(0.01, 0.99), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_any_mixture_in_double_precision_has_the_quantile_that_scipy_brackets(members, level, seed):
    from scipy.optimize import brentq

    components = normals(members, 3, seed, dtype=torch.float64)
    found = Mixture(components).icdf(torch.tensor(level, dtype=torch.float64))
    for i in range(3):
        loc, scale = components.loc[:, i].numpy(), components.scale[:, i].numpy()
        expected = brentq(lambda x, m=loc, s=scale: stats.norm.cdf(x, m, s).mean() - level, -40, 40, xtol=1e-12)
        assert stats.norm.cdf(float(found[i]), loc, scale).mean() == pytest.approx(level, abs=2e-6)
        density = stats.norm.pdf(expected, loc, scale).mean()
        if density > 0.01:  # between members far apart many values have nearly the same level
            assert float(found[i]) == pytest.approx(expected, abs=1e-5 / density)


def test_another_family_with_an_inverse_works_as_well():
    components = LogNormal(torch.randn(5, 40).double(), 0.2 + torch.rand(5, 40).double(), validate_args=False)
    mixture = Mixture(components)
    assert (mixture.cdf(mixture.icdf(torch.tensor(0.9).double())) - 0.9).abs().max() < 1e-5


def test_one_member_and_equal_members_have_their_own_quantiles():
    one = normals(members=1)
    for components in (one, Normal(one.loc.expand(4, -1), one.scale.expand(4, -1), validate_args=False)):
        mixture = Mixture(components)
        for level in (0.05, 0.5, 0.95):
            torch.testing.assert_close(
                mixture.icdf(torch.tensor(level)), one.icdf(torch.tensor(level))[0], rtol=1e-4, atol=1e-5
            )


def test_mean_variance_density_and_draws_are_those_of_the_mixture():
    components = normals(members=3, count=2, dtype=torch.float64)
    mixture = Mixture(components)
    torch.manual_seed(0)
    drawn = mixture.sample((200_000,))
    assert drawn.shape == (200_000, 2)
    torch.testing.assert_close(mixture.mean, drawn.mean(0), atol=0.02, rtol=0)
    torch.testing.assert_close(mixture.variance, drawn.var(0), atol=0.08, rtol=0)
    torch.testing.assert_close(mixture.variance, mixture.aleatoric_variance + mixture.epistemic_variance)
    torch.testing.assert_close(mixture.aleatoric_variance, components.scale.square().mean(0))
    x = torch.tensor([0.3, -1.0], dtype=torch.float64)
    torch.testing.assert_close(mixture.log_prob(x).exp(), components.log_prob(x).exp().mean(0))


def test_the_crps_of_a_mixture_is_that_of_its_closed_form_and_of_other_families_comes_from_quantiles():
    components = normals(members=5, count=300, dtype=torch.float64)
    truth = 2 * torch.randn(300, dtype=torch.float64)
    expected = crps_normal_mixture(truth.numpy(), components.loc.numpy().T, components.scale.numpy().T)
    np.testing.assert_allclose(crps_of(Mixture(components), truth), expected, rtol=1e-6, atol=1e-9)
    lognormal = LogNormal(torch.zeros(1, 300).double(), torch.full((1, 300), 0.5).double(), validate_args=False)
    exact = crps_lognormal(truth.exp().numpy(), 0.0, 0.5)
    np.testing.assert_allclose(crps_of(Mixture(lognormal), truth.exp()), exact, atol=0.12)


def test_an_interval_holds_what_lies_between_its_quantiles():
    mixture, truth = Mixture(normals(count=3000)), 3 * torch.randn(3000)
    for level in (0.5, 0.9):
        lower, upper = (mixture.icdf(torch.tensor((1 + s * level) / 2)) for s in (-1, 1))
        assert torch.equal(inside(mixture, truth, level), (truth >= lower) & (truth <= upper))


def test_members_that_agree_are_certain_of_the_mean():
    same = normals(members=1).expand([8, 200])
    assert (Mixture(same).epistemic_variance.abs() < 1e-9).all()


def test_averaging_the_members_quantiles_would_cover_far_too_little():
    """Trap 6: five members from -2 to 2 with a spread of one half: actual coverage .39 for a nominal .95."""
    components = Normal(torch.linspace(-2, 2, 5)[:, None].double(), torch.full((5, 1), 0.5).double())
    mixture = Mixture(components)
    upper = mixture.icdf(torch.tensor(0.975))
    assert float(upper) == pytest.approx(2.577, abs=1e-3)
    averaged = components.icdf(torch.tensor(0.975)).mean(0)
    assert float(averaged) == pytest.approx(0.980, abs=1e-3)
    assert float(mixture.cdf(averaged) - mixture.cdf(-averaged)) == pytest.approx(0.392, abs=1e-3)
    assert float(mixture.cdf(upper) - mixture.cdf(-upper)) == pytest.approx(0.95, abs=1e-5)


def test_a_forecast_that_is_missing_has_no_quantile_and_disturbs_no_other():
    components = normals(count=5)
    components.loc[:, 2] = torch.nan
    found = Mixture(components).icdf(torch.tensor(0.9))
    assert torch.isnan(found).tolist() == [False, False, True, False, False]


def test_quantiles_ascend_with_the_level():
    mixture = Mixture(normals(spread=10.0))
    made = torch.stack([mixture.icdf(torch.tensor(q)) for q in np.linspace(0.01, 0.99, 25)])
    assert (made.diff(dim=0) > 0).all()


def test_the_shape_of_a_batch_is_kept():
    components = Normal(torch.randn(3, 2, 4, 5, 1), torch.rand(3, 2, 4, 5, 1) + 0.1)
    mixture = Mixture(components)
    assert mixture.batch_shape == mixture.icdf(torch.tensor(0.5)).shape == mixture.mean.shape == (2, 4, 5, 1)


def test_levels_of_their_own_give_each_mixture_its_quantile():
    generator = torch.Generator().manual_seed(2)
    loc, scale, level = (torch.rand(shape, generator=generator).double() for shape in ((4, 5, 60), (4, 5, 60), (5, 60)))
    mixture = Mixture(Normal(5 * loc, 0.1 + scale, validate_args=False))
    level = 0.02 + 0.96 * level
    torch.testing.assert_close(mixture.cdf(mixture.icdf(level)), level, atol=1e-5, rtol=0)
    one = Mixture(Normal(loc[:1], 0.1 + scale[:1], validate_args=False)).icdf(level)
    torch.testing.assert_close(one, Normal(loc[0], 0.1 + scale[0]).icdf(level), atol=1e-4, rtol=0)
    made = Mixture(counts.NegativeBinomial(20 * loc + 1, scale + 0.1))
    found = made.icdf(level)
    assert bool((made.cdf(found) >= level).all() and (made.cdf(found - 1) < level).all())
