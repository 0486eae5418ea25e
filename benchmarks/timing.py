"""CPU time of functions, taken in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping


def cpu_times(
    contenders: Mapping[str, Callable[[], object]], rounds: int, *, warm_up: int = 1
) -> dict[str, list[float]]:
    """Return the CPU seconds of each contender in each round.

    Args:
        contenders: Functions by name; they take turns within a round.
        rounds: Number of rounds that count.
        warm_up: Number of rounds before them that do not.
    """
    spent: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(warm_up + rounds):
        for name, function in contenders.items():
            started = time.process_time()
            function()
            spent[name].append(time.process_time() - started)
    return {name: seconds[warm_up:] for name, seconds in spent.items()}
