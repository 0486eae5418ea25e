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
    """Gated linear unit C (A x * act(B x)), with a product channel by channel; its output is small at first.

    The unit `bilinear` has no activation. Its layer is exactly quadratic in x, like the tendency of a quadratic system.

    Args:
        channels: Number of channels of x.
        unit: Activation of the gate: `bilinear` (none), `glu` (sigmoid), `geglu` (GELU) or `swiglu` (SiLU).
        width: Number of hidden units; as many as channels when None.

    Raises:
        RequestError: There is no unit of this name.

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
        """Map (..., channel) to (..., channel)."""
        value, gate = self.hidden(x).chunk(2, -1)
        made: Tensor = self.mix(value * UNITS[self.unit](gate))
        return made
