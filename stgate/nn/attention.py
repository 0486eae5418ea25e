"""Causal attention over recent steps, with a bias by distance for each head."""

from __future__ import annotations

import torch
from torch import Tensor, nn, unflatten
from torch.nn.functional import linear, pad, scaled_dot_product_attention

from stgate.errors import RequestError

Past = tuple[Tensor, Tensor]
"""Keys and values."""


class CausalAttention(nn.Module):
    """Multi-head attention of each step over itself and the `span` - 1 steps before it.

    Args:
        channels: Number of channels of a state.
        heads: Number of attention heads; it must divide the channels.
        span: Number of steps that a step attends to, itself included.
        gated: Multiply the output of each head by a sigmoid of the state, channel by channel, before heads are mixed.

    Raises:
        RequestError: The heads do not divide the channels, or the span is below 1.

    References:
        Vaswani et al. (2017), Attention is all you need. NeurIPS.
        Raffel et al. (2020), Exploring the limits of transfer learning. JMLR 21 (the bias by distance).
        Qiu et al. (2025), Gated attention for large language models. arXiv:2505.06708 (the gate of the output).
    """

    def __init__(self, channels: int, heads: int = 4, span: int = 16, *, gated: bool = False) -> None:
        super().__init__()
        if heads < 1 or channels % heads:
            raise RequestError(f"heads {heads}: must divide the {channels} channels")
        if span < 1:
            raise RequestError(f"span {span}: must be at least 1")
        self.heads, self.span = heads, span
        self.project = nn.Linear(channels, 3 * channels)
        self.bias = nn.Parameter(torch.zeros(heads, span))  # by distance, the step itself first
        self.gate = nn.Linear(channels, channels) if gated else None
        self.mix = nn.Linear(channels, channels)

    def forward(self, x: Tensor, past: Past | None = None, needed: int | None = None) -> tuple[Tensor, Past]:
        """Attend from each step to recent steps.

        Args:
            x: States, (batch, time, channel).
            past: Keys and values of the steps right before, as the call for those steps returned them.
            needed: Number of last steps whose outputs are needed; None for all. Nothing is computed for the others, nor
                read of steps that none of the needed ones attends to.

        Returns:
            Outputs of the needed steps, (batch, needed, channel), and the keys and values that the next step may attend
            to, each (batch, head, step, channel of a head).
        """
        needed = x.shape[1] if needed is None else min(needed, x.shape[1])
        reach = needed + self.span - 1
        asking, x = x[:, -needed:], x[:, -reach:]
        query, key, value = (
            unflatten(part, -1, (self.heads, -1)).transpose(1, 2) for part in self._projected(asking, x)
        )  # (batch, head, time, channel)
        if past is not None and (lacking := reach - x.shape[1]):
            key, value = (torch.cat([b[:, :, -lacking:], now], 2) for b, now in zip(past, (key, value), strict=True))
        made = self._attend(query, key, value).transpose(1, 2).flatten(2)
        if self.gate is not None:
            made = made * torch.sigmoid(self.gate(asking))
        kept = max(key.shape[2] - self.span + 1, 0)
        return self.mix(made), (key[:, :, kept:], value[:, :, kept:])

    def _projected(self, asking: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        """Return the queries of the steps that ask, and the keys and values of all."""
        if asking.shape[1] == x.shape[1]:
            return torch.chunk(self.project(x), 3, -1)
        weight, bias, own = self.project.weight, self.project.bias, x.shape[-1]
        return linear(asking, weight[:own], bias[:own]), *linear(x, weight[own:], bias[own:]).chunk(2, -1)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend from the last steps of the keys: at once if they are few, else in blocks of `span` steps.

        A block attends to itself and the block before it, so that time and memory are linear in the number of steps.
        """
        span, count, seen = self.span, query.shape[2], key.shape[2]
        blocks = -(-count // span)
        if count * seen <= blocks * span * 2 * span:
            return scaled_dot_product_attention(query, key, value, self._mask(count, seen))
        front, back = span - (seen - count), blocks * span - count  # the first block has a whole one before it
        asked = unflatten(pad(query, (0, 0, 0, back)), 2, (blocks, span)).flatten(1, 2)

        def paired(part: Tensor) -> Tensor:
            cut = unflatten(pad(part, (0, 0, front, back)), 2, (blocks + 1, span))
            return torch.cat([cut[:, :, :-1], cut[:, :, 1:]], 3).flatten(1, 2)

        there = torch.arange((blocks + 1) * span, device=query.device).unfold(0, 2 * span, span) >= front
        mask = torch.where(there[:, None], self._mask(span, 2 * span)[:, None], -torch.inf).flatten(0, 1)
        made = scaled_dot_product_attention(asked, paired(key), paired(value), mask)  # (batch, head * block, span, …)
        return unflatten(made, 1, (self.heads, blocks)).flatten(2, 3)[:, :, :count]

    def _mask(self, count: int, seen: int) -> Tensor:
        """Bias of each pair of the last steps and those seen, (head, count, seen); minus infinity beyond the span."""
        steps = torch.arange(seen, device=self.bias.device)
        distance = steps[seen - count :, None] - steps
        inside = (distance >= 0) & (distance < self.span)
        return torch.where(inside, self.bias[:, distance.clamp(0, self.span - 1)], -torch.inf)


def steps_needed(after: int, span: int) -> int:
    """Return the number of last steps whose states the last step depends on, through layers of attention.

    Args:
        after: Number of layers of attention between these states and the last step's output.
        span: Number of steps that a step attends to, itself included.

    >>> steps_needed(0, 16), steps_needed(2, 16)
    (1, 31)
    """
    return 1 + after * (span - 1)
