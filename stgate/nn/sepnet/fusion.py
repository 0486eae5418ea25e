"""Fusion of two branches: what all nodes have in common over time, and what each has beside it."""

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
    """g * time + (1 - g) * space, g = sigmoid(MLP [state; time; space]): one weight a node, lead and output.

    The published code has one linear map over all nodes, which knows their order; this one is shared by all nodes.

    Args:
        hidden: Size of a node's state.
        outputs: Numbers that are forecast for a node and lead.

    References:
        STH-SepNet, equations 26 and 27.
    """

    def __init__(self, hidden: int, outputs: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(nn.Linear(hidden + 2 * outputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))

    def forward(self, time: Tensor, space: Tensor, state: Tensor) -> Tensor:
        """(batch, lead, node, output) of both branches and the state (batch, node, hidden) -> as the branches."""
        known = state.unsqueeze(1).expand(*space.shape[:3], -1)
        share = torch.sigmoid(self.gate(torch.cat([known, time, space], -1)))
        return lerp(space, time, share)


class AttentionGate(nn.Module):
    """Each node and lead attends to the two branches: softmax of q · k, q of its state, k of what they say.

    Args:
        hidden: Size of a node's state, and of q and k.
        outputs: Numbers that are forecast for a node and lead.
    """

    def __init__(self, hidden: int, outputs: int) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(hidden, hidden), nn.Linear(outputs, hidden)
        self.branch = nn.Parameter(0.1 * torch.randn(2, hidden))

    def forward(self, time: Tensor, space: Tensor, state: Tensor) -> Tensor:
        """As `AdaptiveGate`."""
        both = torch.stack([time, space], -2)  # (batch, lead, node, branch, output)
        query = self.query(state)[:, None, :, None]
        score = (query * (self.key(both) + self.branch)).sum(-1, keepdim=True) / query.shape[-1] ** 0.5
        made: Tensor = (score.softmax(-2) * both).sum(-2)
        return made


class LSTMGate(nn.Module):
    """An LSTM over the leads, which reads both branches and starts from the node's state, adds to their mean.

    Args:
        hidden: Size of a node's state, and of the LSTM's.
        outputs: Numbers that are forecast for a node and lead.
    """

    def __init__(self, hidden: int, outputs: int) -> None:
        super().__init__()
        self.lstm, self.out = nn.LSTM(2 * outputs, hidden, batch_first=True), nn.Linear(hidden, outputs)

    def forward(self, time: Tensor, space: Tensor, state: Tensor) -> Tensor:
        """As `AdaptiveGate`."""
        batch, leads, nodes, _ = space.shape
        both = torch.cat([time, space], -1).transpose(1, 2).flatten(0, 1)  # (batch * node, lead, …)
        start = state.flatten(0, 1).unsqueeze(0)
        made, _ = self.lstm(both, (start.contiguous(), torch.zeros_like(start)))
        change: Tensor = self.out(made).view(batch, nodes, leads, -1).transpose(1, 2)
        return (time + space) / 2 + change


def make_fusion(kind: str, hidden: int, outputs: int) -> nn.Module:
    """A fusion by name.

    Raises:
        RequestError: No fusion of this name.
    """
    made = {"adaptive": AdaptiveGate, "attention": AttentionGate, "lstm": LSTMGate}
    if kind not in made:
        raise RequestError(f"fusion {kind!r}: {did_you_mean(kind, KINDS)}")
    return made[kind](hidden, outputs)
