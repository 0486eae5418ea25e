"""Geometry of the training part of a field."""

from __future__ import annotations

import torch

from stgate.data.window_data import WindowData
from stgate.distributions.civil import even_time
from stgate.panels.geometry import nearest
from stgate.prediction.field.predictor import FieldPredictor


def take_geometry(predictor: FieldPredictor, data: WindowData) -> None:
    """Take the stations' places and the scales of coordinates and time from the training part.

    Args:
        predictor: A configured field.
        data: The data of the fit.
    """
    spec, (start, stop) = data.spec, data.parts.train
    static = data.series.static.double()
    seen, last = torch.zeros(len(static), dtype=torch.float64), start
    for first, end in data.series.blocks(start, stop):
        there = (~torch.isnan(data.series.read(first, end)[..., : len(spec.targets)])).any(-1)
        seen += there.sum((0, 1))
        rows = torch.nonzero(there.flatten(2).any(2).any(0))
        last = first + int(rows[-1]) if len(rows) else last
    share = (seen / seen.sum()).unsqueeze(-1)
    center = (share * static).sum(0)
    scale = (share * (static - center).square()).sum(0).sqrt()
    ground, times = predictor.ground, even_time(data.series.clock.time, spec)
    ground.static.copy_(static)
    ground.center.copy_(center)
    ground.scale.copy_(torch.where(scale > 0, scale, 1.0))
    ground.start.copy_(times[start])
    ground.length.copy_(((times[last] - times[start]) / spec.step).clamp(min=1))
    if len(static) > 1:
        _, distance = nearest(predictor.neighbourhoods.places(static), 1)
        ground.typical.fill_(float(distance.mean()) or 1.0)
    predictor.neighbourhoods.forget()
