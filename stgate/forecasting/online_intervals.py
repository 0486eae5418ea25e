"""Online conformal intervals: from the errors that were known at each origin of a backtest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from stgate.calibration.online import LARGEST, OnlineConformal
from stgate.distributions.reshaped import curve_at
from stgate.forecasting.dataset import join
from stgate.forecasting.warm_up import KnownErrors
from stgate.prediction.normal_scores import nodes_of
from stgate.prediction.prediction import Prediction
from stgate.prediction.predictor import Predictor
from stgate.schema.forecast import PARTS, levels_of
from stgate.schema.words import Mode as Mode

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
    online = OnlineIntervals(model, quantiles, time, every=every, window=window, rate=rate)
    if known is not None:
        online.begin(known.before, known.since)
    rows = by_origin(join(predictions))
    instead = () if known is None else (known.instead, known.seen)
    online.learn(rows["score"], rows["since"], *instead)
    return [online.calibrated({name: held[-kept:] for name, held in rows.items()}, online.reach(kept))]


class OnlineIntervals:
    """Online conformal intervals of successive blocks of origins.

    Args:
        model: The predictor that makes the forecasts; its stored calibration is used until enough errors are known.
        quantiles: Quantile levels, ascending, 0.5 among them.
        time: (time,), times of the panel and of one horizon after its end, as in a batch.
        every: Number of steps between origins.
        window: Number of origins whose conformity scores are used.
        rate: Rate of the adaptation; 0 for rolling intervals.
    """

    def __init__(
        self,
        model: Predictor,
        quantiles: Sequence[float],
        time: torch.Tensor,
        *,
        every: int,
        window: int,
        rate: float,
    ) -> None:
        self.model, self.quantiles, self.time, self.every = model, quantiles, time, every
        self.levels = levels_of(quantiles)
        self.window, self.rate = window, rate
        self.online: list[OnlineConformal] = []
        self.shape = (0, 0, 0)  # members, leads, nodes
        self.count = 0
        self.recent: dict[int, NDArray[np.float64]] = {}  # scores of origins whose truth is not all known yet
        self.latest: list[NDArray[np.float64]] = []

    def begin(self, scores: NDArray[np.float64], since: NDArray[np.int64]) -> None:
        """Learn from stored errors of origins before the first forecast.

        Args:
            scores: (origin, lead, cell, target); NaN where there are none.
            since: (origin, cell), steps since observed at these origins.
        """
        self._learn(scores, since)

    def learn(
        self,
        score: NDArray[np.float32],
        since: NDArray[np.int64],
        instead: NDArray[np.float64] | None = None,
        seen: NDArray[np.bool_] | None = None,
    ) -> None:
        """Predict the widths of the intervals of the next origins, and learn from the errors known at each.

        Args:
            score: (origin, member, lead, node, target), scores of their truths.
            since: (origin, member, node), steps since each node was observed.
            instead: (origin, lead, cell, target), scores that take the place of their own.
            seen: (origin, lead), True where they do.
        """
        origins, members, leads, nodes, targets = score.shape
        self.shape = (members, leads, nodes)
        scores = score.astype("float64").transpose(0, 2, 1, 3, 4).reshape(origins, leads, members * nodes, targets)
        scores[~np.isfinite(scores)] = np.nan
        scores = np.minimum(scores, LARGEST)
        if instead is not None and seen is not None:
            scores = np.where(seen[..., None, None], instead, scores)
        self._learn(scores, since.reshape(origins, members * nodes))

    def _learn(self, scores: NDArray[np.float64], since: NDArray[np.int64]) -> None:
        _, leads, cells, targets = scores.shape
        if not self.online:
            begin = [_initial(self.model, self.levels, leads, target) for target in range(targets)]
            options: dict[str, Any] = {"window": self.window, "rate": self.rate, "refresh": 24}
            self.online = [OnlineConformal(self.levels, leads, cells, initial=own, **options) for own in begin]
        self.latest = []
        late = -(-leads // self.every)
        for own, steps in zip(scores, since, strict=True):
            now = self.count
            for before in range(max(now - late, 0), now):
                # Errors that are known now, but were not yet at the origin before.
                for lead in range((now - 1 - before) * self.every, min((now - before) * self.every, leads)):
                    for target, online in enumerate(self.online):
                        online.update(before, lead, self.recent[before][lead, :, target])
            self.latest.append(np.stack([online.predict(steps) for online in self.online], -1))
            self.recent[now] = own
            self.recent.pop(now - late, None)
            self.count += 1

    def reach(self, kept: int) -> NDArray[np.float64]:
        """Return the half-widths of the last origins learnt from, (level, origin, member, lead, node, target).

        Args:
            kept: Number of origins.
        """
        members, leads, nodes = self.shape
        made = np.stack(self.latest[-kept:], 1)  # (level, origin, lead, cell, target)
        return made.reshape(*made.shape[:2], leads, members, nodes, -1).transpose(0, 1, 3, 2, 4, 5)

    def calibrated(self, rows: dict[str, NDArray[Any]], reach: NDArray[np.float64]) -> Prediction:
        """Return a prediction whose quantiles lie at these half-widths.

        Args:
            rows: Numbers of predictions of `predict_online` by origin, as `by_origin` arranges them.
            reach: (level, origin, member, lead, node, target), half-widths in units of the forecast's scale.
        """
        model, curve = self.model, rows["quantiles"]
        origins, members, leads = curve.shape[:3]
        held, at = torch.from_numpy(curve).double(), nodes_of(model.conformity_score)
        columns = {0.5: curve_at(held, torch.zeros(()), at)}
        for level, own in zip(self.levels, torch.from_numpy(np.ascontiguousarray(reach)), strict=True):
            columns[round((1 - level) / 2, 6)] = curve_at(held, -own, at)
            columns[round((1 + level) / 2, 6)] = curve_at(held, own, at)
        arrays = {k: rows[k] for k in ("mean", "truth", "since", "origin", *PARTS) if k in rows}
        flattened = {name: v.reshape(origins * members, *v.shape[2:]) for name, v in arrays.items()}
        made = {name: torch.from_numpy(np.ascontiguousarray(v)) for name, v in flattened.items()}
        bounds = torch.stack([columns[round(q, 6)] for q in self.quantiles], -1).flatten(0, 1)
        bounds = bounds.clamp(min=model.lowest)
        if model.transforms:
            ahead = self.time[made["origin"][:, 1:].long() + torch.arange(1, leads + 1)]  # (origin, lead)
            bound = model.transform.bind(ahead.to(model.device), model.transform.without_window)
            bounds = torch.stack([bound.decode(b.to(model.device)).cpu() for b in bounds.float().unbind(-1)], -1)
        return cast(Prediction, {"quantiles": bounds.float(), **made})


def by_origin(joined: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Arrange the numbers of predictions by origin and member, (origin, member, …).

    Args:
        joined: Numbers by name, as `join` gives them, in any order.
    """
    member, row = joined["origin"].T
    order = np.lexsort((member, row))
    members = int(member.max()) + 1
    return {name: held[order].reshape(-1, members, *held.shape[1:]) for name, held in joined.items()}


def _initial(model: Predictor, levels: Sequence[float], leads: int, target: int) -> NDArray[np.float64]:
    """Return the first calibrated quantiles, (level, lead): the stored ones of these levels, else a normal's."""
    from scipy.special import ndtri  # takes a while to import; only these intervals need it

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
