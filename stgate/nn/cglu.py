"""Channel gated learning units: a learnable activation, a gate a channel, a gated residual; each can be off."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import elu, linear, softplus

from stgate.errors import RequestError, did_you_mean
from stgate.nn.gates import GATES, make_gate

ACTIVATIONS = ("shared", "layer", "channel", "fixed")
"""Which units share the learned share of ELU in the activation: all, those of a layer, none; or it is a half."""


class MixedActivation(nn.Module):
    """w ELU(z) + (1 - w) tanh(z), with w = sigmoid of a learned number.

    Args:
        channels: As many numbers, or 1 for one for all; 0 fixes w at a half.

    References:
        Saad et al. (2024), Scalable spatiotemporal prediction with Bayesian neural fields. Nature Communications 15.
    """

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.zeros(channels)) if channels else None

    def forward(self, z: Tensor) -> Tensor:
        """(..., channel) -> (..., channel)."""
        share = 0.5 if self.logit is None else torch.sigmoid(self.logit)
        squashed = torch.tanh(z)
        return squashed + share * (elu(z) - squashed)


class UnitLinear(nn.Module):
    """W h / √dim(h) + b, times softplus of a learned scale; W starts as a normal of unit variance, cut off at 2.

    So weights of any layer are of order one, as their prior says.

    Args:
        inputs: Size of h.
        outputs: Size of what is given out.
        scaled: Whether there is a scale.

    References:
        Jacot, Gabriel, Hongler (2018), Neural tangent kernel: convergence and generalization in neural networks.
    """

    def __init__(self, inputs: int, outputs: int, *, scaled: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.trunc_normal_(torch.empty(outputs, inputs), a=-2.0, b=2.0))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.scale = nn.Parameter(torch.zeros(())) if scaled else None

    def forward(self, h: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        # The factors go with the weights: there are fewer of them than rows.
        shrink = self.weight.shape[1] ** -0.5
        if self.scale is None:
            return linear(h, shrink * self.weight, self.bias)
        factor = softplus(self.scale)
        return linear(h, (factor * shrink) * self.weight, factor * self.bias)


class ChannelGatedUnit(nn.Module):
    """One layer: φ(W h), times a gate a channel sigmoid(V h), joined with what skips it by one of `stgate.nn.gates`.

    Without gate and residual it is a layer of a Bayesian neural field.

    Args:
        inputs: Size of h; where it is not that of what is given out, a linear map of h skips the layer.
        width: Size of what is given out.
        activation: Who shares φ's learned number, see `ACTIVATIONS`.
        gate: Whether each channel has a gate.
        residual: Name of the gate by which the layer joins what skips it; `none` lets nothing skip it.

    References:
        The unit is reconstructed from the abstract of CGLU-BNF, see `stgate.models.CGLUBNF`.
    """

    def __init__(self, inputs: int, width: int, activation: str, *, gate: bool, residual: str) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise RequestError(f"activation {activation!r}: {did_you_mean(activation, ACTIVATIONS)}")
        if residual not in GATES:
            raise RequestError(f"residual {residual!r}: {did_you_mean(residual, GATES)}")
        self.update = UnitLinear(inputs, width)
        own = {"layer": 1, "channel": width, "fixed": 0}
        self.activation = None if activation == "shared" else MixedActivation(own[activation])
        self.gate = UnitLinear(inputs, width, scaled=False) if gate else None
        skips = residual != "none"
        self.skip = UnitLinear(inputs, width, scaled=False) if skips and inputs != width else None
        self.residual = make_gate(residual, width) if skips else None
        if self.residual is not None:
            for weight in self.residual.parameters():
                if weight.dim() > 1 and weight.abs().sum() > 0:  # of order one, as all weights here
                    nn.init.trunc_normal_(weight, a=-2.0, b=2.0)

    def forward(self, h: Tensor, shared: nn.Module | None = None) -> Tensor:
        """(..., inputs) -> (..., width); `shared` is the activation of a unit that has none of its own."""
        activation = self.activation or shared
        assert activation is not None
        made: Tensor = activation(self.update(h))
        if self.gate is not None:
            made = made * torch.sigmoid(self.gate(h))
        if self.residual is None:
            return made
        skip = h if self.skip is None else self.skip(h)
        context = torch.cat([skip, made], -1) * (2 * made.shape[-1]) ** -0.5
        joined: Tensor = self.residual(skip, made, context)
        return joined
