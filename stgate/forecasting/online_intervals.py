"""Intervals over time: from the errors that were known at each origin of a backtest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri

from stgate.calibration.online import OnlineConformal
from stgate.forecasting.dataset import join
from stgate.prediction.predictor import Prediction, Predictor
from stgate.schema.forecast import PARTS, levels_of

Mode = Literal["stored", "rolling", "adaptive"]
"""Ways to calibrate a backtest."""
MODES: dict[Mode, float | None] = {"stored": None, "rolling": 0.0, "adaptive": 0.07}
"""Which intervals a backtest has, and the step of their adaptation (chosen on years before the test years)."""


def over_time(
    model: Predictor,
    predictions: Sequence[Prediction],
    kept: int,
    quantiles: Sequence[float],
    *,
    every: int,
    window: int,
    rate: float,
) -> list[Prediction]:
    """Predictions with intervals from what was known at each origin: rolling, or adaptive where there is a rate.

    Args:
        model: The forecaster that made them; what it stores are the intervals while hardly anything is known.
        predictions: From origins that are `every` steps apart, some before those that are wanted; with the median.
        kept: How many of the last origins are wanted.
        quantiles: Ascending, 0.5 among them.
        every: Steps between origins.
        window: Origins whose scores count.
        rate: Step of the adaptation.

    Returns:
        One prediction of the last `kept` origins, with these quantiles.
    """
    joined = join(predictions)
    member, row = joined["origin"].T
    order = np.lexsort((member, row))
    members = int(member.max()) + 1
    by_origin = {k: v[order].reshape(-1, members, *v.shape[1:]) for k, v in joined.items()}
    middle, spread, truth = (by_origin[k].astype("float64") for k in ("median", "stddev", "truth"))
    origins, _, leads, nodes, targets = middle.shape
    cells = members * nodes
    levels = levels_of(quantiles)

    def flat(values: NDArray[np.float64], target: int) -> NDArray[np.float64]:
        return values[..., target].transpose(0, 2, 1, 3).reshape(origins, leads, cells)

    since = by_origin["since"].reshape(origins, cells)
    half = np.empty((len(levels), kept, members, leads, nodes, targets))
    for target in range(targets):
        with np.errstate(invalid="ignore", divide="ignore"):
            scores = np.abs(flat(truth, target) - flat(middle, target)) / flat(spread, target)
        scores[~np.isfinite(scores)] = np.nan
        begin = _initial(model, levels, leads, target)
        online = OnlineConformal(levels, leads, cells, window=window, rate=rate, refresh=24, initial=begin)
        for now in range(origins):
            for before in range(max(now - -(-leads // every), 0), now):
                # Known by now, but not yet at the origin before.
                for lead in range((now - 1 - before) * every, min((now - before) * every, leads)):
                    online.update(before, lead, scores[before, lead])
            factors = online.predict(since[now])  # (level, lead, cell)
            place = now - (origins - kept)
            if place >= 0:
                made = factors * flat(spread, target)[now]
                half[:, place, ..., target] = made.reshape(-1, leads, members, nodes).transpose(0, 2, 1, 3)
    columns = {0.5: middle[-kept:]}
    for i, level in enumerate(levels):
        columns[round((1 - level) / 2, 6)] = middle[-kept:] - half[i]
        columns[round((1 + level) / 2, 6)] = middle[-kept:] + half[i]
    bounded = np.maximum(np.stack([columns[round(q, 6)] for q in quantiles], -1), model.likelihood.lowest)
    made_of = {"quantiles": bounded.astype("float32")}
    made_of |= {k: by_origin[k][-kept:] for k in ("mean", "truth", "since", "origin", *PARTS) if k in by_origin}
    flattened = {name: v.reshape(kept * members, *v.shape[2:]) for name, v in made_of.items()}
    return [cast(Prediction, {name: torch.from_numpy(np.ascontiguousarray(v)) for name, v in flattened.items()})]


def _initial(model: Predictor, levels: Sequence[float], leads: int, target: int) -> NDArray[np.float64]:
    """(level, lead) factors to begin with: those stored, where the forecaster has these levels; else a normal's."""
    normal = np.repeat(ndtri((1 + np.asarray(levels)) / 2)[:, None], leads, 1)
    stored = model.calibration
    if stored is None or stored.conformity_score != "scaled":
        return normal
    for i, level in enumerate(levels):
        near = [k for k, have in enumerate(stored.levels) if abs(have - level) < 1e-6]
        if near:
            normal[i] = stored.quantiles[0, :, near[0], :, target].mean(0).numpy()
    return normal
