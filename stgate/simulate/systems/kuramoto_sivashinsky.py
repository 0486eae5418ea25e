"""Kuramoto-Sivashinsky: spatiotemporal chaos of a flame front or a thin film."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import Any, ClassVar

import numpy as np

from stgate.errors import RequestError
from stgate.simulate.integrators.etdrk4 import ETDRK4, Coefficients
from stgate.simulate.system import START, Array, Attrs, Defaults, Place, StepLimits, Stepper, System, TangentStepper


@dataclass(frozen=True, kw_only=True)
class KuramotoSivashinsky(System):
    """u_t = -u u_x - u_xx - u_xxxx,  u(x + L, t) = u(x, t).

    The second derivative feeds the long waves, the fourth damps the short ones, the first carries energy between them;
    the mean never changes. L is the physical period, not divided by 2π: at L = 22 there is one positive Lyapunov
    exponent (0.048, a Lyapunov time of 20.8), at L = 100 eleven, at L = 200 about 23; the dimension grows like 0.226 L.
    Short periods (L < 2π) relax to zero.

    Pseudo-spectral with the 2/3 rule, ETDRK4 in time, all in float64. Near 1/64 the fourth order shows; at steps about
    0.25, as much of the literature has, the scheme looks like third order and agrees with the equation for six or seven
    Lyapunov times only. It does not blow up at long steps, it is quietly wrong: look at the valid-ground-truth time.

    Args:
        length: Period L.
        nodes: Grid points, even; by default the least even product of 2, 3 and 5 that is at least 2.56 L.

    References:
        Kuramoto, Y., Tsuzuki, T. (1976), Prog. Theor. Phys. 55, 356-369. Sivashinsky, G. (1977), Acta Astronaut. 4,
        1177. Kassam, A.-K., Trefethen, L. N. (2005), SIAM J. Sci. Comput. 26, 1214-1233, doi:10.1137/S1064827502410633.
    """

    length: float = 22.0
    nodes: int | None = None

    name: ClassVar[str] = "kuramoto_sivashinsky"
    integrator: ClassVar[str] = "ETDRK4, pseudo-spectral, 2/3 dealiasing"
    equation: ClassVar[str] = "u_t = -u u_x - u_xx - u_xxxx"
    defaults: ClassVar[Defaults] = Defaults(duration=200.0, step=0.0625, every=4, spinup=500.0)
    zeros: ClassVar[int] = 3
    block: ClassVar[int] = 2**16

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (np.isfinite(self.length) and self.length > 0):
            raise RequestError(f"length {self.length:g}: must be positive")
        if self.nodes is None:
            object.__setattr__(self, "nodes", smooth(max(2.56 * self.length, 16)))
        if self.sites < 8 or self.sites % 2:
            raise RequestError(f"nodes {self.sites}: must be even and at least 8")

    @property
    def title(self) -> str:
        """Name of the system, in a few words."""
        return f"Kuramoto-Sivashinsky, period {self.length:g}, {self.sites} points"

    @property
    def dimension(self) -> int:
        """Number of sites N."""
        return self.sites

    @property
    def sites(self) -> int:
        """Number of sites N."""
        assert self.nodes is not None
        return self.nodes

    @property
    def variables(self) -> dict[str, Attrs]:
        """Variable u."""
        return {"u": {"long_name": "u", "units": "1"}}

    @property
    def limits(self) -> StepLimits:
        """Limits of the step: ETDRK4 stays finite up to 2, but agrees with the equation for ever shorter times."""
        return StepLimits(0.1, 0.5, "ETDRK4 is quietly wrong at long steps")

    @property
    def bound(self) -> float:
        """Bound of a hundred times the usual amplitude."""
        return 300.0

    def attrs(self, seed: int) -> Attrs:
        """Attributes of a ring of length L."""
        return {"boundary": "periodic", "period": float(self.length)}

    @property
    def exponents_needed(self) -> int:
        """Number of exponents a little above the dimension, which grows like 0.226 L."""
        return min(int(0.25 * self.length) + 7, self.dimension)

    def coords(self, seed: int) -> dict[str, Any]:
        """Coordinates x = L j / N, from 0 to below L."""
        x = self.length * np.arange(self.sites) / self.sites
        return {
            **super().coords(seed),
            "x": ("node", x, {"units": "1", "long_name": "position", "axis": "X", "period": float(self.length)}),
        }

    def initial(self, stream: np.random.Generator) -> Array:
        """Draw random amplitudes and phases of all growing waves, at least four: zero mean, rms about 1."""
        waves = min(max(int(self.length / (2 * np.pi)), 4), (self.sites - 1) // 3)
        spectrum = np.zeros(self.sites // 2 + 1, complex)
        spectrum[1 : waves + 1] = stream.standard_normal(waves) + 1j * stream.standard_normal(waves)
        return np.fft.irfft(spectrum * self.sites / np.sqrt(4 * waves), self.sites)

    def encode(self, physical: Array) -> Array:
        """Compute the spectrum by rfft."""
        return np.fft.rfft(np.asarray(physical, dtype=np.float64))

    def symmetry(self, physical: Array) -> str | None:
        """Find states that repeat or are odd about a point, and stay so; at L = 22 they may relax to an equilibrium."""
        for member, spectrum in enumerate(np.fft.rfft(physical)):
            spectrum[0] = 0
            live = np.flatnonzero(np.abs(spectrum) > 1e-12 * max(np.abs(spectrum).max(), 1e-300))
            if not live.size:
                return f"member {member} is constant and always will be"
            if (every := gcd(*live.tolist())) > 1:
                return f"member {member} repeats itself {every} times in the period and always will"
            if _is_odd(spectrum, live):
                return f"member {member} is odd about a point and always will be"
        return None

    def tail(self, states: Array) -> tuple[float, int] | None:
        """Energy of the last wave kept by the 2/3 rule, relative to the largest, and a grid that lowers it to 1e-12."""
        energy = (np.abs(states) ** 2).mean(axis=0)
        last = (self.sites - 1) // 3
        largest = energy[1:].max()
        if not largest > 0:
            return None
        ratio = float(energy[last - 1 : last + 1].mean() / largest)
        peak = int(np.argmax(energy[1:])) + 1
        if ratio <= 0 or ratio > 1e-3 or last <= peak + 1:  # no tail to go by
            return ratio, smooth(2.56 * self.length)
        needed = peak + (last - peak) * np.log(1e-12) / np.log(min(ratio, 0.5))  # the tail falls exponentially
        return ratio, max(smooth(3 * needed + 1), smooth(2.56 * self.length))

    def stepper(self, states: Array, *, step: float, place: Place = START) -> Stepper:
        """Make an ETDRK4 stepper of the spectra, (member, N/2 + 1)."""
        return SpectralStepper(ETDRK4(self.coefficients(step), states, self.sites))

    def tangent(self, states: Array, vectors: Array, *, step: float) -> TangentStepper:
        """Make a stepper of state and perturbations; those of the mean count as one of three zero exponents."""
        return SpectralTangent(self.coefficients(step), states, vectors)

    def coefficients(self, step: float) -> Coefficients:
        """Linear growth k² - k⁴, with the true k at Nyquist too; nonlinear term -i k/2, zero beyond the 2/3 rule."""
        waves = np.arange(self.sites // 2 + 1)
        k = 2 * np.pi * waves / self.length
        derivative = np.where(waves <= (self.sites - 1) // 3, -0.5j * k, 0.0)
        return Coefficients.of(k**2 - k**4, derivative, step)


class SpectralStepper(Stepper):
    """Stepper of spectra, which makes restarts exact; restarts from the physical field would not be."""

    def __init__(self, scheme: ETDRK4) -> None:
        self.scheme = scheme

    def advance(self, steps: int) -> None:
        """Advance all members by a number of steps."""
        with np.errstate(over="ignore", invalid="ignore"):
            self.scheme.advance(steps)

    def read(self, out: Array) -> None:
        """Write u into `out`, (member, 1, node)."""
        with np.errstate(over="ignore", invalid="ignore"):
            out[:, 0] = np.fft.irfft(self.scheme.state, out.shape[-1])

    @property
    def state(self) -> Array:
        """A copy of the spectra, (member, N/2 + 1)."""
        return self.scheme.state.copy()


class SpectralTangent(TangentStepper):
    """Stepper of a state and its perturbations as one stack of spectra, (member, 1 + count, N/2 + 1)."""

    def __init__(self, coefficients: Coefficients, states: Array, vectors: Array) -> None:
        members, self.size, count = vectors.shape
        stack = np.zeros((members, 1 + count, states.shape[1]), complex)
        stack[:, 0] = states
        self.scheme = ETDRK4(coefficients, stack, self.size, square=_square_and_tangent)
        self.vectors = vectors

    def advance(self, steps: int) -> None:
        """Advance members and perturbations by a number of steps."""
        self.scheme.advance(steps)

    @property
    def vectors(self) -> Array:
        """(member, size, count) in physical space."""
        return np.fft.irfft(self.scheme.state[:, 1:], self.size).transpose(0, 2, 1)

    @vectors.setter
    def vectors(self, value: Array) -> None:
        self.scheme.state[:, 1:] = np.fft.rfft(value.transpose(0, 2, 1))


def _square_and_tangent(u: Array) -> None:
    """Compute u² of the state and 2 u v of the perturbations, in place."""
    u[:, 1:] *= 2 * u[:, :1]
    u[:, :1] *= u[:, :1]


def _is_odd(spectrum: Array, live: Array) -> bool:
    """Test that some shift makes every wave a sine."""
    first = int(live[0])
    turn = np.pi / 2 - np.angle(spectrum[first])
    for n in range(2 * first):
        shifted = spectrum[live] * np.exp(1j * live * (turn + np.pi * n) / first)
        if np.abs(shifted.real).max() < 1e-9 * np.abs(shifted).max():
            return True
    return False


def smooth(least: float) -> int:
    """Find the least even product of 2, 3 and 5 that is not below `least`, a fast size for Fourier transforms.

    Args:
        least: Lower bound.

    >>> smooth(56.3), smooth(200.0)
    (60, 200)
    """
    n = max(2, int(np.ceil(least)))
    while True:
        rest = n
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1 and n % 2 == 0:
            return n
        n += 1
