"""Recurrent cells that torch lacks: the recurrent highway network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stgate.errors import RequestError


class RecurrentHighway(nn.Module):
    """Recurrent highway network: several highway layers within one step.

    Each layer l = 1 … depth maps the state s before it: h = tanh(W x + R_l s + b_l), t = sigmoid(W' x + R'_l s + b'_l),
    and s <- t * h + c * s. The input x enters the first layer only. The carry gate c is 1 - t, or a separate gate if it
    is free. At first the state is mostly carried.

    Args:
        inputs: Number of channels of the input.
        hidden: Number of channels of the state.
        depth: Number of highway layers within a step.
        free: Use a separate carry gate in place of 1 - t.

    Raises:
        RequestError: The depth is below 1.

    References:
        Zilly, Srivastava, Koutník, Schmidhuber (2017), Recurrent highway networks. ICML. arXiv:1607.03474.
    """

    def __init__(self, inputs: int, hidden: int, depth: int = 2, *, free: bool = False) -> None:
        super().__init__()
        if depth < 1:
            raise RequestError(f"depth {depth}: must be at least 1")
        self.hidden, self.parts = hidden, 3 if free else 2
        self.from_input = nn.Linear(inputs, self.parts * hidden, bias=False)
        layers = [nn.Linear(hidden, self.parts * hidden) for _ in range(depth)]
        self.from_state = nn.ModuleList(layers)
        with torch.no_grad():
            for layer in layers:
                layer.bias[:hidden] = 0.0
                layer.bias[hidden : 2 * hidden] = -2.0
                layer.bias[2 * hidden :] = 2.0

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Run over a sequence.

        Args:
            x: Inputs, (batch, time, input).
            state: State before the first step, (batch, hidden); zero when None.

        Returns:
            The states, (batch, time, hidden), and the last state, (batch, hidden).
        """
        entering = self.from_input(x)  # for all steps at once
        state = x.new_zeros(x.shape[0], self.hidden) if state is None else state
        states = []
        for step in entering.unbind(1):
            state = self._step(step, state)
            states.append(state)
        return torch.stack(states, 1), state

    def _step(self, entering: Tensor, state: Tensor) -> Tensor:
        for number, layer in enumerate(self.from_state):
            raw = layer(state)
            raw = raw + entering if number == 0 else raw
            new, gates = torch.tanh(raw[:, : self.hidden]), torch.sigmoid(raw[:, self.hidden :])
            transform = gates[:, : self.hidden]
            if self.parts == 2:
                state = state + transform * (new - state)
            else:
                state = transform * new + gates[:, self.hidden :] * state
        return state
