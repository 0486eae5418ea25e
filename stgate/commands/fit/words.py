"""Messages on wrong options of a fit, from names and values alone, as its parser and its front desk both say them.

It imports no library: the front desk (`desk/`) speaks before the parser, which knows the classes, is imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from stgate.errors import did_you_mean
from stgate.prediction.plain import OPTIONS, PART_OPTIONS

UNKNOWN = "no such option"
MONITORS = tuple(f"{part}_{score}" for part in ("val", "val_hidden") for score in ("crps", "mae", "loss"))
"""Scores by which the best epoch can be chosen; `val_hidden` of entries that are hidden from a field."""


def missing(names: Iterable[str]) -> str:
    """Return the message on required options that are not given.

    Args:
        names: Their names, without hyphens.
    """
    return f"missing: {', '.join(f'--{name}' for name in names)} (or a --config that gives them)"


def expected(option: str, value: object, kinds: Sequence[str]) -> str:
    """Return the message on a value of another kind.

    Args:
        option: Name of the option, without hyphens.
        value: The value.
        kinds: Kinds of values, and words, that it takes.
    """
    return f"--{option} {value}: expected {' or '.join(kinds)}"


def not_one_of(option: str, value: str, known: Sequence[str]) -> str:
    """Return the message on a word that is not one of a few.

    Args:
        option: Name of the option, without hyphens.
        value: The word.
        known: The words that it takes.
    """
    return f"--{option} {value}: {did_you_mean(value, known)}"


def no_class(option: str, name: str, known: Sequence[str]) -> str:
    """Return the message on the name of a class that there is not.

    Args:
        option: Name of the option, without hyphens.
        name: The name that was given.
        known: Names of the classes that it takes; none where it takes any class of a library.
    """
    hint = (
        did_you_mean(name.rpartition(".")[2], known)
        if known
        else "give a class's import path, such as torch.optim.AdamW"
    )
    return f"--{option} {name}: no such class; {hint}"


def no_forecaster(name: str, known: Iterable[str]) -> str:
    """Return the message on the name of a forecaster that there is not.

    Args:
        name: The name that was given.
        known: Names of the forecasters.
    """
    return f"--model {name}: {did_you_mean(name, [*known, 'auto'])}"


def class_missing(option: str, known: Sequence[str]) -> str:
    """Return the message on an option of a class that was not named.

    Args:
        option: Name of the option, without hyphens.
        known: Names of the classes from which one has to be named first.
    """
    owner = option.rsplit(".", 1)[0]
    return f"--{option}: the class is missing; give --{owner} first, {did_you_mean('', known)}"


def not_of_this(option: str, owners: dict[str, list[str]]) -> str:
    """Return the message on an option that the class that was named does not have.

    Args:
        option: Name of the option, without hyphens.
        owners: Options of all classes of its family, with the names of the classes that have them.
    """
    owner, name = option.rsplit(".", 1)
    if name in owners:
        what = "this model" if owner == "model" else "this class"
        return f"--{option}: not an option of {what}, but of {', '.join(owners[name])}; leave it out"
    return unknown(option, [f"--{owner}.{o}" for o in owners])


def unknown(name: str, known: Iterable[str]) -> str:
    """Return the message on an option that there is not.

    Args:
        name: Its name, with or without hyphens.
        known: Names of the options that there are, with hyphens.
    """
    option = name if name.startswith("-") else f"--{name}"
    known = list(known)
    owner, _, last = option.rpartition(".")
    renamed = OPTIONS if owner == "--model" else PART_OPTIONS.get(owner.removeprefix("--model."), {})
    if last in renamed:
        return f"{option}: {UNKNOWN}; its name is now {owner}.{renamed[last]}"
    if option == "--data.window" and "--data.context" in known:
        return f"{option}: {UNKNOWN} of a field; the number of steps that it sees is --data.context"
    return f"{option}: {UNKNOWN}" + (f"; {did_you_mean(option, known)}" if known else "")


BOTH = "--resume and --overwrite: one continues a run, the other replaces it; give one"
"""Message on two flags that contradict each other."""


def no_checkpoint(command: str) -> str:
    """Return the message on a command that is given no checkpoint.

    Args:
        command: Name of the command.
    """
    return f"--ckpt_path: missing; {command} needs a checkpoint, such as runs/…/best.ckpt"
