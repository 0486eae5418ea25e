"""Several sets of weights of one network, evaluated in one vectorised pass where its layers allow."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from stgate.errors import InferenceWarning, RequestError

Weights = dict[str, Tensor]

CACHED = 2**16
"""Numbers that a layer gives out for one member, up to which one pass for all pays on a processor: beyond it what all
give out together leaves the cache, and a loop is faster (by a half at 2**19)."""


class Members(nn.Module):
    """Members of an ensemble: networks of one shape, each with weights of its own.

    The weights and buffers of all are stacked under their own names in one of the networks, (member, ...), so that one
    optimizer that works element by element, such as Adam, trains all of them as if each were alone. Frozen weights are
    shared.

    Args:
        build: Makes a network; called once a member.
        members: How many.
        vectorized: One pass for all, where it is no slower than one after another; where a layer cannot, it says so.
    """

    def __init__(self, build: Callable[[], nn.Module], members: int, *, vectorized: bool = True) -> None:
        super().__init__()
        check_members(members)
        self.vectorized = vectorized
        self._together: dict[bool, bool] = {}  # by whether it is training
        self._alone: Weights | None = None  # the one member that is evaluated, while members take their turns
        self.network = _stacked([build() for _ in range(members)])

    def forward(self, *arguments: Any, **options: Any) -> Tensor:  # noqa: ANN401 (those of the network)
        """What each network returns for these arguments: (member, ...)."""
        if self._alone is not None:
            made: Tensor = functional_call(self.network, self._alone, arguments, options)
            return made.unsqueeze(0)
        return self.evaluate(self.drawn(), *arguments, **options)

    def drawn(self) -> Weights:
        """The sets of weights that are evaluated, (member, ...): here those of the members."""
        return self.weights()

    @property
    def decided(self) -> bool:
        """Whether it is known if one pass for all members pays in this mode; a first evaluation finds out."""
        return self.training in self._together

    @property
    def together(self) -> bool:
        """Whether all members are evaluated in one pass in this mode."""
        return self._together[self.training]

    @contextlib.contextmanager
    def probing(self) -> Iterator[None]:
        """Evaluate without a trace: no gradients, and random state and buffers as before."""
        held = {name: tensor.clone() for name, tensor in self.network.named_buffers()}
        with torch.no_grad(), torch.random.fork_rng():
            yield
        for name, tensor in self.network.named_buffers():
            tensor.copy_(held[name])

    @contextlib.contextmanager
    def alone(self, own: Weights) -> Iterator[None]:
        """Evaluate a single member, with these weights, in the place of all."""
        self._alone = own
        try:
            yield
        finally:
            self._alone = None

    def weights(self) -> Weights:
        """All that differs between members, by name: (member, ...)."""
        frozen = {name for name, weight in self.network.named_parameters() if not weight.requires_grad}
        tensors = [*self.network.named_parameters(), *self.network.named_buffers()]
        return {name: tensor for name, tensor in tensors if name not in frozen}

    def evaluate(self, weights: Weights, *arguments: Any, **options: Any) -> Tensor:  # noqa: ANN401
        """The network with each of these sets of weights, (member, ...): (member, ...)."""

        def one(own: Weights) -> Tensor:
            made: Tensor = functional_call(self.network, own, arguments, options)
            return made

        if self.training not in self._together:
            self._together[self.training] = self._pays(weights, one)
        if self._together[self.training]:
            return vmap(one, randomness="different")(weights)
        return torch.stack([one(own) for own in split(weights)])

    @torch.no_grad()
    def _pays(self, weights: Weights, one: Callable[[Weights], Tensor]) -> bool:
        """Whether one pass for all is possible, and no slower; found out with two members that are then forgotten."""
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
        """Scale each member's gradient down to this norm, where it is above."""
        gradients = [weight.grad for weight in self.weights().values() if weight.grad is not None]
        if not gradients:
            return
        norms = torch.stack([torch.linalg.vector_norm(g.reshape(len(g), -1), dim=1) for g in gradients])
        factor = (limit / (torch.linalg.vector_norm(norms, dim=0) + 1e-6)).clamp(max=1.0)  # (member,)
        for gradient in gradients:
            gradient.mul_(factor.view(-1, *[1] * (gradient.dim() - 1)))


def check_members(members: int) -> None:
    """Refuse an ensemble of none.

    Raises:
        RequestError: Fewer than one.
    """
    if not isinstance(members, int) or members < 1:
        raise RequestError(f"members {members}: a whole number, at least 1")


def _stacked(networks: list[nn.Module]) -> nn.Module:
    """The first network with all the networks' weights and buffers in the place of its own."""
    first = networks[0]
    for kind in ("_parameters", "_buffers"):
        # By what stands there, not by name: a tied weight stays tied.
        made: dict[Tensor, Tensor] = {}
        for modules in zip(*(network.modules() for network in networks), strict=True):
            held: dict[str, Tensor | None] = getattr(modules[0], kind)
            for name, tensor in list(held.items()):
                if tensor is None or (kind == "_parameters" and not tensor.requires_grad):
                    continue
                if tensor not in made:
                    stack = torch.stack([getattr(module, kind)[name].detach() for module in modules])
                    made[tensor] = nn.Parameter(stack) if kind == "_parameters" else stack
                held[name] = made[tensor]
    for module in first.modules():
        if isinstance(module, nn.RNNBase):  # cuDNN's layout is of one set of weights
            module.flatten_parameters = _nothing  # type: ignore[method-assign]
    return first


def split(weights: Weights) -> list[Weights]:
    """Each member's own; taken apart at once, so that gradients are put together at once."""
    columns = zip(*(stack.unbind(0) for stack in weights.values()), strict=True)
    return [dict(zip(weights, column, strict=True)) for column in columns]


def _size(given_out: object) -> int:
    return given_out.numel() if isinstance(given_out, Tensor) else 0


def _nothing() -> None:
    """In the place of `flatten_parameters`."""
