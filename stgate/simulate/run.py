"""Running a system: exact step counts, a random stream of its own for each member, a check of every chunk."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from stgate.errors import RequestError, SimulationError

State = NDArray[np.float64]
Progress = Callable[[int, int], None]
"""Called with the steps done and the steps in all."""


def steps_in(span: float, step: float, name: str) -> int:
    """How many steps make up a span, refused unless a whole number.

    >>> steps_in(0.3, 0.1, "duration")
    3

    Raises:
        RequestError: The step is not positive or does not divide the span.
    """
    if step <= 0:
        raise RequestError(f"step {step:g}: a time step is positive")
    count = round(span / step)
    if count < 0 or abs(count * step - span) > 1e-9 * max(abs(span), step):
        raise RequestError(f"{name} {span:g}: not a whole number of steps of {step:g}; try {count * step:g}")
    return count


def member_stream(system: str, seed: int, member: int) -> np.random.Generator:
    """Member i's own generator: it does not depend on how many members there are.

    Philox on SeedSequence(seed), spawned by (crc32 of the system's name, member).
    """
    key = (zlib.crc32(system.encode()), member)
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=key)))


def integrate_members(
    advance: Callable[[State], None],
    state: State,
    *,
    steps: int,
    every: int,
    step: float,
    bound: float,
    progress: Progress | None = None,
) -> State:
    """Step all members in place and keep every `every`-th state, the first one included.

    Args:
        advance: Advances the state by one step, in place.
        state: (member, node); it is changed.
        steps: Number of steps, a multiple of `every`.
        every: Output stride.
        step: The time step, for messages only.
        bound: Largest plausible magnitude.
        progress: Told about every hundredth of the work.

    Returns:
        (time, member, node), `steps // every + 1` times.

    Raises:
        SimulationError: A member left the bounded region; names member and time.
    """
    kept = np.empty((steps // every + 1, *state.shape))
    kept[0] = state
    chunk = max(steps // every // 100, 1)
    for index in range(1, kept.shape[0]):
        with np.errstate(over="ignore", invalid="ignore"):  # a blow-up is found and named at the chunk's end
            for _ in range(every):
                advance(state)
        kept[index] = state
        if index % chunk == 0 or index == kept.shape[0] - 1:
            _check_bounded(kept[max(index - chunk, 0) : index + 1], max(index - chunk, 0), every * step, step, bound)
            if progress:
                progress(index * every, steps)
    return kept


def _check_bounded(states: State, first: int, stride: float, step: float, bound: float) -> None:
    bad = ~(np.abs(states) < bound).all(axis=-1)
    if bad.any():
        when, member = np.argwhere(bad)[0]
        raise SimulationError(
            f"member {member} blew up by time {(first + when) * stride:g} with step {step:g}; try --step {step / 2:g}"
        )
