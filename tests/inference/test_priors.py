"""Priors: their densities against scipy's, and the mean under a posterior against scipy's quadrature."""

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from stgate.errors import RequestError
from stgate.inference.priors import check_prior, expected_log_prior, log_prior

ORACLES = {"normal": stats.norm, "logistic": stats.logistic}


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_log_densities_are_scipys(name, scale):
    values = torch.randn(50, dtype=torch.float64) * 3
    expected = ORACLES[name].logpdf(values.numpy(), scale=scale).sum()
    assert float(log_prior(name, values, scale)) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("loc", [0.0, -0.7, 3.0])
@pytest.mark.parametrize("spread", [0.01, 0.3, 1.0])
def test_the_mean_of_a_log_density_is_scipys_integral(name, loc, spread):
    prior, posterior = ORACLES[name](scale=0.8), stats.norm(loc, spread)
    edges = (loc - 12 * spread, loc + 12 * spread)
    expected = integrate.quad(lambda w: posterior.pdf(w) * prior.logpdf(w), *edges, epsabs=1e-12)[0]
    found = expected_log_prior(name, *(torch.tensor([v], dtype=torch.float64) for v in (loc, spread)), 0.8)
    assert float(found) == pytest.approx(expected, abs=1e-4)


def test_an_unknown_prior_and_a_scale_that_is_none_are_refused():
    with pytest.raises(RequestError, match="did you mean logistic"):
        check_prior("logistics", 1.0)
    for scale in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(RequestError, match="prior_scale"):
            check_prior("normal", scale)
