"""What a knowledgeable user applies by hand: a transform, anomalies from smooth cycles, and neighbours."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.defaults.sets import Task
from stgate.errors import PanelError
from stgate.panels.geometry import Places
from stgate.panels.graph import Graph

Floats = NDArray[np.floating[Any]]
YEAR = 365.25


@dataclasses.dataclass(frozen=True)
class Hand:
    """Choices for one record.

    Attributes:
        transform: `none`, `log` (of one more), `sqrt`, or `rate` (fourth root of cases per 100,000 people).
        cycles: Periods in steps, and the number of harmonics of each.
        lags: Lags of the node itself, in steps.
        windows: Lengths of rolling means.
        joint: Whether the cycles interact, as day and year do.
        counts: Whether the target is a count.
        season: Cell of the climatology: the cycle's period, and the half width in steps that shares a cell.
        naive: Period of the seasonal naive forecast; 0 for none.
        ets: Whether exponential smoothing is tried: few nodes, few gaps.
    """

    transform: str
    cycles: tuple[tuple[float, int], ...]
    lags: tuple[int, ...]
    windows: tuple[int, ...]
    joint: bool = False
    counts: bool = False
    season: tuple[float, int] = (YEAR, 15)
    naive: int = 0
    ets: bool = True

    @property
    def floor(self) -> float:
        """Lowest possible value of the target."""
        return -np.inf if self.transform == "none" else 0.0


@dataclasses.dataclass(frozen=True)
class Scale:
    """The way from the target's units to standardised anomalies, and back; everything is learned on the history.

    Attributes:
        hand: Choices for the record.
        people: Population of the nodes in units of 100,000; ones where no rate is used, (node,).
        usual: Climatology of the transformed target, (time, node).
        deviation: Standard deviation of the transformed target around it, (node,).
        reach: Lowest and highest anomaly that is believed: the extremes of the history and half a deviation.
    """

    hand: Hand
    people: Floats
    usual: Floats
    deviation: Floats
    reach: tuple[float, float]

    @classmethod
    def of(cls, values: Floats, history: int, hand: Hand, people: Floats | None = None) -> Scale:
        """Learn climatology and deviation.

        Args:
            values: The target, (time, node).
            history: Number of rows that may be seen.
            hand: Choices for the record.
            people: Population of the nodes, (node,).
        """
        crowd = np.ones(values.shape[1]) if people is None else people / 1e5
        z = forward(values, hand.transform, crowd)
        usual = climatology(z, history, hand)
        apart = (z - usual)[:history]
        count = np.isfinite(apart).sum(0)
        total = np.nansum(apart**2, 0)
        pooled = total.sum() / max(count.sum(), 1)
        deviation = np.sqrt((total + 30 * pooled) / (count + 30))  # nodes with few observations take that of all
        standard = apart / deviation
        return cls(hand, crowd, usual, deviation, (np.nanmin(standard) - 0.5, np.nanmax(standard) + 0.5))

    def anomalies(self, values: Floats) -> Floats:
        """Return standardised anomalies, (time, node).

        Args:
            values: The target, (time, node).
        """
        return (forward(values, self.hand.transform, self.people) - self.usual) / self.deviation

    def undo(self, anomalies: Floats, rows: NDArray[np.int64], nodes: NDArray[np.int64]) -> Floats:
        """Return values in the target's units.

        Args:
            anomalies: Standardised anomalies, (case, quantile).
            rows: Time of each case.
            nodes: Node of each case.
        """
        z = np.clip(anomalies, *self.reach) * self.deviation[nodes, None] + self.usual[rows, nodes][:, None]
        return backward(z, self.hand.transform, self.people[nodes, None])


def forward(values: Floats, transform: str, people: Floats) -> Floats:
    """Return the transformed target."""
    if transform == "log":
        return np.log1p(values)
    if transform == "sqrt":
        return np.sqrt(values)
    return (values / people) ** 0.25 if transform == "rate" else values


def backward(z: Floats, transform: str, people: Floats) -> Floats:
    """Return the target of a transformed one."""
    if transform == "log":
        return np.maximum(np.expm1(np.minimum(z, 30)), 0)
    if transform == "sqrt":
        return np.maximum(z, 0) ** 2
    return people * np.maximum(z, 0) ** 4 if transform == "rate" else z


def design(count: int, hand: Hand) -> Floats:
    """Return a constant and the harmonics of the cycles, (time, column).

    Args:
        count: Number of rows.
        hand: Choices for the record.
    """
    waves = []
    for period, harmonics in hand.cycles:
        turn = 2 * np.pi * np.arange(count)[:, None] * np.arange(1, harmonics + 1) / period
        waves.append(np.concatenate([np.cos(turn), np.sin(turn)], 1))
    columns = [np.ones((count, 1)), *waves]
    if hand.joint:
        slow, fast = waves[0][:, :: hand.cycles[0][1]], waves[1]
        columns.append((slow[:, :, None] * fast[:, None, :]).reshape(count, -1))
    return np.concatenate(columns, 1)


def climatology(z: Floats, history: int, hand: Hand) -> Floats:
    """Return smooth cycles of each node, shrunk towards those of all nodes, (time, node).

    Args:
        z: The transformed target, (time, node).
        history: Number of rows that may be seen.
        hand: Choices for the record.
    """
    columns = design(len(z), hand)
    seen, known = columns[:history], np.isfinite(z[:history])
    y = np.where(known, z[:history], 0)
    level = np.nansum(y, 0) / np.maximum(known.sum(0), 1)
    weight = known.sum(1)
    shared = np.linalg.solve(
        (seen * weight[:, None]).T @ seen + 1e-3 * np.eye(seen.shape[1]),
        seen.T @ np.where(known, y - level, 0).sum(1),
    )
    usual = np.empty_like(z)
    memory = 20.0  # successive steps are no independent observations
    for node in range(z.shape[1]):
        here = known[:, node]
        penalty = memory * np.eye(seen.shape[1])
        rest = y[here, node] - seen[here] @ shared
        own = np.linalg.solve(seen[here].T @ seen[here] + penalty, seen[here].T @ rest)
        usual[:, node] = columns @ (shared + own)
    return usual


def neighbours(task: Task, count: int) -> list[Floats]:
    """Return weights of neighbours, each (node, node) with rows that add up to 1 or are empty.

    Edges of the panel come first, incoming and outgoing apart where they differ; then the nearest nodes.

    Args:
        task: Record and scored part.
        count: Number of nearest nodes.
    """
    found = []
    if task.record.graph:
        matrix = Graph.of(task.panel).matrix()
        found += [matrix.T] if np.allclose(matrix, matrix.T) else [matrix.T, matrix]
    try:
        distance = Places.of(task.panel).distances()
    except PanelError:
        distance = None
    if distance is not None:
        np.fill_diagonal(distance, np.inf)
        near = np.sort(distance, 1)[:, min(count, len(distance) - 1) - 1]
        close = np.where(distance <= near[:, None], 1 / np.maximum(distance, 1e-3 * near[:, None]), 0)
        found.append(close)
    return [w / np.maximum(w.sum(1, keepdims=True), 1e-12) for w in found]
