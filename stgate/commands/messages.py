"""jsonargparse's messages, as one line that names the option and the mend."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable

from jsonargparse import ArgumentParser

from stgate.errors import did_you_mean
from stgate.models import checkpoint as ckpt
from stgate.models.forecaster import Forecaster

KEY = r'Parser key "([\w.]+)": '


def tidy(message: str, parser: ArgumentParser) -> str:
    """One line for a message of the fit parser; what is not recognised is shortened."""
    text = " ".join(message.split())
    # A nested parser has made its line already: it stands inside the outer message.
    if found := re.search(r"- (\w+ \S+: (?:must be|a share|a positive)[^-]*?) - Expected", text):
        return f"--model.{found[1]}"
    if found := re.search(r"Errors: - --(\S+) (.+?) - Expected a <class 'NoneType'>", text):
        return f"--{'' if found[1].startswith('model') else 'model.'}{found[1]} {found[2]}"
    if found := re.search(r"[Uu]nrecognized arguments?: (\S+)|does not accept option '([\w.]+)'", text):
        known = [*_options(parser), *(f"--model.{name}" for name in _model_options())]
        return _unknown((found[1] or found[2]).split("=")[0], known)
    if found := re.search(r"Option '(\w+)' is not accepted", text):
        owners = _model_options()
        if found[1] in owners:
            return (
                f"--model.{found[1]}: not an option of this model, but of {', '.join(owners[found[1]])}; leave it out"
            )
        return _unknown(f"model.{found[1]}", [f"--model.{name}" for name in owners])
    if found := re.search(r"required: (.+)", text):
        names = [name.split(".", 1)[1] if "." in name else name for name in re.split(r",\s*", found[1])]
        return f"still needed: {', '.join(f'--{name}' for name in names)} (or a --config that gives them)"
    keys = re.findall(KEY, text)
    option = ".".join(["model", *keys[1:2]] if keys[:1] == ["model"] else keys[:1])
    if found := re.search(r"Expected an? <class '([\w.]+)'>\. Got value: (.*?)(?= - Expected| Given|$)", text):
        return f"--{option} {found[2]}: expected {found[1]}"
    if found := re.search(r"Expected a dot import path string: (\S+)|'class_path': '(\w+)'", text):
        name = found[1] or found[2]
        known = forecasters() if option == "model" else []
        hint = did_you_mean(name, known) if known else "give a class's import path, such as torch.optim.AdamW"
        return f"--{option} {name}: no such class; {hint}"
    return text[:300]


def forecasters() -> list[str]:
    """Names of the forecasters that are imported."""
    return sorted(c.__name__ for c in ckpt.subclasses(Forecaster) if not inspect.isabstract(c))


def _unknown(name: str, known: Iterable[str]) -> str:
    option = name if name.startswith("-") else f"--{name}"
    return f"{option}: no such option; {did_you_mean(option, known)}"


def _model_options() -> dict[str, list[str]]:
    """Every option of the forecasters, with the forecasters that have it."""
    owners: dict[str, list[str]] = {}
    for kind in sorted(ckpt.subclasses(Forecaster), key=lambda c: c.__name__):
        for option in () if inspect.isabstract(kind) else inspect.signature(kind).parameters:
            owners.setdefault(option, []).append(kind.__name__)
    return owners


def _options(parser: ArgumentParser) -> list[str]:
    found: list[str] = []
    for action in parser._actions:
        found += [o for o in action.option_strings if o.startswith("--")]
        if hasattr(action, "_name_parser_map"):
            for child in action._name_parser_map.values():
                found += _options(child)
    return found
