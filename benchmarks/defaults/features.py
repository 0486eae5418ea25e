"""Features that a knowledgeable user makes by hand: lags, rolling means, neighbours, the node, and the calendar."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.defaults.choices import HAND
from benchmarks.defaults.hand import Hand, Scale, forward, neighbours
from benchmarks.defaults.sets import Task

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Table:
    """Features as arrays over (time, node), (time,) or (node,), from which rows are gathered.

    Attributes:
        task: Record and scored part.
        hand: Choices for the record.
        scale: The way to anomalies and back.
        anomalies: Standardised anomalies of the target, (time, node).
        past: Features of the origin, by name, (time, node).
        node: Features of the node, by name, (node,).
        nearest: Features of the origin of single neighbours, by name, (time, node).
    """

    task: Task
    hand: Hand
    scale: Scale
    anomalies: Floats
    past: dict[str, Floats]
    node: dict[str, Floats]
    nearest: dict[str, Floats]

    @classmethod
    def of(cls, task: Task) -> Table:
        """Compute the features of a task.

        Args:
            task: Record and scored part.
        """
        hand = HAND[task.record.name]
        people = task.panel["population"].values if "population" in task.panel.coords else None
        scale = Scale.of(task.values, task.start, hand, people if hand.transform == "rate" else None)
        a = scale.anomalies(task.values).astype(np.float32)
        return cls(task, hand, scale, a, past_of(task, hand, a), node_of(task, scale), nearest_of(task, a))

    @property
    def shape(self) -> tuple[int, int]:
        """Number of times and nodes."""
        return self.anomalies.shape[0], self.anomalies.shape[1]

    def origins(self, lead: int) -> tuple[Ints, Ints]:
        """Return rows and nodes of all training cases: the valid time lies in the history and is observed.

        Args:
            lead: Lead in steps.
        """
        first = min(max(self.hand.lags) // 2, self.task.start // 4)
        there = np.isfinite(self.anomalies[first + lead : self.task.start])
        row, node = np.nonzero(there)
        return row + first, node

    def asked(self, lead: int) -> tuple[Ints, Ints]:
        """Return origin rows and nodes of all cases of the scored part, time by time.

        Args:
            lead: Lead in steps.
        """
        times, nodes = self.shape
        rows = np.arange(self.task.start, times) - lead
        return np.repeat(rows, nodes), np.tile(np.arange(nodes), len(rows))

    def gather(self, rows: Ints, nodes: Ints, lead: int) -> tuple[Floats, list[str]]:
        """Return features of cases, (case, feature), NaN where missing, and their names.

        Args:
            rows: Rows of the origins, (case,).
            nodes: Nodes, (case,).
            lead: Lead in steps.
        """
        columns = {name: held[rows, nodes] for name, held in {**self.past, **self.nearest}.items()}
        valid = rows + lead
        if self.hand.naive:
            same = valid - self.hand.naive * (1 + (lead - 1) // self.hand.naive)
            columns["same phase"] = np.where(same >= 0, self.anomalies[np.maximum(same, 0), nodes], np.nan)
        columns |= {name: held[nodes] for name, held in self.node.items()}
        columns["usual"] = self.scale.usual[np.minimum(valid, self.shape[0] - 1), nodes]
        columns["usual now"] = self.scale.usual[rows, nodes]
        columns |= {name: held[valid] for name, held in self.calendar(lead).items()}
        return np.stack([c.astype(np.float32) for c in columns.values()], 1), list(columns)

    def calendar(self, lead: int) -> dict[str, Floats]:
        """Return features of the valid time, (time,).

        Args:
            lead: Lead in steps; rows reach so far beyond the panel.
        """
        step = np.arange(self.shape[0] + lead)
        found = {}
        for number, (period, _) in enumerate(self.hand.cycles):
            turn = 2 * np.pi * step / period
            found[f"cycle {number} cos"], found[f"cycle {number} sin"] = np.cos(turn), np.sin(turn)
            found[f"cycle {number}"] = step % period
        times = self.task.panel["time"].values
        if np.issubdtype(times.dtype, np.datetime64) and self.task.record.step in ("hour", "day"):
            ahead = pd.DatetimeIndex(times[0] + (times[1] - times[0]) * step)
            found["weekday"] = ahead.dayofweek.to_numpy(float)
        return found


def lagged(values: Floats, lag: int) -> Floats:
    """Shift values later in time, (time, node)."""
    if lag == 0:
        return values
    return np.concatenate([np.full_like(values[:lag], np.nan), values[:-lag]])


def past_of(task: Task, hand: Hand, a: Floats) -> dict[str, Floats]:
    """Return features of the node and of its neighbours at the origin, (time, node)."""
    frame = pd.DataFrame(a)
    found = {f"lag {lag}": lagged(a, lag) for lag in hand.lags}
    if hand.counts:
        found["lag 52"] = lagged(a, 51)
        found["raw"] = forward(task.values, hand.transform, np.ones(a.shape[1])).astype(np.float32)
    for window in hand.windows:
        rolling = frame.rolling(window, min_periods=max(1, window // 4))
        found[f"mean of {window}"] = rolling.mean().to_numpy(np.float32)
    found[f"deviation of {hand.windows[1]}"] = frame.rolling(hand.windows[1], min_periods=2).std().to_numpy(np.float32)
    found[f"maximum of {hand.windows[1]}"] = frame.rolling(hand.windows[1], min_periods=1).max().to_numpy(np.float32)
    if np.isnan(a).mean() > 0.005:
        row = np.arange(len(a), dtype=np.float32)[:, None]
        last = pd.DataFrame(np.where(np.isfinite(a), row, np.nan)).ffill().to_numpy()
        found["age"] = np.minimum(row - last, 1000).astype(np.float32)
        found["last"] = frame.ffill().to_numpy(np.float32)
    known = np.isfinite(a).astype(np.float32)
    filled = np.where(known > 0, a, 0)
    everywhere = np.full((a.shape[1], a.shape[1]), 1 / a.shape[1], np.float32)
    for number, weight in enumerate([everywhere, *neighbours(task, 5)]):
        weight = weight.astype(np.float32)
        total = known @ weight.T
        near = np.divide(filled @ weight.T, total, out=np.full_like(a, np.nan), where=total > 1e-6)
        for lag in (0, 1, 2, 3, 5):
            found[f"neighbours {number} lag {lag}"] = lagged(near, lag)
        rolling = pd.DataFrame(near).rolling(hand.windows[1], min_periods=1)
        found[f"neighbours {number} mean"] = rolling.mean().to_numpy(np.float32)
    return found


def node_of(task: Task, scale: Scale) -> dict[str, Floats]:
    """Return features of the nodes, (node,)."""
    names = [n for n in ("lat", "lon", "x", "y", "elevation") if n in task.panel.coords]
    found = {name: task.panel[name].values.astype(float) for name in names}
    found |= {"people": np.log(scale.people), "deviation": scale.deviation}
    found |= {"level": scale.usual[: task.start].mean(0), "id": np.arange(len(scale.deviation), dtype=float)}
    return found


def nearest_of(task: Task, a: Floats) -> dict[str, Floats]:
    """Return the last values of the strongest neighbours, or of the best correlated nodes without any, (time, node)."""
    known = neighbours(task, 8)
    if known:
        strength = sum(known)
    else:
        history = a[: task.start]
        strength = pd.DataFrame(history).corr().to_numpy().copy()
        np.fill_diagonal(strength, 0)
    count = 11 if a.shape[1] <= 20 else 4  # few nodes: all of them, as a vector autoregression has
    order = np.argsort(-np.nan_to_num(strength), 1)[:, : min(count, a.shape[1] - 1)]
    return {f"neighbour {i} lag {lag}": lagged(a, lag)[:, order[:, i]] for i in range(order.shape[1]) for lag in (0, 1)}
