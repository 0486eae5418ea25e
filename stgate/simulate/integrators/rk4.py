"""Classical fourth-order Runge-Kutta step, in place, in one fixed order of operations.

The order determines the bits of a data set. Another order differs in the last bit and, with chaos, in every digit after
some time. The compiled kernels of `stgate.simulate.integrators.fast` follow the same order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from stgate.simulate.system import Array, Stepper, TangentStepper


class Slope(Protocol):
    """Tendency dx/dt of the state in `stage`."""

    stage: Array

    def __call__(self, out: Array, time: float) -> None:
        """Write the slope at the stage's state into `out`."""


class RungeKutta4:
    """Runge-Kutta step x += h/6 (2 (k2 + k3) + k1 + k4), with the stages x + h/2 k1, x + h/2 k2 and x + h k3."""

    def __init__(self, slope: Slope, state: Array, step: float, clock: int = 0) -> None:
        self.slope, self.state, self.step, self.clock = slope, state, step, clock
        self.work = tuple(np.zeros_like(state) for _ in range(3))

    def advance(self, steps: int) -> None:
        """Advance the state by a number of steps."""
        slope, x, stage, h = self.slope, self.state, self.slope.stage, self.step
        add, multiply = np.add, np.multiply
        k1, k2, k3 = self.work
        whole, half, sixth, two = (np.array(c) for c in (h, h / 2, h / 6, 2.0))  # arrays: ufuncs convert floats slowly
        for count in range(self.clock, self.clock + steps):
            time = count * h
            stage[...] = x
            slope(k1, time)
            multiply(k1, half, stage)
            add(stage, x, stage)
            slope(k2, time + h / 2)
            multiply(k2, half, stage)
            add(stage, x, stage)
            slope(k3, time + h / 2)
            add(k2, k3, k2)
            multiply(k3, whole, stage)
            add(stage, x, stage)
            slope(k3, time + h)
            multiply(k2, two, k2)
            add(k2, k1, k2)
            add(k2, k3, k2)
            multiply(k2, sixth, k2)
            add(x, k2, x)
        self.clock += steps


class RungeKuttaStepper(Stepper):
    """Stepper with members in columns: the state is (row, member), so that operations run over contiguous members.

    Args:
        slope: Tendency over (row, member).
        states: Internal states, (member, size).
        rows: Row of each of the `size` degrees of freedom.
        observed: Row of each observed value, (variable, node).
        step: Time step.
        clock: Number of steps done before.
    """

    def __init__(self, slope: Slope, states: Array, rows: Array, observed: Array, step: float, clock: int) -> None:
        block = np.zeros_like(slope.stage)
        block[rows] = states.T  # a copy: the caller's array is never stepped
        self.rows, self.observed = rows, observed
        self.rk4 = RungeKutta4(slope, block, step, clock)

    def advance(self, steps: int) -> None:
        """Advance all members by a number of steps."""
        with np.errstate(over="ignore", invalid="ignore"):  # a blow-up is found and named by the check of the chunk
            self.rk4.advance(steps)

    def read(self, out: Array) -> None:
        """Write the observed variables into `out`, (member, variable, node)."""
        with np.errstate(over="ignore"):  # a float32 cannot hold what blows up
            out[...] = self.rk4.state[self.observed].transpose(2, 0, 1)

    @property
    def state(self) -> Array:
        """A copy of the state, (member, size)."""
        return np.ascontiguousarray(self.rk4.state[self.rows].T)


class RungeKuttaTangent(TangentStepper):
    """RK4 of a state and its perturbations together, which is the tangent-linear map of RK4.

    The slope's stage is (row, 1 + count, member), the state in front.
    """

    def __init__(self, slope: Slope, states: Array, vectors: Array, rows: Array, step: float) -> None:
        self.rows = rows
        block = np.zeros_like(slope.stage)
        block[rows, 0] = states.T
        self.rk4 = RungeKutta4(slope, block, step)
        self.vectors = vectors

    def advance(self, steps: int) -> None:
        """Advance members and perturbations by a number of steps."""
        with np.errstate(over="ignore", invalid="ignore"):
            self.rk4.advance(steps)

    @property
    def vectors(self) -> Array:
        """(member, size, count)."""
        return np.ascontiguousarray(self.rk4.state[self.rows, 1:].transpose(2, 0, 1))

    @vectors.setter
    def vectors(self, value: Array) -> None:
        self.rk4.state[self.rows, 1:] = value.transpose(1, 2, 0)


class FunctionSlope:
    """Tendency over (node, member) from a user's function of (time, state), whose state is (member, node)."""

    def __init__(self, function: Callable[[float, Array], Array], members: int, size: int) -> None:
        self.function = function
        self.stage = np.empty((size, members))

    def __call__(self, out: Array, time: float) -> None:
        """Write the slope at the stage's state into `out`."""
        # A copy: a function that changes its argument, as some do, changes nothing here.
        out[...] = np.asarray(self.function(time, np.array(self.stage.T, order="C"))).T
