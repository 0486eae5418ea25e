"""Ridge regression from sums over the training windows, with penalties chosen by blocked cross-validation in time."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from stgate.data.window_data import WindowData
from stgate.nn.inputs import Inputs
from stgate.nn.linear import LinearForecast, LinearTable
from stgate.prediction.predictor import Predictor
from stgate.schema.batch import Batch

FOLDS = 5
"""Number of blocks of time; penalties are chosen by the error on each block of a regression on the others."""
PENALTIES = tuple(10 ** (k / 2) for k in range(-8, 4))
"""Penalties to choose from, in units of the features' mean square, which is about 1."""
LEADS = 5
"""Number of leads whose penalty is chosen; those of other leads lie between."""
FLOOR = 0.1
"""Share of a lead's standard deviation that is added to absolute errors before their logarithm is taken."""
SHRINK = 50
"""Number of errors that the mean over nodes counts in the spread of each node."""
SNAPSHOTS = 2000
"""Largest number of windows from whose last values patterns in space are made."""
ROWS = 2_000_000
"""Largest number of pairs of window and node from which a network's linear part is fitted."""


@dataclasses.dataclass
class Sums:
    """Sums over the training windows of each fold.

    Attributes:
        gram: Cross-products of the features, (fold, feature, feature).
        missing: Those of the rows whose target is missing, by column, (fold, feature, feature).
        cross: Products of features and targets, (fold, feature, column).
        square: Squares of the targets, (fold, column).
        count: Numbers of observed targets, (fold, column).
    """

    gram: Tensor
    missing: dict[int, Tensor]
    cross: Tensor
    square: Tensor
    count: Tensor

    @classmethod
    def empty(cls, features: int, columns: int) -> Sums:
        """Return sums of nothing."""
        zeros = torch.zeros(FOLDS, columns, dtype=torch.float64)
        gram = torch.zeros(FOLDS, features, features, dtype=torch.float64)
        return cls(gram, {}, torch.zeros(FOLDS, features, columns, dtype=torch.float64), zeros, zeros.clone())

    def add(self, fold: int, features: Tensor, target: Tensor, *, grams: bool = True) -> None:
        """Add rows of one fold.

        Args:
            fold: Number of the fold.
            features: (row, feature).
            target: (row, column), NaN where missing.
            grams: Add the cross-products of the features, too.
        """
        seen = ~torch.isnan(target)
        filled = torch.where(seen, target, 0.0)
        self.cross[fold] += features.T @ filled
        self.square[fold] += filled.square().sum(0)
        self.count[fold] += seen.sum(0)
        if not grams:
            return
        self.gram[fold] += features.T @ features
        for column in torch.nonzero(~seen.all(0)).flatten().tolist():
            rows = features[~seen[:, column]]
            self.missing.setdefault(column, torch.zeros_like(self.gram))[fold] += rows.T @ rows

    def with_targets_of(self, other: Sums) -> Sums:
        """Return these cross-products of the features, with the sums of other targets, missing at the same places."""
        return Sums(self.gram, self.missing, other.cross, other.square, other.count)

    def grams_of(self, column: int) -> Tensor:
        """Return the cross-products of the rows whose target is observed, (fold, feature, feature)."""
        return self.gram - self.missing[column] if column in self.missing else self.gram

    def solve(self, penalties: Tensor) -> Tensor:
        """Return the weights of each column for its penalty, (feature, column)."""
        weights = []
        for column, penalty in enumerate(penalties.tolist()):
            count = self.count[:, column].sum().clamp(min=1)
            gram = self.grams_of(column).sum(0) / count
            damped = gram + penalty * torch.eye(len(gram), dtype=gram.dtype)
            weights.append(torch.linalg.solve(damped, self.cross[:, :, column].sum(0) / count))
        return torch.stack(weights, 1)

    def errors(self, column: int) -> Tensor:
        """Return the mean square error over the folds, each left out in turn, by penalty."""
        grams, cross, count = self.grams_of(column), self.cross[:, :, column], self.count[:, column]
        total = torch.zeros(len(PENALTIES), dtype=torch.float64)
        for fold in range(FOLDS):
            rest = (count.sum() - count[fold]).clamp(min=1)
            values, vectors = torch.linalg.eigh((grams.sum(0) - grams[fold]) / rest)
            turned = vectors.T @ ((cross.sum(0) - cross[fold]) / rest)
            weight = vectors @ (turned[:, None] / (values.clamp(min=0)[:, None] + torch.tensor(PENALTIES).double()))
            inner = (weight * (grams[fold] @ weight)).sum(0)
            total += self.square[fold, column] - 2 * cross[fold] @ weight + inner
        return total / count.sum().clamp(min=1)

    def choose(self, leads: int) -> Tensor:
        """Return the penalty of each column, chosen for some leads and interpolated for those between, (column,)."""
        targets = self.cross.shape[-1] // leads
        tried = torch.tensor(sorted({round(k * (leads - 1) / (LEADS - 1)) for k in range(LEADS)}))
        chosen = torch.zeros(leads, targets, dtype=torch.float64)
        for target in range(targets):
            best = [PENALTIES[int(self.errors(lead * targets + target).argmin())] for lead in tried.tolist()]
            logs = torch.tensor(best, dtype=torch.float64).log()
            for lead in range(leads):
                above = int(torch.searchsorted(tried, lead).clamp(max=len(tried) - 1))
                below = max(above - 1, 0) if int(tried[above]) > lead else above
                span = int(tried[above] - tried[below])
                share = (lead - int(tried[below])) / span if span else 0.0
                chosen[lead, target] = (logs[below] * (1 - share) + logs[above] * share).exp()
        return chosen.flatten()


def thinned(data: WindowData, rows: int | None) -> Iterator[Batch]:
    """Return raw batches of the training windows, left out evenly where there are more than are wanted.

    Args:
        data: The data of the fit.
        rows: Number of pairs of window and node that are enough. None for all.
    """
    loader = data.train_dataloader()
    each = data.batch_size * len(data.spec.nodes)
    every = 1 if rows is None else max(1, -(-len(loader) * each // max(rows, each)))
    return itertools.islice(loader, 0, None, every)


def training_batches(
    predictor: Predictor, data: WindowData, rows: int | None
) -> Iterator[tuple[Inputs, Tensor, Tensor]]:
    """Yield inputs, standardised targets (batch, lead, node, target) and folds (batch,) of the training windows.

    Args:
        predictor: A predictor with scales and transforms.
        data: The data of the fit.
        rows: Number of pairs of window and node that are enough; batches are left out evenly. None for all.
    """
    first, last = data.parts.train
    center, scale = predictor.scaler.target_center, predictor.scaler.target_scale
    for batch in thinned(data, rows):
        encoded = predictor.encode(batch)
        fold = ((batch["origin"][:, 1] - first) * FOLDS // max(last - first, 1)).clamp(0, FOLDS - 1)
        yield predictor.inputs_of(encoded), (encoded["target"] - center) / scale, fold


def _numbers(fold: Tensor) -> list[int]:
    """Return the folds of a batch."""
    numbers: list[int] = fold.tolist()
    return sorted(set(numbers))


@torch.no_grad()
def fit_linear(
    linear: LinearForecast, predictor: Predictor, data: WindowData, *, penalty: float | None = None, rows: int | None
) -> Sums:
    """Fit a linear forecast: the weights that all nodes share, then those across nodes to what is left.

    Args:
        linear: The forecast that is fitted.
        predictor: A predictor with scales and transforms, whose inputs the forecast reads.
        data: The data of the fit.
        penalty: Penalty of the shared weights; None chooses one for each lead by cross-validation.
        rows: Number of pairs of window and node that are enough; None for all.

    Returns:
        The sums of the shared features.
    """
    leads, targets = linear.weight.shape[1:]
    sums = Sums.empty(len(linear.weight), leads * targets)
    for inputs, target, fold in training_batches(predictor, data, rows):
        features, columns = linear.features(inputs).double(), target.transpose(1, 2).flatten(2).double()
        for number in _numbers(fold):
            sums.add(number, features[fold == number].flatten(0, 1), columns[fold == number].flatten(0, 1))
    chosen = sums.choose(leads) if penalty is None else torch.full((leads * targets,), penalty, dtype=torch.float64)
    linear.weight.copy_(sums.solve(chosen).view_as(linear.weight))
    if len(linear.across):
        fit_across(linear, predictor, data, rows)
    return sums


def fit_across(linear: LinearForecast, predictor: Predictor, data: WindowData, rows: int | None) -> None:
    """Fit each node's weights of the state of all nodes to what the shared weights leave."""
    if linear.patterns is not None:
        linear.patterns.copy_(leading_patterns(linear, predictor, data))
    size, leads = len(linear.across), linear.across.shape[1]
    gram = torch.zeros(FOLDS, size, size, dtype=torch.float64)
    cross = torch.zeros(FOLDS, size, linear.across[0].numel(), dtype=torch.float64)
    count = torch.zeros(FOLDS, dtype=torch.float64)
    for inputs, target, fold in training_batches(predictor, data, rows):
        state = linear.state(inputs).double()
        left = (target - linear(inputs)).nan_to_num(0.0).flatten(1).double()  # (batch, lead * node * target)
        for number in _numbers(fold):
            z, r = state[fold == number], left[fold == number]
            gram[number] += z.T @ z
            cross[number] += z.T @ r
            count[number] += len(z)
    penalties = torch.tensor(PENALTIES).double() * 10
    gain = torch.zeros(len(penalties), leads, dtype=torch.float64)
    for left_out in range(FOLDS):
        rest = (count.sum() - count[left_out]).clamp(min=1)
        values, vectors = torch.linalg.eigh((gram.sum(0) - gram[left_out]) / rest)
        turned = vectors.T @ ((cross.sum(0) - cross[left_out]) / rest)
        for number, penalty in enumerate(penalties.tolist()):
            weight = vectors @ (turned / (values.clamp(min=0)[:, None] + penalty))
            change = (weight * (gram[left_out] @ weight - 2 * cross[left_out])).sum(0)
            gain[number] += change.view(leads, -1).sum(1)
    best = gain.min(0)
    values, vectors = torch.linalg.eigh(gram.sum(0) / count.sum().clamp(min=1))
    turned = (vectors.T @ (cross.sum(0) / count.sum().clamp(min=1))).view(size, leads, -1)
    damping = penalties[best.indices]
    weight = torch.einsum("zk,klc->zlc", vectors, turned / (values.clamp(min=0)[:, None] + damping)[..., None])
    weight = torch.where((best.values < 0)[None, :, None], weight, 0.0)
    linear.across.copy_(weight.view_as(linear.across))


def leading_patterns(linear: LinearForecast, predictor: Predictor, data: WindowData) -> Tensor:
    """Return the leading patterns in space of the last values (empirical orthogonal functions), (node * target, state).

    They are scaled so that the strength of the first one has a mean square of one.

    Args:
        linear: The forecast that reads them.
        predictor: A predictor with scales and transforms.
        data: The data of the fit.
    """
    assert linear.patterns is not None
    rows = SNAPSHOTS * len(data.spec.nodes)
    states = torch.cat([linear.last(inputs) for inputs, _, _ in training_batches(predictor, data, rows)])
    states = states[:: -(-len(states) // SNAPSHOTS)].double()
    values, vectors = torch.linalg.eigh(states @ states.T / len(states))  # ascending
    count = min(linear.patterns.shape[1], int((values > 1e-6 * values[-1]).sum()))
    made = torch.zeros_like(linear.patterns)
    if count:
        leading = values[-count:].flip(0)
        patterns = states.T @ vectors[:, -count:].flip(1) / (len(states) * leading).sqrt()  # of unit length
        made[:, :count] = (patterns / leading[0].sqrt()).to(made)
    return made


@torch.no_grad()
def fit_spread(
    network: LinearTable, predictor: Predictor, data: WindowData, sums: Sums | None, *, rows: int | None = None
) -> None:
    """Fit the standard deviations of a linear forecast: a log-linear one by the features, and a factor for each node.

    Args:
        network: A linear forecast whose weights are fitted.
        predictor: The predictor whose inputs it reads.
        data: The data of the fit.
        sums: The sums of its features over the same rows; None sums them again.
        rows: Number of pairs of window and node that are enough; None for all.
    """
    leads, targets = network.spread.shape
    nodes = len(data.spec.nodes)
    total, count = (torch.zeros(nodes, leads, targets, dtype=torch.float64) for _ in range(2))
    for inputs, target, _ in training_batches(predictor, data, rows):
        left = (target - network.linear(inputs)).square().double()
        total += left.nan_to_num(0.0).sum(0).transpose(0, 1)
        count += (~torch.isnan(left)).sum(0).transpose(0, 1)
    overall = (total.sum(0) / count.sum(0).clamp(min=1)).clamp(min=1e-12).sqrt()
    network.spread.copy_(overall)
    logs = Sums.empty(len(network.by_features), leads * targets)
    for inputs, target, fold in training_batches(predictor, data, rows):
        features = network.linear.features(inputs)
        left = (target - network.linear.of_features(features, inputs)).abs().double() / overall[:, None]
        columns = (left + FLOOR).log().transpose(1, 2).flatten(2)
        for number in _numbers(fold):
            logs.add(
                number, *(x[fold == number].flatten(0, 1).double() for x in (features, columns)), grams=sums is None
            )
    sums = logs if sums is None else sums.with_targets_of(logs)
    network.by_features.copy_(sums.solve(sums.choose(leads)).view_as(network.by_features))
    total, count = torch.zeros_like(total), torch.zeros_like(count)
    for inputs, target, _ in training_batches(predictor, data, rows):
        features = network.linear.features(inputs)
        left = ((target - network.linear.of_features(features, inputs)) / network.stddev(features)).square().double()
        total += left.nan_to_num(0.0).sum(0).transpose(0, 1)
        count += (~torch.isnan(left)).sum(0).transpose(0, 1)
    pooled = total.sum(0) / count.sum(0).clamp(min=1)
    network.by_node.copy_(((total + SHRINK * pooled) / (count + SHRINK)).clamp(min=1e-12).sqrt())


@torch.no_grad()
def tail_ratio(network: LinearTable, predictor: Predictor, data: WindowData, rows: int | None) -> float:
    """Return the mean absolute error over the root of the mean squared one, both in standard deviations.

    It is 0.798 for normal errors, and less where tails are long.

    Args:
        network: A linear forecast whose weights and standard deviations are fitted.
        predictor: The predictor whose inputs it reads.
        data: The data of the fit.
        rows: Number of pairs of window and node that are enough; None for all.
    """
    size, square, count = 0.0, 0.0, 0
    for inputs, target, _ in training_batches(predictor, data, rows):
        mean, stddev = network(inputs)
        score = ((target - mean) / stddev).double()
        known = score[torch.isfinite(score)]
        size, square, count = size + float(known.abs().sum()), square + float(known.square().sum()), count + len(known)
    return size / count / math.sqrt(square / count) if square > 0 else math.nan
