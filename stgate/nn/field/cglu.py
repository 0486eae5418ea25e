"""Channel gated learning units: a learnable activation, a gate for each channel, a gated residual; all optional."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear, softplus

from stgate.errors import RequestError, did_you_mean
from stgate.nn.field.factored import Factored
from stgate.nn.gates import GATES, GateName, make_gate

ActivationName = Literal["shared", "layer", "channel", "fixed"]
"""Sharing of the activation's learned weight of ELU: one in all, one a layer, one a channel, or fixed at a half."""
ACTIVATIONS: tuple[ActivationName, ...] = get_args(ActivationName)


class MixedActivation(nn.Module):
    """Mixed activation w ELU(z) + (1 - w) tanh(z), with w the sigmoid of a learned number.

    Args:
        channels: Number of learned weights w: one for each channel, or 1 for all together; 0 fixes w at a half.

    References:
        Saad et al. (2024), Scalable spatiotemporal prediction with Bayesian neural fields. Nature Communications 15.
    """

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.zeros(channels)) if channels else None

    def forward(self, z: Tensor) -> Tensor:
        """Map (..., channel) to (..., channel)."""
        share = torch.full_like(z[..., :1], 0.5).flatten()[:1] if self.logit is None else torch.sigmoid(self.logit)
        made: Tensor = _Mixed.apply(z, share)[0]  # type: ignore[no-untyped-call]
        return made


class _Mixed(torch.autograd.Function):
    """Autograd function of w ELU(z) + (1 - w) tanh(z), in few passes over memory.

    tanh(z) is 2 σ(2z) - 1; ELU(z) is max(z, 0) + f - 1, where f = exp(min(z, 0)) is its slope too.
    """

    @staticmethod
    def forward(z: Tensor, share: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the activation, its slope, and ELU(z) - tanh(z); the share w is (1,), (channel,), or shaped as z."""
        squashed, falls = (2.0 * z).sigmoid_(), z.clamp(max=0.0).exp_()
        apart = z.clamp(min=0.0).add_(falls).sub_(squashed, alpha=2.0)
        made = (share * apart).add_(squashed, alpha=2.0).sub_(1.0)
        slope = squashed.addcmul_(squashed, squashed, value=-1.0).mul_(4.0 * (1.0 - share)).addcmul_(falls, share)
        return made, slope, apart

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, ...]) -> None:  # noqa: ANN401
        """Keep the tensors that the backward pass needs."""
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(inputs[1], *output[1:])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor | None, *_: None) -> tuple[Tensor | None, Tensor | None]:  # noqa: ANN401
        """Return the gradients with respect to z and to the share."""
        if outer is None:
            return None, None
        share, slope, apart = ctx.saved_tensors
        by_share = (outer * apart).sum_to_size(share.shape) if ctx.needs_input_grad[1] else None
        return outer * slope, by_share

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], z: Tensor, share: Tensor) -> Any:  # noqa: ANN401
        """Run all members at once: z is (member, …, channel), the share (member, 1, …, its own axis)."""
        z = z.movedim(in_dims[0], 0) if in_dims[0] is not None else z.expand(info.batch_size, *z.shape)
        share = share.movedim(in_dims[1], 0) if in_dims[1] is not None else share.expand(info.batch_size, *share.shape)
        share = share.reshape(len(share), *[1] * (z.dim() - share.dim()), *share.shape[1:])
        return _Mixed.apply(z, share), (0, 0, 0)  # type: ignore[no-untyped-call]


class UnitLinear(nn.Module):
    """Linear layer (W h / √dim(h) + b), times softplus of a learned scale; W starts as a unit normal, cut off at 2.

    Weights of every layer are then of order one, in agreement with their prior.

    Args:
        inputs: Number of channels of h.
        outputs: Number of channels of the output.
        scaled: Multiply by softplus of a learned scale.

    References:
        Jacot, Gabriel, Hongler (2018), Neural tangent kernel: convergence and generalization in neural networks.
    """

    def __init__(self, inputs: int, outputs: int, *, scaled: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.trunc_normal_(torch.empty(outputs, inputs), a=-2.0, b=2.0))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.scale = nn.Parameter(torch.zeros(())) if scaled else None

    def forward(self, h: Tensor | Factored) -> Tensor:
        """Map (..., inputs) to (..., outputs)."""
        # The factors multiply the weights, of which there are fewer than rows.
        weight, factor = self.weight * self.weight.shape[1] ** -0.5, 1.0 if self.scale is None else softplus(self.scale)
        weight, bias = factor * weight, factor * self.bias
        return h.mapped(weight, bias) if isinstance(h, Factored) else linear(h, weight, bias)


class ChannelGatedUnit(nn.Module):
    """Channel gated learning unit: φ(W h) times the gate sigmoid(V h) of each channel, with a gated residual.

    Without gate and residual it is a layer of a Bayesian neural field.

    Args:
        inputs: Number of channels of h. If it is not the width, a linear map of h is the residual's skip.
        width: Number of channels of the output.
        activation: Sharing of φ's learned weight: `shared` by all layers, one for this `layer`, one a `channel`, or
            `fixed` at a half.
        gate: Multiply each channel by a gate.
        residual: Name of the gate of `stgate.nn.gates` that combines skip and output; `none` for no residual.

    Raises:
        RequestError: There is no activation or gate of this name.

    References:
        The unit is reconstructed from the abstract of CGLU-BNF.
    """

    def __init__(self, inputs: int, width: int, activation: ActivationName, *, gate: bool, residual: GateName) -> None:
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

    def forward(self, h: Tensor | Factored, shared: nn.Module | None = None) -> Tensor:
        """Map (..., inputs) to (..., width).

        Args:
            h: Inputs, (..., inputs).
            shared: Activation to use if the unit has none of its own.

        Returns:
            Outputs, (..., width).
        """
        activation = self.activation or shared
        assert activation is not None
        made: Tensor = activation(self.update(h))
        if self.gate is not None:
            made = made * torch.sigmoid(self.gate(h))
        if self.residual is None:
            return made
        dense = h.rows() if isinstance(h, Factored) and self.skip is None else h
        skip: Any = dense if self.skip is None else self.skip(dense)
        context = torch.cat([skip, made], -1) * (2 * made.shape[-1]) ** -0.5
        joined: Tensor = self.residual(skip, made, context)
        return joined
