"""Options of a fit as they are given, on the command line and in configs, before any parser knows their classes."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stgate.commands.fit.arguments import CLASSES, FLAGS, PATH, read_config
from stgate.commands.parser import NEGATIVE
from stgate.errors import RequestError
from stgate.io.paths import config_path

WORD = re.compile(r"[A-Za-z][\w-]*")
"""A text that no parser takes for a number, a list or an import path."""
ODD = r"[-+]?[\d.]+[eE_][-+\d]"
"""Pattern of a number in another form than usual."""
SPECIAL = ("null", "none", "true", "false", "yes", "no", "on", "off", "y", "n")
"""Words that YAML or the parser may take for something else."""


@dataclasses.dataclass(frozen=True)
class Given:
    """Options in their order: those of configs first.

    Attributes:
        pairs: Names, without hyphens, and values: texts from the command line, and whatever a config holds.
        flags: Flags that are given.
        configs: Paths of the configs.
        strays: Arguments that are neither options nor their values.
        certain: False where an argument is not one of the usual form, which is left to the parser.
    """

    pairs: list[tuple[str, Any]]
    flags: set[str]
    configs: list[str]
    strays: list[str]
    certain: bool

    @property
    def foreign(self) -> bool:
        """True if a class is given by an import path that is not of a package that is always there."""
        held = [str(value) for name, value in self.pairs if name in ("model", *CLASSES)]
        found = [path for text in held for path in re.findall(PATH, text)]
        return any(path.partition(".")[0] not in ("stgate", "torch", "lightning") for path in found)

    @property
    def odd(self) -> bool:
        """True if a value is a number in another form than usual, such as 1e3, of which the parser knows the kind."""
        return any(isinstance(value, str) and re.match(ODD, value) for _, value in self.pairs)

    @property
    def values(self) -> dict[str, Any]:
        """The last value of each option."""
        return dict(self.pairs)


def read(arguments: Sequence[str], listed: Sequence[str]) -> Given:
    """Read the options of a command.

    Args:
        arguments: Arguments as typed.
        listed: Options that the command may have, with hyphens.

    Returns:
        What is given.

    Raises:
        RequestError: An option has no value, or a config is not YAML of options.
        StoreError: There is no such config.
    """
    pairs: list[tuple[str, Any]] = []
    configs: list[str] = []
    flags: set[str] = set()
    strays: list[str] = []
    certain, left = True, list(reversed(arguments))
    while left:
        name, equals, value = left.pop().partition("=")
        if name in FLAGS and not equals:
            flags.add(name)
            continue
        if not equals and left and (not left[-1].startswith("-") or NEGATIVE.match(left[-1])):
            equals, value = "=", left.pop()
        if not equals and name in listed:
            raise RequestError(f"argument {name}: expected one argument")
        if not re.fullmatch(r"--[\w.+-]+|-c", name):
            certain = False
            strays += [name] if re.fullmatch(r"\w+", name) and not equals else []
        elif not equals:
            certain = False
            pairs.append((name.removeprefix("--"), None))
        elif name in ("--config", "-c"):
            configs.append(str(config_path(value)))
        else:
            pairs.append((name.removeprefix("--"), value))
    held = [pair for path in configs for pair in flattened(read_config(path))]
    return Given(held + pairs, flags, configs, strays, certain)


def flattened(options: Mapping[str, Any], owner: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the options of a config by the names that the command line has for them.

    Args:
        options: What the config holds.
        owner: Name of the option that holds them, with a point behind it.
    """
    for key, value in options.items():
        if isinstance(value, Mapping) and ("class_path" in value or owner + key in ("model", "data", "trainer")):
            inner = value.get("init_args", {}) if "class_path" in value else value
            if "class_path" in value:
                yield owner + key, value["class_path"]
            if isinstance(inner, Mapping):
                yield from flattened(inner, f"{owner}{key}.")
        else:
            yield owner + key, value
