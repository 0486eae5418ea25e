"""One family of exceptions. Each message is one line that names the thing, the place and the fix."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from numbers import Integral, Real


class StgateError(Exception):
    """Base of all errors that a user can fix; the command prints it as one line.

    Attributes:
        exit_code: Exit code of the `stgate` command: 2 if the request was wrong, 1 if the work failed.
    """

    exit_code = 2


class RequestError(StgateError, ValueError):
    """An option, a name or a combination of them is wrong; also a `ValueError`, as Python calls a wrong argument."""


class PanelError(StgateError):
    """A panel breaks the schema, or does not fit what it is used with."""


class ForecastError(StgateError):
    """A forecast breaks the schema, or cannot be made from what was given."""


class StoreError(StgateError):
    """A file cannot be read, or would be overwritten."""


class FetchError(StoreError):
    """A download failed: the request was well formed, the network or the server was not."""

    exit_code = 1


class CheckpointError(StgateError):
    """A file is no checkpoint of stgate, or is not safe to load."""


class Interrupted(StgateError):
    """The user stopped the work."""

    exit_code = 130


class SimulationError(StgateError):
    """A simulation blew up: the request was well formed, the work failed."""

    exit_code = 1


class TrainingError(StgateError):
    """A fit went astray: the request was well formed, the work failed."""

    exit_code = 1


class StgateWarning(UserWarning):
    """Base of all warnings; the command prints them as one line each."""


class SimulationWarning(StgateWarning):
    """A simulation will run, but its result may not be what was wanted."""


class ForecastWarning(StgateWarning):
    """A forecast is made, but parts of it cannot be used."""


class CalibrationWarning(StgateWarning):
    """Intervals will be calibrated, but may not cover future observations."""


class InferenceWarning(StgateWarning):
    """Weights will be inferred, but not in the way that was asked for."""


def check_counts(**counts: tuple[object, int]) -> None:
    """Refuse options that are not whole numbers, or are below their least value.

    Args:
        **counts: Pairs of a value and its least allowed value, by the name of the option.

    Raises:
        RequestError: An option is wrong; the message names it.
    """
    for name, (value, least) in counts.items():
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise RequestError(f"{name} {value!r}: a whole number, at least {least}")
        if int(value) < least:
            raise RequestError(f"{name} {value}: must be at least {least}")


def check_number(name: str, value: object) -> None:
    """Refuse an option that is not a finite number.

    Args:
        name: Name of the option.
        value: Value of the option.

    Raises:
        RequestError: The value is not a finite number; the message names the option.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise RequestError(f"{name} {value!r}: a number")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Suggest the nearest known name, or list all of them.

    Args:
        name: Name that was given.
        known: Names that exist.

    Returns:
        A question with the nearest name, or the list of names if none is near.

    >>> did_you_mean("GatedRN", ["GatedRNN", "Ridge"])
    'did you mean GatedRNN?'
    >>> did_you_mean("xyz", ["GatedRNN", "Ridge"])
    'known: GatedRNN, Ridge'
    """
    known, name = list(known), str(name)
    folded = {k.lower(): k for k in reversed(known)}
    near = difflib.get_close_matches(name.lower(), list(folded), n=1)
    return f"did you mean {folded[near[0]]}?" if near else f"known: {', '.join(known)}"
