"""A widened distribution: a wider normal for a normal, within its bounds for others."""

import torch
from torch.distributions import Exponential, Normal

from stgate.distributions.widened import Floored, Widened

FACTOR = torch.tensor([0.6, 1.0, 1.8])
LEVELS = torch.tensor([0.02, 0.1, 0.5, 0.8, 0.97])


def test_a_normal_distribution_becomes_a_normal_one_with_another_deviation():
    mean, deviation = torch.tensor([-1.0, 0.0, 3.0]), torch.tensor([0.5, 1.0, 2.0])
    made, wanted = Widened(Normal(mean, deviation), FACTOR), Normal(mean, deviation * FACTOR)
    for level in LEVELS:
        torch.testing.assert_close(made.icdf(level), wanted.icdf(level), atol=1e-3, rtol=1e-3)
    value = torch.tensor([-0.8, 0.7, 5.0])
    torch.testing.assert_close(made.cdf(value), wanted.cdf(value), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(made.log_prob(value), wanted.log_prob(value), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close((made.mean, made.stddev), (wanted.mean, wanted.stddev))
    torch.manual_seed(0)
    torch.testing.assert_close(made.sample((20_000,)).std(0), wanted.stddev, atol=0, rtol=0.03)


def test_bounds_and_the_median_of_the_base_hold():
    base = Exponential(torch.ones(3))
    made = Widened(base, FACTOR)
    assert float(made.icdf(torch.tensor(0.001)).min()) >= 0
    torch.testing.assert_close(made.icdf(torch.tensor(0.5)), base.icdf(torch.tensor(0.5)))
    for level in LEVELS:
        torch.testing.assert_close(made.cdf(made.icdf(level)), level.expand(3), atol=1e-4, rtol=1e-3)


def test_a_floor_takes_all_probability_below_it():
    made, level = Floored(Normal(torch.zeros(3), torch.ones(3)), 0.0), torch.tensor(0.3)
    assert float(made.icdf(level).max()) == 0.0
    assert float(made.sample((500,)).min()) == 0.0
    torch.testing.assert_close(made.cdf(torch.zeros(3)), torch.full((3,), 0.5))
    assert float(made.cdf(torch.full((3,), -1e-3)).max()) == 0.0
    upper = torch.tensor(0.9)
    torch.testing.assert_close(made.icdf(upper), made.base.icdf(upper))
