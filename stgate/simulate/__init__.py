"""Chaotic systems as benchmark panels. Floor 1: numpy and xarray only."""

from typing import TYPE_CHECKING

from stgate.lazy import attach

if TYPE_CHECKING:
    from stgate.simulate.systems.lorenz96 import lorenz96

__all__ = ["lorenz96"]

__getattr__, __dir__ = attach(__name__, {"lorenz96": "stgate.simulate.systems.lorenz96"})
