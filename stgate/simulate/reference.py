"""Reference values of Lyapunov exponents that ship with the package, each with its provenance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from stgate.simulate.system import Attrs


@cache
def table() -> tuple[dict[str, Any], ...]:
    """Read the entries: system, parameters, exponent and standard error, dimension, positive exponents, provenance.

    >>> [entry["system"] for entry in table()][0]
    'lorenz96'
    """
    text = (resources.files("stgate.simulate") / "lyapunov.json").read_text(encoding="utf-8")
    return tuple(json.loads(text)["entries"])


def known(system: str, parameters: Mapping[str, Any]) -> dict[str, Any] | None:
    """Find the entry of a system with these parameters; None if there is none.

    Args:
        system: Name of the system.
        parameters: Parameters of the system, by name.
    """
    for entry in table():
        if entry["system"] == system and all(parameters.get(k) == v for k, v in entry["parameters"].items()):
            return entry
    return None


def known_exponent(system: str, parameters: Mapping[str, Any]) -> Attrs:
    """Make the attributes of a panel whose leading exponent is known; empty if it is not known.

    Args:
        system: Name of the system.
        parameters: Parameters of the system, by name.
    """
    entry = known(system, parameters)
    if entry is None:
        return {}
    return {
        "lyapunov_exponent": entry["exponent"],
        "lyapunov_exponent_error": entry["exponent_error"],
        "lyapunov_time": round(1 / entry["exponent"], 4),
        "lyapunov_source": entry["provenance"],
    }
