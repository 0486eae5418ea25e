"""Feed-forward layers whose hidden units are products of two linear maps: gated linear units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, silu

from stgate.errors import RequestError, did_you_mean

UnitName = Literal["bilinear", "glu", "geglu", "swiglu"]
"""Names of the gated linear units."""


def _itself(x: Tensor) -> Tensor:
    return x


UNITS: dict[UnitName, Callable[[Tensor], Tensor]] = {
    "bilinear": _itself,
    "glu": torch.sigmoid,
    "geglu": gelu,
    "swiglu": silu,
}
"""Activation of the second of the two linear maps, by the name of the unit."""


class GatedFeedForward(nn.Module):
    """C (A x * act(B x)), the product taken channel by channel; it starts small.

    With the unit `bilinear`, which has no act, the layer is exactly quadratic in x: what the tendency of a quadratic
    system is made of.

    Args:
        channels: Size of x.
        unit: `bilinear`, `glu`, `geglu` or `swiglu`.
        width: Hidden units; as many as channels when None.

    Raises:
        RequestError: No unit of this name.

    References:
        Dauphin et al. (2017), Language modeling with gated convolutional networks. ICML.
        Shazeer (2020), GLU variants improve transformer. arXiv:2002.05202.
    """

    def __init__(self, channels: int, unit: UnitName = "swiglu", width: int | None = None) -> None:
        super().__init__()
        if unit not in UNITS:
            raise RequestError(f"unit {unit!r}: {did_you_mean(unit, UNITS)}")
        width = width or channels
        self.unit: UnitName = unit
        self.hidden = nn.Linear(channels, 2 * width)
        self.mix = nn.Linear(width, channels)
        nn.init.normal_(self.mix.weight, std=0.3 / width**0.5)
        nn.init.zeros_(self.mix.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., channel) -> (..., channel)."""
        value, gate = self.hidden(x).chunk(2, -1)
        made: Tensor = self.mix(value * UNITS[self.unit](gate))
        return made
