"""Several sets of weights of one network, evaluated in one vectorised pass if its layers allow it."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from stgate.errors import InferenceWarning, check_counts

Weights = dict[str, Tensor]

CACHED = 2**16
"""Largest size of a layer's output for one member at which one vectorised pass is the faster way on a CPU. Beyond it
the outputs of all members do not fit the cache, and a loop is faster (by a half at 2**19)."""


class Members(nn.Module):
    """Members of an ensemble: networks of one shape, each with weights of its own.

    The weights and buffers of all members are stacked, (member, ...), under their names in one of the networks. An
    optimizer that works element by element, such as Adam, then trains each as a single member. Frozen weights are
    shared.

    Args:
        build: A function that makes one network, called once a member.
        members: Number of members.
        vectorized: Evaluate all members in one pass if that is no slower than one after another; a warning says if a
            layer does not allow it.

    Raises:
        RequestError: The number of members is below one.
    """

    def __init__(self, build: Callable[[], nn.Module], members: int, *, vectorized: bool = True) -> None:
        super().__init__()
        check_members(members)
        self.vectorized = vectorized
        self._together: dict[bool, bool] = {}  # by whether it is training
        self._single: Weights | None = None  # the member that is evaluated, while members take turns
        self._all: Weights | None = None  # the weights that are evaluated in place of drawn ones
        self.network = _stacked([build() for _ in range(members)])

    def forward(self, *arguments: Any, **options: Any) -> Tensor:  # noqa: ANN401 (those of the network)
        """Evaluate each member with these arguments: (member, ...)."""
        if self._single is not None:
            output: Tensor = functional_call(self.network, self._single, arguments, options)
            return output.unsqueeze(0)
        return self.evaluate(self.drawn() if self._all is None else self._all, *arguments, **options)

    def drawn(self) -> Weights:
        """Return the sets of weights to evaluate, (member, ...): here those of the members."""
        return self.weights()

    @property
    def decided(self) -> bool:
        """True once the way of evaluation is chosen for the present mode; a first evaluation chooses it."""
        return self.training in self._together

    @property
    def together(self) -> bool:
        """True if all members are evaluated in one pass in the present mode."""
        return self._together[self.training]

    def take_turns(self) -> None:
        """Evaluate members one after another from now on."""
        self._together = dict.fromkeys((True, False), False)

    @contextlib.contextmanager
    def probing(self) -> Iterator[None]:
        """Evaluate without side effects: no gradients; random state and buffers are restored."""
        held = {name: tensor.clone() for name, tensor in self.network.named_buffers()}
        with torch.no_grad(), torch.random.fork_rng():
            yield
        for name, tensor in self.network.named_buffers():
            tensor.copy_(held[name])

    @contextlib.contextmanager
    def single_member(self, own: Weights) -> Iterator[None]:
        """Evaluate a single member, with these weights, in place of all members."""
        self._single = own
        try:
            yield
        finally:
            self._single = None

    @contextlib.contextmanager
    def all_members(self, stacks: Weights) -> Iterator[None]:
        """Evaluate all members with these weights, (member, ...), in place of drawn ones."""
        self._all = stacks
        try:
            yield
        finally:
            self._all = None

    def weights(self) -> Weights:
        """Return the weights and buffers that differ between members, by name: (member, ...)."""
        frozen = {name for name, weight in self.network.named_parameters() if not weight.requires_grad}
        tensors = [*self.network.named_parameters(), *self.network.named_buffers()]
        return {name: tensor for name, tensor in tensors if name not in frozen}

    def evaluate(self, weights: Weights, *arguments: Any, **options: Any) -> Tensor:  # noqa: ANN401
        """Evaluate the network with each set of weights, (member, ...).

        Args:
            weights: Sets of weights by name, (member, ...).
            *arguments: Arguments of the network.
            **options: Keyword arguments of the network.

        Returns:
            (member, ...).
        """

        def one(own: Weights) -> Tensor:
            output: Tensor = functional_call(self.network, own, arguments, options)
            return output

        if self.training not in self._together:
            self._together[self.training] = self._vectorizes(weights, one)
        if self._together[self.training]:
            return vmap(one, randomness="different")(weights)
        return torch.stack([one(own) for own in split(weights)])

    @torch.no_grad()
    def _vectorizes(self, weights: Weights, one: Callable[[Weights], Tensor]) -> bool:
        """Find out, with two members, if one pass for all is possible and no slower than a loop."""
        if not self.vectorized:
            return False
        two = {name: stack[:2].clone() for name, stack in weights.items()}
        device = next(iter(two.values())).device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            sizes: list[int] = []
            hooks = [
                m.register_forward_hook(lambda *given: sizes.append(_size(given[2]))) for m in self.network.modules()
            ]
            try:
                one(split(two)[0])
            finally:
                for hook in hooks:
                    hook.remove()
            if device.type == "cpu" and max(sizes) > CACHED:
                return False
            try:
                with warnings.catch_warnings():
                    warnings.filterwarnings("error", ".*batching rule")
                    vmap(one, randomness="different")(two)
            except (RuntimeError, UserWarning) as error:
                if self.training:
                    why = str(error).split(". ")[0].splitlines()[0]
                    text = f"members run one after another, {type(self.network).__name__} cannot be vectorised: {why}"
                    warnings.warn(text, InferenceWarning, stacklevel=2)
                return False
        return True

    @torch.no_grad()
    def clip_gradients(self, limit: float) -> None:
        """Scale each member's gradient down to this norm if its norm is larger."""
        gradients = [weight.grad for weight in self.weights().values() if weight.grad is not None]
        if not gradients:
            return
        norms = torch.stack([torch.linalg.vector_norm(g.reshape(len(g), -1), dim=1) for g in gradients])
        factor = (limit / (torch.linalg.vector_norm(norms, dim=0) + 1e-6)).clamp(max=1.0)  # (member,)
        for gradient in gradients:
            gradient.mul_(factor.view(-1, *[1] * (gradient.dim() - 1)))


def check_members(members: int) -> None:
    """Refuse a number of members that is not a whole number of at least one.

    Args:
        members: Number of members.

    Raises:
        RequestError: The number is below one or not a whole number.
    """
    check_counts(members=(members, 1))


def _stacked(networks: list[nn.Module]) -> nn.Module:
    """Return the first network with its weights and buffers replaced by the stacks of all the networks'."""
    first = networks[0]
    for kind in ("_parameters", "_buffers"):
        # Keyed by tensor, not by name: a tied weight stays tied.
        stacks: dict[Tensor, Tensor] = {}
        for modules in zip(*(network.modules() for network in networks), strict=True):
            held: dict[str, Tensor | None] = getattr(modules[0], kind)
            for name, tensor in list(held.items()):
                if tensor is None or (kind == "_parameters" and not tensor.requires_grad):
                    continue
                if tensor not in stacks:
                    stack = torch.stack([getattr(module, kind)[name].detach() for module in modules])
                    stacks[tensor] = nn.Parameter(stack) if kind == "_parameters" else stack
                held[name] = stacks[tensor]
    for module in first.modules():
        if isinstance(module, nn.RNNBase):  # cuDNN's layout holds one set of weights only
            module.flatten_parameters = _nothing  # type: ignore[method-assign]
    return first


def split(weights: Weights) -> list[Weights]:
    """Return each member's weights; unbound in one step, so that gradients are stacked in one step."""
    columns = zip(*(stack.unbind(0) for stack in weights.values()), strict=True)
    return [dict(zip(weights, column, strict=True)) for column in columns]


def _size(output: object) -> int:
    return output.numel() if isinstance(output, Tensor) else 0


def _nothing() -> None:
    """Do nothing, in place of `flatten_parameters`."""
