"""The loss of a batch over all members, added up piece by piece."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from stgate.inference.members import Members, Weights, split


class BatchLoss:
    """The mean loss of a batch over observed values and members, from the sums over its pieces.

    The gradient of each piece's loss is computed before the next piece is evaluated: backward passes then need memory
    for one piece at a time. Members that run one after another have a turn each, so that memory is needed for one
    member too; others share one turn. All pieces of a turn are evaluated with the same weights, drawn once.

        total = BatchLoss(network, network.parameters(), whole=len(pieces) == 1)
        for turn in total.turns():
            with turn:
                for piece in pieces:
                    total.add(*sum_and_count_of(network(piece)))
        total.mean().backward()

    Args:
        network: A network, or `Members` that have been evaluated once in the present mode (training or evaluation).
        weights: All parameters that are trained, those of the network and others.
        whole: True if the batch is in one piece: unless members take turns, its graph is then kept as it is.
    """

    def __init__(self, network: nn.Module, weights: Iterable[Tensor] = (), *, whole: bool = True) -> None:
        self._members = network if isinstance(network, Members) else None
        self._keeps_graph = whole and (self._members is None or self._members.together)
        inside = set() if self._members is None else set(network.parameters())
        self._others = [weight for weight in weights if weight.requires_grad and weight not in inside]
        self._sums: list[Tensor] = []
        self._counts: list[Tensor] = []
        self._weights: Weights = {}
        self._own: list[Tensor] = []
        self._gradients: list[Sequence[Tensor | None]] = []  # of each turn
        self._of_others: Sequence[Tensor | None] = [None] * len(self._others)

    def turns(self) -> Iterator[contextlib.AbstractContextManager[None]]:
        """Yield a context for each turn; within it the network evaluates the members of that turn."""
        if self._keeps_graph or self._members is None:
            yield contextlib.nullcontext()
            return
        drawn = self._members.drawn()
        self._weights = {name: stack for name, stack in drawn.items() if stack.requires_grad}
        apart = {name: stack.detach() for name, stack in drawn.items()}
        for own in [apart] if self._members.together else split(apart):
            learned = {name: own[name].requires_grad_() for name in self._weights}
            self._own = list(learned.values())
            self._gradients.append([None] * len(learned))
            evaluated = self._members.all_members if self._members.together else self._members.single_member
            yield evaluated(own | learned)

    def add(self, total: Tensor, count: Tensor) -> None:
        """Add a piece.

        Args:
            total: Sum of its losses over the members of this turn, a scalar.
            count: Number of losses.
        """
        self._sums.append(total if self._keeps_graph else total.detach())
        self._counts.append(count)
        if self._keeps_graph:
            return
        made = torch.autograd.grad(total, [*self._own, *self._others], allow_unused=True)
        own, others = made[: len(self._own)], made[len(self._own) :]
        self._of_others = _plus(self._of_others, others)
        if self._gradients:
            self._gradients[-1] = _plus(self._gradients[-1], own)

    def mean(self) -> Tensor:
        """Return the mean loss over values and members, a scalar with gradients to all weights."""
        count = torch.stack(self._counts).sum().clamp(min=1)
        mean = torch.stack(self._sums).sum() / count
        if self._keeps_graph:
            return mean
        parts = list(zip(*self._gradients, strict=True))
        if self._members is not None and self._members.together:
            stacks = [part[0] for part in parts]
        else:
            stacks = [None if part[0] is None else torch.stack(part) for part in parts]
        gradients = [None if made is None else made / count for made in (*stacks, *self._of_others)]
        weights = (*self._weights.values(), *self._others)
        loss: Tensor = _WithGradients.apply(mean, gradients, *weights)  # type: ignore[no-untyped-call]
        return loss


def _plus(totals: Sequence[Tensor | None], more: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Add gradients of the same weights; None stands for zero."""
    pairs = zip(totals, more, strict=True)
    return [new if old is None else old if new is None else old + new for old, new in pairs]


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
