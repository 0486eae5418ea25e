"""Lazy public names (PEP 562): a package lists its public names, and each is imported when it is first used."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any


def attach(package: str, names: dict[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make the `__getattr__` and `__dir__` of a lazy package.

    Args:
        package: The package's `__name__`.
        names: Public name -> the module that defines it. Where the module has the same name, the module is meant.

    Returns:
        The two functions, which the caller binds at module level.
    """

    def __getattr__(name: str) -> Any:  # noqa: ANN401 (a module attribute is anything)
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(names[name])
        value = module if names[name].rpartition(".")[2] == name else getattr(module, name)
        setattr(sys.modules[package], name, value)
        return value

    def __dir__() -> list[str]:
        return sorted(names)

    return __getattr__, __dir__
