"""Engine that steps the members of a plan, in blocks over cores, and checks each slice of output."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

import numpy as np

from stgate.errors import SimulationError
from stgate.simulate.plan import Plan, Progress
from stgate.simulate.system import Array, Place

SAVE_SECONDS = 20.0
"""Seconds after which an unfinished chunk is saved."""
SLICE_SECONDS = 0.3
"""Seconds, roughly, between two checks and progress reports."""


def seconds_needed(plan: Plan, trial: float = 0.5) -> float:
    """Estimate the seconds that a run takes, by stepping some of its members for a moment.

    Args:
        plan: Plan of the run.
        trial: Seconds to step.
    """
    sample = min(plan.members, max(4 * plan.system.block // plan.system.dimension, 1))
    share = sample / plan.members
    plan = dataclasses.replace(plan, members=sample, given=None if plan.given is None else plan.given[:sample])
    engine = Engine(plan, plan.states(), 0, None)
    with engine:
        row = engine._room(1)
        steps, started = 1, time.monotonic()
        engine._advance(row, 1)  # the first step also loads what is compiled
        started = time.monotonic()
        while time.monotonic() - started < trial and engine.clock < plan.steps:
            steps = min(2 * steps, engine._slice(1))
            engine._advance(row, steps)
        rate = (engine.clock - 1) / max(time.monotonic() - started, 1e-9)
    return plan.steps / max(rate, 1e-9) / share


class Engine:
    """Stepper of all members of a plan.

    Args:
        plan: Plan of the run.
        states: Internal states, (member, internal size), after `clock` steps.
        clock: Number of steps done before.
        progress: Function called with (steps done, total steps); None for no reports.
    """

    def __init__(self, plan: Plan, states: Array, clock: int, progress: Progress | None) -> None:
        self.plan, self.clock, self.progress = plan, clock, progress
        self.planned = plan.steps - clock
        self.blocks = plan.blocks
        self.steppers = [
            plan.system.stepper(
                states[block.start : block.stop],
                step=plan.step,
                place=Place(clock, plan.discarded, plan.seed, plan.first + block.start, self.planned),
            )
            for block in self.blocks
        ]
        self.pool = ThreadPoolExecutor(plan.workers) if len(self.blocks) > 1 and plan.workers > 1 else None
        self.pace = 1.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.pool:
            self.pool.shutdown(cancel_futures=True)

    @property
    def states(self) -> Array:
        """A copy of the exact internal states, (member, internal size)."""
        return np.concatenate([stepper.state for stepper in self.steppers])

    def spin_up(self) -> None:
        """Step through the spin-up and discard it.

        Raises:
            SimulationError: A member blew up in the spin-up.
        """
        row = self._room(1)
        while self.clock < self.plan.discarded:
            steps = min(self._slice(1), self.plan.discarded - self.clock)
            self._advance(row, steps)
            self._check(row, self.clock, steps)

    def chunks(self, first: int = 0, held: Array | None = None) -> Iterator[tuple[int, Array, bool]]:
        """Yield chunks: number of the first output, values (time, member, variable, node), and a flag that it is whole.

        A chunk that takes long is also yielded unfinished, so that it can be saved.

        Args:
            first: Number of the first output of the first chunk.
            held: Rows of the first chunk that were computed before; None for none.

        Raises:
            SimulationError: A member blew up; the rows in which it did are not yielded.
        """
        plan = self.plan
        room = self._room(plan.chunk)
        ready = 0 if held is None else len(held)
        if held is not None:
            room[:ready] = held
        saved = time.monotonic()
        while first < plan.outputs:
            last = min(first + plan.chunk, plan.outputs)
            at, ready = first + ready, 0
            if at == 0:
                for block, stepper in zip(self.blocks, self.steppers, strict=True):
                    stepper.read(room[0, block.start : block.stop])
                at = 1
            while at < last:
                rows = room[at - first : min(at + self._slice(plan.every), last) - first]
                self._advance(rows, plan.every)
                self._check(rows, self.clock - len(rows) * plan.every + plan.every, plan.every)
                at += len(rows)
                if at < last and time.monotonic() - saved > SAVE_SECONDS:
                    yield first, room[: at - first], False
                    saved = time.monotonic()
            yield first, room[: last - first], True
            first, saved = last, time.monotonic()

    def _room(self, rows: int) -> Array:
        plan = self.plan
        return np.empty((rows, plan.members, len(plan.system.variables), plan.system.sites), plan.dtype)

    def _slice(self, stride: int) -> int:
        return max(int(self.pace / stride), 1)

    def _advance(self, rows: Array, every: int) -> None:
        started = time.monotonic()

        def advance(index: int) -> None:
            block = self.blocks[index]
            self.steppers[index].record(rows[:, block.start : block.stop], every)

        for _ in (self.pool.map if self.pool else map)(advance, range(len(self.blocks))):
            pass
        steps = len(rows) * every
        self.clock += steps
        rate = steps / max(time.monotonic() - started, 1e-6)
        self.pace = min(rate * SLICE_SECONDS, 4 * max(self.pace, steps))
        if self.progress:
            self.progress(self.clock, self.plan.steps)

    def _check(self, rows: Array, clock: int, every: int) -> None:
        """Refuse rows in which a member left the bounded region; the first row is at step `clock`."""
        plan = self.plan
        bound = plan.bound
        rows = rows[:, :, plan.system.watched]
        if not rows.size or (rows.max() < bound and rows.min() > -bound):  # false for a NaN too
            return
        bad = ~(np.abs(rows) < bound).all(axis=(2, 3))
        row, member = np.argwhere(bad)[0]
        steps = clock + int(row) * every - plan.discarded
        safe = min(plan.step / 2, plan.system.limits.warn)
        when = f"by time {steps * plan.step:g}" if steps > 0 else "in the spin-up"
        raise SimulationError(
            f"member {plan.first + member} blew up {when} with step {plan.step:g}; try --step {safe:.3g}"
        )
