"""Features of a Bayesian neural field: scaled coordinates, their Fourier features, seasonal harmonics and products."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from stgate.errors import RequestError
from stgate.nn.field.factored import Factored
from stgate.nn.single import single_precision

KINDS = TIME, PLACE, ROW = range(3)
"""Kinds of features: of a time, of a place, or of a row (a place at a time)."""

Seasons = Sequence[tuple[float, int]]
"""Seasons: pairs of a period, in steps of time, and its number of harmonics."""


class FieldFeatures(nn.Module):
    """Groups of features of time and coordinates x, each group multiplied by a learned positive scale.

    The groups are: x itself, in learned units; cos and sin of 2π 2^k x, k = 0, 1, …, of each coordinate, divided by
    k + 1; cos and sin of the seasons' harmonics h, divided by h; products of pairs of coordinates. `forward` can be
    given three further groups: features of each time, of each place and of each row.

    Args:
        places: Number of coordinates of the place, which follow time in x.
        others: Number of coordinates that change with time and place, which come last in x.
        degrees: Fourier degree of each coordinate, times + places + others of them; 0 for no Fourier features.
        seasons: Pairs of a period, in steps, and its number of harmonics; a frequency given twice is used once.
        interactions: Pairs of coordinates, by their positions in x, whose products are features.
        more: Numbers of features of the further groups of times, places and rows.
        times: 1 if time is a coordinate of x, 0 if not; seasons do not depend on it.

    Raises:
        RequestError: There is not one degree for each coordinate, a pair names no coordinate, a period has too many
            harmonics, or there is no feature at all.

    References:
        Saad et al. (2024), Scalable spatiotemporal prediction with Bayesian neural fields. Nature Communications 15.
        Tancik et al. (2020), Fourier features let networks learn high frequency functions. NeurIPS.
    """

    frequencies: Tensor

    def __init__(
        self,
        places: int,
        others: int,
        degrees: Sequence[int],
        seasons: Seasons = (),
        interactions: Sequence[tuple[int, int]] = (),
        more: tuple[int, int, int] = (0, 0, 0),
        times: int = 1,
    ) -> None:
        super().__init__()
        self.kinds = [*[TIME] * times, *[PLACE] * places, *[ROW] * others]
        coordinates = len(self.kinds)
        if len(degrees) != coordinates or any(degree < 0 for degree in degrees):
            raise RequestError(
                f"degrees {list(degrees)}: must hold one number, at least 0, for each of {coordinates} coordinates"
            )
        for pair in interactions:
            if len(pair) != 2 or not all(0 <= i < coordinates for i in pair):
                raise RequestError(f"interactions {tuple(pair)}: must be two of the coordinates 0 to {coordinates - 1}")
        self.interactions = tuple((a, b) for a, b in interactions)
        frequencies, harmonics = _frequencies(seasons)
        self.register_buffer("frequencies", frequencies)
        # For each kind, the group and the divisor of each feature.
        columns: list[list[tuple[int, int]]] = [[(0, 1)] * self.kinds.count(kind) for kind in KINDS]
        groups = 1
        for kind in KINDS:
            octaves: list[tuple[int, int, int]] = []  # coordinate, octave, group
            for i, degree in enumerate(d for k, d in zip(self.kinds, degrees, strict=True) if k == kind):
                octaves += [(i, octave, groups) for octave in range(degree)]
                groups += degree > 0
            columns[kind] += 2 * [(group, octave + 1) for _, octave, group in octaves]
            turns = torch.zeros(self.kinds.count(kind), len(octaves))
            for feature, (i, octave, _) in enumerate(octaves):
                turns[i, feature] = 2 * math.pi * 2**octave
            self.register_buffer(f"turns{kind}", turns)
        further = [(TIME, 2 * harmonics), (ROW, [1] * len(interactions))]
        further += [(kind, [1] * size) for kind, size in zip(KINDS, more, strict=True)]
        for kind, divisors in further:
            columns[kind] += [(groups, divisor) for divisor in divisors]
            groups += len(divisors) > 0
        for kind in KINDS:
            self.register_buffer(f"group{kind}", torch.tensor([group for group, _ in columns[kind]], dtype=torch.long))
            self.register_buffer(f"divisor{kind}", torch.tensor([float(divisor) for _, divisor in columns[kind]]))
        self.size = sum(map(len, columns))
        if not self.size:
            raise RequestError("coordinates and seasons: none is left; give the field one of them, or context")
        self.log_units = nn.Parameter(torch.zeros(coordinates))
        self.scales = nn.Parameter(torch.zeros(groups))

    @single_precision()
    def forward(
        self,
        time: Tensor,
        x: tuple[Tensor, Tensor, Tensor],
        which: Tensor,
        place: Tensor,
        more: tuple[Tensor | None, Tensor | None, Tensor | None] = (None, None, None),
    ) -> Factored:
        """Compute the features, ordered by group within each kind.

        Args:
            time: Times in steps since the start, (time,), float64, since phases of fast seasons need its digits.
            x: Coordinates of each time, (time, times), in units of the training part's length; of each place, (place,
                places); and of each row, (row, others).
            which: Index of each row's time, (row,).
            place: Index of each row's place, (row,).
            more: Further groups of features, (time, …), (place, …) and (row, …); None where there is none.

        Returns:
            Features, (row, feature), in parts for times, places and rows.
        """
        units = torch.split(self.log_units.exp(), [part.shape[-1] for part in x])
        scaled = [part / own for part, own in zip(x, units, strict=True)]
        made = [[part] for part in scaled]
        for kind in KINDS:
            turns = self.get_buffer(f"turns{kind}")
            if turns.shape[-1]:
                angles = scaled[kind] @ turns
                made[kind] += [angles.cos(), angles.sin()]
        if len(self.frequencies):
            turned = time.unsqueeze(-1) * self.frequencies
            angles = (2 * math.pi * (turned - turned.floor())).to(scaled[TIME])
            made[TIME] += [angles.cos(), angles.sin()]
        indices = [which, place, None]
        if self.interactions:
            columns = [(kind, column) for kind in KINDS for column in scaled[kind].unbind(-1)]
            at_rows = [column if kind == ROW else column[indices[kind]] for kind, column in columns]
            made[ROW].append(torch.stack([at_rows[i] * at_rows[j] for i, j in self.interactions], -1))
        for kind, group in zip(KINDS, more, strict=True):
            if group is not None:
                made[kind].append(group)
        scales = softplus(self.scales)
        factors = [scales[self.get_buffer(f"group{kind}")] / self.get_buffer(f"divisor{kind}") for kind in KINDS]
        return Factored([torch.cat(p, -1) * factor for p, factor in zip(made, factors, strict=True)], indices)


def _frequencies(seasons: Seasons) -> tuple[Tensor, list[int]]:
    """List each frequency once, in cycles per step, with the number of its harmonic."""
    found: dict[float, int] = {}
    for period, count in seasons:
        if not period > 0 or count < 1 or count > period / 2:
            can = f"give 1 to {int(period // 2)}" if period >= 2 else "leave it out, it is below two steps"
            raise RequestError(f"seasons: a period of {period:g} steps cannot have {count} harmonics; {can}")
        for harmonic in range(1, count + 1):
            found.setdefault(harmonic / period, harmonic)
    return torch.tensor(list(found), dtype=torch.float64), list(found.values())
