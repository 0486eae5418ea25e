"""Short list of forecasters that an automatic fit tries, in the order of their cost."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from functools import partial

from stgate import models
from stgate.data.window_data import WindowData
from stgate.models.forecaster import Forecaster


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A forecaster to try.

    Attributes:
        name: Name of the candidate, in tables and as the name of its files.
        make: Function from options to a forecaster that has not been fitted; each call returns a new one.
        rows: Name of its option for the largest number of rows, if it has one: fewer are taken where time is short.
        reference: True for a forecaster that is scored for comparison, but is no member of the stack.
    """

    name: str
    make: Callable[..., Forecaster]
    rows: str | None = None
    reference: bool = False


def short_list(data: WindowData) -> list[Candidate]:
    """Return the candidates for some data, the cheapest first.

    Args:
        data: The data.
    """
    names = ["Climatology", "Ridge", "GradientBoosting", "GatedRNN"]
    if "edge_source" in data.panel:
        names.append("STHSepNet")
    found = [Candidate("Persistence", partial(models.Persistence, carry=True))]
    return found + [candidate(name) for name in names if name in models.__all__]


def candidate(name: str) -> Candidate:
    """Return the candidate of a class of `stgate.models`, with its defaults.

    Args:
        name: The name of the class.
    """
    kind = getattr(models, name)
    return Candidate(name, kind, rows="max_rows" if "max_rows" in inspect.signature(kind).parameters else None)
