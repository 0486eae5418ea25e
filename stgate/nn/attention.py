"""Causal attention over recent steps, with a bias by distance for each head."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

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

    def forward(self, x: Tensor, past: Past | None = None) -> tuple[Tensor, Past]:
        """Attend from each step to recent steps.

        Args:
            x: States, (batch, time, channel).
            past: Keys and values of the steps right before, as the call for those steps returned them.

        Returns:
            Outputs, (batch, time, channel), and the keys and values that the next step may attend to, each (batch,
            head, step, channel of a head).
        """
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.project(x).chunk(3, -1)
        )  # (batch, head, time, channel)
        before = 0
        if past is not None:
            before = past[0].shape[2]
            key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
        attended = scaled_dot_product_attention(query, key, value, self._mask(x.shape[1], before))
        made = attended.transpose(1, 2).flatten(2)
        if self.gate is not None:
            made = made * torch.sigmoid(self.gate(x))
        kept = max(key.shape[2] - self.span + 1, 0)
        return self.mix(made), (key[:, :, kept:], value[:, :, kept:])

    def _mask(self, time: int, before: int) -> Tensor:
        """Bias of each pair of steps, (head, time, before + time); minus infinity beyond the span and ahead."""
        device = self.bias.device
        distance = torch.arange(time, device=device)[:, None] + before - torch.arange(before + time, device=device)
        inside = (distance >= 0) & (distance < self.span)
        return torch.where(inside, self.bias[:, distance.clamp(0, self.span - 1)], -torch.inf)
