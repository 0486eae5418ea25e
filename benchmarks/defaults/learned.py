"""Rivals that learn from features made by hand: a ridge and gradient boosting, one model for each horizon.

Locations are chosen out of fold, on blocks in time; the distributions around them too. Boosting is tried with trees of
several sizes, on the ridge's errors and on the target itself, and the best on the last block is taken.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray
from scipy.stats import nbinom, norm

from benchmarks.defaults.features import Table
from benchmarks.defaults.linear import Ridge, fitted
from benchmarks.defaults.rivals import WEIGHTS
from benchmarks.defaults.scores import QUANTILES, Made
from benchmarks.defaults.sets import Task
from benchmarks.defaults.spread import TREES, Spread

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]
FOLDS = 4
MOST, MOST_QUANTILES = 80_000, 30_000
"""Largest numbers of cases of one fit; more are sampled."""
SHARED = {**TREES, "feature_fraction": 0.6, "bagging_fraction": 0.8, "bagging_freq": 1, "lambda_l2": 1.0}
TREES_OF = (
    # leaves, and the smallest leaf as a share of the cases: noisy targets of correlated nodes want few, large leaves
    (4, 1 / 40),
    (8, 1 / 200),
    (31, 1 / 1000),
)
"""Sizes of trees that are tried."""
LEVELS = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
"""Levels of direct quantile boosting; the others are inter- and extrapolated on the normal scale."""


@dataclasses.dataclass(frozen=True)
class Cases:
    """Training cases of one horizon.

    Attributes:
        lead: Lead in steps.
        features: Features, (case, feature).
        target: Observed anomalies, (case,).
        truth: Observed values in the target's units, (case,).
        nodes: Node of each case, (case,).
        folds: Block in time of each case, (case,).
        ridge: The ridge on these features.
        base: Its forecasts out of fold, (case,).
    """

    lead: int
    features: Floats
    target: Floats
    truth: Floats
    nodes: Ints
    folds: Ints
    ridge: Ridge
    base: Floats

    @classmethod
    def of(cls, table: Table, lead: int) -> Cases:
        """Gather the cases of a horizon, at most 80,000 of them, and fit the ridge.

        Args:
            table: Features.
            lead: Lead in steps.
        """
        rows, nodes = table.origins(lead)
        if len(rows) > MOST:
            kept = np.sort(np.random.default_rng(0).choice(len(rows), MOST, replace=False))
            rows, nodes = rows[kept], nodes[kept]
        features, _ = table.gather(rows, nodes, lead)
        target = table.anomalies[rows + lead, nodes].astype(np.float64)
        folds = np.minimum((rows - rows.min()) * FOLDS // (rows.max() - rows.min() + 1), FOLDS - 1)
        ridge, base = fitted(features, target, nodes, folds, table.shape[1])
        return cls(lead, features, target, table.task.values[rows + lead, nodes], nodes, folds, ridge, base)

    @cached_property
    def choice(self) -> Choice:
        """Boosting as it is chosen on the last block."""
        return Choice.of(self)


class Learned:
    """The learning rivals of a task, which share features and ridge.

    Args:
        task: Record and scored part.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self._table: Table | None = None
        self._cases: dict[int, Cases] = {}

    @property
    def table(self) -> Table:
        """The features, made when they are first asked for."""
        if self._table is None:
            self._table = Table.of(self.task)
        return self._table

    def cases(self, lead: int) -> Cases:
        """Return the training cases of a horizon.

        Args:
            lead: Lead in steps.
        """
        if lead not in self._cases:
            self._cases[lead] = Cases.of(self.table, lead)
        return self._cases[lead]

    def makers(self) -> dict[str, Callable[[], Made]]:
        """Return the makers of the rivals, by name."""
        found: dict[str, Any] = {"ridge by hand": lambda: self.made(ridge)}
        found["boosting by hand"] = lambda: self.made(boosting)
        found["boosting of quantiles"] = lambda: self.made(quantile_boosting)
        if self.table.hand.counts:
            found["boosting of counts"] = lambda: self.made(count_boosting)
        return found

    def made(self, forecast: Callable[[Table, Cases, Floats, Floats, Ints, Ints], Floats]) -> Made:
        """Fit each horizon and forecast the scored part.

        Args:
            forecast: Function from features, cases, asked features, their base, rows and nodes to quantiles in the
                target's units, (case, quantile).
        """
        held = []
        for lead in self.task.record.horizons:
            cases, (rows, nodes) = self.cases(lead), self.table.asked(lead)
            features, _ = self.table.gather(rows, nodes, lead)
            base = cases.ridge.predict(features, nodes)
            made = forecast(self.table, cases, features, base, rows + lead, nodes)
            if self.table.hand.counts:
                made = np.round(made)
            held.append(made.reshape(*self.task.truth.shape, -1))
        quantiles = np.stack(held)
        return Made(quantiles, quantiles @ WEIGHTS)


def ridge(table: Table, cases: Cases, features: Floats, base: Floats, rows: Ints, nodes: Ints) -> Floats:
    """Return the ridge with the distribution of its errors."""
    spread = Spread.of(cases.features, cases.base, cases.target, cases.folds)
    return table.scale.undo(spread.around(features, base), rows, nodes)


@dataclasses.dataclass(frozen=True)
class Choice:
    """Boosting as it was chosen on the last block.

    Attributes:
        options: Options of the trees.
        use: 1 to boost the ridge's errors, 0 to boost the target.
        made: Locations of the last block.
        rounds: Number of trees.
    """

    options: dict[str, Any]
    use: float
    made: Floats
    rounds: int

    @classmethod
    def of(cls, cases: Cases) -> Choice:
        """Try all sizes of trees on the ridge's errors, and the best of them without the ridge.

        Args:
            cases: Training cases.
        """
        check = cases.folds == FOLDS - 1
        error = partial(squared, cases.target[check])
        tried = [cls.tried(cases, sized(len(cases.target), *size), 1.0, check) for size in TREES_OF]
        best = min(tried, key=error)
        return min((best, cls.tried(cases, best.options, 0.0, check)), key=error)

    @classmethod
    def tried(cls, cases: Cases, options: dict[str, Any], use: float, check: NDArray[np.bool_]) -> Choice:
        """Boost once.

        Args:
            cases: Training cases.
            options: Options of the trees.
            use: Share of the ridge.
            check: Cases that are held back.
        """
        return cls(options, use, *grown(cases, ~check, check, options, use))


def squared(truth: Floats, choice: Choice) -> float:
    """Return the mean squared error on the last block."""
    return float(((truth - choice.made) ** 2).mean())


def sized(cases: int, leaves: int, share: float) -> dict[str, Any]:
    """Return the options of trees.

    Args:
        cases: Number of training cases.
        leaves: Number of leaves.
        share: Smallest leaf, as a share of the cases.
    """
    return {**SHARED, "learning_rate": 0.05, "num_leaves": leaves, "min_data_in_leaf": max(20, int(share * cases))}


def boosting(table: Table, cases: Cases, features: Floats, base: Floats, rows: Ints, nodes: Ints) -> Floats:
    """Return boosting of the location with the distribution of its errors."""
    folds, choice = cases.folds, cases.choice
    location, rounds = np.empty(len(folds)), [choice.rounds]
    location[folds == FOLDS - 1] = choice.made
    for fold in range(FOLDS - 1):
        made, count = grown(cases, folds != fold, folds == fold, choice.options, choice.use)
        location[folds == fold] = made
        rounds.append(count)
    data = lightgbm.Dataset(inputs(cases.features, cases.base), cases.target - choice.use * cases.base)
    model = lightgbm.train({**choice.options, "objective": "l2"}, data, max(5, int(1.1 * np.median(rounds))))
    final = choice.use * base + model.predict(inputs(features, base), num_threads=1)
    spread = Spread.of(cases.features, location, cases.target, folds)
    return table.scale.undo(spread.around(features, final), rows, nodes)


def inputs(features: Floats, base: Floats) -> Floats:
    """Return the features with the ridge's forecast as one more."""
    return np.column_stack([features, base.astype(np.float32)])


def grown(cases: Cases, fit: NDArray[np.bool_], check: NDArray[np.bool_], options: Any, use: float) -> Any:
    """Boost on some cases, stopped early on others; return the locations there and the number of trees."""
    x, y = inputs(cases.features, cases.base), cases.target - use * cases.base
    data = lightgbm.Dataset(x[fit], y[fit])
    held = lightgbm.Dataset(x[check], y[check], reference=data)
    stop = lightgbm.early_stopping(20, verbose=False)
    model = lightgbm.train({**options, "objective": "l2"}, data, 400, valid_sets=[held], callbacks=[stop])
    made = use * cases.base[check] + model.predict(x[check], num_iteration=model.best_iteration, num_threads=1)
    return made, model.best_iteration


def quantile_boosting(table: Table, cases: Cases, features: Floats, base: Floats, rows: Ints, nodes: Ints) -> Floats:
    """Return direct quantiles by boosting of the ridge's errors, each shifted to hold on the last block."""
    x, y, folds = inputs(cases.features, cases.base), cases.target - cases.base, cases.folds
    if len(y) > MOST_QUANTILES:
        kept = np.sort(np.random.default_rng(1).choice(len(y), MOST_QUANTILES, replace=False))
        x, y, folds = x[kept], y[kept], folds[kept]
    leaves = cases.choice.options["num_leaves"]
    share = dict(TREES_OF)[leaves]
    last, made = folds == FOLDS - 1, []
    whole, part = (lightgbm.Dataset(x[i], y[i], free_raw_data=False) for i in (folds >= 0, ~last))
    for level in LEVELS:
        options = {**sized(len(y), leaves, share), "learning_rate": 0.08, "objective": "quantile", "alpha": level}
        held = lightgbm.Dataset(x[last], y[last], reference=part)
        stop = lightgbm.early_stopping(15, verbose=False)
        first = lightgbm.train(options, part, 200, valid_sets=[held], callbacks=[stop])
        apart = y[last] - first.predict(x[last], num_iteration=first.best_iteration, num_threads=1)
        model = lightgbm.train(options, whole, max(10, first.best_iteration))
        made.append(base + np.quantile(apart, level) + model.predict(inputs(features, base), num_threads=1))
    return table.scale.undo(between(np.sort(np.stack(made, 1), 1)), rows, nodes)


def between(held: Floats) -> Floats:
    """Return all quantiles from those at `LEVELS`, linear on the normal scale, (case, quantile).

    Args:
        held: Quantiles at `LEVELS`, ascending, (case, level).
    """
    normal, wanted = norm.ppf(LEVELS), norm.ppf(QUANTILES)
    place = np.clip(np.searchsorted(normal, wanted, side="right") - 1, 0, len(LEVELS) - 2)
    share = (wanted - normal[place]) / (normal[place + 1] - normal[place])
    return held[:, place] * (1 - share) + held[:, place + 1] * share


def count_boosting(table: Table, cases: Cases, features: Floats, base: Floats, rows: Ints, nodes: Ints) -> Floats:
    """Return negative binomials around a Poisson boosting of the rate, dispersions by the size of the mean."""
    x, offset = inputs(cases.features, cases.base), np.log(table.scale.people)
    options = {**sized(len(cases.target), 8, 1 / 140), "objective": "poisson", "poisson_max_delta_step": 0.3}
    mean, rounds = np.empty(len(x)), []
    start = np.log(cases.truth.sum() / table.scale.people[cases.nodes].sum())
    for fold in range(FOLDS):
        fit, check = cases.folds != fold, cases.folds == fold
        given = [
            lightgbm.Dataset(x[part], cases.truth[part], init_score=offset[cases.nodes[part]] + start)
            for part in (fit, check)
        ]
        stop = lightgbm.early_stopping(20, verbose=False)
        model = lightgbm.train(options, given[0], 400, valid_sets=[given[1].set_reference(given[0])], callbacks=[stop])
        raw = model.predict(x[check], raw_score=True, num_iteration=model.best_iteration, num_threads=1)
        mean[check] = np.exp(raw + offset[cases.nodes[check]] + start)
        rounds.append(model.best_iteration)
    data = lightgbm.Dataset(x, cases.truth, init_score=offset[cases.nodes] + start)
    model = lightgbm.train(options, data, max(10, int(np.median(rounds))))
    asked = np.exp(model.predict(inputs(features, base), raw_score=True, num_threads=1) + offset[nodes] + start)
    edges = np.quantile(mean, np.arange(1, 6) / 6)
    sizes = np.geomspace(0.05, 500, 40)
    group, sought = np.searchsorted(edges, mean), np.searchsorted(edges, asked)
    likelihood = np.zeros((6, len(sizes)))
    y = np.round(cases.truth)
    for i, size in enumerate(sizes):
        each = nbinom.logpmf(y, size, size / (size + mean))
        likelihood[:, i] = [each[group == g].sum() for g in range(6)]
    size = sizes[likelihood.argmax(1)][sought]
    return nbinom.ppf(QUANTILES, size[:, None], (size / (size + asked))[:, None])
