"""Lorenz-96 with two and three scales: slow sites, each driving and driven by fast ones."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Self

import numpy as np

from stgate.errors import RequestError, did_you_mean
from stgate.simulate.advection import Ring
from stgate.simulate.rk4 import RungeKuttaStepper, RungeKuttaTangent
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

COUPLINGS = ("sum", "mean")
PRESETS: dict[str, dict[str, Any]] = {
    "lorenz1996": {"nodes": 36, "fast": 10, "forcing": 10.0, "h": 1.0, "b": 10.0, "c": 10.0, "coupling": "sum"},
    "wilks2005": {"nodes": 8, "fast": 32, "forcing": 20.0, "h": 1.0, "b": 10.0, "c": 10.0, "coupling": "sum"},
    "arnold2013": {"nodes": 8, "fast": 32, "forcing": 20.0, "h": 1.0, "b": 10.0, "c": 4.0, "coupling": "sum"},
    "schneider2017": {"nodes": 36, "fast": 10, "forcing": 10.0, "h": 1.0, "b": 10.0, "c": 10.0, "coupling": "mean"},
}
"""Parameter sets as public codes use them; c = 4 of Arnold et al. is recalled, and Wilks also ran F = 18."""


@dataclass(frozen=True, kw_only=True)
class _Scales(System):
    """What the two- and the three-scale system share: scales stacked in rows, each with its halo."""

    nodes: int = 8
    fast: int = 32
    forcing: float | tuple[float, ...] = 20.0
    h: float = 1.0
    b: float = 10.0
    c: float = 10.0
    scales: tuple[str, ...] = ("x",)

    integrator: ClassVar[str] = "RK4"
    defaults: ClassVar[Defaults] = Defaults(duration=20.0, step=0.001, every=50, spinup=10.0)
    zeros: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(**{n: c for n, c in zip(("nodes", "fast", "fastest"), self.counts, strict=False)})
        for name, count in self.rings.items():
            if count < 4:
                raise RequestError(f"{name}: {count} sites on its ring; a ring needs at least 4")
        object.__setattr__(self, "forcing", site_forcing(self.forcing, self.nodes))
        object.__setattr__(self, "scales", tuple(self.scales))
        for scale in self.scales:
            if scale not in self.rings:
                raise RequestError(f"scales {scale!r}: {did_you_mean(scale, self.rings)}")
        if not self.scales or len(set(self.scales)) < len(self.scales):
            raise RequestError(f"scales: name at least one of {', '.join(self.rings)}, each once")
        if self.b == 0 or not np.isfinite([self.h, self.b, self.c]).all():
            raise RequestError("h, b, c: finite numbers, b not zero")

    @property
    @abstractmethod
    def counts(self) -> tuple[int, ...]:
        """K, J (and I): how many sites of each scale stand in one of the scale above."""

    @property
    def rings(self) -> dict[str, int]:
        """The number of sites of each scale."""
        return dict(zip("xyz", np.cumprod(self.counts).tolist(), strict=False))

    @property
    def dimension(self) -> int:
        """All sites of all scales."""
        return sum(self.rings.values())

    @property
    def sites(self) -> int:
        """K: a slow site with all that is in it is one node."""
        return self.nodes

    @property
    def trace(self) -> float:
        """Each site damps itself: X at rate 1, Y at rate c."""
        return -(self.rings["x"] + self.c * self.rings["y"])

    @property
    def limits(self) -> StepLimits:
        """With F = 20 and b c = 100, RK4 was measured to hold at 0.01 and to blow up at 0.02."""
        fastest = max(abs(self.b * self.c), 1.0)
        return StepLimits(0.5 / fastest, 1.0 / fastest, f"RK4 may blow up on the fast scale, b c = {fastest:g}")

    @property
    def bound(self) -> float:
        """A hundred times the forcing."""
        return 100.0 * max(abs(peak(self.forcing)), 1.0)

    @property
    def attrs(self) -> Attrs:
        """A ring of K sites; the leading exponent is that of the fast scale."""
        return {
            "boundary": "periodic",
            "period": float(self.nodes),
            "model_time_unit_in_days": 5.0,
            "lyapunov_comment": "the leading exponent belongs to the fast scale: "
            "report the skill of slow variables in model time",
        }

    @property
    def state_variables(self) -> tuple[str, ...]:
        """All scales."""
        return tuple(n for scale in self.rings for n in self.names(scale))

    def names(self, scale: str) -> list[str]:
        """The variables of a scale: at each slow site, `y_0` … `y_{J-1}`, or `z_0` … `z_{J I - 1}`."""
        each = self.rings[scale] // self.nodes
        return [scale] if scale == "x" else [f"{scale}_{j}" for j in range(each)]

    @property
    def variables(self) -> dict[str, Attrs]:
        """The variables of the scales that were asked for."""
        named: dict[str, Attrs] = {}
        for scale in self.scales:
            for j, name in enumerate(self.names(scale)):
                named[name] = {"long_name": scale if scale == "x" else f"{scale}, site {j} of its node", "units": "1"}
        return named

    def gather(self, fields: dict[str, Array]) -> Array:
        """The physical state: X, then Y around its ring, then Z."""
        parts = [np.stack([fields[n] for n in self.names(scale)], axis=-1) for scale in self.rings]
        return np.concatenate([part.reshape(part.shape[0], -1) for part in parts], axis=-1)

    def initial(self, stream: np.random.Generator) -> Array:
        """X from F plus noise as in the single-scale system; the faster scales from small noise."""
        noise = stream.standard_normal(self.dimension)
        noise[: self.nodes] += np.asarray(self.forcing)
        noise[self.nodes :] *= 0.1
        return noise

    @property
    def rows(self) -> Array:
        """The row of each site: each scale has a halo of three rows around it."""
        return np.concatenate([np.arange(ring.start, ring.stop) for ring in self.slices().values()])

    def slices(self) -> dict[str, slice]:
        """The rows of each scale's own sites."""
        found, start = {}, 0
        for scale, count in self.rings.items():
            before = 1 if scale == "y" else 2
            found[scale] = slice(start + before, start + before + count)
            start += count + 3
        return found

    def stepper(self, states: Array, *, step: float, place: Place = START) -> Stepper:
        """RK4 over (row, member)."""
        where = self.slices()
        observed = np.concatenate(
            [np.arange(where[s].start, where[s].stop).reshape(self.nodes, -1).T for s in self.scales]
        )
        slope = ScalesSlope(self, states.shape[:1])
        return RungeKuttaStepper(slope, states, self.rows, observed, step, place.clock)

    def tangent(self, states: Array, vectors: Array, *, step: float) -> TangentStepper:
        """State and perturbations together."""
        slope = ScalesSlope(self, (1 + vectors.shape[2], states.shape[0]))
        return RungeKuttaTangent(slope, states, vectors, self.rows, step)

    @abstractmethod
    def rates(self) -> tuple[tuple[float, float, float, float], ...]:
        """For each scale: advection, damping, push by the scale above, drag by the sum over the scale below."""


@dataclass(frozen=True, kw_only=True)
class Lorenz96TwoScale(_Scales):
    """Slow sites X, each with J fast ones Y on one ring around all of them.

    coupling "sum" (Lorenz 1996, Wilks 2005, Arnold et al. 2013):
        dX_k/dt = X_{k-1} (X_{k+1} - X_{k-2}) - X_k + F - (h c / b) Σ_j Y_{j,k}
        dY_{j,k}/dt = c b Y_{j+1,k} (Y_{j-1,k} - Y_{j+2,k}) - c Y_{j,k} + (h c / b) X_k
    coupling "mean" (Schneider et al. 2017): the drag on X is h c times the mean of Y, and the push on Y is (h c / J)
    X_k. The two agree if and only if b = J.

    With F >= 10 the flow is chaotic, and its leading exponent (10 to 20 a time unit) is that of the fast scale: measure
    forecasts of X in model time. Give a preset, or parameters, or both: parameters win.

    Args:
        preset: `lorenz1996`, `wilks2005` (the default), `arnold2013` or `schneider2017`; what else is given wins over
            it.
        nodes: Number of slow sites K.
        fast: Number of fast sites J in each slow one.
        forcing: F, one number or one for each slow site.
        h: Strength of the coupling.
        b: Ratio of the amplitudes.
        c: Ratio of the time scales.
        coupling: `sum` or `mean`.
        scales: Which scales the panel has: `x`, `y` or both.

    References:
        Lorenz, E. N. (1996), Predictability: a problem partly solved. ECMWF Seminar on Predictability, 1-18.
        Wilks, D. S. (2005), Q. J. R. Meteorol. Soc. 131, 389-407, doi:10.1256/qj.04.03.
        Arnold, H. M., Moroz, I. M., Palmer, T. N. (2013), Phil. Trans. R. Soc. A 371, doi:10.1098/rsta.2011.0479.
        Schneider, T., Lan, S., Stuart, A., Teixeira, J. (2017), Geophys. Res. Lett. 44, doi:10.1002/2017GL076101.
    """

    coupling: str = "sum"

    @classmethod
    def of(cls, *, preset: str = "wilks2005", **parameters: Any) -> Self:  # noqa: ANN401
        """The system of a preset; what else is given wins over it.

        Raises:
            RequestError: No such preset or parameter, or a wrong value.
        """
        if preset not in PRESETS:
            raise RequestError(f"preset {preset!r}: {did_you_mean(preset, PRESETS)}")
        return super().of(**{**PRESETS[preset], **parameters})

    name: ClassVar[str] = "lorenz96_two_scale"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.coupling not in COUPLINGS:
            raise RequestError(f"coupling {self.coupling!r}: {did_you_mean(self.coupling, COUPLINGS)}")

    @property
    def counts(self) -> tuple[int, ...]:
        """K and J."""
        return self.nodes, self.fast

    @property
    def title(self) -> str:
        """What it is, in a few words."""
        return f"Lorenz-96, two scales, {self.nodes} x {self.fast} sites, coupled by the {self.coupling}"

    @property
    def equation(self) -> str:
        """With the coupling's own form."""
        sums = self.coupling == "sum"
        drag = "(h c / b) sum_j Y_{j,k}" if sums else "h c mean_j Y_{j,k}"
        push = "(h c / b) X_k" if sums else "(h c / J) X_k"
        return (
            f"dX_k/dt = X_{{k-1}} (X_{{k+1}} - X_{{k-2}}) - X_k + F - {drag}; "
            f"dY_{{j,k}}/dt = c b Y_{{j+1,k}} (Y_{{j-1,k}} - Y_{{j+2,k}}) - c Y_{{j,k}} + {push}"
        )

    def rates(self) -> tuple[tuple[float, float, float, float], ...]:
        """Advection, damping, push, drag of X and of Y."""
        strength = self.h * self.c / (self.b if self.coupling == "sum" else self.fast)
        return (1.0, 1.0, 0.0, strength), (self.c * self.b, self.c, strength, 0.0)


@dataclass(frozen=True, kw_only=True)
class Lorenz96ThreeScale(_Scales):
    """Slow sites X, fast ones Y in each of them, still faster ones Z in each of those.

    dX_k/dt = X_{k-1} (X_{k+1} - X_{k-2}) - X_k + F - (h c / b) Σ_j Y_{j,k}
    dY_{j,k}/dt = c b Y_{j+1,k} (Y_{j-1,k} - Y_{j+2,k}) - c Y_{j,k} + (h c / b) X_k - (h e / d) Σ_i Z_{i,j,k}
    dZ_{i,j,k}/dt = e d Z_{i-1,j,k} (Z_{i+1,j,k} - Z_{i-2,j,k}) - e Z_{i,j,k} + (h e / d) Y_{j,k}

    The equations are those of Thornes et al. with equal coupling, as recalled. As in the two-scale system the leading
    exponent is that of the fastest scale.

    Args:
        nodes: Number of slow sites K.
        fast: Number of fast sites J in each slow one.
        fastest: Number of the fastest sites I in each fast one.
        forcing: F, one number or one for each slow site.
        h: Strength of both couplings.
        b: Ratio of the amplitudes of X and Y.
        c: Ratio of their time scales.
        d: Ratio of the amplitudes of Y and Z.
        e: Rate of Z.
        scales: Which scales the panel has: any of `x`, `y`, `z`.

    References:
        Thornes, T., Düben, P., Palmer, T. (2017), Q. J. R. Meteorol. Soc. 143, 897-908, doi:10.1002/qj.2974.
        Chattopadhyay, A., Hassanzadeh, P., Subramanian, D. (2020), Nonlin. Processes Geophys. 27, 373-389.
    """

    fast: int = 8
    fastest: int = 8
    d: float = 10.0
    e: float = 10.0

    name: ClassVar[str] = "lorenz96_three_scale"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.d == 0 or not np.isfinite([self.d, self.e]).all():
            raise RequestError("d, e: finite numbers, d not zero")

    @property
    def counts(self) -> tuple[int, ...]:
        """K, J and I."""
        return self.nodes, self.fast, self.fastest

    @property
    def trace(self) -> float:
        """X is damped at rate 1, Y at rate c, Z at rate e."""
        return super().trace - self.e * self.rings["z"]

    @property
    def limits(self) -> StepLimits:
        """As for two scales, by the faster of the two products."""
        fastest = max(abs(self.b * self.c), abs(self.d * self.e), 1.0)
        return StepLimits(0.5 / fastest, 1.0 / fastest, f"RK4 may blow up on the fastest scale, at rate {fastest:g}")

    @property
    def title(self) -> str:
        """What it is, in a few words."""
        return f"Lorenz-96, three scales, {self.nodes} x {self.fast} x {self.fastest} sites"

    equation: ClassVar[str] = (
        "dX_k/dt = X_{k-1} (X_{k+1} - X_{k-2}) - X_k + F - (h c / b) sum_j Y_{j,k}; "
        "dY_{j,k}/dt = c b Y_{j+1,k} (Y_{j-1,k} - Y_{j+2,k}) - c Y_{j,k} + (h c / b) X_k - (h e / d) sum_i Z_{i,j,k}; "
        "dZ_{i,j,k}/dt = e d Z_{i-1,j,k} (Z_{i+1,j,k} - Z_{i-2,j,k}) - e Z_{i,j,k} + (h e / d) Y_{j,k}"
    )

    def rates(self) -> tuple[tuple[float, float, float, float], ...]:
        """Advection, damping, push, drag of X, Y and Z."""
        outer, inner = self.h * self.c / self.b, self.h * self.e / self.d
        return (
            (1.0, 1.0, 0.0, outer),
            (self.c * self.b, self.c, outer, inner),
            (self.e * self.d, self.e, inner, 0.0),
        )


class ScalesSlope:
    """The tendency over (row, member) or (row, 1 + perturbation, member): one ring a scale, coupled to the next."""

    def __init__(self, system: _Scales, rest: tuple[int, ...]) -> None:
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
    """The sum over the second axis in one fixed order: numpy's own depends on how many members there are.

    Args:
        values: (site, each, …).
        work: Room of the same shape.

    Returns:
        (site, …), a view into `work`.
    """
    work[...] = values
    count = values.shape[1]
    while count > 1:
        half = count // 2
        np.add(work[:, :half], work[:, count - half : count], work[:, :half])
        count -= half
    return np.asarray(work[:, 0])
