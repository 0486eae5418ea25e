"""Gates: how a layer's update joins what skips it. One signature, `gate(skip, update, context=None)`.

Every gate keeps the shape of `skip`; the last axis is the channel.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stgate.errors import RequestError, did_you_mean


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


GATES: dict[str, type[nn.Module]] = {"additive": Additive, "learned_rate": LearnedRate, "coupled": Coupled}
"""Gates by their name in configs."""


def make_gate(name: str, channels: int) -> nn.Module:
    """A gate by name.

    Raises:
        RequestError: No gate of this name.
    """
    if name not in GATES:
        raise RequestError(f"gate {name!r}: {did_you_mean(name, GATES)}")
    return GATES[name](channels)
