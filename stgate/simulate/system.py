"""Base class of the systems: physics, initial states, and steppers that advance a block of members in place."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from stgate.errors import RequestError, did_you_mean

Array = NDArray[Any]
Attrs = dict[str, str | float]


class Defaults(NamedTuple):
    """Default options of a run of a system, in its own units of time."""

    duration: float
    step: float
    every: int
    spinup: float


class StepLimits(NamedTuple):
    """Limits of the step: above `warn` it is inaccurate, above `refuse` it fails, for the reason `why`."""

    warn: float
    refuse: float
    why: str


class Place(NamedTuple):
    """Position of a block of members in a run."""

    clock: int = 0
    """Number of steps done before, the spin-up included."""
    origin: int = 0
    """Number of steps of the spin-up."""
    seed: int = 0
    first: int = 0
    """The number of the block's first member."""
    planned: int = 0
    """Number of steps to come; long runs are worth compiling for."""


START = Place()


class Stepper(ABC):
    """Stepper of a block of members, in place. Each member's bits are the same in every block."""

    @abstractmethod
    def advance(self, steps: int) -> None:
        """Advance all members by a number of steps."""

    @abstractmethod
    def read(self, out: Array) -> None:
        """Write the observed variables into `out`, (member, variable, node)."""

    @property
    @abstractmethod
    def state(self) -> Array:
        """A copy of the exact internal state, (member, internal size)."""

    def record(self, out: Array, every: int) -> None:
        """Advance by `every` steps before each row of `out`, (time, member, variable, node), and write the row."""
        for row in out:
            self.advance(every)
            self.read(row)


class TangentStepper(ABC):
    """Stepper of a block of members and of perturbations that follow the tangent-linear flow."""

    @abstractmethod
    def advance(self, steps: int) -> None:
        """Advance members and perturbations by a number of steps."""

    @property
    @abstractmethod
    def vectors(self) -> Array:
        """Perturbations in physical space, (member, dimension, count), float64."""

    @vectors.setter
    @abstractmethod
    def vectors(self, value: Array) -> None: ...


@dataclass(frozen=True, kw_only=True)
class System(ABC):
    """Equation with its parameters; the docstring of a subclass describes the physics."""

    name: ClassVar[str]
    integrator: ClassVar[str]
    defaults: ClassVar[Defaults]
    block: ClassVar[int] = 2**14
    """Number of values in a block of members, measured so that a block with its work arrays fits the cache."""
    watched: ClassVar[slice] = slice(None)
    """Variables that are checked for blow-up."""
    zeros: ClassVar[int] = 0
    """Number of Lyapunov exponents that are exactly zero; 0 if the system is not chaotic."""

    def __post_init__(self) -> None:
        """Convert the parameters to plain Python numbers, so that 22 equals 22.0 and numpy's are stored alike."""
        for entry in fields(self):
            value, kind = getattr(self, entry.name), str(entry.type)
            if kind.startswith("int") and value is not None:
                object.__setattr__(self, entry.name, whole(entry.name, value))
            elif kind == "float":
                object.__setattr__(self, entry.name, number(entry.name, value))

    @property
    @abstractmethod
    def title(self) -> str:
        """Name of the system, in a few words."""

    @property
    @abstractmethod
    def equation(self) -> str:
        """Equation of motion in plain unicode."""

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Dimension of a member's phase space: its number of real degrees of freedom."""

    @property
    @abstractmethod
    def sites(self) -> int:
        """Number of nodes."""

    @property
    @abstractmethod
    def variables(self) -> dict[str, Attrs]:
        """Observed variables with their attributes, the leading one first."""

    @property
    @abstractmethod
    def limits(self) -> StepLimits:
        """Limits of the step."""

    @property
    @abstractmethod
    def bound(self) -> float:
        """Magnitude that no observed value reaches."""

    @abstractmethod
    def initial(self, stream: np.random.Generator) -> Array:
        """Draw a generic initial state of one member in physical space, (dimension,).

        Args:
            stream: Random generator of the member.
        """

    @abstractmethod
    def stepper(self, states: Array, *, step: float, place: Place = START) -> Stepper:
        """Make a stepper of a block of members.

        Args:
            states: Internal states, (member, internal size).
            step: Integration step.
            place: Position of the block in the run.
        """

    def encode(self, physical: Array) -> Array:
        """Convert physical states (member, dimension) to internal states (member, internal size)."""
        return np.array(physical, dtype=np.float64)

    def symmetry(self, physical: Array) -> str | None:
        """Explain that states (member, dimension) never leave an invariant subspace; None if they are generic."""
        return None

    def tail(self, states: Array) -> tuple[float, int] | None:
        """Energy of a spectral system at the cut-off relative to its peak, and a grid that resolves it; else None."""
        return None

    def tangent(self, states: Array, vectors: Array, *, step: float) -> TangentStepper:
        """Make a stepper of states and perturbations.

        Args:
            states: Internal states, (member, internal size).
            vectors: Perturbations in physical space, (member, dimension, count).
            step: Integration step.

        Raises:
            RequestError: The system has no tangent-linear equation.
        """
        raise RequestError(f"{self.name}: has no tangent-linear equation here, so no Lyapunov exponents")

    def gather(self, fields: dict[str, Array]) -> Array:
        """Join the variables, each (member, node), to the physical state, (member, dimension)."""
        return np.concatenate([fields[name] for name in self.state_variables], axis=-1)

    @property
    def state_variables(self) -> tuple[str, ...]:
        """Variables that make up the whole state; a panel needs them all to be an initial state."""
        return tuple(self.variables)

    def coords(self, seed: int) -> dict[str, Any]:
        """Make the coordinates of the nodes, in the form that xarray takes."""
        return {"node": np.arange(self.sites)}

    def times(self, counts: Array, step: float) -> Any:  # noqa: ANN401 (whatever xarray takes as a coordinate)
        """Make the time coordinate: counts of steps times the step, in float64, since float32 drifts."""
        np.multiply(counts, step, counts)  # in place: a long run's axis is large
        return ("time", counts, {"long_name": "model time", "units": "1", "axis": "T"})

    def attrs(self, seed: int) -> Attrs:
        """Make further attributes of the panel."""
        return {}

    @property
    def exponents_needed(self) -> int:
        """Number of Lyapunov exponents for the Kaplan-Yorke dimension: all of a small system, 64 of a large one."""
        return min(self.dimension, 64)

    @property
    def trace(self) -> float | None:
        """Sum of all Lyapunov exponents, if the divergence of the flow is constant; else None."""
        return None

    @classmethod
    def of(cls, **parameters: Any) -> Self:  # noqa: ANN401 (each its own type, which __post_init__ checks)
        """Make the system with these parameters.

        Args:
            **parameters: Parameters by name; the others keep their defaults.

        Raises:
            RequestError: There is no such parameter, or a value is wrong.
        """
        known = [f.name for f in fields(cls)]
        for name in parameters:
            if name not in known:
                raise RequestError(f"{name}: no such parameter of {cls.name}; {did_you_mean(name, known)}")
        return cls(**parameters)

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameters by name."""
        return asdict(self)


def whole(name: str, value: object) -> int:
    """Convert an int of any kind to a plain int.

    Args:
        name: Name of the option, for the error message.
        value: Value to convert.

    Raises:
        RequestError: The value is not a whole number.
    """
    wrong = RequestError(f"{name} {value!r}: must be a whole number")
    if isinstance(value, bool | np.bool_):
        raise wrong
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError as error:
        raise wrong from error


def number(name: str, value: object) -> float:
    """Convert a number of any kind to a plain float.

    Args:
        name: Name of the option, for the error message.
        value: Value to convert.

    Raises:
        RequestError: The value is not a number.
    """
    if isinstance(value, np.float32 | np.float16):
        return float(str(value))  # the number that was written, not its neighbour in float64
    wrong = RequestError(f"{name} {value!r}: must be a number")
    if isinstance(value, str | bool | np.bool_):
        raise wrong
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise wrong from error


def positive(**counts: float) -> None:
    """Refuse counts below 1.

    Args:
        **counts: Counts by name.

    Raises:
        RequestError: A count is below 1; the message names it.
    """
    for name, count in counts.items():
        if count < 1:
            raise RequestError(f"{name} {count:g}: must be at least 1")
