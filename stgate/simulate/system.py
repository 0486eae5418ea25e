"""What every system is: its physics, its start, and a stepper that advances a block of members in place."""

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
    """What a run of a system is unless told otherwise, in its own units of time."""

    duration: float
    step: float
    every: int
    spinup: float


class StepLimits(NamedTuple):
    """A step above `warn` is inaccurate, one above `refuse` blows up or is wrong; `why` says so."""

    warn: float
    refuse: float
    why: str


class Place(NamedTuple):
    """Where in a run a block of members stands."""

    clock: int = 0
    """Steps done before; the spin-up counts."""
    origin: int = 0
    """Steps of the spin-up."""
    seed: int = 0
    first: int = 0
    """The number of the block's first member."""
    planned: int = 0
    """Steps still to come: long runs are worth compiling for."""


START = Place()


class Stepper(ABC):
    """A block of members, advanced in place. Each member's bits are the same in every block."""

    @abstractmethod
    def advance(self, steps: int) -> None:
        """Advance all members by so many steps."""

    @abstractmethod
    def read(self, out: Array) -> None:
        """Write the observed variables into `out`, (member, variable, node)."""

    @property
    @abstractmethod
    def state(self) -> Array:
        """A copy of the exact internal state, (member, internal size)."""

    def record(self, out: Array, every: int) -> None:
        """Fill `out`, (time, member, variable, node): before each row, advance by `every` steps."""
        for row in out:
            self.advance(every)
            self.read(row)


class TangentStepper(ABC):
    """A block of members and perturbations of them that follow the tangent-linear flow."""

    @abstractmethod
    def advance(self, steps: int) -> None:
        """Advance members and perturbations by so many steps."""

    @property
    @abstractmethod
    def vectors(self) -> Array:
        """The perturbations in physical space, (member, dimension, count), float64."""

    @vectors.setter
    @abstractmethod
    def vectors(self, value: Array) -> None: ...


@dataclass(frozen=True, kw_only=True)
class System(ABC):
    """One equation with its parameters; the subclass's docstring is the physics."""

    name: ClassVar[str]
    integrator: ClassVar[str]
    defaults: ClassVar[Defaults]
    block: ClassVar[int] = 2**14
    """Numbers in a block of members, measured: so that a block with its work arrays stays in the cache."""
    watched: ClassVar[slice] = slice(None)
    """The variables that are checked for blow-up."""
    zeros: ClassVar[int] = 0
    """How many Lyapunov exponents are exactly zero; 0 where the system is not chaotic."""

    def __post_init__(self) -> None:
        """Make plain Python numbers of the parameters, so that 22 is 22.0 and numpy's are stored like any other."""
        for entry in fields(self):
            value, kind = getattr(self, entry.name), str(entry.type)
            if kind.startswith("int") and value is not None:
                object.__setattr__(self, entry.name, whole(entry.name, value))
            elif kind == "float":
                object.__setattr__(self, entry.name, number(entry.name, value))

    @property
    @abstractmethod
    def title(self) -> str:
        """What it is, in a few words."""

    @property
    @abstractmethod
    def equation(self) -> str:
        """The equation of motion in plain unicode."""

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Real degrees of freedom of a member: the dimension of its phase space."""

    @property
    @abstractmethod
    def sites(self) -> int:
        """Number of nodes."""

    @property
    @abstractmethod
    def variables(self) -> dict[str, Attrs]:
        """The observed variables with their attributes, the leading one first."""

    @property
    @abstractmethod
    def limits(self) -> StepLimits:
        """The steps that are safe."""

    @property
    @abstractmethod
    def bound(self) -> float:
        """A magnitude that no observed value reaches."""

    @abstractmethod
    def initial(self, stream: np.random.Generator) -> Array:
        """A generic initial state of one member in physical space, (dimension,)."""

    @abstractmethod
    def stepper(self, states: Array, *, step: float, place: Place = START) -> Stepper:
        """A stepper of a block of members from their internal states, (member, internal size)."""

    def encode(self, physical: Array) -> Array:
        """Internal states of physical ones, (member, dimension) -> (member, internal size)."""
        return np.array(physical, dtype=np.float64)

    def symmetry(self, physical: Array) -> str | None:
        """Why a start, (member, dimension), would never leave an invariant subspace; None where it is generic."""
        return None

    def tail(self, states: Array) -> tuple[float, int] | None:
        """Of a spectral system: energy at the cut-off relative to the largest, and a grid that would resolve it."""
        return None

    def tangent(self, states: Array, vectors: Array, *, step: float) -> TangentStepper:
        """A stepper of internal states (member, ·) with perturbations (member, dimension, count) in physical space."""
        raise RequestError(f"{self.name}: has no tangent-linear equation here, so no Lyapunov exponents")

    def gather(self, fields: dict[str, Array]) -> Array:
        """The physical state, (member, dimension), from its variables, each (member, node)."""
        return np.concatenate([fields[name] for name in self.state_variables], axis=-1)

    @property
    def state_variables(self) -> tuple[str, ...]:
        """The variables that together are the whole state, as a panel must have them to start from it."""
        return tuple(self.variables)

    def coords(self, seed: int) -> dict[str, Any]:
        """Coordinates of the nodes, as xarray takes them."""
        return {"node": np.arange(self.sites)}

    def times(self, counts: Array, step: float) -> Any:  # noqa: ANN401 (whatever xarray takes as a coordinate)
        """The time coordinate of so many steps: a count times the step in float64, for float32 drifts."""
        np.multiply(counts, step, counts)  # in place: a long run's axis is large
        return ("time", counts, {"long_name": "model time", "units": "1", "axis": "T"})

    def attrs(self, seed: int) -> Attrs:
        """Further attributes of the panel."""
        return {}

    @property
    def telling(self) -> int:
        """How many Lyapunov exponents tell the Kaplan-Yorke dimension: all of a small system, 64 of a large one."""
        return min(self.dimension, 64)

    @property
    def trace(self) -> float | None:
        """The sum of all Lyapunov exponents, where the divergence of the flow is constant."""
        return None

    @classmethod
    def of(cls, **parameters: Any) -> Self:  # noqa: ANN401 (each its own type, which __post_init__ checks)
        """The system of these parameters.

        Raises:
            RequestError: No such parameter, or a wrong value.
        """
        known = [f.name for f in fields(cls)]
        for name in parameters:
            if name not in known:
                raise RequestError(f"{name}: no such parameter of {cls.name}; {did_you_mean(name, known)}")
        return cls(**parameters)

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters by name."""
        return asdict(self)


def whole(name: str, value: object) -> int:
    """A plain int of an int of any kind.

    Raises:
        RequestError: It is none.
    """
    wrong = RequestError(f"{name} {value!r}: must be a whole number")
    if isinstance(value, bool | np.bool_):
        raise wrong
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError as error:
        raise wrong from error


def number(name: str, value: object) -> float:
    """A plain float of a number of any kind.

    Raises:
        RequestError: It is none.
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

    Raises:
        RequestError: Naming it.
    """
    for name, count in counts.items():
        if count < 1:
            raise RequestError(f"{name} {count:g}: must be at least 1")
