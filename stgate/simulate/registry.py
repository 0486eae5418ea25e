"""Registry of the systems by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stgate.errors import RequestError, did_you_mean
from stgate.simulate.system import System
from stgate.simulate.systems.kuramoto_sivashinsky import KuramotoSivashinsky
from stgate.simulate.systems.lorenz96 import Lorenz96
from stgate.simulate.systems.lorenz96_three_scale import Lorenz96ThreeScale
from stgate.simulate.systems.lorenz96_two_scale import Lorenz96TwoScale
from stgate.simulate.systems.sensor_network import SensorNetwork

SYSTEMS: dict[str, type[System]] = {
    kind.name: kind for kind in (Lorenz96, Lorenz96TwoScale, Lorenz96ThreeScale, KuramotoSivashinsky, SensorNetwork)
}


def build(name: str, parameters: Mapping[str, Any]) -> System:
    """Build a system from its name and parameters.

    Args:
        name: Name of the system, with underscores or hyphens.
        parameters: Parameters by name, perhaps with a `preset`; those that are None keep their defaults.

    Raises:
        RequestError: There is no such system or parameter, or a value is wrong.
    """
    name = str(name).replace("-", "_")
    if name not in SYSTEMS:
        raise RequestError(f"system {name!r}: {did_you_mean(name, SYSTEMS)}")
    return SYSTEMS[name].of(**{key: value for key, value in parameters.items() if value is not None})
