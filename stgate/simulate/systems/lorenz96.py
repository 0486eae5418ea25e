"""Lorenz-96 with one scale: a ring of weather-like sites, the standard benchmark of chaotic forecasting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from stgate.errors import RequestError
from stgate.simulate.integrators.advection import Ring
from stgate.simulate.integrators.fast import FastLorenz96, worth_compiling
from stgate.simulate.integrators.rk4 import RungeKuttaStepper, RungeKuttaTangent
from stgate.simulate.system import START, Array, Attrs, Defaults, Place, StepLimits, Stepper, System, TangentStepper


@dataclass(frozen=True, kw_only=True)
class Lorenz96(System):
    """dx_k/dt = (x_{k+1} - x_{k-2}) x_{k-1} - x_k + F_k,  k = 0 … N-1 on a ring.

    Advection conserves energy, the linear term damps it, F feeds it. For F = 8 and N = 40 the flow is chaotic with a
    leading exponent of 1.69 a time unit (a Lyapunov time of 0.59), 13 positive exponents and a Kaplan-Yorke dimension
    of 27.1; for F below about 4 it is periodic or steady. One time unit is about five atmospheric days.

    Args:
        nodes: Number of sites N, at least 4.
        forcing: F, one number or one for each site.

    References:
        Lorenz, E. N. (1996), Predictability: a problem partly solved. ECMWF Seminar on Predictability, 1-18.
    """

    nodes: int = 40
    forcing: float | tuple[float, ...] = 8.0

    name: ClassVar[str] = "lorenz96"
    integrator: ClassVar[str] = "RK4"
    defaults: ClassVar[Defaults] = Defaults(duration=100.0, step=0.01, every=5, spinup=20.0)
    zeros: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nodes < 4:
            raise RequestError(f"nodes {self.nodes}: must be at least 4")
        object.__setattr__(self, "forcing", site_forcing(self.forcing, self.nodes))

    @property
    def title(self) -> str:
        """Name of the system, in a few words."""
        many = isinstance(self.forcing, tuple)
        return f"Lorenz-96, {self.nodes} sites, forcing {'by site' if many else format(self.forcing, 'g')}"

    equation: ClassVar[str] = "dx_k/dt = (x_{k+1} - x_{k-2}) x_{k-1} - x_k + F_k"

    @property
    def dimension(self) -> int:
        """Number of sites N."""
        return self.nodes

    @property
    def sites(self) -> int:
        """Number of sites N."""
        return self.nodes

    @property
    def variables(self) -> dict[str, Attrs]:
        """Variable x."""
        return {"x": {"long_name": "x", "units": "1"}}

    @property
    def limits(self) -> StepLimits:
        """Limits of the step: first failures at 0.8 / F (F = 16), 1.0 / F (F = 10) and above 1.0 / F (F = 8)."""
        scale = max(abs(peak(self.forcing)), 1.0)
        return StepLimits(0.4 / scale, 0.75 / scale, f"RK4 may blow up at forcing {peak(self.forcing):g}")

    @property
    def bound(self) -> float:
        """Bound of a hundred times the forcing."""
        return 100.0 * max(abs(peak(self.forcing)), 1.0)

    @property
    def trace(self) -> float:
        """Divergence -N: each site is damped at rate 1, and advection does not change the divergence."""
        return -float(self.nodes)

    def attrs(self, seed: int) -> Attrs:
        """Attributes of a ring of N sites."""
        return {"boundary": "periodic", "period": float(self.nodes), "model_time_unit_in_days": 5.0}

    def initial(self, stream: np.random.Generator) -> Array:
        """Draw F plus standard normal noise."""
        return np.asarray(self.forcing + stream.standard_normal(self.nodes))

    def symmetry(self, physical: Array) -> str | None:
        """Find patterns that repeat around the ring, and stay so if the forcing repeats as well."""
        forcing = np.broadcast_to(self.forcing, self.nodes)
        return repeats(physical, forcing, "sites")

    def stepper(self, states: Array, *, step: float, place: Place = START) -> Stepper:
        """Make a stepper, compiled if numba is installed and the run is long enough; the bits are the same."""
        if worth_compiling(place.planned, states.size):
            return FastLorenz96(states, np.broadcast_to(np.asarray(self.forcing, np.float64), self.nodes), step)
        rows = np.arange(self.nodes)
        return RungeKuttaStepper(Slope(self, states.shape[:1]), states, rows, rows[None], step, place.clock)

    def tangent(self, states: Array, vectors: Array, *, step: float) -> TangentStepper:
        """Make a stepper of state and perturbations together."""
        slope = Slope(self, (1 + vectors.shape[2], states.shape[0]))
        return RungeKuttaTangent(slope, states, vectors, np.arange(self.nodes), step)


class Slope:
    """Tendency over (site, member), or over (site, 1 + perturbation, member)."""

    def __init__(self, system: Lorenz96, rest: tuple[int, ...]) -> None:
        halo = np.zeros((system.nodes + 3, *rest))
        tangent = len(rest) == 2
        self.ring = Ring(halo, 0, system.nodes, tangent=tangent)
        self.stage = self.ring.sites
        forcing = np.asarray(system.forcing, dtype=np.float64)
        self.forcing = forcing if forcing.ndim == 0 else forcing[:, None]
        self.tangent = tangent

    def __call__(self, out: Array, time: float) -> None:
        """Write the slope at the stage's state into `out`."""
        self.ring.advect(out)
        np.subtract(out, self.stage, out)
        fed = out[:, 0] if self.tangent else out
        np.add(fed, self.forcing, fed)


def site_forcing(forcing: float | tuple[float, ...], nodes: int) -> float | tuple[float, ...]:
    """Check the forcing: one number, or one for each site, as plain floats.

    Args:
        forcing: Forcing F.
        nodes: Number of sites.

    Raises:
        RequestError: A number is not finite, or there are neither one nor as many as sites.
    """
    try:
        values = np.atleast_1d(np.asarray(forcing, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise RequestError(f"forcing {forcing!r}: must be a number, or one for each site") from error
    if values.ndim != 1 or values.size not in (1, nodes):
        raise RequestError(f"forcing: {values.size} values for {nodes} sites; give one, or one for each site")
    if not np.isfinite(values).all():
        raise RequestError("forcing: must be finite")
    return float(values[0]) if values.size == 1 else tuple(values.tolist())


def peak(forcing: float | tuple[float, ...]) -> float:
    """Forcing that is largest in magnitude."""
    return float(max(np.atleast_1d(forcing), key=abs))


def repeats(states: Array, forcing: Array, what: str) -> str | None:
    """Explain that a member repeats around the ring and always will; None if none does or the forcing differs."""
    nodes = forcing.size
    for period in (p for p in range(1, nodes) if nodes % p == 0):
        if not np.array_equal(forcing, np.roll(forcing, period)):
            continue
        gap = np.abs(states - np.roll(states, period, axis=-1)).max(axis=-1)
        same = gap <= 1e-12 * np.maximum(np.abs(states).max(axis=-1), 1e-300)
        if same.any():
            return f"member {int(np.argmax(same))} repeats itself every {period} {what} and always will"
    return None
