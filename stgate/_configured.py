"""Parts that hold only their options, and are rebuilt from plain values by the name of their class."""

from __future__ import annotations

import inspect
from typing import Any, Self

from stgate.errors import CheckpointError, did_you_mean


class Configured:
    """Base of a family of parts that hold nothing but their options, as attributes of the same names."""

    def config(self) -> dict[str, Any]:
        """Return plain values for the checkpoint; `from_config` rebuilds the part from them."""
        names = inspect.signature(type(self)).parameters
        return {"class_path": type(self).__name__, "init_args": {n: getattr(self, n) for n in names}}

    @classmethod
    def kinds(cls) -> dict[str, type[Self]]:
        """Return the classes of this family, by name."""
        return {c.__name__: c for c in (cls, *cls.__subclasses__()) if not inspect.isabstract(c)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Rebuild a part from plain values; its class is looked up by name, and nothing is imported.

        Args:
            config: `class_path`, the name of a class of this family, and `init_args`, its options by name.

        Returns:
            The part.

        Raises:
            CheckpointError: The family has no class of this name.
        """
        known = cls.kinds()
        name = str(config.get("class_path", "")).rsplit(".", 1)[-1]
        if name not in known:
            raise CheckpointError(f"{cls.__name__.lower()} {name!r}: {did_you_mean(name, known)}")
        return known[name](**config.get("init_args", {}))
