"""Features of a Bayesian neural field: scaled coordinates, their Fourier features, seasons and products."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from stgate.errors import RequestError

Seasons = Sequence[tuple[float, int]]
"""Periods, in steps of time, and how many harmonics of each."""


class FieldFeatures(nn.Module):
    """Of time and coordinates x in groups, each multiplied by a learned positive scale.

    The groups: x itself, in learned units; cos and sin of 2π 2^k x, k = 0, 1, …, of each coordinate, divided by k + 1;
    cos and sin of the seasons' harmonics h, divided by h; products of pairs of coordinates. A further group that is
    given goes along with them.

    Args:
        coordinates: Size of x, time being the first.
        degrees: Fourier degree of each coordinate; 0 for none.
        seasons: See `Seasons`; frequencies that stand twice are taken once.
        interactions: Pairs of coordinates.
        more: Sizes of groups that `forward` is given.

    Raises:
        RequestError: A degree for each coordinate lacks, a pair names none, or a harmonic is faster than two steps.

    References:
        Saad et al. (2024), Scalable spatiotemporal prediction with Bayesian neural fields. Nature Communications 15.
        Tancik et al. (2020), Fourier features let networks learn high frequency functions. NeurIPS.
    """

    frequencies: Tensor
    harmonics: Tensor

    def __init__(
        self,
        coordinates: int,
        degrees: Sequence[int],
        seasons: Seasons = (),
        interactions: Sequence[tuple[int, int]] = (),
        more: Sequence[int] = (),
    ) -> None:
        super().__init__()
        if len(degrees) != coordinates or any(degree < 0 for degree in degrees):
            raise RequestError(f"degrees {list(degrees)}: one for each of {coordinates} coordinates, 0 or more")
        for pair in interactions:
            if len(pair) != 2 or not all(0 <= i < coordinates for i in pair):
                raise RequestError(f"interactions {tuple(pair)}: two of the coordinates 0 to {coordinates - 1}")
        self.degrees, self.interactions = tuple(degrees), tuple((a, b) for a, b in interactions)
        frequencies, harmonics = _frequencies(seasons)
        self.register_buffer("frequencies", frequencies)
        self.register_buffer("harmonics", harmonics)
        sizes = [coordinates, *(2 * degree for degree in degrees), 2 * len(frequencies), len(self.interactions), *more]
        self.size = sum(sizes)
        self.log_units = nn.Parameter(torch.zeros(coordinates))
        self.scales = nn.Parameter(torch.zeros(sum(size > 0 for size in sizes)))

    def forward(self, time: Tensor, x: Tensor, *more: Tensor) -> Tensor:
        """The features.

        Args:
            time: (row,), in steps since the start, float64: phases of fast seasons need its digits.
            x: (row, coordinate), the first being time in units of the training part's length.
            more: Further groups, (row, ...).

        Returns:
            (row, feature).
        """
        x = x / self.log_units.exp()
        groups = [x, *(_fourier(x[:, i], degree) for i, degree in enumerate(self.degrees) if degree)]
        if len(self.frequencies):
            groups.append(self._seasons(time).to(x))
        if self.interactions:
            first, second = zip(*self.interactions, strict=True)
            groups.append(x[:, list(first)] * x[:, list(second)])
        groups += [group for group in more if group.shape[-1]]
        scaled = (softplus(scale) * group for scale, group in zip(self.scales.unbind(), groups, strict=True))
        return torch.cat(list(scaled), -1)

    def _seasons(self, time: Tensor) -> Tensor:
        turns = time.unsqueeze(-1) * self.frequencies
        angles = 2 * math.pi * (turns - turns.floor()).float()
        divisor = self.harmonics.float()
        return torch.cat([angles.cos() / divisor, angles.sin() / divisor], -1)


def _fourier(x: Tensor, degree: int) -> Tensor:
    """(row,) -> (row, 2 * degree)."""
    octave = torch.arange(degree, device=x.device)
    angles = 2 * math.pi * x.unsqueeze(-1) * 2.0**octave
    return torch.cat([angles.cos() / (octave + 1), angles.sin() / (octave + 1)], -1)


def _frequencies(seasons: Seasons) -> tuple[Tensor, Tensor]:
    """Frequencies a step and their harmonics, each frequency once."""
    found: dict[float, int] = {}
    for period, count in seasons:
        if not period > 0 or count < 1 or count > period / 2:
            raise RequestError(
                f"season of {period:g} steps with {count} harmonics: 1 to {int(period // 2)} can be told apart"
            )
        for harmonic in range(1, count + 1):
            found.setdefault(harmonic / period, harmonic)
    return torch.tensor(list(found), dtype=torch.float64), torch.tensor(list(found.values()), dtype=torch.float64)
