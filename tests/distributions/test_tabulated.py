"""Tables of quantiles: exact for normal distributions and atoms, near for others."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import LogNormal, Normal

from stgate.distributions.pools import LinearPool, QuantilePool
from stgate.distributions.reshaped import Floored
from stgate.distributions.tabulated import Tabulated

LEVELS = (0.01, 0.1, 0.4, 0.5, 0.77, 0.95, 0.99)


@given(st.floats(-30, 30), st.floats(0.1, 9), st.floats(0.001, 0.999))
def test_a_table_of_a_normal_is_the_normal(mean, stddev, level):
    base = Normal(torch.full((3,), mean), stddev)
    table, asked = Tabulated(base), torch.tensor(level)
    torch.testing.assert_close(table.icdf(asked), base.icdf(asked), rtol=1e-4, atol=1e-3 * stddev)
    torch.testing.assert_close(table.cdf(base.icdf(asked)), asked.expand(3), rtol=0, atol=1e-4)


def test_a_skewed_table_is_near_and_its_functions_undo_each_other():
    base = LogNormal(torch.zeros(4), 0.7)
    table = Tabulated(base)
    for level in LEVELS:
        found = table.icdf(torch.tensor(level))
        torch.testing.assert_close(found, base.icdf(torch.tensor(level)), rtol=0.005, atol=0)
        torch.testing.assert_close(table.cdf(found), torch.full((4,), level), rtol=0, atol=1e-5)
        torch.testing.assert_close(table.icdf(torch.full((4,), level)), found, rtol=1e-6, atol=0)


def test_an_atom_is_flat():
    table = Tabulated(Floored(Normal(torch.tensor([0.0, 9.0]), 1.0), 0.0))
    assert table.icdf(torch.tensor(0.3)).tolist() == pytest.approx([0.0, 8.4756], abs=1e-3)
    assert table.cdf(torch.tensor(0.0)).tolist() == pytest.approx([0.5, 0.0], abs=1e-3)
    assert table.cdf(torch.tensor(-0.5)).tolist() == [0.0, 0.0]
    whole = Tabulated(Floored(Normal(torch.tensor([-30.0]), 1.0), 0.0))  # nothing but the atom
    assert whole.cdf(torch.tensor(0.0)).tolist() == [1.0] and whole.cdf(torch.tensor(-1.0)).tolist() == [0.0]


def test_a_missing_forecast_stays_missing():
    table = Tabulated(Normal(torch.tensor([0.0, torch.nan]), 1.0, validate_args=False))
    assert torch.isnan(table.icdf(torch.tensor(0.5))).tolist() == [False, True]
    assert torch.isnan(table.cdf(torch.tensor(0.5))).tolist() == [False, True]


@pytest.mark.parametrize("pool", [LinearPool, QuantilePool])
@pytest.mark.parametrize("jump", [False, True])
def test_a_pool_of_tables_is_the_pool(pool, jump):
    locations = torch.randn(5, 40, generator=torch.Generator().manual_seed(0))
    bases = [Normal(row, 1e-6 if jump and not number else 0.5 + number) for number, row in enumerate(locations)]
    weights = torch.tensor([0.3, 0.1, 0.2, 0.0, 0.4])[:, None]
    own, tabulated = pool(bases, weights), pool([Tabulated(one) for one in bases], weights)
    for level in LEVELS:
        found = tabulated.icdf(torch.tensor(level))
        torch.testing.assert_close(found, own.icdf(torch.tensor(level)), rtol=1e-4, atol=1e-3)
        if not jump:
            torch.testing.assert_close(tabulated.cdf(found), own.cdf(found), rtol=0, atol=1e-4)
