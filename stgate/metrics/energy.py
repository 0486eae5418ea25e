"""Energy score: the CRPS of several quantities at once."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from stgate.errors import RequestError
from stgate.metrics.arrays import FORECAST, applied, length
from stgate.metrics.reduce import Groups, Values, Weights, average


def energy_score(
    observation: Values,
    forecast: Values,
    *,
    fair: bool = True,
    dim: str = "sample",
    over: str = "node",
    by: Groups | None = None,
    weights: Weights = None,
) -> Values:
    """Energy score of an ensemble of vectors: mean_i ‖x_i - y‖ - ½ mean_ij ‖x_i - x_j‖.

    Quantities whose truth or any member is missing are left out of the norms. Such a score covers fewer quantities, so
    compare forecasts on the same truth.

    Args:
        observation: Truth, (..., quantity), or a DataArray over `over`.
        forecast: Members, (..., member, quantity), or a DataArray over `dim` and `over`.
        fair: Take the second mean over pairs of different members, which needs at least two members.
        dim: Name of the dim of a DataArray that holds the members.
        over: Name of the dim of a DataArray that holds the vectors' quantities.
        by: Dims (axes of an array) to keep; all others are averaged over. None returns one score a forecast.
        weights: Weights of the scores, not negative, broadcast against them; None weighs all equally.

    Returns:
        One score a forecast, or over `by`; NaN where all of its quantities are missing.

    Raises:
        RequestError: A fair score is asked for with one member.

    References:
        Gneiting et al. (2008), Assessing probabilistic forecasts of multivariate quantities.
        doi:10.1007/s11749-008-0114-x
    """
    sizes = [length(v, over, -1, name) for v, name in zip((observation, forecast), FORECAST, strict=True)]
    if sizes[0] != sizes[1]:
        raise RequestError(f"energy_score: vectors of {sizes[0]} and of {sizes[1]} quantities; give both the same ones")
    count = length(forecast, dim, -2)
    if fair and count < 2:
        raise RequestError("energy_score: a fair score needs at least two members; give more, or fair=False")

    def score(y: NDArray[np.float64], members: NDArray[np.float64]) -> NDArray[np.float64]:
        return _energy(y, members, fair)

    scores = applied(score, observation, forecast, core={0: (over,), 1: (dim, over)})
    return average(cast(Values, scores), by, weights)


def _energy(y: NDArray[np.float64], members: NDArray[np.float64], fair: bool) -> NDArray[np.float64]:
    known = ~(np.isnan(y) | np.isnan(members).any(-2))  # (..., quantity)
    x = np.where(known[..., None, :], members, 0.0)
    count = x.shape[-2]
    to_truth = np.linalg.norm(x - np.where(known, y, 0.0)[..., None, :], axis=-1).mean(-1)
    between = sum(np.linalg.norm(x[..., i + 1 :, :] - x[..., i : i + 1, :], axis=-1).sum(-1) for i in range(count - 1))
    pairs = count * (count - 1 if fair else count)
    return np.where(known.any(-1), to_truth - between / pairs, np.nan)
