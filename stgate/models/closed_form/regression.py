"""Ridge regression from sums over the training windows, with penalties chosen by blocked cross-validation in time."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor

from stgate.data.window_data import WindowData
from stgate.errors import FitWarning
from stgate.inference.pieces import cut, rows_of
from stgate.models.closed_form.normal_equations import FOLDS, PENALTIES, Sums, affordable_rows
from stgate.nn.inputs import Inputs
from stgate.nn.linear import LinearForecast, LinearTable
from stgate.prediction.predictor import Predictor
from stgate.schema.batch import Batch

FLOOR = 0.1
"""Share of a lead's standard deviation that is added to absolute errors before their logarithm is taken."""
SHRINK = 50
"""Number of errors that the mean over nodes counts in the spread of each node."""
SNAPSHOTS = 2000
"""Largest number of windows from whose last values patterns in space are made."""
ROWS = 2_000_000
"""Largest number of pairs of window and node from which a network's linear part is fitted."""
PIECE = 2**23
"""Largest number of features of the windows that are worked on at once."""


def thinned(data: WindowData, rows: int | None) -> Iterator[Batch]:
    """Return raw batches of the training windows, with fewer windows where there are more than are wanted.

    Some windows of each batch are taken, or one of every n-th batch where there are more batches than wanted windows.

    Args:
        data: The data of the fit.
        rows: Number of pairs of window and node that are enough. None for all.
    """
    loader = data.train_dataloader()
    wanted = len(loader) * data.batch_size if rows is None else max(rows // len(data.spec.nodes), 1)
    each = min(max(wanted // len(loader), 1), data.batch_size)
    every = -(-len(loader) * each // wanted)
    for batch in itertools.islice(loader, 0, None, every):
        yield batch if each >= len(batch["time"]) else rows_of(batch, slice(0, each))


def training_batches(
    predictor: Predictor, data: WindowData, rows: int | None
) -> Iterator[tuple[Inputs, Tensor, Tensor]]:
    """Yield inputs, standardised targets (batch, lead, node, target) and folds (batch,) of the training windows.

    Args:
        predictor: A predictor with scales and transforms.
        data: The data of the fit.
        rows: Number of pairs of window and node that are enough; some windows are left out. None for all.
    """
    first, last = data.parts.train
    center, scale = predictor.scaler.target_center, predictor.scaler.target_scale
    features = max((len(part.weight) for part in predictor.modules() if isinstance(part, LinearForecast)), default=1)
    windows = max(PIECE // (features * len(data.spec.nodes)), 1)
    for batch in thinned(data, rows):
        for piece in cut(batch, windows):
            encoded = predictor.encode(piece)
            fold = ((piece["origin"][:, 1] - first) * FOLDS // max(last - first, 1)).clamp(0, FOLDS - 1)
            yield predictor.inputs_of(encoded), (encoded["target"] - center) / scale, fold


def fitting_rows(linear: LinearForecast, rows: int | None) -> int | None:
    """Return the number of rows from which the weights of all nodes are fitted, fewer than wanted if each costs much.

    Args:
        linear: The forecast that is fitted.
        rows: Number of pairs of window and node that are enough; None for all.
    """
    return None if rows is None else min(rows, affordable_rows(*linear.weight.shape))


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
    sums = Sums.empty(len(linear.weight), leads, targets)
    for inputs, target, fold in training_batches(predictor, data, fitting_rows(linear, rows)):
        features, columns = linear.features(inputs).double(), target.transpose(1, 2).flatten(2).double()
        for number in _numbers(fold):
            sums.add(number, features[fold == number].flatten(0, 1), columns[fold == number].flatten(0, 1))
    if sums.taken < 0.5:
        warnings.warn(
            f"linear part: fitted from {sums.taken:.0%} of the observed targets, since leads in a row share the rows "
            "where all of them are observed; a shorter window or horizon takes more",
            FitWarning,
            stacklevel=2,
        )
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
            cross[number].addmm_(z.T, r)
            count[number] += len(z)
    by_lead = cross.view(FOLDS, size, leads, -1)
    penalties = torch.tensor(PENALTIES).double() * 10
    gain = torch.zeros(len(penalties), leads, dtype=torch.float64)
    for left_out in range(FOLDS):
        rest = (count.sum() - count[left_out]).clamp(min=1)
        values, vectors = torch.linalg.eigh((gram.sum(0) - gram[left_out]) / rest)
        for lead in range(leads):  # of all leads at once they take much memory
            own = by_lead[left_out, :, lead]
            turned = vectors.T @ ((by_lead[:, :, lead].sum(0) - own) / rest)
            for number, penalty in enumerate(penalties.tolist()):
                weight = vectors @ (turned / (values.clamp(min=0)[:, None] + penalty))
                gain[number, lead] += (weight * (gram[left_out] @ weight - 2 * own)).sum()
    best = gain.min(0)
    values, vectors = torch.linalg.eigh(gram.sum(0) / count.sum().clamp(min=1))
    for lead, (least, at) in enumerate(zip(best.values.tolist(), best.indices.tolist(), strict=True)):
        turned = vectors.T @ (by_lead[:, :, lead].sum(0) / count.sum().clamp(min=1))
        weight = vectors @ (turned / (values.clamp(min=0) + penalties[at])[:, None])
        linear.across[:, lead] = (weight if least < 0 else torch.zeros_like(weight)).view_as(linear.across[:, lead])


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
    logs = Sums.empty(len(network.by_features), leads, targets)
    for inputs, target, fold in training_batches(predictor, data, fitting_rows(network.linear, rows)):
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
