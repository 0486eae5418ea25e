"""Gated recurrent unit that runs over a window in two thirds of the time of torch's on a CPU, with its numbers."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_sigmoid_slope = torch.ops.aten.sigmoid_backward.grad_input
_tanh_slope = torch.ops.aten.tanh_backward.grad_input

TINY, EVERY = 1e-28, 4
"""Gradients of states that become zero, and after how many steps: they fade with the steps, and what is left of them in
a long window would be below the normal numbers of float32, with which a CPU computes many times as long."""


class GRU(nn.GRU):
    """Gated recurrent unit of one layer, (row, time, channel) in and out, with the parameters of `torch.nn.GRU`.

    On a CPU in full precision the rows lie last in memory: gates are then blocks, the biases part of the products, and
    the gradients of the weights summed in place. Elsewhere, for a single step, in a compiled graph and under the
    transforms of `torch.func` it is `torch.nn.GRU`. Gradients of gradients are not computed.

    Args:
        inputs: Number of channels of the input.
        hidden: Number of channels of the state.

    References:
        Cho et al. (2014), Learning phrase representations using RNN encoder-decoder for statistical machine
        translation. EMNLP. arXiv:1406.1078.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__(inputs, hidden, batch_first=True)

    def forward(  # type: ignore[override]
        self,
        input: Tensor,
        hx: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Run over a sequence.

        Args:
            input: Inputs, (row, time, channel).
            hx: State before the first step, (1, row, hidden); zero when None.

        Returns:
            The states, (row, time, hidden), and the last state, (1, row, hidden).
        """
        weights = self._plain_weights(input)
        if weights is None:
            made: tuple[Tensor, Tensor] = super().forward(input, hx)
            return made
        given = (torch.is_grad_enabled(), input, None if hx is None else hx[0], *weights)
        _, states, last = _Steps.apply(*given)  # type: ignore[no-untyped-call]
        return states, last.unsqueeze(0)

    def ends(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Run over a sequence of which later layers read the last step only.

        Slices of the inputs and of the states would have gradients of all steps, which are zero but for the last.

        Args:
            input: Inputs, (row, time, channel).
            hx: State before the first step, (1, row, hidden); zero when None.

        Returns:
            The last input, (row, 1, channel), its state, (row, 1, hidden), and the last state as `forward` returns it.
        """
        weights = self._plain_weights(input)
        if weights is None:
            last = super().forward(input, hx)[1]
            return input[:, -1:], last[0].unsqueeze(1), last
        given = (torch.is_grad_enabled(), input, None if hx is None else hx[0], *weights)
        entered, _, last = _Steps.apply(*given)  # type: ignore[no-untyped-call]
        return entered.unsqueeze(1), last.unsqueeze(1), last.unsqueeze(0)

    def _plain_weights(self, x: Tensor) -> list[Tensor] | None:
        """Return the weights and biases, or None where torch's layer is to run."""
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        weights = [cast(Tensor, getattr(self, name)) for name in names]
        return None if x.dim() != 3 or x.shape[1] == 1 or _in_other_hands(x, weights[0]) else weights


def rows_last(layer: nn.Linear, x: Tensor) -> Tensor:
    """Apply a linear layer so that in memory the rows come last, as `GRU` reads them.

    Args:
        layer: The layer. One that is no plain `nn.Linear`, such as a layer that draws its outputs, is applied as it is.
        x: Inputs, (row, time, channel).

    Returns:
        (row, time, channel).
    """
    if type(layer) is not nn.Linear:
        drawn: Tensor = layer(x)
        return drawn
    rows, steps, channels = x.shape
    flat = x.permute(2, 1, 0).reshape(channels, steps * rows)
    made = torch.addmm(layer.bias.unsqueeze(1), layer.weight, flat)
    return made.view(-1, steps, rows).permute(2, 1, 0)


_transformed = getattr(torch._C, "_are_functorch_transforms_active", lambda: True)


def _in_other_hands(*tensors: Tensor) -> bool:
    """Tell if tensors are on an accelerator, of low precision, or if a compiler or `torch.func` sees them."""
    if torch.compiler.is_compiling() or _transformed():
        return True
    wanted = (torch.float32, torch.float64)
    return torch.is_autocast_enabled("cpu") or any(t.device.type != "cpu" or t.dtype not in wanted for t in tensors)


class _Steps(torch.autograd.Function):
    """All steps of a gated recurrent unit; in memory each step is (channel, row): its input, ones, the state before."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        graded: bool,
        x: Tensor,
        before: Tensor | None,
        of_input: Tensor,
        of_state: Tensor,
        input_bias: Tensor,
        state_bias: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the last input, (row, input), the states, (row, time, hidden), and the last one, (row, hidden)."""
        rows, steps, inputs = x.shape
        hidden, own = of_state.shape[1], inputs + 1  # the state's first channel of a step
        both = 2 * hidden
        # Reset and update gate see all channels; of the new state, the input's part and the state's part are apart.
        gating = torch.cat([of_input[:both], (input_bias + state_bias)[:both, None], of_state[:both]], 1)
        entering = torch.cat([of_input[both:], input_bias[both:, None]], 1)
        returning = torch.cat([state_bias[both:, None], of_state[both:]], 1)
        seen = x.new_empty(steps + 1, own + hidden, rows)
        seen[:steps, :inputs] = x.permute(1, 2, 0)
        seen[:, inputs] = 1.0
        seen[0, own:] = 0.0 if before is None else before.T
        kept = steps if graded else 1  # a backward pass needs the gates of all steps
        gates, parts = x.new_empty(kept, 3 * hidden, rows), x.new_empty(kept, hidden, rows)
        views = (seen[:-1], seen[:-1, inputs:], seen[:-1, :own], seen[:-1, own:], seen[1:, own:])
        blocks = (gates[:, :both], gates[:, :hidden], gates[:, hidden:both], gates[:, both:], parts)
        of_gates = [block.expand(steps, -1, -1) for block in blocks]  # without gradients all steps share one
        for now, with_state, with_input, state, later, both_gates, reset, update, new, part in zip(
            *(view.unbind(0) for view in (*views, *of_gates)), strict=True
        ):
            torch.mm(gating, now, out=both_gates).sigmoid_()
            torch.mm(returning, with_state, out=part)
            torch.mm(entering, with_input, out=new).addcmul_(reset, part).tanh_()
            torch.lerp(new, state, update, out=later)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(seen, gates, parts, gating, entering, returning)
        states = seen[1:, own:].permute(2, 0, 1)
        return x[:, -1].clone(), states, states[:, -1].clone()

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any,  # noqa: ANN401
        of_entered: Tensor | None,
        of_states: Tensor | None,
        of_last: Tensor | None,
    ) -> tuple[Tensor | None, ...]:
        """Return the gradients of the inputs, of the state before, and of the weights."""
        seen, gates, parts, gating, entering, returning = ctx.saved_tensors
        steps, hidden, rows = parts.shape
        own, both = entering.shape[1], 2 * hidden
        first = 0 if ctx.needs_input_grad[1] else own  # gradients of the channels from this one on
        to_seen, to_input = gating.T[first:].contiguous(), entering.T[first : own - 1].contiguous()
        to_state = returning.T[1:].contiguous()
        sums = [torch.zeros_like(weight) for weight in (gating, entering, returning)]
        slopes, (part_slope, room) = seen.new_empty(3 * hidden, rows), seen.new_empty(2, hidden, rows)
        of_gates, of_reset, of_update, of_new = slopes[:both], slopes[:hidden], slopes[hidden:both], slopes[both:]
        of_seen = seen.new_empty(1 if first else steps, own + hidden - first, rows)
        outer = seen.new_zeros(hidden, rows) if of_last is None else of_last.T.contiguous()
        for step in range(steps - 1, -1, -1):
            if of_states is not None:
                outer = outer + of_states[:, step].T
            if step % EVERY == 0:
                outer = torch.hardshrink(outer, TINY)
            now, part, new = seen[step], parts[step], gates[step, both:]
            reset, update = gates[step, :hidden], gates[step, hidden:both]
            _sigmoid_slope(torch.sub(now[own:], new, out=room).mul_(outer), update, grad_input=of_update)
            _tanh_slope(torch.addcmul(outer, outer, update, value=-1, out=room), new, grad_input=of_new)
            _sigmoid_slope(torch.mul(of_new, part, out=room), reset, grad_input=of_reset)
            torch.mul(of_new, reset, out=part_slope)
            inner = torch.mm(to_seen, of_gates, out=of_seen[0 if first else step])
            if not first:
                inner[: own - 1].addmm_(to_input, of_new)
            outer = inner[own - first :].addmm_(to_state, part_slope).addcmul(outer, update)
            sums[0].addmm_(of_gates, now.T)
            sums[1].addmm_(of_new, now[:own].T)
            sums[2].addmm_(part_slope, now[own - 1 :].T)
        if of_entered is not None and not first:
            of_seen[-1, : own - 1] += of_entered.T
        gate, enter, back = sums
        return (
            None,
            None if first else of_seen[:, : own - 1].permute(2, 0, 1),
            outer.T if ctx.needs_input_grad[2] else None,
            torch.cat([gate[:, : own - 1], enter[:, :-1]]),
            torch.cat([gate[:, own:], back[:, 1:]]),
            torch.cat([gate[:, own - 1], enter[:, -1]]),
            torch.cat([gate[:, own - 1], back[:, 0]]),
        )
