"""Options: parts that hold nothing else, rebuilt from plain values, and the kinds that a signature says of them."""

from __future__ import annotations

import functools
import inspect
import math
import typing
from collections.abc import Callable, Collection, Iterator, Mapping
from numbers import Integral, Number, Real
from types import NoneType, UnionType
from typing import Any, Literal, Self, Union

import numpy as np

from stgate.errors import CheckpointError, RequestError, did_you_mean

PLAIN = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", NoneType: "None"}
"""What values of plain kinds are called."""


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


def check_options(owner: Callable[..., Any], given: Mapping[str, object], prefix: str = "") -> None:
    """Refuse options whose kind is not the one that a signature names; their ranges are the owner's own.

    Objects are not looked at, but numbers, words and lists in their place are refused.

    Args:
        owner: The function whose annotations name the kinds, such as a class's `__init__`.
        given: Options by name, such as its `locals()`; others are left alone.
        prefix: Put before the names in a message.

    Raises:
        RequestError: An option is of another kind; the message names it.
    """
    for name, hint in _kinds(owner).items():
        if name in given and not _fits(given[name], hint):
            value = given[name]
            what = f"{prefix}{name} {' '.join(repr(value).split())[:60]}"
            parts = value if isinstance(value, list | tuple) else [value]
            if (words := _words(hint)) and (odd := [p for p in parts if isinstance(p, str) and p not in words]):
                raise RequestError(f"{what}: {did_you_mean(odd[0], words)}")
            raise RequestError(f"{what}: must be {' or '.join(_named(one) for one in _alternatives(hint))}")


_kinds = functools.cache(typing.get_type_hints)


def _alternatives(hint: Any) -> Iterator[Any]:  # noqa: ANN401 (any kind)
    if typing.get_origin(hint) in (Union, UnionType):
        for one in typing.get_args(hint):
            yield from _alternatives(one)
    else:
        yield hint


def _words(hint: Any) -> list[str]:  # noqa: ANN401
    """Return the words that a kind allows, in lists too."""
    if _is_literal(hint):
        return list(typing.get_args(hint))
    return [word for part in typing.get_args(hint) for word in _words(part)]


def _is_literal(hint: Any) -> bool:  # noqa: ANN401
    return typing.get_origin(hint) is Literal


def _fits(value: object, hint: Any) -> bool:  # noqa: ANN401
    """Return False for a value that is surely of another kind."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in parts)
    if _is_literal(hint):
        return isinstance(value, str) and value in parts
    if hint is bool:
        return isinstance(value, bool | np.bool_)
    if hint is int:
        return isinstance(value, Integral) and not isinstance(value, bool)
    if hint is float:
        return not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value)
    if hint is NoneType:
        return value is None
    if value is None or isinstance(value, bool | Number):
        return hint is Any
    if hint is str:  # or a date in its place
        return isinstance(value, str) or not isinstance(value, Collection)
    if origin is None or not isinstance(origin, type):
        return True
    if issubclass(origin, Mapping):
        return isinstance(value, Mapping) and all(_fits(one, parts[1]) for one in value.values())
    if issubclass(origin, Collection):
        return not isinstance(value, str) and not (
            isinstance(value, list | tuple) and not all(_fits(one, parts[0]) for one in value)
        )
    return not isinstance(value, str)


def _named(hint: Any) -> str:  # noqa: ANN401
    """Return what values of a kind are called in a message."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if hint in PLAIN:
        return PLAIN[hint]
    if _is_literal(hint):
        return ", ".join(map(str, parts))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"a mapping of names to {_named(parts[1])}"
    if isinstance(origin, type) and issubclass(origin, Collection):
        return f"a list (each {' or '.join(map(_named, _alternatives(parts[0])))})"
    return "a function" if origin is not None else getattr(hint, "__name__", str(hint))
