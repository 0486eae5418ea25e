"""Weights of a pool: they find what is known, and never leave the simplex."""

import pytest
import torch
from torch.distributions import Normal

from stgate.inference.pool_weights import LEVELS, OBJECTIVES, Cases, Objective, learn_weights

AT = torch.tensor(LEVELS)


def cases(means, scales, truth, rows=None):
    """Cases of normal members: means (member, origin, lead, node), scales one a member."""
    quantiles = torch.stack([Normal(m.unsqueeze(-1), s).icdf(AT) for m, s in zip(means, scales, strict=True)])
    return Cases(quantiles, truth, torch.arange(len(truth)) if rows is None else rows)


def mixture(share, origins=300, leads=2, nodes=4, seed=0):
    """Two members, and a truth that is drawn from the first with a probability that is given for each lead."""
    torch.manual_seed(seed)
    means = torch.stack([torch.zeros(origins, leads, nodes), torch.full((origins, leads, nodes), 6.0)])
    first = torch.rand(origins, leads, nodes) < torch.tensor(share).view(1, -1, 1)
    truth = torch.where(first, torch.randn(origins, leads, nodes), 6 + torch.randn(origins, leads, nodes))
    return cases(means, (1.0, 1.0), truth)


def test_a_linear_pool_finds_the_shares_of_a_mixture_at_each_lead():
    found = learn_weights(mixture([0.8, 0.4]), ["linear"])
    torch.testing.assert_close(found.weights[0].float(), torch.tensor([0.8, 0.4]), atol=0.06, rtol=0)


def test_a_quantile_pool_finds_the_weights_of_a_sum():
    torch.manual_seed(1)
    a, b = torch.randn(2, 300, 1, 6) * 3
    truth = 0.7 * a + 0.3 * b + torch.randn(300, 1, 6)
    found = learn_weights(cases(torch.stack([a, b]), (1.0, 1.0), truth), ["quantile"])
    torch.testing.assert_close(found.weights[:, 0].float(), torch.tensor([0.7, 0.3]), atol=0.06, rtol=0)


def test_the_pool_is_the_one_that_fits():
    assert learn_weights(mixture([0.5, 0.5]), ["quantile", "linear"]).pool == "linear"
    torch.manual_seed(1)
    a, b = torch.randn(2, 300, 1, 6) * 3
    truth = 0.5 * a + 0.5 * b + torch.randn(300, 1, 6)
    assert learn_weights(cases(torch.stack([a, b]), (1.0, 1.0), truth), ["quantile", "linear"]).pool == "quantile"


@pytest.mark.parametrize("pool", OBJECTIVES)
def test_weights_are_not_negative_and_sum_to_one_with_gaps_too(pool):
    made = mixture([0.9, 0.1], origins=80)
    made.truth[::3] = torch.nan
    made.quantiles[1, ::4] = torch.nan
    weights = learn_weights(made, [pool]).weights
    assert float(weights.min()) >= 0
    torch.testing.assert_close(weights.sum(0), torch.ones(2, dtype=weights.dtype))
    assert bool(torch.isfinite(weights).all())


@pytest.mark.parametrize("pool", OBJECTIVES)
def test_members_in_another_order_have_the_same_weights(pool):
    made = mixture([0.8, 0.4], origins=60, nodes=2)
    swapped = Cases(made.quantiles.flip(0), made.truth, made.rows)
    one, two = (learn_weights(each, [pool]).weights for each in (made, swapped))
    torch.testing.assert_close(one, two.flip(0), atol=2e-3, rtol=0)


def test_a_large_penalty_gives_equal_members_equal_weights():
    torch.manual_seed(2)
    truth = torch.randn(200, 1, 4)
    made = cases(torch.randn(3, 200, 1, 4) * 0.5, (1.0, 1.0, 1.0), truth)
    objective = OBJECTIVES["quantile"](made)
    everything = torch.ones(200, dtype=torch.bool)

    def apart(penalty):
        fitted = objective.fit(everything, penalty, None)
        return float(fitted[1:].abs().max())

    assert apart(1e3) < 1e-3 < apart(0.0)
    assert apart(1.0) < apart(1e-3)


def test_too_short_a_record_is_told():
    found = learn_weights(mixture([0.5, 0.5], origins=3), ["quantile", "linear"])
    assert found.blocks < 2
    assert found.score != found.score  # NaN
    assert found.weights.shape == (2, 2)


def test_nothing_observed_gives_equal_weights():
    made = mixture([0.5, 0.5], origins=10)
    made.truth[:] = torch.nan
    assert learn_weights(made, ["quantile"]).weights.unique().tolist() == [0.5]


def test_the_score_of_a_member_alone_is_the_same_in_both_pools():
    made = mixture([0.7, 0.7], origins=50)
    everything = torch.ones(50, dtype=torch.bool)
    one, two = (kind(made).alone(everything) for kind in OBJECTIVES.values())
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)
    assert issubclass(OBJECTIVES["linear"], Objective)
