"""Results computed once from weights that do not change, such as a learned graph for all pieces of a batch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

import torch
from torch import Tensor, nn

_Held = dict[tuple[nn.Module, bool], tuple[list[Tensor], Tensor]]
_held: ContextVar[_Held | None] = ContextVar("held", default=None)


@contextlib.contextmanager
def fixed_weights() -> Iterator[None]:
    """Keep what `once` computes until the block, or one around it, ends; no weight may be changed in it."""
    if _held.get() is not None:
        yield
        return
    token = _held.set({})
    try:
        yield
    finally:
        _held.reset(token)


def once(layer: nn.Module, compute: Callable[[], Tensor]) -> Tensor:
    """Compute a tensor from a layer's weights, without gradients; in a block of `fixed_weights` once for each weights.

    Args:
        layer: The layer. Where its weights are other tensors, such as those of another member, it is computed again.
        compute: A function of the layer's weights and mode alone.
    """
    held = None if torch.compiler.is_compiling() else _held.get()
    if held is None:
        with torch.no_grad():
            return compute()
    weights: list[Tensor] = list(layer.parameters())
    key = (layer, layer.training)
    if key in held:
        before, made = held[key]
        if all(one is other for one, other in zip(before, weights, strict=True)):
            return made
    with torch.no_grad():
        made = compute()
    held[key] = weights, made
    return made
