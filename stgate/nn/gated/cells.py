"""Recurrent cells beside torch's own: the recurrent highway network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stgate.errors import RequestError


class RecurrentHighway(nn.Module):
    """A recurrence that is several highway layers deep within one step.

    Of each layer l = 1 … depth, s the state before: h = tanh(W x + R_l s + b_l), t = sigmoid(W' x + R'_l s + b'_l),
    and s <- t * h + c * s. The input x enters the first one only. The carry c is 1 - t, or where it is free a gate of
    its own. It starts by carrying.

    Args:
        inputs: Size of the input.
        hidden: Size of the state.
        depth: Highway layers a step.
        free: A carry gate of its own.

    Raises:
        RequestError: No layer at all.

    References:
        Zilly, Srivastava, Koutník, Schmidhuber (2017), Recurrent highway networks. ICML. arXiv:1607.03474.
    """

    def __init__(self, inputs: int, hidden: int, depth: int = 2, *, free: bool = False) -> None:
        super().__init__()
        if depth < 1:
            raise RequestError(f"depth {depth}: at least 1 layer")
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
        """A sequence.

        Args:
            x: (batch, time, input).
            state: (batch, hidden), before the first step; zero when None.

        Returns:
            The states (batch, time, hidden), and the last one.
        """
        entering = self.from_input(x)  # of all steps at once
        state = x.new_zeros(len(x), self.hidden) if state is None else state
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
