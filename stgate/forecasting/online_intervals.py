"""Online conformal intervals: from the errors that were known at each origin of a backtest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri

from stgate.calibration.online import LARGEST, OnlineConformal
from stgate.distributions.reshaped import curve_at
from stgate.forecasting.dataset import join
from stgate.forecasting.warm_up import KnownErrors
from stgate.prediction.normal_scores import nodes_of
from stgate.prediction.prediction import Prediction
from stgate.prediction.predictor import Predictor
from stgate.schema.forecast import PARTS, levels_of

Mode = Literal["stored", "rolling", "adaptive"]
"""Ways to calibrate a backtest."""
MODES: dict[Mode, float | None] = {"stored": None, "rolling": 0.0, "adaptive": 0.07}
"""Adaptation rate of each way; None for no online intervals. The rate was chosen on years before the test years."""


def online_intervals(
    model: Predictor,
    predictions: Sequence[Prediction],
    kept: int,
    quantiles: Sequence[float],
    time: torch.Tensor,
    *,
    every: int,
    window: int,
    rate: float,
    known: KnownErrors | None = None,
) -> list[Prediction]:
    """Calibrate predictions by the errors that were known at each origin: rolling, or adaptive with a rate above zero.

    Args:
        model: The predictor that made the predictions; its stored calibration is used until enough errors are known.
        predictions: Predictions of `predict_online`, from origins `every` steps apart, the `kept` last ones and some
            before them.
        kept: Number of origins to return, the last ones.
        quantiles: Quantile levels, ascending, 0.5 among them.
        time: (time,), times of the panel and of one horizon after its end, as in a batch.
        every: Number of steps between origins.
        window: Number of origins whose conformity scores are used.
        rate: Rate of the adaptation; 0 for rolling intervals.
        known: Stored errors, which take the place of errors on rows that the fit has seen.

    Returns:
        A list of one prediction, of the last `kept` origins, with these quantiles.
    """
    joined = join(predictions)
    member, row = joined["origin"].T
    order = np.lexsort((member, row))
    members = int(member.max()) + 1
    by_origin = {k: v[order].reshape(-1, members, *v.shape[1:]) for k, v in joined.items()}
    curve, score = by_origin["quantiles"], by_origin["score"].astype("float64")
    origins, _, leads, nodes, targets = score.shape
    cells = members * nodes
    levels = levels_of(quantiles)

    def flat(values: NDArray[np.float64], target: int) -> NDArray[np.float64]:
        return values[..., target].transpose(0, 2, 1, 3).reshape(origins, leads, cells)

    since = by_origin["since"].reshape(origins, cells)
    if known is not None:
        since = np.concatenate([known.since, since])
    reach = np.empty((len(levels), kept, members, leads, nodes, targets))
    for target in range(targets):
        scores = flat(score, target)
        scores[~np.isfinite(scores)] = np.nan
        scores = np.minimum(scores, LARGEST)
        if known is not None:
            scores = np.where(known.seen[..., None], known.instead[..., target], scores)
            scores = np.concatenate([known.before[..., target], scores])
        begin = _initial(model, levels, leads, target)
        online = OnlineConformal(levels, leads, cells, window=window, rate=rate, refresh=24, initial=begin)
        for now in range(len(scores)):
            for before in range(max(now - -(-leads // every), 0), now):
                # Errors that are known now, but were not yet at the origin before.
                for lead in range((now - 1 - before) * every, min((now - before) * every, leads)):
                    online.update(before, lead, scores[before, lead])
            factors = online.predict(since[now])  # (level, lead, cell)
            place = now - (len(scores) - kept)
            if place >= 0:
                reach[:, place, ..., target] = factors.reshape(-1, leads, members, nodes).transpose(0, 2, 1, 3)
    held, at = torch.from_numpy(curve[-kept:]).double(), nodes_of(model.conformity_score)
    columns = {0.5: curve_at(held, torch.zeros(()), at)}
    for level, own in zip(levels, torch.from_numpy(reach), strict=True):
        columns[round((1 - level) / 2, 6)] = curve_at(held, -own, at)
        columns[round((1 + level) / 2, 6)] = curve_at(held, own, at)
    arrays = {k: by_origin[k][-kept:] for k in ("mean", "truth", "since", "origin", *PARTS) if k in by_origin}
    flattened = {name: v.reshape(kept * members, *v.shape[2:]) for name, v in arrays.items()}
    made = {name: torch.from_numpy(np.ascontiguousarray(v)) for name, v in flattened.items()}
    bounds = torch.stack([columns[round(q, 6)] for q in quantiles], -1).flatten(0, 1)
    bounds = bounds.clamp(min=model.lowest)
    if model.transforms:
        ahead = time[made["origin"][:, 1:].long() + torch.arange(1, leads + 1)]  # (origin, lead)
        bound = model.transform.bind(ahead.to(model.device), model.transform.without_window)
        bounds = torch.stack([bound.decode(b.to(model.device)).cpu() for b in bounds.float().unbind(-1)], -1)
    return [cast(Prediction, {"quantiles": bounds.float(), **made})]


def _initial(model: Predictor, levels: Sequence[float], leads: int, target: int) -> NDArray[np.float64]:
    """Return the first calibrated quantiles, (level, lead): the stored ones of these levels, else a normal's."""
    normal = np.repeat(ndtri((1 + np.asarray(levels)) / 2)[:, None], leads, 1)
    stored = model.calibration
    if stored is None or stored.conformity_score != model.conformity_score or stored.conformity_score == "quantile":
        return normal
    for i, level in enumerate(levels):
        near = [k for k, have in enumerate(stored.levels) if abs(have - level) < 1e-6]
        if near:
            own = stored.quantiles[0, :, near[0], :, target].mean(0).numpy()
            normal[i] = np.where(np.isfinite(own), own, normal[i])
    return np.maximum.accumulate(normal, axis=0)
