"""Pieces of a batch: as many windows as a cache holds the numbers of, evaluated one after another."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from stgate.inference.members import Members, split
from stgate.schema.batch import SHARED, Batch

MOST = 3 * 2**15
"""Numbers that an operation of a piece computes, on average. Where there are more, they leave the cache before the next
operation reads them; where there are fewer, calling the operations costs more than they do."""
FEW, LARGER = 4, 8
"""Smallest ratio of what windows of a piece compute to what is computed once, as far as a piece may be so many times as
large as others."""
ACCELERATOR = 2**30
"""Numbers that a piece computes on another device than the CPU, where large operations are the fastest ones: a bound on
memory."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """Numbers that an evaluation computes for one member.

    Attributes:
        once: Numbers that do not depend on the number of windows.
        each: Numbers of each window.
        calls: Number of operations.
        members: Number of members.
    """

    once: int
    each: int
    calls: int
    members: int

    def windows(self, most: int, members: int) -> int:
        """Return the number of windows of a piece, at least one.

        Where much is computed once a piece, such as a learned graph, pieces are larger, up to `LARGER` times.

        Args:
            most: Numbers that the evaluation of a piece may compute.
            members: Number of members that are evaluated at once.
        """
        usual = most / (self.each * members)
        return max(int(usual), int(min(FEW * self.once / self.each, LARGER * usual)), 1)


def cut(batch: Batch, windows: int) -> list[Batch]:
    """Cut a batch into pieces of about equally many windows.

    Args:
        batch: Windows; further entries are cut along their first axis too.
        windows: Largest number of windows of a piece.
    """
    count = len(batch["time"])
    number = -(-count // windows)
    if number == 1:
        return [batch]
    ends = [count * k // number for k in range(number + 1)]
    return [rows_of(batch, slice(*span)) for span in itertools.pairwise(ends)]


def windows_of(network: nn.Module, batch: Batch, evaluate: Callable[[Batch], object], *situation: object) -> int:
    """Return the number of windows of a piece of a batch: a function of the network and of shapes, not of values.

    What an evaluation computes is measured once, on windows without gaps; a rollout, which goes through windows with
    gaps step by step, is measured for batches with gaps apart. A network that mixes windows, by layers with batch
    statistics in training, takes the whole batch.

    Args:
        network: The network, or its members.
        batch: The windows.
        evaluate: A function that evaluates some windows, without side effects besides those of the network's layers.
        *situation: What else the cost depends on, such as the epoch.
    """
    count = len(batch["time"])
    if count == 1 or (network.training and mixes_windows(network)):
        return count
    most, cost = _costs(network, batch, evaluate, situation, complete=all(batch.get("complete", ())))
    windows = min(cost.windows(most, 1), count)
    if isinstance(network, Members):
        if not network.decided:
            usual, alike = _costs(network, batch, evaluate, situation, complete=True)
            with network.probing():
                evaluate(_without_gaps(batch, min(alike.windows(usual, 1), count), complete=True))
        if network.together:
            windows = min(cost.windows(most, cost.members), count)
    return windows


def _costs(
    network: nn.Module,
    batch: Batch,
    evaluate: Callable[[Batch], object],
    situation: tuple[object, ...],
    *,
    complete: bool,
) -> tuple[int, Cost]:
    """Return the numbers that a piece may compute, and what windows cost that a rollout takes as complete or not."""
    costs: dict[Any, Cost] = network.__dict__.setdefault("_costs", {})  # they go with the network
    shapes = [value.shape[1:] for value in (batch["past"], batch["target"], batch["future"])]
    key = (network.training, complete, *situation, *shapes, batch["static"].shape)
    if key not in costs:
        costs[key] = _measured(network, _without_gaps(batch, 2, complete=complete), evaluate)
    return (MOST * costs[key].calls if batch["time"].device.type == "cpu" else ACCELERATOR), costs[key]


def mixes_windows(network: nn.Module) -> bool:
    """Return whether a layer of a network in training normalises by the statistics of the whole batch."""
    return any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in network.modules())


def in_pieces(
    network: nn.Module, batch: Batch, evaluate: Callable[[Batch], tuple[Tensor, ...]], *situation: object
) -> tuple[Tensor, ...]:
    """Evaluate a batch, without gradients piece by piece.

    Args:
        network: The network, or its members.
        batch: The windows.
        evaluate: A function that returns tensors of some windows: (member?, batch, lead, node, target, output), then
            any number of (batch, lead, node, target).
        *situation: What else the cost of a window depends on, such as a number of samples.

    Returns:
        The tensors of all windows.
    """
    if torch.is_grad_enabled() or network.training or torch.compiler.is_compiling():  # a graph takes any number
        return evaluate(batch)
    pieces = cut(batch, windows_of(network, batch, evaluate, *situation))
    if len(pieces) == 1:
        return evaluate(batch)
    first, *others = zip(*(evaluate(piece) for piece in pieces), strict=True)
    return (torch.cat(first, -5), *(torch.cat(other, -4) for other in others))


class _Numbers(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Count of operations, and of the numbers that they compute; views are not counted."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = self.calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        """Run an operation."""
        made = func(*args, **(kwargs or {}))
        parts, before = made if isinstance(made, tuple) else (made,), self.count
        for part, returned in zip(parts, func._schema.returns, strict=False):
            if isinstance(part, Tensor) and (returned.alias_info is None or returned.alias_info.is_write):
                self.count += part.numel()
        self.calls += self.count > before
        return made


def _measured(network: nn.Module, batch: Batch, evaluate: Callable[[Batch], object]) -> Cost:
    """Measure what two windows cost, and one, for a single member; random state and buffers are restored."""
    members = network if isinstance(network, Members) else None
    counts = []
    with _probing(network, batch["time"].device):
        drawn = split(members.drawn()) if members else []
        with members.single_member(drawn[0]) if members else contextlib.nullcontext():
            for count in (1, 1, 2):  # the first fills what is kept between evaluations
                with _Numbers() as numbers:
                    evaluate(rows_of(batch, slice(0, count)))
                counts.append(numbers)
    _, one, two = counts
    each = max(two.count - one.count, 1)
    return Cost(max(one.count - each, 0), each, max(two.calls, 1), max(len(drawn), 1))


@contextlib.contextmanager
def _probing(network: nn.Module, device: torch.device) -> Iterator[None]:
    if isinstance(network, Members):
        with network.probing():
            yield
        return
    held = {name: tensor.clone() for name, tensor in network.named_buffers() if network.training}
    with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield
    for name, tensor in held.items():
        network.get_buffer(name).copy_(tensor)


def rows_of(batch: Batch, rows: slice) -> Batch:
    """Return some windows of a batch.

    Args:
        batch: Windows; further entries are cut along their first axis too.
        rows: The windows.
    """
    tensors = cast(dict[str, Any], batch)
    return cast(Batch, {name: value if name in SHARED else value[rows] for name, value in tensors.items()})


def _without_gaps(batch: Batch, count: int, *, complete: bool) -> Batch:
    """Return the first windows without gaps, noted as complete or not where a batch says so."""
    tensors = cast(dict[str, Any], rows_of(batch, slice(0, count)))
    kept = {n: v if n in SHARED or not torch.is_tensor(v) else torch.nan_to_num(v) for n, v in tensors.items()}
    return cast(Batch, kept | ({"complete": [complete] * count} if "complete" in kept else {}))
