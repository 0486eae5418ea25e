"""Common base of Lorenz-96 with two and three scales: rings of sites, each coupled to the next."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np

from stgate.errors import RequestError, did_you_mean
from stgate.simulate.integrators.advection import Ring
from stgate.simulate.integrators.rk4 import RungeKuttaStepper, RungeKuttaTangent
from stgate.simulate.system import (
    START,
    Array,
    Attrs,
    Defaults,
    Place,
    StepLimits,
    Stepper,
    System,
    TangentStepper,
    positive,
)
from stgate.simulate.systems.lorenz96 import peak, site_forcing

ScaleName = Literal["x", "y", "z"]
"""Names of the scales, from slow to fast."""


@dataclass(frozen=True, kw_only=True)
class ScalesSystem(System):
    """Lorenz-96 with several scales, stacked in rows, each scale with its halo."""

    nodes: int = 8
    fast: int = 32
    forcing: float | tuple[float, ...] = 20.0
    h: float = 1.0
    b: float = 10.0
    c: float = 10.0
    scales: tuple[ScaleName, ...] = ("x",)

    integrator: ClassVar[str] = "RK4"
    defaults: ClassVar[Defaults] = Defaults(duration=20.0, step=0.001, every=50, spinup=10.0)
    zeros: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(**{n: c for n, c in zip(("nodes", "fast", "fastest"), self.counts, strict=False)})
        for name, count in self.rings.items():
            if count < 4:
                raise RequestError(f"{name}: gives {count} sites on a ring; must give at least 4")
        object.__setattr__(self, "forcing", site_forcing(self.forcing, self.nodes))
        object.__setattr__(self, "scales", tuple(self.scales))
        for scale in self.scales:
            if scale not in self.rings:
                raise RequestError(f"scales {scale!r}: {did_you_mean(scale, self.rings)}")
        if not self.scales or len(set(self.scales)) < len(self.scales):
            raise RequestError(f"scales: name at least one of {', '.join(self.rings)}, each once")
        for name in ("b", "c", "d", "e"):
            if not 0 < getattr(self, name, 1.0) < np.inf:
                raise RequestError(f"{name} {getattr(self, name):g}: must be positive")
        if not np.isfinite(self.h):
            raise RequestError(f"h {self.h:g}: must be a finite number")

    @property
    @abstractmethod
    def counts(self) -> tuple[int, ...]:
        """Numbers K, J (and I): sites of each scale within one site of the scale above."""

    @property
    def rings(self) -> dict[str, int]:
        """Number of sites of each scale."""
        return dict(zip("xyz", np.cumprod(self.counts).tolist(), strict=False))

    @property
    def dimension(self) -> int:
        """Number of sites of all scales."""
        return sum(self.rings.values())

    @property
    def sites(self) -> int:
        """Number K of slow sites; a slow site with its faster sites is one node."""
        return self.nodes

    @property
    def trace(self) -> float:
        """Divergence by damping: X at rate 1, Y at rate c."""
        return -(self.rings["x"] + self.c * self.rings["y"])

    @property
    def limits(self) -> StepLimits:
        """Limits of the step: with F = 20 and b c = 100, RK4 blew up at 0.01."""
        fastest = max(self.b * self.c, 1.0)
        return StepLimits(0.5 / fastest, 0.75 / fastest, f"RK4 may blow up on the fast scale, b c = {fastest:g}")

    @property
    def bound(self) -> float:
        """Bound of a hundred times the forcing."""
        return 100.0 * max(abs(peak(self.forcing)), 1.0)

    def attrs(self, seed: int) -> Attrs:
        """Attributes of a ring of K sites; the leading exponent is that of the fast scale."""
        return {
            "boundary": "periodic",
            "period": float(self.nodes),
            "model_time_unit_in_days": 5.0,
            "lyapunov_comment": "the leading exponent belongs to the fast scale: "
            "report the skill of slow variables in model time",
        }

    @property
    def state_variables(self) -> tuple[str, ...]:
        """Variables of all scales."""
        return tuple(n for scale in self.rings for n in self.names(scale))

    def names(self, scale: str) -> list[str]:
        """Variables of a scale at each slow site: `y_0` … `y_{J-1}`, or `z_0` … `z_{J I - 1}`."""
        each = self.rings[scale] // self.nodes
        return [scale] if scale == "x" else [f"{scale}_{j}" for j in range(each)]

    @property
    def variables(self) -> dict[str, Attrs]:
        """Variables of the scales to return."""
        named: dict[str, Attrs] = {}
        for scale in self.scales:
            for j, name in enumerate(self.names(scale)):
                named[name] = {"long_name": scale if scale == "x" else f"{scale}, site {j} of its node", "units": "1"}
        return named

    def gather(self, fields: dict[str, Array]) -> Array:
        """Join the physical state: X, then Y around its ring, then Z."""
        parts = [np.stack([fields[n] for n in self.names(scale)], axis=-1) for scale in self.rings]
        return np.concatenate([part.reshape(part.shape[0], -1) for part in parts], axis=-1)

    def initial(self, stream: np.random.Generator) -> Array:
        """Draw X as F plus standard normal noise, and the faster scales as small noise."""
        noise = stream.standard_normal(self.dimension)
        noise[: self.nodes] += np.asarray(self.forcing)
        noise[self.nodes :] *= 0.1
        return noise

    @property
    def rows(self) -> Array:
        """Row of each site; each scale has a halo of three rows around it."""
        return np.concatenate([np.arange(ring.start, ring.stop) for ring in self.slices().values()])

    def slices(self) -> dict[str, slice]:
        """Rows of the sites of each scale, without halos."""
        found, start = {}, 0
        for scale, count in self.rings.items():
            before = 1 if scale == "y" else 2
            found[scale] = slice(start + before, start + before + count)
            start += count + 3
        return found

    def stepper(self, states: Array, *, step: float, place: Place = START) -> Stepper:
        """Make an RK4 stepper over (row, member)."""
        where = self.slices()
        observed = np.concatenate(
            [np.arange(where[s].start, where[s].stop).reshape(self.nodes, -1).T for s in self.scales]
        )
        slope = ScalesSlope(self, states.shape[:1])
        return RungeKuttaStepper(slope, states, self.rows, observed, step, place.clock)

    def tangent(self, states: Array, vectors: Array, *, step: float) -> TangentStepper:
        """Make a stepper of state and perturbations together."""
        slope = ScalesSlope(self, (1 + vectors.shape[2], states.shape[0]))
        return RungeKuttaTangent(slope, states, vectors, self.rows, step)

    @abstractmethod
    def rates(self) -> tuple[tuple[float, float, float, float], ...]:
        """Rates of each scale: advection, damping, push by the scale above, drag by the sum over the scale below."""


class ScalesSlope:
    """Tendency over (row, member) or (row, 1 + perturbation, member): one ring for each scale, coupled to the next."""

    def __init__(self, system: ScalesSystem, rest: tuple[int, ...]) -> None:
        self.slices = system.slices()
        counts = list(system.rings.values())
        self.stage = np.zeros((sum(counts) + 3 * len(counts), *rest))
        self.tangent = len(rest) == 2
        self.rates = system.rates()
        forcing = np.asarray(system.forcing, dtype=np.float64)
        self.forcing = forcing if forcing.ndim == 0 else forcing[:, None]
        self.rings, start = [], 0
        for scale, count in system.rings.items():
            self.rings.append(Ring(self.stage, start, count, upwards=scale != "y", tangent=self.tangent))
            start += count + 3
        self.within = [(above, below // above) for above, below in pairwise(counts)]
        self.work = [np.empty((above, each, *rest)) for above, each in self.within]
        self.damped = [np.empty_like(ring.sites) for ring in self.rings]

    def __call__(self, out: Array, time: float) -> None:
        """Write the slope at the stage's state into `out`."""
        slopes = [out[rows] for rows in self.slices.values()]
        for ring, slope, damped, (advection, damping, _, _) in zip(
            self.rings, slopes, self.damped, self.rates, strict=True
        ):
            ring.advect(slope)
            np.multiply(slope, advection, slope)
            np.multiply(ring.sites, damping, damped)
            np.subtract(slope, damped, slope)
        fed = slopes[0][:, 0] if self.tangent else slopes[0]
        np.add(fed, self.forcing, fed)
        for scale, ((above, each), work) in enumerate(zip(self.within, self.work, strict=True)):
            faster = self.rings[scale + 1].sites.reshape(above, each, *self.stage.shape[1:])
            push = self.rings[scale].sites * self.rates[scale + 1][2]
            below = slopes[scale + 1].reshape(faster.shape)
            np.add(below, push[:, None], below)
            total = tree_sum(faster, work)
            np.multiply(total, self.rates[scale][3], total)
            np.subtract(slopes[scale], total, slopes[scale])


def tree_sum(values: Array, work: Array) -> Array:
    """Sum over the second axis in a fixed order; that of numpy depends on the number of members.

    Args:
        values: Values, (site, each, …).
        work: Work array of the same shape.

    Returns:
        Sums, (site, …), a view into `work`.
    """
    work[...] = values
    count = values.shape[1]
    while count > 1:
        half = count // 2
        np.add(work[:, :half], work[:, count - half : count], work[:, :half])
        count -= half
    return np.asarray(work[:, 0])
