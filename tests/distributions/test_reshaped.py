"""A reshaped distribution: a wider normal for a normal, within its bounds for others; other tails."""

import torch
from torch.distributions import Exponential, Normal

from stgate.distributions.reshaped import SCORES, Floored, Reshaped

FACTOR = torch.tensor([0.6, 1.0, 1.8])
CURVE = FACTOR[:, None] * torch.tensor(SCORES)
LEVELS = torch.tensor([0.02, 0.1, 0.5, 0.8, 0.97])


def test_a_normal_distribution_becomes_a_normal_one_with_another_deviation():
    mean, deviation = torch.tensor([-1.0, 0.0, 3.0]), torch.tensor([0.5, 1.0, 2.0])
    made, wanted = Reshaped(Normal(mean, deviation), CURVE), Normal(mean, deviation * FACTOR)
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
    made = Reshaped(base, CURVE)
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


def test_tails_follow_the_curve_and_the_density_is_that_of_the_distribution_function():
    scores = torch.tensor(SCORES, dtype=torch.float64)
    curve = torch.where(scores > 0, 1.5 * scores, 0.5 * scores) + 0.1
    made = Reshaped(Normal(torch.zeros(4).double(), torch.ones(4).double()), curve)
    for score in (-1.7, -0.2, 0.8, 2.3):
        level = torch.special.ndtr(torch.tensor(score, dtype=torch.float64))
        wanted = torch.full((4,), score * (1.5 if score > 0 else 0.5) + 0.1, dtype=torch.float64)
        torch.testing.assert_close(made.icdf(level), wanted, atol=1e-6, rtol=0)
        torch.testing.assert_close(made.cdf(made.icdf(level)), level.expand(4), atol=1e-6, rtol=0)
    value = torch.tensor([-1.2, 0.05, 0.7, 3.1], dtype=torch.float64)
    slope = (made.cdf(value + 1e-4) - made.cdf(value - 1e-4)) / 2e-4
    torch.testing.assert_close(made.log_prob(value).exp(), slope, atol=1e-6, rtol=1e-3)
