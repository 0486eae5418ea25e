"""Chaotic systems and a sensor network as benchmark panels. It needs numpy and xarray only."""

from typing import TYPE_CHECKING

from stgate._lazy import attach

if TYPE_CHECKING:
    from stgate.simulate.exponents import lyapunov
    from stgate.simulate.library import (
        integrate,
        kuramoto_sivashinsky,
        lorenz96,
        lorenz96_three_scale,
        lorenz96_two_scale,
        sensor_network,
    )

__all__ = [
    "integrate",
    "kuramoto_sivashinsky",
    "lorenz96",
    "lorenz96_three_scale",
    "lorenz96_two_scale",
    "lyapunov",
    "sensor_network",
]

__getattr__, __dir__ = attach(
    __name__,
    {name: "stgate.simulate.library" for name in __all__ if name != "lyapunov"}
    | {"lyapunov": "stgate.simulate.exponents"},
)
