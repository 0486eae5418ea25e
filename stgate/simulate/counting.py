"""Exact counts of steps, and a random stream of its own for each member."""

from __future__ import annotations

import zlib

import numpy as np

from stgate.errors import RequestError


def steps_in(span: float, step: float, name: str, what: str = "steps") -> int:
    """Number of steps in a span, which must be a whole number.

    Args:
        span: Length of the span.
        step: Length of a step, in the same units.
        name: Name of the span, for error messages.
        what: Name of the steps, for error messages.

    >>> steps_in(0.3, 0.1, "duration")
    3

    Raises:
        RequestError: The step is not positive or does not divide the span.
    """
    if not (np.isfinite(step) and step > 0):
        raise RequestError(f"step {step:g}: must be positive")
    if not np.isfinite(span) or span < 0:
        raise RequestError(f"{name} {span:g}: must be {'a finite number' if not np.isfinite(span) else 'zero or more'}")
    count = round(span / step)
    if abs(count * step - span) > min(1e-9 * max(abs(span), step), 1e-3 * step):  # round-off, never a step
        raise RequestError(f"{name} {span:g}: not a whole number of {what} of {step:g}; try {count * step:g}")
    return count


def member_stream(system: str, seed: int, *key: int) -> np.random.Generator:
    """Random generator of member i, `member_stream(system, seed, i)`; it does not depend on the number of members.

    It is Philox on SeedSequence(seed), spawned by (crc32 of the system's name, i).

    Args:
        system: Name of the system.
        seed: Seed of the run.
        *key: Number of the member, and further numbers for further streams.
    """
    sequence = np.random.SeedSequence(seed, spawn_key=(zlib.crc32(system.encode()), *key))
    return np.random.Generator(np.random.Philox(sequence))
