"""The loss of a batch over all members, added up piece by piece."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from stgate.inference.members import Members, Weights, split


class BatchLoss:
    """The mean over members of the summed losses of a batch's pieces.

    Members that run in one pass share one turn. Members that run one after another have a turn each, and the gradient
    of each piece's loss is computed before the next piece: backward passes then need memory for one member and one
    piece at a time.

        total = BatchLoss(network)
        for turn in total.turns():
            with turn:
                for piece in pieces:
                    total.add(loss_of(network(piece)))
        total.mean().backward()

    Args:
        network: A network, or `Members` that have been evaluated once in the present mode (training or evaluation).
    """

    def __init__(self, network: nn.Module) -> None:
        self._members = network if isinstance(network, Members) and not network.together else None
        self._losses: list[Tensor] = []
        self._weights: Weights = {}
        self._own: list[Tensor] = []
        self._gradients: list[list[Tensor | None]] = []

    def turns(self) -> Iterator[contextlib.AbstractContextManager[None]]:
        """Yield a context for each turn; within it the network evaluates the members of that turn."""
        if self._members is None:
            yield contextlib.nullcontext()
            return
        drawn = self._members.drawn()
        self._weights = {name: stack for name, stack in drawn.items() if stack.requires_grad}
        for own in split({name: stack.detach() for name, stack in drawn.items()}):
            learned = {name: own[name].requires_grad_() for name in self._weights}
            self._own = list(learned.values())
            self._gradients.append([None] * len(learned))
            yield self._members.single_member(own | learned)

    def add(self, loss: Tensor) -> None:
        """Add the loss of a piece, a scalar: the mean over the members of this turn."""
        self._losses.append(loss)
        if self._members is not None:
            gradients = torch.autograd.grad(loss, self._own, allow_unused=True)
            self._gradients[-1] = [_plus(*both) for both in zip(self._gradients[-1], gradients, strict=True)]

    def mean(self) -> Tensor:
        """Return the mean loss over members, a scalar with gradients to all members' weights."""
        if self._members is None:
            return torch.stack(self._losses).sum()
        count = len(self._gradients)
        parts = zip(*self._gradients, strict=True)
        stacks = [None if part[0] is None else torch.stack(part) / count for part in parts]
        mean = torch.stack([loss.detach() for loss in self._losses]).sum() / count
        loss: Tensor = _WithGradients.apply(mean, stacks, *self._weights.values())  # type: ignore[no-untyped-call]
        return loss


def _plus(total: Tensor | None, more: Tensor | None) -> Tensor | None:
    return more if total is None else total if more is None else total.add_(more)


class _WithGradients(torch.autograd.Function):
    """A value whose gradients have been computed before."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: list[Tensor | None], *weights: Tensor) -> Tensor:  # noqa: ANN401
        """Return the value."""
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """Return the gradients, scaled by the outer one."""
        return None, None, *(None if own is None else outer * own for own in ctx.gradients)
