"""Rivals without features: persistence, seasonal naive, climatology and exponential smoothing."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.defaults.choices import HAND
from benchmarks.defaults.hand import Scale, backward, forward
from benchmarks.defaults.scores import MEDIAN, QUANTILES, Made
from benchmarks.defaults.sets import Task

Floats = NDArray[np.floating[Any]]
WEIGHTS = np.diff([0, *(QUANTILES[1:] + QUANTILES[:-1]) / 2, 1])
"""Probability that each quantile stands for, by which a mean is taken."""


def quantiles_of(values: Floats) -> Floats:
    """Return the 23 quantiles along the first axis, NaN left out: (..., quantile).

    Args:
        values: Values, (case, ...).
    """
    ordered = np.sort(values, 0)  # NaN last
    count = np.isfinite(values).sum(0)
    place = QUANTILES * np.maximum(count - 1, 0)[..., None]
    low = np.floor(place).astype(int)
    high = np.minimum(low + 1, np.maximum(count - 1, 0)[..., None])
    ordered = np.moveaxis(ordered, 0, -1)
    share = place - low
    found = (1 - share) * np.take_along_axis(ordered, low, -1) + share * np.take_along_axis(ordered, high, -1)
    return np.where(count[..., None] > 0, found, np.nan)


def forward_filled(values: Floats) -> Floats:
    """Return the last observation at each time, (time, node)."""
    return pd.DataFrame(values).ffill().bfill().to_numpy()


def persisted(task: Task, period: int) -> Made:
    """Return the last value, or that of the last season, with the quantiles of its errors in the history.

    Errors are those of the transformed target, node by node where it has 200 of them; the median is the value itself.

    Args:
        task: Record and scored part.
        period: Steps of the season; 1 for persistence.
    """
    hand, start = HAND[task.record.name], task.start
    z = forward(task.values, hand.transform, np.ones(task.values.shape[1]))
    last = forward_filled(z)
    held = []
    for lead in task.record.horizons:
        back = lead if period == 1 else period * (1 + (lead - 1) // period)
        given = last if period == 1 else np.where(np.isfinite(z), z, np.nan)
        ahead = np.full_like(z, np.nan)
        ahead[back:] = given[:-back]
        late = np.full_like(z, np.nan)
        late[lead:] = last[:-lead]
        ahead = np.where(np.isfinite(ahead), ahead, late)
        errors = (z - ahead)[:start]
        known = quantiles_of(errors)
        few = np.isfinite(errors).sum(0) < 200
        known[few] = quantiles_of(errors.reshape(-1))
        known = known - known[:, MEDIAN : MEDIAN + 1]
        held.append(ahead[start:, :, None] + known)
    quantiles = backward(np.stack(held), hand.transform, np.ones(1))
    return Made(quantiles, quantiles[..., MEDIAN])


def climatology(task: Task) -> Made:
    """Return mean and quantiles of the history in each node's cell of the calendar; of all nodes where it has none.

    Args:
        task: Record and scored part.
    """
    hand, history = HAND[task.record.name], task.values[: task.start]
    period, half = hand.season
    row = np.arange(task.start)
    found: dict[int, tuple[Floats, Floats]] = {}
    means, quantiles = [], []
    for time in range(task.start, len(task.values)):
        phase = round(time % period)
        if phase not in found:
            apart = np.abs((row - time + period / 2) % period - period / 2)
            here = apart <= half + 0.5
            if hand.joint:
                here &= (row - time) % 24 == 0
            cell = history[here]
            known, mean = quantiles_of(cell), np.full(cell.shape[1], np.nan)
            count = np.isfinite(cell).sum(0)
            mean[count > 0] = np.nansum(cell, 0)[count > 0] / count[count > 0]
            known[count < 5], mean[count < 5] = quantiles_of(cell.reshape(-1)), np.nanmean(cell)
            found[phase] = mean, known
        means.append(found[phase][0])
        quantiles.append(found[phase][1])
    shape = len(task.record.horizons), 1, 1
    return Made(np.tile(np.stack(quantiles)[None], (*shape, 1)), np.tile(np.stack(means)[None], shape))


def smoothing(task: Task) -> Made:
    """Return AutoETS of each node's anomalies, its parameters chosen on the history, its states followed since then.

    Args:
        task: Record and scored part.
    """
    from statsforecast.models import AutoETS

    hand = HAND[task.record.name]
    people = task.panel["population"].values if hand.transform == "rate" else None
    scale = Scale.of(task.values, task.start, hand, people)
    a = np.nan_to_num(pd.DataFrame(scale.anomalies(task.values)).interpolate(limit_direction="forward").to_numpy())
    parameters = np.zeros((3, a.shape[1]))  # level, trend, damping
    for node in range(a.shape[1]):
        model = AutoETS(season_length=1, model="ZZN")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(a[max(0, task.start - 2000) : task.start, node])
        alpha, beta, _, phi = model.model_["par"][:4]
        parameters[:, node] = alpha, np.nan_to_num(beta), 1.0 if np.isnan(phi) else phi
    level, trend = followed(a, *parameters)
    held = []
    times, nodes = np.indices((len(a) - task.start, a.shape[1])).reshape(2, -1)
    for lead in task.record.horizons:
        reach = (parameters[2] ** np.arange(1, lead + 1)[:, None]).sum(0)
        ahead = np.full_like(a, np.nan)
        ahead[lead:] = (level + reach * trend)[:-lead]
        errors = (scale.anomalies(task.values) - ahead)[task.start // 10 : task.start]
        made = ahead[task.start :, :, None] + quantiles_of(errors)
        made = scale.undo(made.reshape(-1, len(QUANTILES)), times + task.start, nodes)
        held.append(made.reshape(len(a) - task.start, a.shape[1], -1))
    quantiles = np.stack(held)
    return Made(quantiles, quantiles @ WEIGHTS)


def followed(a: Floats, alpha: Floats, beta: Floats, phi: Floats) -> tuple[Floats, Floats]:
    """Return level and trend of additive exponential smoothing at each time, (time, node) each.

    Args:
        a: Series without gaps, (time, node).
        alpha: Weight of the level, (node,).
        beta: Weight of the trend, (node,).
        phi: Damping of the trend, (node,).
    """
    level, trend = a[:10].mean(0), np.zeros(a.shape[1])
    levels, trends = np.empty_like(a), np.empty_like(a)
    for time, value in enumerate(a):
        error = value - level - phi * trend
        level, trend = level + phi * trend + alpha * error, phi * trend + beta * error
        levels[time], trends[time] = level, trend
    return levels, trends


def simple(task: Task) -> dict[str, Any]:
    """Return the makers of the rivals without features, by name.

    Args:
        task: Record and scored part.
    """
    hand = HAND[task.record.name]
    made: dict[str, Any] = {"persistence": lambda: persisted(task, 1)}
    if hand.naive:
        made["seasonal naive"] = lambda: persisted(task, hand.naive)
    made["climatology"] = lambda: climatology(task)
    if hand.ets:
        made["AutoETS on anomalies"] = lambda: smoothing(task)
    return made
