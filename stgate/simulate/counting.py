"""Exact counts of steps, and a random stream of its own for each member."""

from __future__ import annotations

import zlib

import numpy as np

from stgate.errors import RequestError


def steps_in(span: float, step: float, name: str, what: str = "steps") -> int:
    """How many steps make up a span, refused unless a whole number.

    >>> steps_in(0.3, 0.1, "duration")
    3

    Raises:
        RequestError: The step is not positive or does not divide the span.
    """
    if not (np.isfinite(step) and step > 0):
        raise RequestError(f"step {step:g}: a time step is positive")
    if not np.isfinite(span) or span < 0:
        raise RequestError(f"{name} {span:g}: must be {'a finite number' if not np.isfinite(span) else 'zero or more'}")
    count = round(span / step)
    if abs(count * step - span) > min(1e-9 * max(abs(span), step), 1e-3 * step):  # round-off, never a step
        raise RequestError(f"{name} {span:g}: not a whole number of {what} of {step:g}; try {count * step:g}")
    return count


def member_stream(system: str, seed: int, *key: int) -> np.random.Generator:
    """Member i's own generator, `member_stream(system, seed, i)`: it does not depend on how many members there are.

    Philox on SeedSequence(seed), spawned by (crc32 of the system's name, i).
    """
    sequence = np.random.SeedSequence(seed, spawn_key=(zlib.crc32(system.encode()), *key))
    return np.random.Generator(np.random.Philox(sequence))
