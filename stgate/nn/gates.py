"""Gates: how a layer's update joins what skips it. One signature, `gate(skip, update, context=None)`.

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
    """No gate at all: the update alone, nothing skips it."""

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, skip: Tensor, update: Tensor, context: Tensor | None = None) -> Tensor:
        """(..., channel) and (..., channel) -> (..., channel)."""
        return update


class Additive(nn.Module):
    """The plain residual sum, skip + update.

    References:
        He et al. (2016), Deep residual learning for image recognition. CVPR.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, skip: Tensor, update: Tensor, context: Tensor | None = None) -> Tensor:
        """(..., channel) and (..., channel) -> (..., channel)."""
        return skip + update


class LearnedRate(nn.Module):
    """A learned rate a channel, skip + alpha * update, alpha starting at zero (ReZero).

    References:
        Bachlechner et al. (2021), ReZero is all you need. UAI.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.zeros(channels))

    def forward(self, skip: Tensor, update: Tensor, context: Tensor | None = None) -> Tensor:
        """(..., channel) and (..., channel) -> (..., channel)."""
        return skip + self.rate * update


class Coupled(nn.Module):
    """The input-dependent coupled gate, (1 - g) * skip + g * update, with g = sigmoid(W [skip; update] + b).

    A context, when given, takes the place of [skip; update] in g; it then has 2 * channels entries.

    References:
        Srivastava et al. (2015), Highway networks. arXiv:1505.00387 (the coupled carry).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Linear(2 * channels, channels)

    def forward(self, skip: Tensor, update: Tensor, context: Tensor | None = None) -> Tensor:
        """(..., channel) and (..., channel) -> (..., channel)."""
        g = torch.sigmoid(self.gate(torch.cat([skip, update], -1) if context is None else context))
        return skip + g * (update - skip)


class Highway(nn.Module):
    """Two gates, c * skip + t * update, both sigmoids of [skip; update]; it starts by carrying the skip.

    A context, when given, takes the place of [skip; update]; it then has 2 * channels entries.

    References:
        Srivastava et al. (2015), Highway networks. arXiv:1505.00387.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gates = nn.Linear(2 * channels, 2 * channels)
        with torch.no_grad():
            self.gates.bias[:channels] = 2.0  # of the carry
            self.gates.bias[channels:] = -2.0

    def forward(self, skip: Tensor, update: Tensor, context: Tensor | None = None) -> Tensor:
        """(..., channel) and (..., channel) -> (..., channel)."""
        seen = torch.cat([skip, update], -1) if context is None else context
        carry, transform = torch.sigmoid(self.gates(seen)).chunk(2, -1)
        return carry * skip + transform * update


class GatedUnit(nn.Module):
    """A gated recurrent unit with state x = skip and input y = update; it starts by carrying the skip.

    r, z = sigmoid(W [x; y] - (0, b)), h = tanh(U y + V (r * x)), and (1 - z) * x + z * h.

    A context, when given, takes the place of [skip; update] in r and z; it then has 2 * channels entries.

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
        """(..., channel) and (..., channel) -> (..., channel)."""
        seen = torch.cat([skip, update], -1) if context is None else context
        reset, share = torch.sigmoid(self.gates(seen)).chunk(2, -1)
        new = torch.tanh(self.from_update(update) + self.from_skip(reset * skip))
        return skip + share * (new - skip)


class Bilinear(nn.Module):
    """A product without a squashing, skip + update * (W [skip; update] + b); it starts as the plain sum.

    Products of linear forms: what a quadratic system's tendency is made of, exactly. A context, when given, takes the
    place of [skip; update]; it then has 2 * channels entries.

    References:
        Shazeer (2020), GLU variants improve transformer. arXiv:2002.05202 (the bilinear variant).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.map = nn.Linear(2 * channels, channels)
        nn.init.zeros_(self.map.weight)
        nn.init.ones_(self.map.bias)

    def forward(self, skip: Tensor, update: Tensor, context: Tensor | None = None) -> Tensor:
        """(..., channel) and (..., channel) -> (..., channel)."""
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


def make_gate(name: str, channels: int) -> nn.Module:
    """A gate by name.

    Raises:
        RequestError: No gate of this name.
    """
    if name not in GATES:
        raise RequestError(f"gate {name!r}: {did_you_mean(name, GATES)}")
    return GATES[name](channels)
