"""Reference values of Lyapunov exponents that ship with the package, each with how it was measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from stgate.simulate.system import Attrs


@cache
def table() -> tuple[dict[str, Any], ...]:
    """The entries: system, parameters, exponent and its standard error, dimension, number of positive ones, provenance.

    >>> [entry["system"] for entry in table()][0]
    'lorenz96'
    """
    text = (resources.files("stgate.simulate") / "lyapunov.json").read_text(encoding="utf-8")
    return tuple(json.loads(text)["entries"])


def known(system: str, parameters: Mapping[str, Any]) -> dict[str, Any] | None:
    """The entry of a system whose parameters are all as given, or None."""
    for entry in table():
        if entry["system"] == system and all(parameters.get(k) == v for k, v in entry["parameters"].items()):
            return entry
    return None


def known_exponent(system: str, parameters: Mapping[str, Any]) -> Attrs:
    """The attributes of a panel whose leading exponent is known; none where it says nothing about the variables."""
    entry = known(system, parameters)
    if entry is None:
        return {}
    return {
        "lyapunov_exponent": entry["exponent"],
        "lyapunov_exponent_error": entry["exponent_error"],
        "lyapunov_time": round(1 / entry["exponent"], 4),
        "lyapunov_source": entry["provenance"],
    }
