"""Lorenz-96 with two scales: slow sites, each driving and driven by fast ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, get_args

from stgate.errors import RequestError, did_you_mean
from stgate.simulate.systems.lorenz96_scales import ScalesSystem

Coupling = Literal["sum", "mean"]
"""Convention of the coupling: the drag on a slow site is by the sum or by the mean of its fast sites."""
PresetName = Literal["lorenz1996", "wilks2005", "arnold2013", "schneider2017"]
COUPLINGS: tuple[Coupling, ...] = get_args(Coupling)
PRESETS: dict[PresetName, dict[str, Any]] = {
    "lorenz1996": {"nodes": 36, "fast": 10, "forcing": 10.0, "h": 1.0, "b": 10.0, "c": 10.0, "coupling": "sum"},
    "wilks2005": {"nodes": 8, "fast": 32, "forcing": 20.0, "h": 1.0, "b": 10.0, "c": 10.0, "coupling": "sum"},
    "arnold2013": {"nodes": 8, "fast": 32, "forcing": 20.0, "h": 1.0, "b": 10.0, "c": 4.0, "coupling": "sum"},
    "schneider2017": {"nodes": 36, "fast": 10, "forcing": 10.0, "h": 1.0, "b": 10.0, "c": 10.0, "coupling": "mean"},
}
"""Parameter sets of public codes; c = 4 of Arnold et al. is from memory, and Wilks also ran F = 18."""


@dataclass(frozen=True, kw_only=True)
class Lorenz96TwoScale(ScalesSystem):
    """Slow sites X, each with J fast ones Y on one ring around all of them.

    coupling "sum" (Lorenz 1996, Wilks 2005, Arnold et al. 2013):
        dX_k/dt = X_{k-1} (X_{k+1} - X_{k-2}) - X_k + F - (h c / b) Σ_j Y_{j,k}
        dY_{j,k}/dt = c b Y_{j+1,k} (Y_{j-1,k} - Y_{j+2,k}) - c Y_{j,k} + (h c / b) X_k
    coupling "mean" (Schneider et al. 2017): the drag on X is h c times the mean of Y, and the push on Y is (h c / J)
    X_k. The two agree if and only if b = J.

    With F >= 10 the flow is chaotic, and its leading exponent (10 to 20 a time unit) is that of the fast scale: measure
    forecasts of X in model time. Give a preset, or parameters, or both: parameters win.

    Args:
        preset: `lorenz1996`, `wilks2005` (the default), `arnold2013` or `schneider2017`; parameters
            given beside it win.
        nodes: Number of slow sites K.
        fast: Number of fast sites J in each slow one.
        forcing: F, one number or one for each slow site.
        h: Strength of the coupling.
        b: Ratio of the amplitudes.
        c: Ratio of the time scales.
        coupling: Convention of the coupling, `sum` or `mean` over fast sites.
        scales: Scales of the panel: `x`, `y` or both.

    References:
        Lorenz, E. N. (1996), Predictability: a problem partly solved. ECMWF Seminar on Predictability, 1-18.
        Wilks, D. S. (2005), Q. J. R. Meteorol. Soc. 131, 389-407, doi:10.1256/qj.04.03.
        Arnold, H. M., Moroz, I. M., Palmer, T. N. (2013), Phil. Trans. R. Soc. A 371, doi:10.1098/rsta.2011.0479.
        Schneider, T., Lan, S., Stuart, A., Teixeira, J. (2017), Geophys. Res. Lett. 44, doi:10.1002/2017GL076101.
    """

    coupling: Coupling = "sum"

    @classmethod
    def of(cls, *, preset: PresetName = "wilks2005", **parameters: Any) -> Self:  # noqa: ANN401
        """Make the system of a preset.

        Args:
            preset: Name of the preset.
            **parameters: Parameters by name, which win over those of the preset.

        Raises:
            RequestError: There is no such preset or parameter, or a value is wrong.
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
        """Numbers K and J of sites."""
        return self.nodes, self.fast

    @property
    def title(self) -> str:
        """Name of the system, in a few words."""
        return f"Lorenz-96, two scales, {self.nodes} x {self.fast} sites, coupled by the {self.coupling}"

    @property
    def equation(self) -> str:
        """Equations of motion, with the form of the coupling."""
        sums = self.coupling == "sum"
        drag = "(h c / b) sum_j Y_{j,k}" if sums else "h c mean_j Y_{j,k}"
        push = "(h c / b) X_k" if sums else "(h c / J) X_k"
        return (
            f"dX_k/dt = X_{{k-1}} (X_{{k+1}} - X_{{k-2}}) - X_k + F - {drag}; "
            f"dY_{{j,k}}/dt = c b Y_{{j+1,k}} (Y_{{j-1,k}} - Y_{{j+2,k}}) - c Y_{{j,k}} + {push}"
        )

    def rates(self) -> tuple[tuple[float, float, float, float], ...]:
        """Rates of X and Y: advection, damping, push and drag."""
        strength = self.h * self.c / (self.b if self.coupling == "sum" else self.fast)
        return (1.0, 1.0, 0.0, strength), (self.c * self.b, self.c, strength, 0.0)
