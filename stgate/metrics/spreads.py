"""Spreads of distributions: a spread of zero is a limit, a negative or missing one is refused."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stgate.errors import RequestError


def check_spread(scale: NDArray[np.float64], *others: NDArray[np.float64], name: str = "scale") -> None:
    """Refuse spreads that are negative, or missing where nothing else is: their forecasts would drop out of a mean.

    Args:
        scale: Spreads.
        *others: The observation and the other parameters, which broadcast against the spreads.
        name: Name of the argument, for the message.

    Raises:
        RequestError: A spread is negative, or missing beside numbers.
    """
    if (scale < 0).any():
        raise RequestError(f"{name}: negative, {np.nanmin(scale):g} at the lowest; give values of 0 or more")
    missing = np.isnan(scale)
    if missing.any():
        for other in others:
            missing = missing & ~np.isnan(other)
        if missing.any():
            raise RequestError(f"{name}: missing at {int(missing.sum())} forecasts that have a truth; leave these out")


def standardised(apart: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide distances by scales; at a scale of 0 the limit, infinite unless the distance is 0 too.

    Args:
        apart: Distances from the location.
        scale: Scales of 0 or more.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        z = np.where(scale == 0, np.sign(apart) * np.inf, apart / scale)
    return np.where((apart == 0) & ~np.isnan(scale), 0.0, z)


def density(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the density of the standard normal distribution, without overflow of squares.

    Args:
        z: Standardised distances.
    """
    return np.asarray(np.exp(-0.5 * np.minimum(np.abs(z), 40.0) ** 2) / np.sqrt(2 * np.pi))
