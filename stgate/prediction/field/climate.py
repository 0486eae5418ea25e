"""Climatology of places: that of each training station, and an interpolated one elsewhere, with its error."""

from __future__ import annotations

import dataclasses
import itertools

import torch
from torch import Tensor, nn

from stgate.distributions.transforms import State

LENGTHS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Length scales that are tried, in typical distances of stations."""
NUGGETS = (0.05, 0.2, 0.6, 2.0)
"""Variances of the nugget that are tried, relative to that of the process."""
MOST = 1500
"""Largest number of stations that an interpolation uses."""


@dataclasses.dataclass
class Sites:
    """Positions and features of places.

    Attributes:
        position: Positions in typical distances, (place, axis).
        features: Features of the trend, standardised, (place, feature).
    """

    position: Tensor
    features: Tensor

    def __getitem__(self, chosen: Tensor) -> Sites:
        return Sites(self.position[chosen], self.features[chosen])


class PlaceClimate(nn.Module):
    """Interpolation of the coefficients of an `Anomaly` between stations, by kriging that leave-one-out errors choose.

    Args:
        nodes: Number of training stations.
        features: Number of coefficients of a station and target.
        targets: Number of targets.
    """

    seen: Tensor
    left_out: Tensor
    left_out_scale: Tensor
    error: Tensor
    deviation: Tensor
    options: Tensor

    def __init__(self, nodes: int, features: int, targets: int) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(nodes, dtype=torch.bool))
        self.register_buffer("left_out", torch.zeros(features, nodes, targets))
        self.register_buffer("left_out_scale", torch.ones(nodes, targets))
        self.register_buffer("error", torch.ones(nodes, targets))
        self.register_buffer("deviation", torch.ones(targets))
        self.register_buffer("options", torch.tensor([1.0, 1.0, 0.0, 0.0]))

    def fit(self, state: State, sites: Sites, seen: Tensor) -> None:
        """Choose the kernel, and interpolate at each station from the others.

        Args:
            state: Learned numbers of the `Anomaly`.
            sites: The training stations.
            seen: True for stations that training observes, (station,).
        """
        self.seen.copy_(seen)
        values, weight = _columns(state), _weights(state)
        known = _some(torch.nonzero(seen).squeeze(-1))
        best = None
        trends = (0, 1) if len(known) > sites.features.shape[1] + 4 else (0,)
        for options in itertools.product(LENGTHS, NUGGETS, (0, 1), trends):
            kept = torch.tensor([float(x) for x in options], dtype=torch.float64)
            if len(known) < 3:
                best = (0.0, kept)
                break
            error, _ = _leave_one_out(sites[known], values[known], kept)
            score = float((error.square() * weight[known]).sum())
            if best is None or score < best[0]:
                best = (score, kept)
        assert best is not None
        self.options.copy_(best[1])
        if len(known) < 3:
            self._keep(*self._at(sites, values, sites, known))
            return
        error, relative = _leave_one_out(sites[known], values[known], best[1])
        squares = (error.square() * weight[known]).sum(-1) / relative.square().unsqueeze(-1)  # (station, target)
        self.deviation.copy_(squares.mean(0).sqrt())
        made, apart = self._at(sites, values, sites, known)
        made[known], apart[known] = values[known] - error, relative
        self._keep(made, apart)

    def at(self, state: State, sites: Sites, stations: Sites) -> tuple[Tensor, Tensor, Tensor]:
        """Interpolate at places that are no stations.

        Args:
            state: Learned numbers of the `Anomaly`.
            sites: The places.
            stations: The training stations.

        Returns:
            Coefficients (feature, place, target), scales (place, target), and the standard deviation of the error of
            the climatology in units of the scale, (place, target).
        """
        made, apart = self._at(sites, _columns(state), stations, _some(torch.nonzero(self.seen).squeeze(-1)))
        return (*_split(made), (apart.unsqueeze(-1) * self.deviation).to(state["scale"]))

    def _at(self, sites: Sites, values: Tensor, stations: Sites, known: Tensor) -> tuple[Tensor, Tensor]:
        if len(known) < 3:
            mean = values[known].mean(0, keepdim=True) if len(known) else values[:1] * 0
            return mean.expand(len(sites.position), *mean.shape[1:]).clone(), values.new_ones(len(sites.position))
        return _kriged(stations[known], sites, values[known], self.options.double())

    def _keep(self, made: Tensor, apart: Tensor) -> None:
        coefficients, scale = _split(made)
        self.left_out.copy_(coefficients)
        self.left_out_scale.copy_(scale)
        self.error.copy_(apart.unsqueeze(-1) * self.deviation)


def _columns(state: State) -> Tensor:
    """Return coefficients and the logarithm of the scale, (station, target, column)."""
    both = torch.cat([state["coefficients"], state["scale"].log().unsqueeze(0)])
    return both.permute(1, 2, 0).double()


def _split(columns: Tensor) -> tuple[Tensor, Tensor]:
    return columns[..., :-1].permute(2, 0, 1).float(), columns[..., -1].exp().float()


def _weights(state: State) -> Tensor:
    """Return weights of squared errors of columns, in units of each station's variance, (station, target, column)."""
    count = len(state["coefficients"])
    weight = torch.full((count + 1,), 0.5, dtype=torch.float64)  # the mean square of a harmonic
    weight[0], weight[-1] = 1.0, 0.0
    return weight / state["scale"].double().square().unsqueeze(-1)


def _some(known: Tensor) -> Tensor:
    return known if len(known) <= MOST else known[:: -(-len(known) // MOST)]


def _kernel(a: Tensor, b: Tensor, options: Tensor) -> Tensor:
    far = torch.cdist(a.double(), b.double()) / options[0]
    if options[2] == 0:
        return torch.exp(-far)
    root = 3**0.5 * far
    return (1 + root) * torch.exp(-root)


def _trend(sites: Sites, options: Tensor) -> Tensor:
    one = torch.ones_like(sites.position[:, :1].double())
    return torch.cat([one, sites.features.double()], 1) if options[3] else one


def _solved(sites: Sites, options: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the trend, the inverse covariance, the covariance of the slopes, and the weights of these."""
    x = _trend(sites, options)
    eye = torch.eye(len(x), dtype=torch.float64, device=x.device)
    inverse = torch.linalg.inv(_kernel(sites.position, sites.position, options) + options[1] * eye)
    inner = torch.linalg.inv(x.T @ inverse @ x + 1e-6 * torch.eye(x.shape[1]).to(x))
    return x, inverse, inner, inverse @ x @ inner


def _leave_one_out(sites: Sites, values: Tensor, options: Tensor) -> tuple[Tensor, Tensor]:
    """Return the error at each station of the kriging from all others, and its relative standard deviation."""
    x, inverse, _, drift = _solved(sites, options)
    rest = inverse - drift @ x.T @ inverse
    own = rest.diagonal()
    return (rest @ values.flatten(1)).view_as(values) / own[:, None, None], own.rsqrt()


def _kriged(sites: Sites, others: Sites, values: Tensor, options: Tensor) -> tuple[Tensor, Tensor]:
    """Return the kriging at other places, and its relative standard deviation."""
    x, inverse, inner, drift = _solved(sites, options)
    rest = inverse - drift @ x.T @ inverse
    cross, own = _kernel(others.position, sites.position, options), _trend(others, options)
    weights = cross @ rest + own @ drift.T
    apart = own - cross @ inverse @ x
    variance = 1 + options[1] - ((cross @ inverse) * cross).sum(1) + ((apart @ inner) * apart).sum(1)
    return (weights @ values.flatten(1)).view(len(weights), *values.shape[1:]), variance.clamp(min=1e-6).sqrt()
