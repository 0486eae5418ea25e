"""Options of a simulated system: names, types and defaults from its dataclass, help from its docstring."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

from stgate.commands.parser import Parser
from stgate.errors import RequestError, did_you_mean
from stgate.simulate.registry import SYSTEMS, build
from stgate.simulate.system import System

NUMBERS: dict[str, Callable[[str], Any]] = {"int": int, "float": float, "int | None": int}


def system_of(command: str, arguments: Sequence[str], names: Sequence[str]) -> tuple[str | None, list[str]]:
    """Find the system's name among the arguments.

    Args:
        command: The command's name, for messages.
        arguments: Arguments of the command.
        names: Names of the systems.

    Returns:
        The system's name, or None where help is requested without a system; and the other arguments.

    Raises:
        RequestError: No system is named, or an unknown one.
    """
    known = {name.replace("_", "-"): name for name in names} | {name: name for name in names}
    for place, word in enumerate(arguments):
        if word in known:
            return known[word], [*arguments[:place], *arguments[place + 1 :]]
    first = next((a for a in arguments if not a.startswith("-")), None)
    if first is not None and arguments[0] == first:
        raise RequestError(f"system {first!r}: {did_you_mean(first, [n.replace('_', '-') for n in names])}")
    if not arguments or arguments[0] in ("-h", "--help"):
        return None, list(arguments)
    hyphens = ", ".join(n.replace("_", "-") for n in names)
    raise RequestError(f"name the system first: stgate {command} SYSTEM, one of {hyphens}")


def add_parameters(parser: Parser, kind: type[System]) -> list[str]:
    """Add a system's parameters to a parser and return their names."""
    group = parser.add_argument_group("the system")
    text = _arguments(kind)
    names = []
    if "preset" in text:
        group.add_argument("--preset", help=text["preset"])
        names.append("preset")
    for field in fields(kind):
        annotation, option = str(field.type), f"--{field.name.replace('_', '-')}"
        default = "" if field.default is None else f" (default {_shown(field.default)})"
        about: dict[str, Any] = {"help": text[field.name].rstrip(".") + default, "dest": field.name}
        if "tuple" in annotation:
            group.add_argument(option, nargs="+", type=float if "float" in annotation else str, metavar="V", **about)
        else:
            group.add_argument(option, type=NUMBERS.get(annotation, str), **about)
        names.append(field.name)
    return names


def system_from(name: str, given: Any, names: list[str]) -> System:  # noqa: ANN401 (an argparse namespace)
    """Build a system from the parsed options."""
    values = {key: getattr(given, key) for key in names}
    return build(name, {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def listing(command: str, names: Sequence[str]) -> str:
    """Format the list of systems, which the help prints when no system is named."""
    lines = [f"usage: stgate {command} SYSTEM [options]", ""]
    for name in names:
        summary = str(SYSTEMS[name].__doc__).strip().splitlines()[0].rstrip(".")
        lines.append(f"  {name.replace('_', '-'):<22}{summary}")
    return "\n".join([*lines, "", f"  stgate {command} SYSTEM --help   the options of a system", ""])


def _arguments(kind: type[System]) -> dict[str, str]:
    """Return the Args section of a class's docstring, by argument."""
    found = re.search(r"Args:\n(.*?)(\n\n|\Z)", str(kind.__doc__), re.DOTALL)
    entries = re.findall(r"^ {8}(\w+): (.*(?:\n {12}.*)*)", found[1] if found else "", re.MULTILINE)
    return {name: " ".join(text.split()).replace("`", "").replace("%", "%%") for name, text in entries}


def _shown(default: object) -> str:
    return " ".join(map(str, default)) if isinstance(default, tuple) else f"{default}"
