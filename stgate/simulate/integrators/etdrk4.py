"""ETDRK4: exponential time differencing with a fourth-order Runge-Kutta scheme, on real fields' half spectra."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Self

import numpy as np

from stgate.simulate.system import Array


class Coefficients(NamedTuple):
    """Coefficients of the scheme; those of the nonlinear term include its derivative."""

    whole: Array
    """exp(h λ), real, each value twice: spectra are scaled as pairs of reals."""
    half: Array
    """exp(h λ / 2), real, each value twice."""
    stage: Array
    """g times h (exp(z/2) - 1) / z, complex, with z = h λ."""
    first: Array
    """g times h (-4 - z + exp(z) (4 - 3 z + z²)) / z³."""
    middle: Array
    """g times 2 h (2 + z + exp(z) (z - 2)) / z³."""
    last: Array
    """g times h (-4 - 3 z - z² + exp(z) (4 - z)) / z³."""

    @classmethod
    def of(cls, growth: Array, derivative: Array, step: float, points: int = 32) -> Self:
        """Compute the coefficients for v_t = λ v + g rfft(u²), by contour integrals in complex128.

        Args:
            growth: Growth rate λ of each wave, real.
            derivative: Factor g of each wave, complex.
            step: Time step h.
            points: Number of points on a circle of radius 1 around each z; near z = 0 the formulas cancel.
        """
        z = step * growth
        circle = z[:, None] + np.exp(2j * np.pi * (np.arange(points) + 0.5) / points)
        e = np.exp(circle)

        def mean(values: Array) -> Array:
            return np.asarray(step * values.mean(axis=1).real)

        stage = mean((np.exp(circle / 2) - 1) / circle)
        first = mean((-4 - circle + e * (4 - 3 * circle + circle**2)) / circle**3)
        middle = mean((2 + circle + e * (circle - 2)) / circle**3)
        last = mean((-4 - 3 * circle - circle**2 + e * (4 - circle)) / circle**3)
        return cls(
            np.repeat(np.exp(z), 2),
            np.repeat(np.exp(z / 2), 2),
            derivative * stage,
            derivative * first,
            derivative * 2 * middle,
            derivative * last,
        )


def _square(u: Array) -> None:
    np.multiply(u, u, u)


class ETDRK4:
    """Stepper of spectra (…, wave) in place, without allocation between steps.

    Args:
        coefficients: Coefficients of the equation and the step.
        state: Spectra of the fields by rfft, (…, N/2 + 1); they are copied.
        points: Number of grid points N.
        square: Function that turns fields into the argument of the nonlinear term, in place.

    References:
        Cox, S. M., Matthews, P. C. (2002), J. Comput. Phys. 176, 430-455, doi:10.1006/jcph.2002.6995.
        Kassam, A.-K., Trefethen, L. N. (2005), SIAM J. Sci. Comput. 26, 1214-1233, doi:10.1137/S1064827502410633.
    """

    def __init__(
        self, coefficients: Coefficients, state: Array, points: int, square: Callable[[Array], None] = _square
    ) -> None:
        self.coefficients, self.points, self.square = coefficients, points, square
        self.state = np.array(state, dtype=np.complex128, order="C")
        self.field = np.empty((*state.shape[:-1], points))
        self.work = tuple(np.empty_like(self.state) for _ in range(7))

    def nonlinear(self, spectrum: Array, out: Array) -> None:
        """Compute rfft(irfft(v)²); the coefficients include the derivative."""
        np.fft.irfft(spectrum, self.points, out=self.field)
        self.square(self.field)
        np.fft.rfft(self.field, out=out)

    def advance(self, steps: int) -> None:
        """Advance by a number of steps."""
        add, multiply, subtract, nonlinear = np.add, np.multiply, np.subtract, self.nonlinear
        whole, half, stage, first, middle, last = self.coefficients
        v, (nv, na, nb, nc, a, b, decayed) = self.state, self.work
        v_real, a_real, b_real, decayed_real = (x.view(np.float64) for x in (v, a, b, decayed))
        for _ in range(steps):
            nonlinear(v, nv)
            multiply(v_real, half, decayed_real)
            multiply(nv, stage, a)
            add(a, decayed, a)
            nonlinear(a, na)
            multiply(na, stage, b)
            add(b, decayed, b)
            nonlinear(b, nb)
            multiply(a_real, half, b_real)  # b is done with: it takes the last stage
            add(nb, nb, nc)
            subtract(nc, nv, nc)
            multiply(nc, stage, nc)
            add(b, nc, b)
            nonlinear(b, nc)
            add(na, nb, na)
            multiply(v_real, whole, v_real)
            multiply(nv, first, nv)
            add(v, nv, v)
            multiply(na, middle, na)
            add(v, na, v)
            multiply(nc, last, nc)
            add(v, nc, v)
