"""Gated recurrent unit that runs over a window in two thirds of the time of torch's on a CPU, with its numbers."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from stgate.nn.single import single_precision

_sigmoid_slope = torch.ops.aten.sigmoid_backward.grad_input
_tanh_slope = torch.ops.aten.tanh_backward.grad_input
_gelu, _gelu_slope = torch.ops.aten.gelu.out, torch.ops.aten.gelu_backward.grad_input

TINY, EVERY = 1e-28, 4
"""Gradients of states that become zero, and after how many steps: they fade with the steps, and what is left of them in
a long window would be below the normal numbers of float32, with which a CPU computes many times as long."""


class GRU(nn.GRU):
    """Gated recurrent unit of one layer, (row, time, channel) in and out, with the parameters of `torch.nn.GRU`.

    On a CPU the rows lie last in memory: gates are then blocks, the biases part of the products, and the gradients of
    the weights summed in place; all of it in the precision of the weights, also under autocast. Elsewhere, for a single
    step, in a compiled graph and under the transforms of `torch.func` it is `torch.nn.GRU`. Gradients of gradients are
    not computed.

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
        _, states, last = _run(weights, input, hx, [None, None])
        return states, last.unsqueeze(0)

    def ends(
        self, input: Tensor, hx: Tensor | None = None, entry: nn.Sequential | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Run over a sequence of which later layers read the last step only.

        Slices of the inputs and of the states would have gradients of all steps, which are zero but for the last.

        Args:
            input: Inputs, (row, time, channel).
            hx: State before the first step, (1, row, hidden); zero when None.
            entry: Layers that are applied to the inputs first, a step at a time if they are `nn.Linear` and `nn.GELU`.

        Returns:
            The last input, (row, 1, channel), its state, (row, 1, hidden), and the last state as `forward` returns it.
        """
        weights = self._plain_weights(input)
        entering: list[Tensor] | list[None] = [None, None]
        if entry is not None:
            known = None if weights is None else _entering(entry)
            if known is None:
                input = entry(input)
            else:
                entering = known
        if weights is None:
            last = super().forward(input, hx)[1]
            return input[:, -1:], last[0].unsqueeze(1), last
        entered, _, last = _run(weights, input, hx, entering)
        return entered.unsqueeze(1), last.unsqueeze(1), last.unsqueeze(0)

    def _plain_weights(self, x: Tensor) -> list[Tensor] | None:
        """Return the weights and biases, or None where torch's layer is to run."""
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        weights = [cast(Tensor, getattr(self, name)) for name in names]
        return None if x.dim() != 3 or x.shape[1] == 1 or _in_other_hands(x, weights[0]) else weights


def rows_last(layer: nn.Linear, x: Tensor) -> Tensor:
    """Apply a linear layer so that in memory the rows of each step come last, as `GRU` reads them.

    Args:
        layer: The layer. One that is no plain `nn.Linear`, such as a layer that draws its outputs, is applied as it is.
        x: Inputs, (row, time, channel).

    Returns:
        (row, time, channel).
    """
    if type(layer) is not nn.Linear:
        drawn: Tensor = layer(x)
        return drawn
    weight = layer.weight.expand(x.shape[1], -1, -1)
    return torch.baddbmm(layer.bias.unsqueeze(1), weight, x.permute(1, 2, 0)).permute(2, 0, 1)


def _entering(entry: nn.Sequential) -> list[Tensor] | None:
    """Return the weight and the bias of a linear layer before a GELU; None for any other layers."""
    if [type(layer) for layer in entry] != [nn.Linear, nn.GELU]:
        return None
    weight, bias = cast(Tensor, entry[0].weight), cast(Tensor | None, entry[0].bias)
    return None if bias is None or entry[1].approximate != "none" else [weight, bias]


_transformed = getattr(torch._C, "_are_functorch_transforms_active", lambda: True)


def _in_other_hands(x: Tensor, weight: Tensor) -> bool:
    """Tell if tensors are on an accelerator, weights of low precision, or if a compiler or `torch.func` sees them."""
    if torch.compiler.is_compiling() or _transformed():
        return True
    return x.device.type != "cpu" or weight.device.type != "cpu" or weight.dtype not in (torch.float32, torch.float64)


def _run(
    weights: list[Tensor], x: Tensor, before: Tensor | None, entering: list[Tensor] | list[None]
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the unit in the precision of its weights, also under autocast: torch's own in bfloat16 takes longer."""
    kind = weights[0].dtype
    with single_precision():
        given = (torch.is_grad_enabled(), x.to(kind), None if before is None else before[0].to(kind))
        made: tuple[Tensor, Tensor, Tensor] = _Steps.apply(*given, *weights, *entering)  # type: ignore[no-untyped-call]
    return made


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
        of_entry: Tensor | None,
        entry_bias: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the last input, (row, input), the states, (row, time, hidden), and the last one, (row, hidden)."""
        rows, steps, _ = x.shape
        inputs, hidden = of_input.shape[1], of_state.shape[1]
        own, both = inputs + 1, 2 * hidden  # the state's first channel of a step; the channels of two gates
        # Reset and update gate see all channels; of the new state, the input's part and the state's part are apart.
        gating = torch.cat([of_input[:both], (input_bias + state_bias)[:both, None], of_state[:both]], 1)
        entering = torch.cat([of_input[both:], input_bias[both:, None]], 1)
        returning = torch.cat([state_bias[both:, None], of_state[both:]], 1)
        seen = x.new_empty(steps + 1, own + hidden, rows)
        seen[:, inputs] = 1.0
        seen[0, own:] = 0.0 if before is None else before.T
        kept = steps if graded else 1  # a backward pass needs the gates of all steps
        gates, parts = x.new_empty(kept, 3 * hidden, rows), x.new_empty(kept, hidden, rows)
        given = x.permute(1, 2, 0)
        raw = None  # of the entry, before its GELU
        if of_entry is None:
            seen[:steps, :inputs] = given
        else:
            raw, bias = x.new_empty(kept, inputs, rows), cast(Tensor, entry_bias).unsqueeze(1)
        views = (seen[:-1], seen[:-1, inputs:], seen[:-1, :own], seen[:-1, own:], seen[1:, own:])
        blocks = (gates[:, :both], gates[:, :hidden], gates[:, hidden:both], gates[:, both:], parts)
        of_gates = [block.expand(steps, -1, -1) for block in blocks]  # without gradients all steps share one
        for step, now, with_state, with_input, state, later, both_gates, reset, update, new, part in zip(
            range(steps), *(view.unbind(0) for view in (*views, *of_gates)), strict=True
        ):
            if of_entry is not None and raw is not None:
                entered = torch.addmm(bias, of_entry, given[step], out=raw[step % kept])
                _gelu(entered, out=now[:inputs])
            torch.mm(gating, now, out=both_gates).sigmoid_()
            torch.mm(returning, with_state, out=part)
            torch.mm(entering, with_input, out=new).addcmul_(reset, part).tanh_()
            torch.lerp(new, state, update, out=later)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(seen, gates, parts, gating, entering, returning, given, raw, of_entry)
        states = seen[1:, own:].permute(2, 0, 1)
        return seen[-2, :inputs].T.contiguous(), states, states[:, -1].clone()

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any,  # noqa: ANN401
        of_entered: Tensor | None,
        of_states: Tensor | None,
        of_last: Tensor | None,
    ) -> tuple[Tensor | None, ...]:
        """Return the gradients of the inputs, of the state before, and of the weights."""
        seen, gates, parts, gating, entering, returning, given, raw, of_entry = ctx.saved_tensors
        steps, hidden, rows = parts.shape
        own, both, wide = entering.shape[1], 2 * hidden, 3 * hidden
        inputs = own - 1
        # Slopes of the new state, of both gates, and of the state's part: the input leads to the first three of these
        # four blocks, the state before to the last three.
        to_input = torch.cat([entering[:, :inputs], gating[:, :inputs]]).T.contiguous()
        to_state = torch.cat([gating[:, own:], returning[:, 1:]]).T.contiguous()
        slopes, (spare, inner) = seen.new_empty(4 * hidden, rows), seen.new_empty(2, hidden, rows)
        of_new, of_reset, of_update, of_part = slopes.split(hidden)
        input_slopes, state_slopes = slopes[:wide], slopes[hidden:]
        by_input, by_state = seen.new_zeros(own, wide), seen.new_zeros(hidden + 1, wide)
        of_input = seen.new_empty(steps if raw is None else 1, inputs, rows).expand(steps, -1, -1)
        before = None if raw is None else _Entry(given, raw, of_entry, sought=ctx.needs_input_grad[1])
        outer = seen.new_zeros(hidden, rows) if of_last is None else of_last.T.contiguous()
        views = (seen[:-1, :own], seen[:-1, inputs:], seen[1:, own:], gates[:, :hidden], gates[:, hidden:both])
        unbound = [view.unbind(0) for view in (*views, gates[:, both:], parts, of_input)]
        sought = ctx.needs_input_grad[1] or before is not None
        for step, with_input, with_state, later, reset, update, new, part, entered in zip(
            range(steps - 1, -1, -1), *(reversed(view) for view in unbound), strict=True
        ):
            if of_states is not None:
                outer = outer + of_states[:, step].T
            if step % EVERY == 0:
                outer = torch.hardshrink(outer, TINY)
            torch.addcmul(outer, outer, update, value=-1, out=spare)
            torch.sub(later, new, out=of_update).mul_(spare)
            _tanh_slope(spare, new, grad_input=of_new)
            _sigmoid_slope(torch.mul(of_new, part, out=spare), reset, grad_input=of_reset)
            torch.mul(of_new, reset, out=of_part)
            by_input.addmm_(with_input, input_slopes.T)
            by_state.addmm_(with_state, state_slopes.T)
            outer = torch.mm(to_state, state_slopes, out=inner).addcmul(outer, update)
            if not sought:
                continue
            torch.mm(to_input, input_slopes, out=entered)
            if of_entered is not None and step == steps - 1:
                entered += of_entered.T
            if before is not None:
                before.add(step, entered)
        through = before.of_given if before is not None else (of_input if sought else None)
        return (
            None,
            None if through is None else through.permute(2, 0, 1),
            outer.T if ctx.needs_input_grad[2] else None,
            torch.cat([by_input[:inputs, hidden:], by_input[:inputs, :hidden]], 1).T,
            by_state[1:].T,
            torch.cat([by_input[inputs, hidden:], by_input[inputs, :hidden]]),
            by_state[0],
            None if before is None else before.of_weight.T,
            None if before is None else before.of_bias,
        )


class _Entry:
    """Gradients of a linear layer and a GELU before the unit, step by step; `given` is (step, channel, row)."""

    def __init__(self, given: Tensor, raw: Tensor, weight: Tensor, *, sought: bool) -> None:
        self.given, self.raw, self.weight = given, raw, weight.T.contiguous()
        self.of_given = torch.empty_like(given) if sought else None
        self.of_weight, self.of_bias = torch.zeros_like(self.weight), weight.new_zeros(len(weight))

    def add(self, step: int, slopes: Tensor) -> None:
        """Add those of a step, given the gradients of its outputs, (channel, row), which become those of the layer."""
        _gelu_slope(slopes, self.raw[step], grad_input=slopes)
        self.of_weight.addmm_(self.given[step], slopes.T)
        self.of_bias += slopes.sum(1)
        if self.of_given is not None:
            torch.mm(self.weight, slopes, out=self.of_given[step])
