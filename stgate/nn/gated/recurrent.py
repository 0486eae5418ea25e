"""Recurrent layers whose cell, gate and attention are options."""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor, nn

from stgate.errors import RequestError, did_you_mean
from stgate.nn.attention import CausalAttention, steps_needed
from stgate.nn.gated.cells import RecurrentHighway
from stgate.nn.gated.gru import GRU
from stgate.nn.gates import GateName, make_gate

CellName = Literal["gru", "lstm", "rhn", "none"]
"""Names of the cells: gated recurrent unit, long short-term memory, recurrent highway network; `none` for no cell."""
CELLS: tuple[CellName, ...] = get_args(CellName)

Memory = list[tuple[Tensor, ...]]
"""State that a stack of layers carries from one run of steps to the next, one tuple for each part."""


class RecurrentStack(nn.Module):
    """Layers of x <- gate(x, cell(x)), each optionally followed by x <- gate(x, attention(x)).

    Args:
        channels: Number of channels of x and of the cells' states.
        layers: Number of layers.
        cell: Recurrent cell: `gru`, `lstm`, `rhn` (recurrent highway network) or `none`.
        gate: Name of a gate of `stgate.nn.gates`; `additive` is the plain residual, `none` the plain stack.
        heads: Number of heads of the attention over recent states; 0 for no attention.
        span: Number of steps that the attention sees.
        gated_heads: Multiply the output of each attention head by a sigmoid of the state.
        depth: Number of highway layers within a step of the cell `rhn`.
        free_carry: Use a separate carry gate in the cell `rhn`.

    Raises:
        RequestError: There is no cell of this name.
    """

    def __init__(
        self,
        channels: int,
        layers: int = 1,
        *,
        cell: CellName = "gru",
        gate: GateName = "coupled",
        heads: int = 0,
        span: int = 16,
        gated_heads: bool = False,
        depth: int = 2,
        free_carry: bool = False,
    ) -> None:
        super().__init__()
        if cell not in CELLS:
            raise RequestError(f"cell {cell!r}: {did_you_mean(cell, CELLS)}")
        self.cell, self.span, self.heads = cell, span, heads
        self.layers = nn.ModuleList()
        for _ in range(layers):
            parts: dict[str, nn.Module] = {}
            if cell == "rhn":
                parts["cell"] = RecurrentHighway(channels, channels, depth, free=free_carry)
            elif cell != "none":
                parts["cell"] = (
                    GRU(channels, channels) if cell == "gru" else nn.LSTM(channels, channels, batch_first=True)
                )
            if cell != "none":
                parts["gate"] = make_gate(gate, channels)
            if heads:
                parts["attention"] = CausalAttention(channels, heads, span, gated=gated_heads)
                parts["attention_gate"] = make_gate(gate, channels)
            self.layers.append(nn.ModuleDict(parts))

    @property
    def rows_last(self) -> bool:
        """True if inputs whose rows lie last in memory are read without a copy."""
        return self.cell == "gru" and not self.heads

    @property
    def enters(self) -> bool:
        """True if the stack applies layers to its inputs itself, step by step, for the output of the last step."""
        return self.cell == "gru" and len(self.layers) == 1 and not self.heads

    @property
    def reach(self) -> int | None:
        """Number of last steps that the output of the last step depends on; None if it may be any number."""
        return steps_needed(len(self.layers) if self.heads else 0, self.span) if self.cell == "none" else None

    def forward(
        self, x: Tensor, memory: Memory | None = None, *, last: bool = False, entry: nn.Sequential | None = None
    ) -> tuple[Tensor, Memory]:
        """Run over consecutive steps.

        Args:
            x: Inputs, (row, time, channel).
            memory: Memory after the steps right before, as the call for those steps returned it; None at the start.
            last: Return the output of the last step only.
            entry: Layers that are applied to the inputs first; of a stack that `enters`, for the last step only.

        Returns:
            Outputs, (row, time, channel), with one time if only the last is returned; and the memory after the steps.
        """
        before = iter(memory or [])
        after: Memory = []
        for number, parts in enumerate(self.layers):
            assert isinstance(parts, nn.ModuleDict)
            later = len(self.layers) - 1 - number
            only = last and not later
            if "cell" in parts:
                x, held = self._recur(parts, x, next(before, None), only and "attention" not in parts, entry)
                after.append(held)
            if "attention" in parts:
                crop = only or (last and self.cell == "none")  # a cell of a later layer reads all steps
                needed = steps_needed(later, self.span) if crop else None
                attended, held = parts["attention"](x, next(before, None), needed)
                x = parts["attention_gate"](x[:, -attended.shape[1] :], attended)
                after.append(held)
        return (x[:, -1:] if last else x), after

    def _recur(
        self,
        parts: nn.ModuleDict,
        x: Tensor,
        memory: tuple[Tensor, ...] | None,
        last: bool,
        entry: nn.Sequential | None,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        cell = parts["cell"]
        if last and isinstance(cell, GRU):
            x, states, one = cell.ends(x, memory[0] if memory else None, entry)
            return parts["gate"](x, states), (one,)
        if self.cell == "lstm":
            states, held = cell(x, memory)
        else:
            states, one = cell(x, memory[0] if memory else None)
            states, held = states.contiguous() if self.heads else states, (one,)  # as attention reads them
        if last:
            x, states = x[:, -1:], states[:, -1:]
        return parts["gate"](x, states), held


def detached(memory: Memory) -> Memory:
    """Detach the memory from its autograd graph, which cuts backpropagation through time.

    Args:
        memory: Memory of a stack of layers.
    """
    return [tuple(part.detach() for part in parts) for parts in memory]
