"""Fusion of two branches: temporal (common to all nodes) and spatial (specific to each node)."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from stgate.errors import RequestError, did_you_mean
from stgate.nn.sepnet.mixing import lerp

FusionName = Literal["adaptive", "attention", "lstm"]
"""Names of the fusions in configs."""
KINDS: tuple[FusionName, ...] = get_args(FusionName)


class AdaptiveGate(nn.Module):
    """Adaptive gate g * time + (1 - g) * space, g = sigmoid(MLP [state; time; space]) for each node, lead and output.

    The published code has one linear map over all nodes, which depends on their order; this one is shared by all nodes.

    Args:
        hidden: Number of channels of a node's state.
        outputs: Number of outputs for a node and lead.

    References:
        STH-SepNet, equations 26 and 27.
    """

    def __init__(self, hidden: int, outputs: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(nn.Linear(hidden + 2 * outputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))

    def forward(self, time: Tensor, space: Tensor, state: Tensor) -> Tensor:
        """Fuse the two branches.

        Args:
            time: Output of the temporal branch, (batch, lead, node, output).
            space: Output of the spatial branch, (batch, lead, node, output).
            state: State of each node, (batch, node, hidden).

        Returns:
            Fused output, (batch, lead, node, output).
        """
        known = state.unsqueeze(1).expand(*space.shape[:3], -1)
        share = torch.sigmoid(self.gate(torch.cat([known, time, space], -1)))
        return lerp(space, time, share)


class AttentionGate(nn.Module):
    """Attention of each node and lead to the two branches: softmax of q · k, q from its state, k from their outputs.

    Args:
        hidden: Number of channels of a node's state, and of q and k.
        outputs: Number of outputs for a node and lead.
    """

    def __init__(self, hidden: int, outputs: int) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(hidden, hidden), nn.Linear(outputs, hidden)
        self.branch = nn.Parameter(0.1 * torch.randn(2, hidden))

    def forward(self, time: Tensor, space: Tensor, state: Tensor) -> Tensor:
        """Fuse the two branches.

        Args:
            time: Output of the temporal branch, (batch, lead, node, output).
            space: Output of the spatial branch, (batch, lead, node, output).
            state: State of each node, (batch, node, hidden).

        Returns:
            Fused output, (batch, lead, node, output).
        """
        both = torch.stack([time, space], -2)  # (batch, lead, node, branch, output)
        query = self.query(state)[:, None, :, None]
        score = (query * (self.key(both) + self.branch)).sum(-1, keepdim=True) / query.shape[-1] ** 0.5
        made: Tensor = (score.softmax(-2) * both).sum(-2)
        return made


class LSTMGate(nn.Module):
    """Mean of the two branches plus the output of an LSTM, which runs over the leads from the node's state.

    Args:
        hidden: Number of channels of a node's state, and of the LSTM.
        outputs: Number of outputs for a node and lead.
    """

    def __init__(self, hidden: int, outputs: int) -> None:
        super().__init__()
        self.lstm, self.out = nn.LSTM(2 * outputs, hidden, batch_first=True), nn.Linear(hidden, outputs)

    def forward(self, time: Tensor, space: Tensor, state: Tensor) -> Tensor:
        """Fuse the two branches.

        Args:
            time: Output of the temporal branch, (batch, lead, node, output).
            space: Output of the spatial branch, (batch, lead, node, output).
            state: State of each node, (batch, node, hidden).

        Returns:
            Fused output, (batch, lead, node, output).
        """
        batch, leads, nodes, _ = space.shape
        both = torch.cat([time, space], -1).transpose(1, 2).flatten(0, 1)  # (batch * node, lead, …)
        start = state.flatten(0, 1).unsqueeze(0)
        made, _ = self.lstm(both, (start.contiguous(), torch.zeros_like(start)))
        change: Tensor = self.out(made).view(batch, nodes, leads, -1).transpose(1, 2)
        return (time + space) / 2 + change


def make_fusion(kind: FusionName, hidden: int, outputs: int) -> nn.Module:
    """Make a fusion by its name.

    Args:
        kind: Name of a fusion: `adaptive`, `attention` or `lstm`.
        hidden: Number of channels of a node's state.
        outputs: Number of outputs for a node and lead.

    Raises:
        RequestError: There is no fusion of this name.
    """
    made = {"adaptive": AdaptiveGate, "attention": AttentionGate, "lstm": LSTMGate}
    if kind not in made:
        raise RequestError(f"fusion {kind!r}: {did_you_mean(kind, KINDS)}")
    return made[kind](hidden, outputs)
