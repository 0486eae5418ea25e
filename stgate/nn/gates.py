"""Gates, which combine a layer's input (skip) with its update. One signature, `gate(skip, update, context=None)`.

Every gate keeps the shape of `skip`; the last axis is the channel.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from stgate.errors import RequestError, did_you_mean

GateName = Literal["none", "additive", "learned_rate", "coupled", "highway", "gated_unit", "bilinear"]
"""Names of the gates in configs."""


class Replace(nn.Module):
    """No gate: the update replaces the skip."""

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, skip: Tensor, update: Tensor, context: Tensor | None = None) -> Tensor:
        """Combine skip and update, each (..., channel), to (..., channel)."""
        return update


class Additive(nn.Module):
    """Plain residual sum, skip + update.

    References:
        He et al. (2016), Deep residual learning for image recognition. CVPR.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, skip: Tensor, update: Tensor, context: Tensor | None = None) -> Tensor:
        """Combine skip and update, each (..., channel), to (..., channel)."""
        return skip + update


class LearnedRate(nn.Module):
    """Learned rate for each channel, skip + alpha * update, with alpha zero at first (ReZero).

    References:
        Bachlechner et al. (2021), ReZero is all you need. UAI.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.zeros(channels))

    def forward(self, skip: Tensor, update: Tensor, context: Tensor | None = None) -> Tensor:
        """Combine skip and update, each (..., channel), to (..., channel)."""
        return skip + self.rate * update


class Coupled(nn.Module):
    """Coupled gate, (1 - g) * skip + g * update, with g = sigmoid(W [skip; update] + b).

    If given, a context replaces [skip; update] in g; it then has 2 * channels entries.

    References:
        Srivastava et al. (2015), Highway networks. arXiv:1505.00387 (the coupled carry).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Linear(2 * channels, channels)

    def forward(self, skip: Tensor, update: Tensor, context: Tensor | None = None) -> Tensor:
        """Combine skip and update, each (..., channel), to (..., channel)."""
        g = torch.sigmoid(self.gate(torch.cat([skip, update], -1) if context is None else context))
        return skip + g * (update - skip)


class Highway(nn.Module):
    """Highway gates, c * skip + t * update, both sigmoids of [skip; update]; at first the skip is carried.

    If given, a context replaces [skip; update]; it then has 2 * channels entries.

    References:
        Srivastava et al. (2015), Highway networks. arXiv:1505.00387.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gates = nn.Linear(2 * channels, 2 * channels)
        with torch.no_grad():
            self.gates.bias[:channels] = 2.0  # the carry gate
            self.gates.bias[channels:] = -2.0

    def forward(self, skip: Tensor, update: Tensor, context: Tensor | None = None) -> Tensor:
        """Combine skip and update, each (..., channel), to (..., channel)."""
        seen = torch.cat([skip, update], -1) if context is None else context
        carry, transform = torch.sigmoid(self.gates(seen)).chunk(2, -1)
        return carry * skip + transform * update


class GatedUnit(nn.Module):
    """Gated recurrent unit with state x = skip and input y = update; at first the skip is carried.

    r, z = sigmoid(W [x; y] - (0, b)), h = tanh(U y + V (r * x)), and (1 - z) * x + z * h.

    If given, a context replaces [skip; update] in r and z; it then has 2 * channels entries.

    References:
        Parisotto et al. (2020), Stabilizing transformers for reinforcement learning. ICML (GTrXL).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gates = nn.Linear(2 * channels, 2 * channels)
        self.from_update = nn.Linear(channels, channels, bias=False)
        self.from_skip = nn.Linear(channels, channels, bias=False)
        with torch.no_grad():
            self.gates.bias[:channels] = 0.0
            self.gates.bias[channels:] = -2.0

    def forward(self, skip: Tensor, update: Tensor, context: Tensor | None = None) -> Tensor:
        """Combine skip and update, each (..., channel), to (..., channel)."""
        seen = torch.cat([skip, update], -1) if context is None else context
        reset, share = torch.sigmoid(self.gates(seen)).chunk(2, -1)
        new = torch.tanh(self.from_update(update) + self.from_skip(reset * skip))
        return skip + share * (new - skip)


class Bilinear(nn.Module):
    """Bilinear gate, skip + update * (W [skip; update] + b), without a squashing function; at first the plain sum.

    Products of linear forms are exactly what the tendency of a quadratic system consists of. If given, a context
    replaces [skip; update]; it then has 2 * channels entries.

    References:
        Shazeer (2020), GLU variants improve transformer. arXiv:2002.05202 (the bilinear variant).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.map = nn.Linear(2 * channels, channels)
        nn.init.zeros_(self.map.weight)
        nn.init.ones_(self.map.bias)

    def forward(self, skip: Tensor, update: Tensor, context: Tensor | None = None) -> Tensor:
        """Combine skip and update, each (..., channel), to (..., channel)."""
        factor: Tensor = self.map(torch.cat([skip, update], -1) if context is None else context)
        return skip + update * factor


GATES: dict[GateName, type[nn.Module]] = {
    "none": Replace,
    "additive": Additive,
    "learned_rate": LearnedRate,
    "coupled": Coupled,
    "highway": Highway,
    "gated_unit": GatedUnit,
    "bilinear": Bilinear,
}
"""Classes of the gates by their names in configs."""


def make_gate(name: GateName, channels: int) -> nn.Module:
    """Make a gate by its name.

    Args:
        name: Name of a gate, a key of `GATES`.
        channels: Number of channels of skip and update.

    Raises:
        RequestError: There is no gate of this name.
    """
    if name not in GATES:
        raise RequestError(f"gate {name!r}: {did_you_mean(name, GATES)}")
    return GATES[name](channels)
