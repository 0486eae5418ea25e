"""Causal transformer whose norm, gates (in place of residuals) and recurrence are options."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from stgate.errors import RequestError, did_you_mean
from stgate.nn.attention import CausalAttention, Past, steps_needed
from stgate.nn.feedforward import GatedFeedForward
from stgate.nn.gated.recurrent import Memory
from stgate.nn.gates import GateName, make_gate

NormName = Literal["pre", "post"]
"""Position of the layer norm: before or after attention and the feed-forward layer."""
NORMS: tuple[NormName, ...] = get_args(NormName)


class Block(nn.Module):
    """Attention, then a feed-forward layer, each with a gate and a norm before or after.

    Norm before: x <- gate(x, f(norm(x))). Norm after: x <- norm(gate(x, f(x))).

    Args:
        channels: Number of channels of x.
        heads: Number of attention heads.
        span: Number of steps that a step attends to, itself included.
        gated_heads: Multiply the output of each attention head by a sigmoid of the state.
        norm: Position of the layer norm, `pre` or `post`.
        gate: Name of a gate of `stgate.nn.gates`, in place of each residual.

    References:
        Xiong et al. (2020), On layer normalization in the transformer architecture. ICML.
        Parisotto et al. (2020), Stabilizing transformers for reinforcement learning. ICML (gates for residuals).
    """

    def __init__(self, channels: int, heads: int, span: int, gated_heads: bool, norm: NormName, gate: GateName) -> None:
        super().__init__()
        self.norm = norm
        self.attention = CausalAttention(channels, heads, span, gated=gated_heads)
        self.feedforward = GatedFeedForward(channels, width=2 * channels)
        self.gates = nn.ModuleList(make_gate(gate, channels) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(2))

    def forward(self, x: Tensor, past: Past | None, needed: int | None = None) -> tuple[Tensor, Past]:
        """Run over consecutive steps.

        Args:
            x: Inputs, (row, time, channel).
            past: Keys and values of the steps right before; None at the start.
            needed: Number of last steps whose outputs are needed; None for all.

        Returns:
            Outputs of the needed steps, (row, needed, channel), and the keys and values for the steps to come.
        """
        attended, past = self.attention(self.norms[0](x) if self.norm == "pre" else x, past, needed)
        x = self.gates[0](x[:, -attended.shape[1] :], attended)
        if self.norm == "pre":
            return self.gates[1](x, self.feedforward(self.norms[1](x))), past
        x = self.norms[0](x)
        return self.norms[1](self.gates[1](x, self.feedforward(x))), past


class TransformerStack(nn.Module):
    """Blocks that attend to the last `span` steps and, if recurrent, carry a state across segments of steps.

    With recurrence the steps are cut into segments of `span`. At the end of a segment with last output h the state is
    updated, s <- (1 - z) * s + z * tanh(W h), where z is a sigmoid of [h; s]. It is added to the inputs of the next
    segment.

    Args:
        channels: Number of channels of a step.
        layers: Number of blocks.
        heads: Number of heads of each attention.
        span: Number of steps that a step attends to, itself included.
        norm: Position of the layer norm, `pre` or `post`.
        gate: Name of a gate of `stgate.nn.gates`, in place of each residual.
        recurrent: Carry a state across segments.
        gated_heads: Multiply the output of each attention head by a sigmoid of the state.

    Raises:
        RequestError: There is no norm of this name.

    References:
        Hutchins et al. (2022), Block-recurrent transformers. NeurIPS (a state carried by a gate; theirs is several
        vectors that are attended to).
        Dai et al. (2019), Transformer-XL. ACL (the cache of keys and values).
    """

    def __init__(
        self,
        channels: int,
        layers: int = 2,
        *,
        heads: int = 4,
        span: int = 16,
        norm: NormName = "pre",
        gate: GateName = "additive",
        recurrent: bool = False,
        gated_heads: bool = False,
    ) -> None:
        super().__init__()
        if norm not in NORMS:
            raise RequestError(f"norm {norm!r}: {did_you_mean(norm, NORMS)}")
        self.span, self.recurrent = span, recurrent
        self.blocks = nn.ModuleList(Block(channels, heads, span, gated_heads, norm, gate) for _ in range(layers))
        self.final = nn.LayerNorm(channels) if norm == "pre" else nn.Identity()
        if recurrent:
            self.share = nn.Linear(2 * channels, channels)
            self.taken = nn.Linear(channels, channels)

    @property
    def reach(self) -> int | None:
        """Number of last steps that the output of the last step depends on; None if it may be any number."""
        return None if self.recurrent else steps_needed(len(self.blocks), self.span)

    def forward(self, x: Tensor, memory: Memory | None = None, *, last: bool = False) -> tuple[Tensor, Memory]:
        """Run over consecutive steps.

        Args:
            x: Inputs, (row, time, channel).
            memory: Memory after the steps right before, as the call for those steps returned it; None at the start.
            last: Return the output of the last step only.

        Returns:
            Outputs, (row, time, channel), with one time if only the last is returned; and the memory after the steps.
        """
        if not self.recurrent:
            return self._attend(x, memory, last)
        if memory:
            *caches, (state, passed) = memory
        else:  # the steps of the present segment are counted by a length: a number on a device would be waited for
            caches, state, passed = [], torch.zeros_like(x[:, 0]), x.new_zeros(0)
        made, count = [], len(passed)
        while x.shape[1]:
            piece, x = x[:, : self.span - count], x[:, self.span - count :]
            out, caches = self._attend(piece + state.unsqueeze(1), caches, last)
            count = (count + piece.shape[1]) % self.span
            if count == 0:
                end = out[:, -1]
                share = torch.sigmoid(self.share(torch.cat([end, state], -1)))
                state = state + share * (torch.tanh(self.taken(end)) - state)
            made.append(out)
        out = made[-1] if last else torch.cat(made, 1)
        return out, [*caches, (state, out.new_zeros(count))]

    def _attend(self, x: Tensor, caches: Memory | None, last: bool) -> tuple[Tensor, Memory]:
        """Run all blocks; for the last step alone each computes only the steps on which later blocks depend."""
        x = x[:, -steps_needed(len(self.blocks), self.span) :] if last else x
        before = iter(caches or [])
        after: Memory = []
        for later, block in zip(reversed(range(len(self.blocks))), self.blocks, strict=True):
            x, past = block(x, next(before, None), steps_needed(later, self.span) if last else None)
            after.append(past)
        return self.final(x), after
