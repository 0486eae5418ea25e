"""Priors of weights: the logarithm of a density, and its mean under a normal posterior."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from stgate.errors import RequestError, did_you_mean


def _normal(z: Tensor) -> Tensor:
    return -0.5 * z.square() - 0.5 * math.log(2 * math.pi)


def _logistic(z: Tensor) -> Tensor:
    return -z - 2 * softplus(-z)


PRIORS: dict[str, Callable[[Tensor], Tensor]] = {"normal": _normal, "logistic": _logistic}
"""Log densities of unit scale by their name in configs."""

NODES = 16
"""Of the quadrature: exact for the normal prior, to 1e-4 for the logistic where the posterior is no wider than it."""


def check_prior(name: str | None, scale: float) -> None:
    """Refuse a name that no prior has, and a scale that is none.

    Raises:
        RequestError: No prior of this name, or a scale that is not positive.
    """
    if name is not None and name not in PRIORS:
        raise RequestError(f"prior {name!r}: {did_you_mean(name, PRIORS)}")
    if not (math.isfinite(scale) and scale > 0):
        raise RequestError(f"prior_scale {scale:g}: must be above zero")


def log_prior(name: str, values: Tensor, scale: float = 1.0) -> Tensor:
    """The log density of independent values around zero, summed.

    >>> round(float(log_prior("logistic", torch.zeros(2))), 4)
    -2.7726
    """
    return PRIORS[name](values / scale).sum() - values.numel() * math.log(scale)


def expected_log_prior(name: str, loc: Tensor, spread: Tensor, scale: float = 1.0) -> Tensor:
    """The mean of `log_prior` over values that are normal(loc, spread), by Gauss-Hermite quadrature.

    Args:
        name: Of the prior.
        loc: (...), posterior means.
        spread: (...), posterior standard deviations.
        scale: Of the prior.
    """
    points, weights = np.polynomial.hermite_e.hermegauss(NODES)
    density = PRIORS[name]
    each = zip(points.tolist(), (weights / math.sqrt(2 * math.pi)).tolist(), strict=True)
    terms = [weight * density((loc + spread * point) / scale).sum() for point, weight in each]
    return torch.stack(terms).sum() - loc.numel() * math.log(scale)
