"""Warm-up of online intervals: errors that are known before the first forecast, and were not seen by the fit."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray

from stgate.calibration.recent import LOOKBACK
from stgate.data.history import History
from stgate.prediction.past_errors import PastErrors
from stgate.prediction.predictor import Predictor


@dataclasses.dataclass(frozen=True)
class KnownErrors:
    """Stored errors of held-out forecasts, in the place of the errors on rows that the fit has seen.

    Attributes:
        before: (origin, lead, cell, target), scores of origins before the first forecast; NaN where there are none.
        since: (origin, cell), steps since observed at these origins.
        instead: (forecast, lead, cell, target), scores that take the place of a forecast's own.
        seen: (forecast, lead), True where the fit has seen the truth, so that a forecast's own score does not count.
    """

    before: NDArray[np.float64]
    since: NDArray[np.int64]
    instead: NDArray[np.float64]
    seen: NDArray[np.bool_]


def warm_up_rows(model: Predictor, history: History, first: int, every: int, window: int) -> NDArray[np.int64]:
    """Choose the origins before the first one that are forecast as well, in order.

    Beyond the calibration window only rows that training has not used are taken: errors on training data are too
    small. Where the checkpoint holds errors of held-out forecasts, these stand for all rows that training has used.

    Args:
        model: The predictor.
        history: The panel.
        first: Row of the first origin that is asked for.
        every: Number of steps between origins.
        window: Number of origins whose scores count.
    """
    rows = np.arange(first - every, history.spec.window - 2, -every)
    seen = history.last_seen(model.seen)
    if _stored(model, history) is not None:
        return rows[rows + history.spec.horizon > seen][: LOOKBACK * window][::-1]
    unused = int((rows > seen).sum())
    return rows[: min(max(window, unused), LOOKBACK * window)][::-1]


def known_errors(
    model: Predictor, history: History, rows: NDArray[np.int64], every: int, window: int
) -> KnownErrors | None:
    """Return the stored errors around some forecasts; None if the checkpoint has none that fit the panel.

    Args:
        model: The predictor.
        history: The panel.
        rows: Rows of the origins that are forecast, warm-up included, `every` steps apart.
        every: Number of steps between origins.
        window: Number of origins whose scores count.
    """
    before = errors_before(model, history, rows, every, window)
    instead = errors_instead(model, history, rows)
    return None if before is None or instead is None else KnownErrors(*before, *instead)


def errors_before(
    model: Predictor, history: History, rows: NDArray[np.int64], every: int, window: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]] | None:
    """Return the stored errors of origins before the first forecast, and the steps since observed there.

    Args:
        model: The predictor.
        history: The panel.
        rows: Rows of the origins that are forecast, warm-up included, `every` steps apart.
        every: Number of steps between origins.
        window: Number of origins whose scores count.
    """
    held = _stored(model, history)
    if held is None:
        return None
    past, last = held
    oldest = last - len(past.scores) + 1
    count = min(max(LOOKBACK * window - len(rows), 0), max((int(rows[0]) - oldest) // every, 0))
    return _at(past, last, rows[0] - every * np.arange(count, 0, -1))


def errors_instead(
    model: Predictor, history: History, rows: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]] | None:
    """Return the stored errors of some forecasts, and where they take the place of the forecasts' own.

    Args:
        model: The predictor.
        history: The panel.
        rows: Rows of the origins that are forecast.
    """
    held = _stored(model, history)
    if held is None:
        return None
    ahead = rows[:, None] + np.arange(1, history.spec.horizon + 1)
    return _at(*held, rows)[0], ahead <= history.last_seen(model.seen)


def _stored(model: Predictor, history: History) -> tuple[PastErrors, int] | None:
    """Return the stored errors with the row of their last origin, which may precede the panel; None if none fit it."""
    past, spec = model.past_errors, history.spec
    if past is None:
        return None
    members, nodes = history.frame.sizes.get("member", 1), len(spec.nodes)
    if past.scores.shape[1:] != (members, spec.horizon, nodes, len(spec.targets)):
        return None
    time = history.series.clock.time
    last = int(torch.searchsorted(time, torch.tensor(past.last - 1e-3 * spec.step, dtype=time.dtype)))
    if last == len(time):
        return None
    steps = (past.last - float(time[last])) / spec.step
    if abs(steps - round(steps)) > (0.1 if spec.months else 0.01):  # months are of unequal length
        return None
    return past, last + round(steps)


def _at(past: PastErrors, last: int, rows: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return scores (origin, lead, cell, target) and steps since observed (origin, cell) at some rows."""
    place = torch.from_numpy(rows - (last - len(past.scores) + 1))
    held = (place >= 0) & (place < len(past.scores))
    place = place.clamp(0, len(past.scores) - 1)
    scores = past.scores[place].transpose(1, 2).flatten(2, 3).double()  # (origin, lead, cell, target)
    scores[~held] = torch.nan
    return scores.numpy(), past.since[place].flatten(1).long().numpy()
