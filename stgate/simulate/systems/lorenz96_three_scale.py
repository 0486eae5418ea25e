"""Lorenz-96 with three scales: slow sites, fast ones in each, still faster ones in each of those."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from stgate.simulate.system import StepLimits
from stgate.simulate.systems.lorenz96_scales import ScalesSystem


@dataclass(frozen=True, kw_only=True)
class Lorenz96ThreeScale(ScalesSystem):
    """Slow sites X, fast ones Y in each of them, still faster ones Z in each of those.

    dX_k/dt = X_{k-1} (X_{k+1} - X_{k-2}) - X_k + F - (h c / b) Σ_j Y_{j,k}
    dY_{j,k}/dt = c b Y_{j+1,k} (Y_{j-1,k} - Y_{j+2,k}) - c Y_{j,k} + (h c / b) X_k - (h e / d) Σ_i Z_{i,j,k}
    dZ_{i,j,k}/dt = e d Z_{i-1,j,k} (Z_{i+1,j,k} - Z_{i-2,j,k}) - e Z_{i,j,k} + (h e / d) Y_{j,k}

    The equations are those of Thornes et al. with equal coupling, from memory. The leading exponent is that of the
    fastest scale.

    Args:
        nodes: Number of slow sites K.
        fast: Number of fast sites J in each slow one.
        fastest: Number of the fastest sites I in each fast one.
        forcing: F, one number or one for each slow site.
        h: Strength of both couplings.
        b: Ratio of the amplitudes of X and Y.
        c: Ratio of the time scales of X and Y.
        d: Ratio of the amplitudes of Y and Z.
        e: Rate of Z.
        scales: Scales of the panel: any of `x`, `y`, `z`.

    References:
        Thornes, T., Düben, P., Palmer, T. (2017), Q. J. R. Meteorol. Soc. 143, 897-908, doi:10.1002/qj.2974.
        Chattopadhyay, A., Hassanzadeh, P., Subramanian, D. (2020), Nonlin. Processes Geophys. 27, 373-389.
    """

    fast: int = 8
    fastest: int = 8
    d: float = 10.0
    e: float = 10.0

    name: ClassVar[str] = "lorenz96_three_scale"

    @property
    def counts(self) -> tuple[int, ...]:
        """Numbers K, J and I of sites."""
        return self.nodes, self.fast, self.fastest

    @property
    def trace(self) -> float:
        """Divergence by damping: X at rate 1, Y at rate c, Z at rate e."""
        return super().trace - self.e * self.rings["z"]

    @property
    def limits(self) -> StepLimits:
        """Limits of the step, by the faster of the products b c and d e."""
        fastest = max(self.b * self.c, self.d * self.e, 1.0)
        return StepLimits(0.5 / fastest, 0.75 / fastest, f"RK4 may blow up on the fastest scale, at rate {fastest:g}")

    @property
    def title(self) -> str:
        """Name of the system, in a few words."""
        return f"Lorenz-96, three scales, {self.nodes} x {self.fast} x {self.fastest} sites"

    equation: ClassVar[str] = (
        "dX_k/dt = X_{k-1} (X_{k+1} - X_{k-2}) - X_k + F - (h c / b) sum_j Y_{j,k}; "
        "dY_{j,k}/dt = c b Y_{j+1,k} (Y_{j-1,k} - Y_{j+2,k}) - c Y_{j,k} + (h c / b) X_k - (h e / d) sum_i Z_{i,j,k}; "
        "dZ_{i,j,k}/dt = e d Z_{i-1,j,k} (Z_{i+1,j,k} - Z_{i-2,j,k}) - e Z_{i,j,k} + (h e / d) Y_{j,k}"
    )

    def rates(self) -> tuple[tuple[float, float, float, float], ...]:
        """Rates of X, Y and Z: advection, damping, push and drag."""
        outer, inner = self.h * self.c / self.b, self.h * self.e / self.d
        return (
            (1.0, 1.0, 0.0, outer),
            (self.c * self.b, self.c, outer, inner),
            (self.e * self.d, self.e, inner, 0.0),
        )
