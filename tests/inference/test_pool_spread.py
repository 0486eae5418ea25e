"""Spreads of members: the factor that makes their intervals hold is found, with atoms and gaps too."""

import pytest
import torch
from torch.distributions import Normal

from stgate.inference.pool_spread import GRID, SCORES, at_levels, normal_scores, spreads_of

AT = torch.tensor(GRID)


def test_normal_scores_are_those_of_the_forecast():
    torch.manual_seed(0)
    mean = torch.randn(500, 1)
    truth = mean.squeeze(1) + 2 * torch.randn(500)
    quantiles = Normal(mean, 2.0).icdf(AT)
    torch.testing.assert_close(normal_scores(quantiles, truth), (truth - mean.squeeze(1)) / 2, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("kind", ["free", "bounded", "counts"])
def test_the_factor_of_each_member_and_lead_is_found(kind):
    """Values at a bound tell less about the spread: the factor then lies between the true one and one."""
    torch.manual_seed(0)
    mean = torch.randn(400, 3, 6)
    true = torch.tensor([1.0, 1.5, 1.8]).view(1, 3, 1)
    truth = mean + true * torch.randn(400, 3, 6)
    quantiles = torch.stack([Normal(mean.unsqueeze(-1), 1.0).icdf(AT), Normal(mean.unsqueeze(-1), 2.0).icdf(AT)])
    if kind != "free":
        truth, quantiles = truth.clamp(min=0), quantiles.clamp(min=0)
    truth = truth.round() if kind == "counts" else truth
    truth[::5] = torch.nan
    wanted = torch.stack([true.flatten(), true.flatten() / 2])
    found = spreads_of(quantiles, truth)
    if kind != "free":
        assert bool(((found - 1) * (wanted - 1) >= -0.02).all()) and bool(
            ((found - 1).abs() < (wanted - 1).abs() + 0.08).all()
        )
    else:
        torch.testing.assert_close(found, wanted, atol=0, rtol=0.1)


def test_quantiles_of_a_wider_normal_are_its_own():
    quantiles = Normal(torch.zeros(1, 2, 2, 3, 1), 1.0).icdf(AT)
    made = at_levels(quantiles, torch.tensor([[0.7, 1.4]])[:, None, :, None], [0.1, 0.5, 0.8])
    wanted = Normal(0.0, torch.tensor([0.7, 1.4]).view(1, 1, 2, 1, 1)).icdf(torch.tensor([0.1, 0.5, 0.8]))
    torch.testing.assert_close(made, wanted.expand_as(made), atol=0.01, rtol=0.01)


def test_without_a_known_value_spreads_stay():
    quantiles = torch.tensor(SCORES).expand(2, 10, 3, 4, -1)
    assert torch.equal(spreads_of(quantiles, torch.full((10, 3, 4), torch.nan)), torch.ones(2, 3))
