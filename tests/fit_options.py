"""Table of a fit's options for its front desk, made from the classes' signatures: `make options` writes it anew."""

import contextlib
import inspect
import json
import re
import sys
import typing
from collections.abc import Sequence
from types import NoneType, UnionType
from typing import Literal, Union
from unittest import mock

from lightning.pytorch import Trainer

from stgate import models
from stgate.commands.fit import auto, cli, messages, one_line
from stgate.commands.fit.desk.examine import FILE
from stgate.data.field_data import FieldData
from stgate.data.window_data import WindowData
from stgate.errors import StgateError
from stgate.prediction.parts import FAMILIES

PLAIN = {int: "int", float: "float", bool: "bool", NoneType: "null"}
"""Kinds of values whose texts are told apart."""
WORD = "nosuchword"
"""A word that no option takes."""
ONE_OF_EACH = {"WindowData": "Persistence", "FieldData": "CGLUBNF"}
"""A forecaster for each data class."""


def make():
    """Make the table from the classes."""
    kinds = {name: getattr(models, name) for name in sorted(models.__all__) if name != "Forecaster"}
    own = {f"trainer.{name}": kind for name, kind in options_of(Trainer).items()}
    own["seed_everything"] = {"kinds": ["bool", "int"], "words": []}
    own["calibration"] = {"kinds": [], "words": list(typing.get_args(cli.CalibrationMode))}
    automatic = {
        "seed_everything": {"kinds": ["int"], "words": []},
        "budget": {"kinds": ["float", "null"], "words": []},
    }
    listed = {
        command: {data: _listed(command, model) for data, model in ONE_OF_EACH.items()} for command in cli.COMMANDS
    }
    return {
        "forecasters": {
            name: {"data": kind.data_class.__name__, "options": _with_ranges(kind)} for name, kind in kinds.items()
        },
        "parts": {
            name: {part: _with_ranges(kind) for part, kind in family.kinds().items()}
            for name, family in FAMILIES.items()
        },
        "data": {kind.__name__: options_of(kind) for kind in (WindowData, FieldData)},
        "own": own,
        "automatic": automatic,
        "listed": {**listed, "auto": {"WindowData": messages.options_of(auto._parser())}},
    }


def _listed(command, model):
    """Return the options of a command's parser."""
    found = []

    def note(message, parser):
        found.append(messages.options_of(parser))
        return message

    with (
        mock.patch.object(one_line, "tidy", note),
        mock.patch.object(sys, "argv", ["stgate"]),  # Lightning looks there, too
        mock.patch.object(cli, "_checkpoint_of", lambda *_: None),
        contextlib.suppress(StgateError),
    ):
        cli.ForecasterCLI(command, ["--model", model, f"--{WORD}", "1"], contextlib.ExitStack(), [])
    return found[0]


def options_of(kind):
    """Return the options of a class by name, with what its annotations say of their values; null where that is more."""
    hints = typing.get_type_hints(kind.__init__)
    return {name: _kind(hints.get(name)) for name in inspect.signature(kind).parameters}


def _kind(hint):
    kinds, words = [], []
    for one in _alternatives(hint):
        if one in PLAIN:
            kinds.append(PLAIN[one])
        elif typing.get_origin(one) is Literal:
            words += map(str, typing.get_args(one))
        elif typing.get_origin(one) is Sequence:
            kinds.append("sequence")
        else:
            return None
    if "sequence" in kinds and (words or len({*kinds} - {"null"}) > 1):
        return None
    return {"kinds": list(dict.fromkeys(kinds)), "words": list(dict.fromkeys(words))}


def _alternatives(hint):
    if typing.get_origin(hint) in (Union, UnionType):
        for one in typing.get_args(hint):
            yield from _alternatives(one)
    else:
        yield hint


def _with_ranges(kind):
    """Return the options of a class, with the ranges that it says when it is given values beyond them."""
    options = options_of(kind)
    for name, about in options.items():
        if about is None or about["words"]:
            continue
        if "int" in about["kinds"] and (least := _least(kind, name)) is not None:
            about["least"] = least
        if "float" in about["kinds"] and _refusal(kind, name, 1.5) == f"{name} 1.5: must lie between 0 and 1":
            about["share"] = True
    return options


def _least(kind, name):
    said = _refusal(kind, name, -1)
    start, _, least = said.rpartition(" ")
    return int(least) if start == f"{name} -1: must be at least" else None


def _refusal(kind, name, value):
    try:
        kind(**{name: value})
    except Exception as error:  # of a class that needs more options
        return str(error)
    return ""


def text_of(table):
    """Return a table as text, with one option a line."""
    text = json.dumps(table, indent=1)
    for inner in (r"\[[^\[\]{}]*\]", r"\{[^{}]*\"kinds\"[^{}]*\}"):
        text = re.sub(inner, lambda found: " ".join(found[0].split()), text)
    return text + "\n"


if __name__ == "__main__":
    FILE.write_text(text_of(make()), encoding="utf-8")
