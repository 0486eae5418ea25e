"""Parts that are options only: made again from plain values, by the name of their class."""

from __future__ import annotations

import inspect
from typing import Any, Self

from stgate.errors import CheckpointError, did_you_mean


class Configured:
    """Base of a family of parts whose options, of the same names as the attributes, are all that they hold."""

    def config(self) -> dict[str, Any]:
        """Plain values that make this part again, for the checkpoint."""
        names = inspect.signature(type(self)).parameters
        return {"class_path": type(self).__name__, "init_args": {n: getattr(self, n) for n in names}}

    @classmethod
    def kinds(cls) -> dict[str, type[Self]]:
        """The parts of this family, by name."""
        return {c.__name__: c for c in (cls, *cls.__subclasses__()) if not inspect.isabstract(c)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The part of this family that `config` described, looked up by name; nothing is imported.

        Raises:
            CheckpointError: The family has none of this name.
        """
        known = cls.kinds()
        name = str(config.get("class_path", "")).rsplit(".", 1)[-1]
        if name not in known:
            raise CheckpointError(f"{cls.__name__.lower()} {name!r}: {did_you_mean(name, known)}")
        return known[name](**config.get("init_args", {}))
