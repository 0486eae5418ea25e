"""Compiled steps for the `fast` extra (numba): the same order of operations as `rk4.py`, so the same bits.

Members go in tiles of 16 side by side, with all arrays of a step in the first-level cache. A ring of N sites of 16
members is one flat array in which the neighbour k + 1 stands 16 places on, so each stage is one vectorised loop. No
fast-math: a fused multiply-add would change the last bit.
"""

from __future__ import annotations

import warnings
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from stgate.errors import SimulationWarning
from stgate.simulate.system import Array, Stepper

LANES = 16


def worth_compiling(steps: int, values: int) -> bool:
    """Test that compiled steps are available and save more time than they take to load, about two seconds.

    Args:
        steps: Number of steps to come.
        values: Number of values of the state.
    """
    return steps * (8e-6 + values / 2.8e8) > 2.0 and kernels() is not None


@cache
def kernels() -> Any:  # noqa: ANN401 (a module, imported only where it pays)
    """Load the compiled kernels; None without numba, and None with a warning if numba does not work here."""
    if find_spec("numba") is None:
        return None
    try:
        return import_module("stgate.simulate.integrators.kernels")
    except Exception as error:  # whatever numba raises beside a numpy it does not know, or without a folder to write to
        reason = " ".join(str(error).split())[:200]
        warnings.warn(f"numba cannot be used, so steps are not compiled: {reason}", SimulationWarning, stacklevel=2)
        return None


class FastLorenz96(Stepper):
    """Stepper of Lorenz-96 by compiled kernels.

    Args:
        states: States, (member, site).
        forcing: Forcing of each site, (site,).
        step: Time step.
    """

    def __init__(self, states: Array, forcing: Array, step: float) -> None:
        self.block = np.array(states.T, order="C")  # (site, member), never the caller's array
        self.forcing, self.step = np.ascontiguousarray(forcing), step
        self.kernel: Any = kernels().lorenz96
        self.none = np.empty((0, *states.shape))

    def advance(self, steps: int) -> None:
        """Advance all members by a number of steps."""
        self.kernel(self.block, self.forcing, self.step, steps, 0, self.none, LANES)

    def read(self, out: Array) -> None:
        """Write the state into `out`, (member, 1, site)."""
        with np.errstate(over="ignore"):
            out[:, 0] = self.block.T

    @property
    def state(self) -> Array:
        """A copy of the state, (member, site)."""
        return np.ascontiguousarray(self.block.T)

    def record(self, out: Array, every: int) -> None:
        """Fill `out`, (time, member, 1, site), within compiled code."""
        self.kernel(self.block, self.forcing, self.step, 0, every, out[:, :, 0], LANES)
