"""Times of a window from its origin, with their calendar features and cells, inside the graph."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from stgate.distributions.civil import DAY, cells_of, date_of, month_start
from stgate.panels.calendar import PERIODS, cell_keys, harmonic
from stgate.schema.spec import PanelSpec


def times_of(origin: Tensor, spec: PanelSpec) -> Tensor:
    """Return the times of the window and of the leads, (batch, window + horizon), float64.

    Args:
        origin: Time of the last step of each window, (batch,): seconds since 1970, or model time.
        spec: The spec of the panel.
    """
    steps = torch.arange(1 - spec.window, spec.horizon + 1)
    start = origin.double().unsqueeze(1)
    if not spec.months:
        return start + steps.double() * spec.step
    month = date_of(start).month
    since, left = start - month_start(month), month_start(month + 1) - start
    asked = month + spec.months * steps
    first, after = month_start(asked), month_start(asked + 1)
    # A month's end is followed by a month's end; another day by that day, or the last one of a shorter month.
    kept = torch.minimum(first + since, after - DAY + since.remainder(DAY))
    return torch.where(left <= DAY, after - left, kept)


def calendar_of(time: Tensor, spec: PanelSpec) -> tuple[Tensor, Tensor]:
    """Return the calendar features of times, (batch, step, feature), and the number of their calendar cells.

    Args:
        time: Times, (batch, step), float64.
        spec: The spec, which names the features; model time has none.
    """
    if spec.time == "model":
        return time.new_zeros((*time.shape, 0), dtype=torch.float32), torch.zeros_like(time, dtype=torch.int64)
    date = date_of(time)
    share = (time / DAY - (time / DAY).floor()).double()
    phases = {
        "hour": share,
        "weekday": (date.weekday + share) / 7,
        "yearday": (date.yearday + share) * (DAY / PERIODS["yearday"]),
        "month": date.month % 12 / 12.0,
    }
    columns = []
    for key in spec.calendar:
        name, number = harmonic(key)
        angle = 2 * math.pi * number * phases[name]
        columns += [angle.sin().float(), angle.cos().float()]
    features = torch.stack(columns, -1) if columns else time.new_zeros((*time.shape, 0), dtype=torch.float32)
    return features, cells_of(time, cell_keys(spec.time_step))
