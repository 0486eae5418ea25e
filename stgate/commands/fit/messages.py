"""Messages of jsonargparse, as one line that names the option and the fix."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable

from jsonargparse import ArgumentParser

from stgate._configured import Configured
from stgate.commands.fit.words import (
    UNKNOWN,
    class_missing,
    expected,
    missing,
    no_class,
    not_of_this,
    not_one_of,
    unknown,
)
from stgate.distributions.transforms import Transform
from stgate.errors import RequestError, StgateError
from stgate.prediction.parts import FAMILIES
from stgate.prediction.registry import holders

KEY = r'Parser key "([\w.]+)": '
WRAPPED = KEY + r"Does not validate .*?Errors: - (.+?) - Expected a <class 'NoneType'>.*?Given value: (.*)"
"""Pattern of a nested parser's message within that of the option whose value it reads."""
UNION = KEY + r"Does not validate against any of the Union subtypes Subtypes: \[(.+)\] Errors: .*Given value: (.*)"
PLAIN = r"<class '(\w+)'>|typing\.Literal\[(.*?)\]"
"""Pattern of a type that is no class of ours and no list: a number, a text, or one of a few words."""
ONE_OF = r"Expected a typing\.Literal\[(.+?)\]\. Got value: (\S+)"
"""Pattern of the message on a value that is not one of a few words."""
FORBIDDEN = r"[Uu]nrecognized arguments?: (\S+)|does not accept option '([\w.]+)'"


def tidy(message: str, parser: ArgumentParser) -> str:
    """Return a message of the fit parser as one line; a message of an unknown form is cut to 300 characters."""
    text = " ".join(message.split())
    if found := re.search(r"- (\w+ \S+: must [^-]*?) - Expected", text):
        return f"--model.{found[1]}"
    if (found := re.fullmatch(UNION, text)) and not re.search(r"\w", re.sub(PLAIN, "", found[2])):
        return _of_no_kind(*found.groups())
    if found := re.match(WRAPPED, text):
        nested = re.match(r"NestedArg\(key='([\w.]+)'", found[3])
        first = "" if found[1].startswith(("trainer.", "data.")) else "model"
        parts = [first, found[1] if found[1] != "model" else "", nested[1] if nested else ""]
        if expected := re.findall(r"Expected an? <class '([\w.]+)'>", found[2]):
            kinds = " or ".join(name.rsplit(".", 1)[-1].lower() for name in expected)
            return f"--{'.'.join(filter(None, parts))} {found[3]}: expected {kinds}"
        return _within(".".join(filter(None, parts)), found[2])
    if found := re.search(FORBIDDEN, text):
        known = [*options_of(parser), *(f"--model.{name}" for name in _model_options())]
        return unknown((found[1] or found[2]).split("=")[0], known)
    if found := re.search(r"Option '(\w+)' is not accepted", text):
        return f"--{found[1]}: {UNKNOWN}"
    if found := re.search(r"required: (.+)", text):
        names = [name.split(".", 1)[1] if "." in name else name for name in re.split(r",\s*", found[1])]
        return missing(names)
    keys = re.findall(KEY, text)
    option = ".".join(["model", *keys[1:2]] if keys[:1] == ["model"] else keys[:1])
    if found := re.search(r"Expected an? <class '([\w.]+)'>\. Got value: (.*?)(?= - Expected| Given|$)", text):
        return f"--{option} {found[2]}: expected {found[1].removeprefix('collections.abc.').lower()}"
    if found := re.search(ONE_OF, text):
        return _not_one_of(option, found)
    if found := re.search(r"Subtypes: \[<class '(\w+)'>.*Expected a dot import path string: (\S+)", text):
        return f"--{option} {found[2]}: expected {found[1]}"  # a number, or a tensor
    if found := re.search(r"Expected a dot import path string: (\S+)|'class_path': '(\w+)'", text):
        return _no_class(option, found[1] or found[2])
    return text[:300]


def _within(option: str, inner: str) -> str:
    """Return the message of a nested parser, with the whole name of its option."""
    if found := re.search(r"Expected a dot import path string: (\S+)", inner):
        return _no_class(option, found[1])
    if found := re.search(ONE_OF, inner):
        return _not_one_of(option, found)
    if "is abstract" in inner:  # an option of a class that was not named
        return class_missing(option, _classes(option.rsplit(".", 1)[0]))
    if inner.startswith(f"--{option}."):  # it has its whole name already
        return inner
    deeper = re.match(r"--(\w+)(?=:| )", inner)
    if deeper and deeper[1] != option.rsplit(".", 1)[-1]:  # a key of the value that was given
        option = f"{option}.{deeper[1]}"
    if found := re.match(r"Problem with given class_path '([\w.]+)'", inner):
        return _no_class(option, found[1])
    body = re.sub(r"^--\S+?(:? )", r"\1", inner)
    body = body if body[:1] in (":", " ") else f": {body}"
    if body != f": {UNKNOWN}":
        return f"--{option}{body}"
    owner = option.rsplit(".", 1)[0]
    return not_of_this(option, _model_options() if owner == "model" else _owners(_subclasses(owner)))


def _of_no_kind(option: str, kinds: str, value: str) -> str:
    """Return the message on a value that is of none of several plain kinds."""
    found = re.findall(PLAIN, kinds)
    names = [name for name, _ in found if name and name not in ("NoneType", "str")]
    words = list(dict.fromkeys(re.findall(r"[\w.-]+", " ".join(known for _, known in found))))
    return expected(option, value, [*names, *words]) if names else not_one_of(option, value, words)


def _not_one_of(option: str, found: re.Match[str]) -> str:
    return not_one_of(option, found[2], re.findall(r"[\w.]+", found[1]))


def _no_class(option: str, name: str) -> str:
    return no_class(option, name, _classes(option))


def _classes(option: str) -> list[str]:
    """Return the names of the classes that an option of ours takes."""
    return forecasters() if option == "model" else [kind.__name__ for kind in _subclasses(option)]


def _subclasses(option: str) -> list[type[Configured]]:
    families: dict[str, type[Configured]] = {**FAMILIES, "transforms": Transform}
    family = families.get(option.rsplit(".", 1)[-1])
    return list(family.kinds().values()) if family else []


def forecasters() -> list[str]:
    """Return the names of the forecasters that are imported."""
    return sorted(holders())


def _model_options() -> dict[str, list[str]]:
    """Return every option of the forecasters, with the names of the forecasters that have it."""
    return _owners(holders().values())


def _owners(kinds: Iterable[type[object]]) -> dict[str, list[str]]:
    """Return every option of some classes, with the names of the classes that have it."""
    owners: dict[str, list[str]] = {}
    for kind in sorted(kinds, key=lambda c: c.__name__):
        for option in inspect.signature(kind).parameters:
            owners.setdefault(option, []).append(kind.__name__)
    return owners


def options_of(parser: ArgumentParser) -> list[str]:
    """Return the options of a parser and of the parsers in it, with their hyphens, in their order."""
    found: list[str] = []
    for action in parser._actions:
        found += [o for o in action.option_strings if o.startswith("--")]
        if hasattr(action, "_name_parser_map"):
            for child in action._name_parser_map.values():
                found += options_of(child)
    return found


def root_of(error: BaseException) -> BaseException:
    """Return the stgate error that caused another error, the refusal of a class that was asked for, or the error.

    Args:
        error: The other error.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, StgateError):
            return cause
        cause = cause.__cause__ or cause.__context__
    if found := re.search(r"Problem with given class_path '([\w.]+)':\s*(.+)", str(error)):
        return RequestError(f"{found[1]}: {found[2]}")  # what its own __init__ says, such as a package that is missing
    if found := re.search(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", str(error)):
        return RequestError(f"{found[1]}: takes no option {found[2]!r}; leave it out of dict_kwargs")
    return error
