"""Short list of forecasters that an automatic fit tries, in the order of their cost."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from functools import partial

from stgate import models
from stgate.data.window_data import WindowData
from stgate.distributions.anomaly import Anomaly
from stgate.distributions.transforms import Transform
from stgate.models.forecaster import Forecaster


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A forecaster to try.

    Attributes:
        name: Name of the candidate, in tables and as the name of its files.
        make: Function from options to a forecaster that has not been fitted; each call returns a new one.
        rows: Name of its option for the largest number of rows, if it has one: fewer are taken where time is short.
        reference: True for a forecaster that is scored for comparison, but is no member of the stack.
        other_than: Name of an earlier candidate whose transforms this one has, with the other choice of `Anomaly`:
            without it where that one forecasts anomalies, with it elsewhere. A pool gains by such members.
    """

    name: str
    make: Callable[..., Forecaster]
    rows: str | None = None
    reference: bool = False
    other_than: str | None = None

    def unlike(self, chosen: Sequence[Transform]) -> Candidate:
        """Return the candidate with the transforms of an earlier one, and the other choice of `Anomaly`.

        Args:
            chosen: Transforms of the earlier candidate.
        """
        others = [one for one in chosen if not isinstance(one, Anomaly)]
        transforms = others if len(others) < len(chosen) else [*others, Anomaly()]
        return dataclasses.replace(self, make=partial(self.make, transforms=transforms or None))


def short_list(data: WindowData) -> list[Candidate]:
    """Return the candidates for some data, the cheapest first.

    Args:
        data: The data.
    """
    found = [Candidate("Persistence", partial(models.Persistence, carry=True)), candidate("Climatology")]
    for name in ("Ridge", "GradientBoosting"):
        first = candidate(name)
        found += [first, dataclasses.replace(first, name=f"{name}-other", other_than=name)]
    found.append(candidate("GatedRNN"))
    return found + ([candidate("STHSepNet")] if "edge_source" in data.panel else [])


def candidate(name: str) -> Candidate:
    """Return the candidate of a class of `stgate.models`, with its defaults.

    Args:
        name: The name of the class.
    """
    kind = getattr(models, name)
    return Candidate(name, kind, rows="max_rows" if "max_rows" in inspect.signature(kind).parameters else None)
