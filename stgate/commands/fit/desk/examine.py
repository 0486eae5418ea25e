"""Front desk of `stgate fit | validate | test | predict`: what words and files show to be wrong is refused at once.

It knows the options from a table (`options.json`, made from the classes) and imports neither torch nor Lightning. It
refuses only that of which it is sure, in the words of the parser behind it, which remains the authority: import paths,
values of other forms than plain numbers and words, and classes of a user are left to it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from stgate.commands.fit import ranks, words
from stgate.commands.fit.arguments import check_files, is_automatic, model_name, value_of, with_paths
from stgate.commands.fit.desk.given import SPECIAL, WORD, Given, read
from stgate.commands.fit.desk.requested import check_request
from stgate.errors import RequestError, StgateError
from stgate.prediction.plain import KEY, look

FILE = Path(__file__).with_name("options.json")
HELP = {"-h", "--help", "--print_config"}


def run(command: str, arguments: Sequence[str]) -> None:
    """Run one of Lightning's commands, unless the front desk refuses it; of several processes one tells the errors."""
    try:
        examine(command, arguments)

        from stgate.commands.fit import cli

        cli.run(command, arguments)
    except StgateError as error:
        if ranks.repeats(several=ranks.asked_for_several(arguments)):
            raise SystemExit(error.exit_code) from error
        raise


@functools.cache
def table() -> dict[str, Any]:
    """Return the table of options.

    `forecasters` gives each forecaster's `data` class and `options`; `parts` the options of the classes of each part of
    a forecaster, `data` those of the data classes, and `own` those of others by their whole names. An option that takes
    plain values has `kinds` and `words`, and perhaps a `least` value or a `share`; null stands for one whose values are
    left to the parser. `listed` holds the options of each command by its data class, in the parser's order.
    """
    made: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return made


def examine(command: str, arguments: Sequence[str]) -> None:
    """Refuse a request that is surely wrong.

    Args:
        command: `fit`, `validate`, `test` or `predict`.
        arguments: Arguments as typed.

    Raises:
        StgateError: It is wrong; the message is that of the parser, or of the class behind it.
    """
    asked = {argument.split("=")[0] for argument in arguments}
    if HELP & asked or any(argument.endswith(".help") for argument in asked):
        return
    check_files(arguments)
    arguments = with_paths(arguments)
    automatic = command == "fit" and is_automatic(arguments)
    checkpoint = value_of(arguments, "--ckpt_path")
    if command != "fit" and checkpoint is None:
        raise RequestError(words.no_checkpoint(command))
    content = None if checkpoint is None or automatic else look(checkpoint)
    named = "auto" if automatic else model_name(arguments)
    fitted = content[KEY]["class"] if content is not None else None
    if named is not None and _is_unknown(named):
        known = sorted(table()["forecasters"])
        if value_of(arguments, "--model") == named:
            raise RequestError(words.no_forecaster(named, known))
        _refuse(words.no_class("model", named, known))
    request = _Request(command, read(arguments, _listed(command, named or fitted)), named or fitted)
    if request.given.foreign:  # what they import decides
        return
    if checkpoint is None or content is not None or automatic:
        request.check_names()
    if request.given.certain and (checkpoint is None or content is not None or automatic):
        if named is None and fitted is None and "--resume" not in asked:
            _refuse(words.missing([*request.lacking(), "model"]))
        request.check_values()
        if request.given.odd:
            return
        if "--resume" not in asked and command == "fit" and (lacking := request.lacking()):
            _refuse(words.missing(lacking))
        check_request(command, request.given, named, automatic=automatic, fields=request.fields)
        request.check_ranges()


def _is_unknown(model: str) -> bool:
    """Tell if no forecaster has this name: of the package, or of a user who imported it into this process."""
    if "." in model or model in (*table()["forecasters"], "auto"):
        return False
    registry = sys.modules.get("stgate.prediction.registry")
    return registry is None or model not in registry.holders()


def _listed(command: str, model: str | None) -> list[str]:
    """Return the options of a command with a forecaster, with hyphens."""
    listed: list[str] = table()["listed"]["auto" if model == "auto" else command][_data_of(model)]
    return listed


def _data_of(model: str | None) -> str:
    """Return the name of a forecaster's data class."""
    return str(table()["forecasters"].get(model, {"data": "WindowData"})["data"]) if model != "auto" else "WindowData"


def _refuse(message: str) -> NoReturn:
    raise StgateError(message)


class _Request:
    """A request and what the table says of it.

    Args:
        command: Name of the command.
        given: Options as given.
        model: Name of the forecaster; None if it is not known.
    """

    def __init__(self, command: str, given: Given, model: str | None) -> None:
        self.given, self.model = given, model
        self.listed = _listed(command, model)
        self.known = model in table()["forecasters"] and self._is_plain(given.values.get("model", model))
        self.fields = None if "data" in given.values or not (self.known or model in (None, "auto")) else _data_of(model)

    def _is_plain(self, model: object) -> bool:
        """Tell if all that is given is of one forecaster: the options of another may be dropped or kept."""
        return all(value == model for name, value in self.given.pairs if name == "model")

    def lacking(self) -> list[str]:
        """Return the required options of the data that are not given."""
        held = self.given.values
        return [name for name in ("data.panel", "data.targets") if name not in held and "data" not in held]

    def check_names(self) -> None:
        """Refuse options that there are not."""
        known = [*self.listed, *(f"--model.{name}" for name in _owners(table()["forecasters"]))]
        for name, _ in self.given.pairs:
            owner, _, rest = name.partition(".")
            if f"--{name}" in self.listed or {"init_args", "class_path", "dict_kwargs"} & set(rest.split(".")):
                continue
            if owner == "model" and rest and self.model != "auto":
                self._check_model_option(name)
            elif owner == "data" and rest and "." not in rest and self.fields is None:
                continue  # the class is the user's
            elif owner in ("data", "trainer") and "." in rest:
                continue  # of a class
            elif owner != "model":
                _refuse(words.unknown(name, known))
        for word in self.given.strays:
            _refuse(words.unknown(word, known))

    def _check_model_option(self, name: str) -> None:
        """Refuse an option of a forecaster, or of a part of it, that there is not."""
        forecasters, parts = table()["forecasters"], table()["parts"]
        if self.model is None:
            if name.count(".") == 1 and "--resume" not in self.given.flags:  # else it is that of the run
                _refuse(words.class_missing(name, list(forecasters)))
            return
        if not self.known:
            return
        _, option, *deeper = name.split(".")
        if option not in forecasters[self.model]["options"]:
            if not deeper:
                _refuse(words.not_of_this(f"model.{option}", _owners(forecasters)))
        elif option in ("likelihood", "inference") and len(deeper) == 1:
            named = self.given.values.get(f"model.{option}")
            if named is None:
                _refuse(words.class_missing(name, list(parts[option])))
            if named in parts[option] and deeper[0] not in parts[option][named]:
                _refuse(words.not_of_this(name, _owners(parts[option])))

    def _about(self, name: str) -> Mapping[str, Any] | None:
        """Return what the table says of an option's values; None if nothing."""
        owner, _, rest = name.partition(".")
        found: Mapping[str, Any] | None = table()["automatic" if self.model == "auto" else "own"].get(name)
        if owner == "data" and self.fields is not None:
            found = table()["data"][self.fields].get(rest)
        elif owner == "model" and self.known:
            options = table()["forecasters"][self.model]["options"]
            option, _, deeper = rest.partition(".")
            if deeper:
                kinds = table()["parts"].get(option, {})
                only = next(iter(kinds)) if len(kinds) == 1 else None
                options, option = kinds.get(self.given.values.get(f"model.{option}", only), {}), deeper
            found = options.get(option)
        return found

    def check_values(self) -> None:
        """Refuse values of another kind than an option's, and names of classes that there are not."""
        for name, value in self.given.pairs:
            part = name.removeprefix("model.")
            if part in table()["parts"] and self.known and isinstance(value, str) and name != part:
                if part in ("likelihood", "inference") and _is_word(value) and value not in table()["parts"][part]:
                    _refuse(words.no_class(name, value, list(table()["parts"][part])))
            elif (about := self._about(name)) is not None and _is_wrong(value, about):
                kinds = [kind for kind in about["kinds"] if kind != "null"]
                if kinds:
                    as_python = value in ("true", "false") and not name.startswith("model.")
                    shown = str(value).title() if as_python else value
                    _refuse(words.expected(name, shown, [*kinds, *about["words"]]))
                _refuse(words.not_one_of(name, value, about["words"]))

    def check_ranges(self) -> None:
        """Refuse values of a forecaster's options that are out of range, where the table holds it."""
        for name, value in self.given.values.items():
            about = self._about(name) if name.startswith("model.") else None
            if about is None:
                continue
            with contextlib.suppress(ValueError, TypeError, RequestError):
                number, option = float(value), name.rpartition(".")[2]
                if "least" in about and number.is_integer() and number < about["least"]:
                    _refuse(f"{option} {int(number)}: must be at least {about['least']}")
                if about.get("share") and not 0 <= number <= 1:
                    _refuse(f"{option} {number:g}: must lie between 0 and 1")


def _owners(kinds: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return every option of some classes, with the names of the classes that have it."""
    owners: dict[str, list[str]] = {}
    for kind, options in sorted(kinds.items()):
        for option in options.get("options", options):
            owners.setdefault(option, []).append(kind)
    return owners


def _is_word(value: str) -> bool:
    return bool(WORD.fullmatch(value)) and value.lower() not in SPECIAL and not Path(value).exists()


def _is_wrong(value: object, about: Mapping[str, Any]) -> bool:
    """Tell if a value is surely of no kind that an option takes."""
    kinds = {*about["kinds"]} - {"null"}
    if isinstance(value, bool) or value in ("true", "false"):
        return bool(kinds) and "bool" not in kinds and not about["words"]
    if isinstance(value, str | int | float):
        with contextlib.suppress(ValueError, OverflowError):
            number = float(value)
            if math.isfinite(number):
                return str(value) not in about["words"] and _is_wrong_number(number, str(value), kinds)
    return isinstance(value, str) and _is_word(value) and value not in about["words"]


def _is_wrong_number(number: float, text: str, kinds: set[str]) -> bool:
    """Tell if a number is of no kind that an option takes; one that is written in an odd way is left to the parser."""
    if text not in (str(number), str(int(number))):
        return False
    return (
        not kinds
        or kinds == {"sequence"}
        or (kinds == {"bool"} and number not in (0, 1))
        or (kinds == {"int"} and not number.is_integer())
    )
