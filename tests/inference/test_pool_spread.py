"""Curves of members: spreads and tails that make their intervals hold are found, with atoms and gaps too."""

import pytest
import torch
from torch.distributions import Normal

from stgate.inference.pool_spread import GRID, SCORES, at_levels, curves_of, grid_scores

AT = torch.tensor(GRID)


def test_grid_scores_are_those_of_the_forecast():
    torch.manual_seed(0)
    mean = torch.randn(500, 1)
    truth = mean.squeeze(1) + 2 * torch.randn(500)
    quantiles = Normal(mean, 2.0).icdf(AT)
    torch.testing.assert_close(grid_scores(quantiles, truth), (truth - mean.squeeze(1)) / 2, atol=1e-3, rtol=1e-3)


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
    curves = curves_of(quantiles, truth)
    found = (curves[..., 9] - curves[..., 5]) / 2  # between minus and plus one
    if kind != "free":
        assert bool(((found - 1) * (wanted - 1) >= -0.02).all()) and bool(
            ((found - 1).abs() < (wanted - 1).abs() + 0.08).all()
        )
    else:
        torch.testing.assert_close(found, wanted, atol=0, rtol=0.1)


def test_quantiles_of_a_wider_normal_are_its_own():
    quantiles = Normal(torch.zeros(1, 2, 2, 3, 1), 1.0).icdf(AT)
    curve = torch.tensor([0.7, 1.4])[:, None, None] * torch.tensor(SCORES)
    made = at_levels(quantiles, curve, [0.1, 0.5, 0.8])
    wanted = Normal(0.0, torch.tensor([0.7, 1.4]).view(1, 1, 2, 1, 1)).icdf(torch.tensor([0.1, 0.5, 0.8]))
    torch.testing.assert_close(made, wanted.expand_as(made), atol=0.01, rtol=0.01)


def test_without_a_known_value_spreads_stay():
    quantiles = torch.tensor(SCORES).expand(2, 10, 3, 4, -1)
    found = curves_of(quantiles, torch.full((10, 3, 4), torch.nan))
    torch.testing.assert_close(found, torch.tensor(SCORES).expand(2, 3, -1))


def test_a_longer_upper_tail_is_found():
    """Errors are normal below, and twice as large above; the forecasts are normal."""
    torch.manual_seed(0)
    error = torch.randn(4000, 2, 3)
    truth = torch.where(error > 0, 2 * error, error)
    quantiles = torch.stack([Normal(torch.zeros(4000, 2, 3, 1), 1.5).icdf(AT)] * 2)
    curve = 1.5 * curves_of(quantiles, truth)
    wanted = torch.where(torch.tensor(SCORES) > 0, 2.0, 1.0) * torch.tensor(SCORES)
    torch.testing.assert_close(curve[..., 2:13], wanted[2:13].expand(2, 2, -1), atol=0.12, rtol=0)
