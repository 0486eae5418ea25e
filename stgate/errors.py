"""Exceptions and warnings of the package. Each message is one line that names the thing, the place and the fix."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any


class StgateError(Exception):
    """Base of all errors that a user can fix; the command prints each as one line.

    Attributes:
        exit_code: Exit status of the `stgate` command: 2 when the request was wrong, 1 when the work failed.
    """

    exit_code = 2

    def __str__(self) -> str:
        """Return the message as one line, also where it names what a file holds."""
        return one_line(super().__str__())


class RequestError(StgateError, ValueError):
    """Raised when an option, a name or a combination of options is wrong; also a `ValueError`."""


class PanelError(StgateError):
    """Raised when a panel breaks the schema or does not fit the forecaster that it is given to."""


class ForecastError(StgateError):
    """Raised when a forecast breaks the schema or cannot be made from the input."""


class StoreError(StgateError):
    """Raised when a file cannot be read or would be overwritten."""


class FetchError(StoreError):
    """Raised when a download fails: the request was right, but the network or the server failed."""

    exit_code = 1


class CheckpointError(StgateError):
    """Raised when a file is not a checkpoint of stgate or is not safe to load."""


class Interrupted(StgateError):
    """Raised when the user stops the work."""

    exit_code = 130


class SimulationError(StgateError):
    """Raised when a simulation blows up: the request was right, but the work failed."""

    exit_code = 1


class ClusterError(StgateError):
    """Raised when a cluster is lost, or when a block of work has taken several workers with it."""

    exit_code = 1


class TrainingError(StgateError):
    """Raised when a fit diverges or loses a process: the request was right, but the work failed."""

    exit_code = 1


class StgateWarning(UserWarning):
    """Base of all warnings; the command prints them as one line each."""


class PanelWarning(StgateWarning):
    """Issued when a panel is read, but not exactly as it is written, as the dates of a climate model."""


class SimulationWarning(StgateWarning):
    """Issued when a simulation runs, but its result may not be what was wanted."""


class FitWarning(StgateWarning):
    """Issued when a fit reads less of the data than was given, or ends no better than a forecast that needs no fit."""


class ForecastWarning(StgateWarning):
    """Issued when a forecast is made, but parts of it cannot be used."""


class CalibrationWarning(StgateWarning):
    """Issued when intervals are calibrated, but may not cover future observations."""


class InferenceWarning(StgateWarning):
    """Issued when weights are inferred in another way than requested."""


LONGEST = 1000
"""Most characters of a message; what a file holds, such as a name, may be longer."""


def one_line(text: str) -> str:
    r"""Return text with blanks in the place of characters that are not printable, such as line breaks.

    Args:
        text: The text; the middle of a very long one is left out.

    >>> one_line("a\nb")
    'a b'
    """
    shown = text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} … {text[-LONGEST // 2 :]}"
    return shown if shown.isprintable() else "".join(c if c.isprintable() else " " for c in shown)


def check_counts(**counts: tuple[object, int]) -> None:
    """Refuse options that are not whole numbers or are below their minimum.

    Args:
        **counts: For each option, by its name, a pair: the value and the smallest value allowed.

    Raises:
        RequestError: An option is not a whole number or is too small; the message names it.
    """
    for name, (value, least) in counts.items():
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise RequestError(f"{name} {value!r}: must be a whole number of at least {least}")
        if int(value) < least:
            raise RequestError(f"{name} {value}: must be at least {least}")


def check_number(name: str, value: object) -> None:
    """Refuse an option that is not a finite number.

    Args:
        name: The option's name, for the message.
        value: The option's value.

    Raises:
        RequestError: The value is not a finite number; the message names the option.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise RequestError(f"{name} {value!r}: must be a number")


def check_positive(name: str, value: Any, *, finite: bool = True) -> None:  # noqa: ANN401 (anything)
    """Refuse an option that is not a number above zero.

    Args:
        name: The option's name, for the message.
        value: The option's value.
        finite: Refuse infinity, too.

    Raises:
        RequestError: The value is no such number; the message names the option.
    """
    if finite or value != math.inf:
        check_number(name, value)
    if value <= 0:
        raise RequestError(f"{name} {value:g}: must be positive")


RENAMED = {
    "fill": "imputation",
    "hide": "context_masking",
    "initial_spread": "initial_stddev",
    "scores": "conformity_score",
}
"""Names of options in 0.1.0, and today's names."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Give the new name of a renamed option, else suggest the nearest known name, else list all known names.

    Args:
        name: The unknown name.
        known: The names to choose from.

    Returns:
        The end of an error message.

    >>> did_you_mean("GatedRN", ["GatedRNN", "Ridge"])
    'did you mean GatedRNN?'
    >>> did_you_mean("xyz", ["GatedRNN", "Ridge"])
    'known: GatedRNN, Ridge'
    >>> did_you_mean("--scores", ["--conformity-score"])
    'its name is now --conformity-score'
    """
    known, name = list(known), str(name)
    new = RENAMED.get(_words(name))
    if new in (words := {_words(k): k for k in known}):
        return f"its name is now {words[new]}"
    folded = {k.lower(): k for k in reversed(known)}
    near = difflib.get_close_matches(name.lower(), list(folded), n=1)
    return f"did you mean {folded[near[0]]}?" if near else f"known: {', '.join(known)}"


def _words(option: str) -> str:
    """Return an option as Python spells it, for one of the command line."""
    return option.lstrip("-").replace("-", "_")
