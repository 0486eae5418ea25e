"""The fit of gradient boosting: linear forecasts, trees on their errors, and quantiles of what is left."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.optimize
import torch
from numpy.typing import NDArray
from torch import Tensor

from stgate.models.closed_form.linear_fit import LinearRows, fit_linear
from stgate.models.closed_form.tree_growth import Grower, Growth, constant, predict
from stgate.nn.trees import Tree
from stgate.prediction.tabular.boosting import GROUPS, LEVELS, BoostingNetwork

Floats = NDArray[np.floating[Any]]
LOG = logging.getLogger(__name__)
"""Log of the fit; `stgate fit` prints it."""
FOLDS = 4
"""Number of blocks in time, of each of which a fit without it makes forecasts."""
LEAVES, LEAST = 15, 1 / 400
"""Largest number of leaves of a tree, and its smallest leaf as a share of the rows."""
EQUAL = 0.02
"""Penalty on the distance of the weights of forecasts from equal ones, in units of the target's variance."""
SMALLEST = 20
"""Smallest number of rows of a leaf."""
SPREAD = Growth(leaves=15, smallest=100, rate=0.1, trees=60, seed=0)
"""Options of the trees that predict the absolute error."""
ENOUGH = 1500
"""Number of rows of a group of locations with quantiles of its own."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """Rows of one target, a window at a node each.

    Attributes:
        origin: Features of the window, (row, feature).
        ahead: Features of each lead, (row, lead, feature).
        truth: Standardised target at each lead, (row, lead), NaN where missing.
        nodes: Node, (row,).
        folds: Fold, a block in time, (row,).
    """

    origin: Tensor
    ahead: Tensor
    truth: Tensor
    nodes: Tensor
    folds: Tensor


@dataclasses.dataclass(frozen=True)
class Cases:
    """Rows of a group of leads, a window at a node and a lead each.

    Attributes:
        rows: Features, (row, feature), float32.
        truth: Standardised target, (row,).
        linear: Linear forecast by a fit without the row's fold, (row,).
        folds: Fold, (row,).
    """

    rows: Floats
    truth: Floats
    linear: Floats
    folds: NDArray[np.int64]

    @property
    def known(self) -> Floats:
        """Features with the linear forecast as the last one."""
        return np.column_stack([self.rows, self.linear.astype(np.float32)])


def fit_boosting(network: BoostingNetwork, samples: Sequence[Sample], growth: Growth, most: int) -> None:
    """Fit tables and trees.

    Args:
        network: The network to be filled.
        samples: Rows of each target.
        growth: Options of the location's trees; their smallest leaf grows with the number of rows.
        most: Largest number of rows of an ensemble's fit.
    """
    ensembles: list[list[Tree]] = []
    for target, sample in enumerate(samples):
        _standardise(network, sample, target)
        for group, (first, last) in enumerate(network.groups):
            cases = _thinned(_linear(network, sample, target, (first, last)), most, growth.seed)
            location, trees = _location(network, cases, growth, target, group)
            ensembles += [trees, _spread(network, cases, location, target, group)]
            error = np.sqrt(np.mean((cases.truth - location) ** 2)) if len(location) else np.nan
            LOG.info(
                f"leads {first + 1} to {last}: {len(cases.truth)} rows, {len(trees)} trees, error out of fold "
                f"{error:.3f} standard deviations"
            )
    network.hold(ensembles)


def _standardise(network: BoostingNetwork, sample: Sample, target: int) -> None:
    """Take means and standard deviations of the features, and the bounds of the location."""
    columns = [*sample.origin.unbind(1), *sample.ahead.flatten(0, 1).unbind(1)]
    for number, column in enumerate(columns):
        seen = column[~torch.isnan(column)].double()
        width = float(seen.std()) if len(seen) > 1 else 0.0
        network.get_buffer("center")[target, number] = float(seen.mean()) if len(seen) else 0.0
        network.get_buffer("scale")[target, number] = width if width > 1e-9 else 1.0
    together = network.features.pattern_columns
    if network.features.strengths:  # weak patterns stay weak, so that a penalty holds their weights down
        scale = network.get_buffer("scale")[target]
        scale[together] = scale[together].max()
    truth = sample.truth[~torch.isnan(sample.truth)]
    low, high = (float(truth.min()), float(truth.max())) if len(truth) else (0.0, 0.0)
    margin = 0.25 * (high - low)
    network.get_buffer("bounds")[target] = torch.tensor([low - margin, high + margin])


def _linear(network: BoostingNetwork, sample: Sample, target: int, leads: tuple[int, int]) -> Cases:
    """Fit the linear forecast of each lead, penalties chosen at the first of them; return the rows of all."""
    penalties, found = None, []
    for lead in range(*leads):
        known = ~torch.isnan(sample.truth[:, lead])
        rows = torch.cat([sample.origin[known], sample.ahead[known, lead]], 1)
        nodes, folds, truth = sample.nodes[known], sample.folds[known], sample.truth[known, lead]
        count = FOLDS, network.get_buffer("own_weight").shape[2]
        sums = LinearRows.of(network.linear_inputs(rows, target), truth, nodes, folds, count=count, own=network.own)
        fit = fit_linear(sums, penalties)
        penalties = fit.penalties
        network.get_buffer("weight")[target, lead] = fit.weight
        network.get_buffer("own_weight")[target, lead] = fit.own_weight
        found.append(tuple(each.numpy() for each in (rows, truth, fit.held_out, folds)))
    return Cases(*(np.concatenate(each) for each in zip(*found, strict=True)))


def _thinned(cases: Cases, most: int, seed: int) -> Cases:
    """Return a random part of the rows if they are more than enough."""
    if len(cases.truth) <= most:
        return cases
    kept = np.sort(np.random.default_rng(seed).choice(len(cases.truth), most, replace=False))
    return Cases(cases.rows[kept], cases.truth[kept], cases.linear[kept], cases.folds[kept])


def _location(
    network: BoostingNetwork, cases: Cases, growth: Growth, target: int, group: int
) -> tuple[Floats, list[Tree]]:
    """Grow the trees of the location, a weighted mean of forecasts; return its values out of fold, and the trees.

    The forecasts are the linear one, trees on its errors added to it, and trees on the target itself.
    """
    grower, tried = Grower(cases.known), []
    options = dataclasses.replace(growth, smallest=max(growth.smallest, int(LEAST * len(cases.truth))))
    for use in (1.0, 0.0) if growth.trees else ():
        tried.append((use, *_out_of_fold(grower, cases, options, use)))
    held_out = np.stack([cases.linear, *(made for _, _, made in tried)], 1)
    weights = mean_weights(held_out, cases.truth)
    linear, trees = float(weights[0]), []
    for weight, (use, options, _) in zip(weights[1:], tried, strict=True):
        linear += weight * use
        if weight > 0:
            grown = grower.grow(cases.truth - use * cases.linear, options)
            trees += [dataclasses.replace(tree, value=weight * tree.value) for tree in grown]
    network.get_buffer("use")[target, group] = linear
    return held_out @ weights, trees or [constant(0.0)]


def mean_weights(forecasts: Floats, truth: Floats) -> Floats:
    """Return weights of a mean of forecasts, from forecasts of held-out rows.

    They are at least 0, add up to 1, and have the smallest squared error with a penalty on their distance from equal
    weights; those below 0.02 become 0.

    Args:
        forecasts: (row, forecast).
        truth: (row,).
    """
    count = forecasts.shape[1]
    if count == 1 or len(truth) == 0:
        return np.full(count, 1 / count)
    root = np.sqrt(len(truth))
    pull = np.sqrt(EQUAL * np.square(forecasts - truth[:, None]).mean(0).min() + 1e-12)
    left = np.concatenate([forecasts / root, pull * np.eye(count), np.full((1, count), 100.0)])
    weights, _ = scipy.optimize.nnls(left, np.concatenate([truth / root, np.full(count, pull / count), [100.0]]))
    weights = np.where(weights < 0.02, 0.0, weights)
    found: Floats = weights / weights.sum()
    return found


def _out_of_fold(grower: Grower, cases: Cases, options: Growth, use: float) -> tuple[Growth, Floats]:
    """Forecast each fold by trees grown without it; return the options with a number of trees, and the forecasts."""
    rest, counts, made = cases.truth - use * cases.linear, [], np.zeros(len(cases.truth))
    for fold in range(FOLDS):
        held = cases.folds == fold
        made[held], count = _held(grower, rest, held, options)
        counts.append(count)
    return dataclasses.replace(options, trees=max(5, int(1.1 * np.median(counts)))), use * cases.linear + made


def _held(grower: Grower, y: Floats, held: NDArray[np.bool_], growth: Growth) -> tuple[Floats, int]:
    """Grow trees without some rows, their number chosen on these; return the predictions there, and the number."""
    if held.all() or not held.any():
        return np.zeros(int(held.sum())), 1
    trees = grower.grow(y, growth, fitted=~held, held=held)
    return predict(trees, grower.rows[held]), len(trees)


def _spread(network: BoostingNetwork, cases: Cases, location: Floats, target: int, group: int) -> list[Tree]:
    """Grow the trees of the absolute error, and take the quantiles of errors in its units; return the trees."""
    residual = cases.truth - location
    apart = np.abs(residual)
    floor = 0.1 * float(apart.mean()) + 1e-6
    grower = Grower(np.column_stack([cases.rows, location.astype(np.float32)]))
    scale = np.full(len(apart), floor)
    for half in (0, 1):
        chosen = cases.folds % 2 == half
        trees = grower.grow(apart, SPREAD, fitted=~chosen)
        scale[chosen] = np.maximum(predict(trees, grower.rows[chosen]), floor)
    groups = int(np.clip(len(apart) / ENOUGH, 1, GROUPS))
    edges = np.unique(np.quantile(location, np.arange(1, groups) / groups))
    place, standard = np.searchsorted(edges, location), residual / scale
    network.get_buffer("floor")[target, group] = floor
    network.get_buffer("edges")[target, group] = torch.inf
    network.get_buffer("edges")[target, group, : len(edges)] = torch.from_numpy(edges)
    for number in range(len(edges) + 1):
        here = standard[place == number]
        quantiles = np.quantile(here if len(here) > 30 else standard, LEVELS)
        network.get_buffer("quantiles")[target, group, number] = torch.from_numpy(quantiles)
    return grower.grow(apart, SPREAD)
