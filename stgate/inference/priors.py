"""Priors of weights: the log density, and its mean under a normal posterior."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from stgate.errors import RequestError, did_you_mean


def _normal(z: Tensor) -> Tensor:
    return -0.5 * z.square() - 0.5 * math.log(2 * math.pi)


def _logistic(z: Tensor) -> Tensor:
    return -z - 2 * softplus(-z)


Prior = Literal["normal", "logistic"]
PRIORS: dict[Prior, Callable[[Tensor], Tensor]] = {"normal": _normal, "logistic": _logistic}
"""Log densities of unit scale by their name in configs."""

NODES = 16
"""Number of quadrature nodes: exact for the normal prior; accurate to 1e-4 for the logistic prior if the posterior is
no wider than the prior."""


def check_prior(name: Prior | None, scale: float) -> None:
    """Refuse an unknown prior and a scale that is not positive.

    Args:
        name: `normal`, `logistic`, or None for no prior.
        scale: Scale of the prior.

    Raises:
        RequestError: There is no prior of this name, or the scale is not positive and finite.
    """
    if name is not None and name not in PRIORS:
        raise RequestError(f"prior {name!r}: {did_you_mean(name, PRIORS)}")
    if not (math.isfinite(scale) and scale > 0):
        raise RequestError(f"prior_scale {scale:g}: must be above zero")


def log_prior(name: Prior, values: Tensor, scale: float = 1.0) -> Tensor:
    """Compute the sum of the log densities of independent values around zero.

    Args:
        name: `normal` or `logistic`.
        values: (...), the weights.
        scale: Scale of the prior.

    Returns:
        A scalar.

    >>> round(float(log_prior("logistic", torch.zeros(2))), 4)
    -2.7726
    """
    return PRIORS[name](values / scale).sum() - values.numel() * math.log(scale)


def expected_log_prior(name: Prior, loc: Tensor, stddev: Tensor, scale: float = 1.0) -> Tensor:
    """Compute the mean of `log_prior` over normal values, by Gauss-Hermite quadrature.

    Args:
        name: `normal` or `logistic`.
        loc: (...), posterior means.
        stddev: (...), posterior standard deviations.
        scale: Scale of the prior.

    Returns:
        A scalar.
    """
    points, weights = np.polynomial.hermite_e.hermegauss(NODES)
    density = PRIORS[name]
    each = zip(points.tolist(), (weights / math.sqrt(2 * math.pi)).tolist(), strict=True)
    terms = [weight * density((loc + stddev * point) / scale).sum() for point, weight in each]
    return torch.stack(terms).sum() - loc.numel() * math.log(scale)
