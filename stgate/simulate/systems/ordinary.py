"""User-defined system of ordinary differential equations."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from stgate.errors import RequestError
from stgate.simulate.integrators.rk4 import FunctionSlope, RungeKuttaStepper
from stgate.simulate.system import START, Array, Attrs, Defaults, Place, StepLimits, Stepper, System


@dataclass(frozen=True, kw_only=True)
class OrdinarySystem(System):
    """dx/dt = rhs(t, x) with a user's right-hand side.

    Args:
        function: Right-hand side rhs(time, state) over (member, node).
        nodes: Number of components.
        called: Name of the system.
        variable: Name of the variable.
        units: Units of the variable.
        given: Parameters that distinguish the system from others.
    """

    function: Callable[[float, Array], Array]
    nodes: int
    called: str = "user"
    variable: str = "x"
    units: str = "1"
    given: Mapping[str, Any] = field(default_factory=dict)

    integrator: ClassVar[str] = "RK4"
    equation: ClassVar[str] = "dx/dt = rhs(t, x), given by the user"
    defaults: ClassVar[Defaults] = Defaults(duration=100.0, step=0.01, every=1, spinup=0.0)
    block: ClassVar[int] = 2**62
    """Members are stepped together, as a function may be unsafe on threads and may round by the number of members."""

    @classmethod
    def from_rhs(
        cls,
        rhs: Callable[[float, Array], ArrayLike],
        states: Array,
        *,
        name: str,
        variable: str,
        units: str,
        parameters: Mapping[str, Any] | None,
    ) -> OrdinarySystem:
        """Make the system of a right-hand side, and try it on the initial states.

        Args:
            rhs: Right-hand side, called as rhs(time, state) with states (member, node).
            states: Initial states, (member, node).
            name: Name of the system.
            variable: Name of the variable.
            units: Units of the variable.
            parameters: Parameters that distinguish the system from others; None for none.

        Raises:
            RequestError: The right-hand side returns another shape or values that are not finite, or the parameters
                cannot be stored.
        """
        try:
            json.dumps(dict(parameters or {}))
        except (TypeError, ValueError) as error:
            raise RequestError(
                f"parameters: must hold only numbers, text, and lists and dicts of them ({error})"
            ) from error
        if not str(variable).isidentifier() or variable in ("time", "node", "member"):
            raise RequestError(f"variable {variable!r}: must be a name such as x or u, and not the name of a dimension")
        slope = np.asarray(rhs(0.0, np.array(states)))
        if slope.dtype.kind not in "fiu":
            raise RequestError(f"rhs: returns {slope.dtype}; must return real numbers")
        if slope.shape != states.shape:
            raise RequestError(
                f"rhs: returns shape {slope.shape} for states {states.shape}; must return the shape of the states"
            )
        if not np.isfinite(np.asarray(slope, dtype=np.float64)).all():
            raise RequestError("rhs: must be finite at the initial state")

        def function(time: float, state: Array) -> Array:
            return np.asarray(rhs(time, state), dtype=np.float64)

        system = cls(
            function=function,
            nodes=states.shape[1],
            called=name,
            variable=variable,
            units=units,
            given=dict(parameters or {}),
        )
        object.__setattr__(system, "name", name)
        return system

    @property
    def title(self) -> str:
        """Name of the system."""
        return f"{self.called}, {self.nodes} components"

    @property
    def dimension(self) -> int:
        """Number of components."""
        return self.nodes

    @property
    def sites(self) -> int:
        """Number of components."""
        return self.nodes

    @property
    def variables(self) -> dict[str, Attrs]:
        """Single variable with its attributes."""
        return {self.variable: {"long_name": self.variable, "units": self.units}}

    @property
    def limits(self) -> StepLimits:
        """Limits of the step, of which none is known."""
        return StepLimits(np.inf, np.inf, "")

    @property
    def bound(self) -> float:
        """Bound that float32 holds easily."""
        return 1e30

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameters that the user gave."""
        return dict(self.given)

    def initial(self, stream: np.random.Generator) -> Array:
        """Refuse, since the user gives the initial state."""
        raise RequestError("integrate: give the initial state")

    def stepper(self, states: Array, *, step: float, place: Place = START) -> Stepper:
        """Make an RK4 stepper over (node, member)."""
        rows = np.arange(self.nodes)
        slope = FunctionSlope(self.function, *states.shape)
        return RungeKuttaStepper(slope, states, rows, rows[None], step, place.clock)
