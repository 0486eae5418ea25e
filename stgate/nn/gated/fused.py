"""Fused transition for forecasting: no autograd graph, buffers written in place, linear maps combined beforehand."""

from __future__ import annotations

import torch
from torch import Tensor

from stgate.nn.feedforward import UNITS, GatedFeedForward
from stgate.nn.gated.exponential import Coefficients
from stgate.nn.gated.transition import Transition
from stgate.nn.gates import Additive
from stgate.nn.single import single_precision


class FusedTransition(Transition):
    """Fused form of a transition, with the same results, for use without gradients.

    A step then costs little more than its matrix products.
    """

    @classmethod
    def of(cls, transition: Transition) -> Transition:
        """Make the fused form of a transition, or return the transition itself if its gates cannot be fused.

        Args:
            transition: Transition to fuse.
        """
        if not all(isinstance(gate, Additive) for gate in transition.gates):
            return transition
        made = cls.__new__(cls)
        made.__dict__.update(transition.__dict__)
        made._fuse()
        return made

    @single_precision()
    def _fuse(self) -> None:
        self._maps: list[tuple[GatedFeedForward, Tensor, Tensor]] = [
            (layer, layer.hidden.weight.T.contiguous(), layer.mix.weight.T.contiguous())
            for layer in self.layers
            if isinstance(layer, GatedFeedForward)
        ]
        self._entry = (self.whiten @ self.seen.weight.T).contiguous()
        self._fixed = super()._coefficients()
        self._room: tuple[Tensor, Tensor, Tensor] | None = None

    def _coefficients(self) -> Coefficients | None:
        return self._fixed

    @single_precision()
    def _hidden(self, field: Tensor, known: Tensor | None) -> Tensor:
        seen = self.patches.surround(field)
        shape, seen = seen.shape[:-1], seen.flatten(0, -2).to(self._entry)
        rows, width = len(seen), self._entry.shape[1]
        if self._room is None or len(self._room[0]) != rows:
            self._room = seen.new_empty(rows, width), seen.new_empty(rows, 2 * width), seen.new_empty(rows, width)
        hidden, pair, product = self._room
        torch.addmm(self.seen.bias, seen, self._entry, out=hidden)
        if known is not None:
            hidden.add_(known.reshape(rows, width))
        for layer, inwards, outwards in self._maps:
            torch.addmm(layer.hidden.bias, hidden, inwards, out=pair)
            value, gate = pair.chunk(2, -1)
            torch.mul(value, UNITS[layer.unit](gate), out=product)
            hidden.addmm_(product, outwards).add_(layer.mix.bias)
        return hidden.view(*shape, width)
