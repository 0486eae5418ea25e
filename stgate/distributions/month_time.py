"""Even times for steps of calendar months, whose lengths in days differ."""

from __future__ import annotations

import torch  # noqa: F401 (the doctest's)
from torch import Tensor

from stgate.distributions.civil import date_of
from stgate.schema.spec import PanelSpec
from stgate.schema.steps import MONTH


def even_months(time: Tensor) -> Tensor:
    """Return times at which all months are equally long, and a year has exactly twelve of them.

    Args:
        time: Seconds since 1970, of any shape.

    Returns:
        The number of each time's month since January 1970, in seconds of a mean month; of the shape of `time`.

    >>> even_months(torch.tensor([0.0, 31 * 86400.0], dtype=torch.float64)).tolist()  # 1 January, 1 February 1970
    [0.0, 2629746.0]
    """
    return (date_of(time).month.double() * MONTH).to(time)


def even_time(time: Tensor, spec: PanelSpec) -> Tensor:
    """Return times at which all steps are equally long: those given, but for steps of calendar months `even_months`."""
    return even_months(time) if spec.months else time
