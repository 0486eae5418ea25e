"""Ridge regression with weights of each node, its penalties chosen by forecasts of held-out blocks in time."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

SHARED = (1.0, 30.0, 300.0, 3000.0)
"""Penalties of the weights that all nodes share; inputs have about unit variance and are summed over rows."""
OWN = (10.0, 50.0, 200.0, 1000.0, float("inf"))
"""Penalties of the weights of each node, which are added to the shared ones; infinity for none."""


@dataclasses.dataclass(frozen=True)
class LinearFit:
    """Weights of a regression, and its forecasts of rows that it was not fitted on.

    Attributes:
        weight: Weights of all nodes, (input,).
        own_weight: Weights of each node that are added to those of the first inputs, (node, own input).
        held_out: Forecasts of each row by a fit without its fold, (row,).
        penalties: Penalty of the shared weights, and of those of each node.
    """

    weight: Tensor
    own_weight: Tensor
    held_out: Tensor
    penalties: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class LinearRows:
    """Rows of a regression, with the sums that its fits need.

    Attributes:
        inputs: (row, input), the constant first.
        target: (row,).
        nodes: Node of each row, (row,).
        folds: Fold of each row, (row,).
        gram: Sums of products of inputs, (fold, input, input).
        moment: Sums of products of inputs and target, (fold, input).
        own_gram: Sums of products of the first inputs, (fold, node, own input, own input).
    """

    inputs: Tensor
    target: Tensor
    nodes: Tensor
    folds: Tensor
    gram: Tensor
    moment: Tensor
    own_gram: Tensor

    @classmethod
    def of(
        cls, inputs: Tensor, target: Tensor, nodes: Tensor, folds: Tensor, *, count: tuple[int, int], own: int
    ) -> LinearRows:
        """Sum products of inputs.

        Args:
            inputs: (row, input), the constant first.
            target: (row,).
            nodes: Node of each row, (row,).
            folds: Fold of each row, (row,).
            count: Numbers of folds and of nodes.
            own: Number of inputs, the first ones, with weights of each node.
        """
        size = inputs.shape[1]
        gram, moment = torch.zeros(count[0], size, size).double(), torch.zeros(count[0], size).double()
        own_gram = torch.zeros(count[0] * count[1], own, own)
        for fold in range(count[0]):
            part = inputs[folds == fold]
            gram[fold], moment[fold] = (part.T @ part).double(), (part.T @ target[folds == fold]).double()
        key = folds * count[1] + nodes
        order = torch.argsort(key, stable=True)
        pieces = inputs[order, :own].split_with_sizes(torch.bincount(key, minlength=len(own_gram)).tolist())
        for number, part in enumerate(pieces):
            if len(part):
                torch.mm(part.T, part, out=own_gram[number])
        return cls(inputs, target, nodes, folds, gram, moment, own_gram.view(*count, own, own))

    def shared(self, penalty: float, without: int | None = None) -> Tensor:
        """Return weights of all nodes, fitted on all folds but one, (input,)."""
        gram, moment = self.gram.sum(0), self.moment.sum(0)
        if without is not None:
            gram, moment = gram - self.gram[without], moment - self.moment[without]
        return _solved(gram, moment, penalty).float()

    def own(self, weight: Tensor, penalties: tuple[float, ...], without: int | None = None) -> list[Tensor]:
        """Return weights of each node for each penalty, fitted on all folds but one, (node, own input)."""
        size = self.own_gram.shape[-1]
        kept = slice(None) if without is None else self.folds != without
        inputs, nodes = self.inputs[kept], self.nodes[kept]
        rest = self.target[kept] - inputs @ weight
        moment = torch.zeros(self.own_gram.shape[1], size).index_add_(0, nodes, inputs[:, :size] * rest[:, None])
        gram = self.own_gram.sum(0)
        if without is not None:
            gram = gram - self.own_gram[without]
        return [
            torch.zeros_like(moment) if penalty == float("inf") else _solved(gram, moment, penalty)
            for penalty in penalties
        ]

    def predict(self, weight: Tensor, own: Tensor, fold: int) -> Tensor:
        """Return the forecasts of a fold's rows."""
        chosen = self.folds == fold
        inputs = self.inputs[chosen]
        return inputs @ weight + (inputs[:, : own.shape[1]] * own[self.nodes[chosen]]).sum(1)


def fit_linear(rows: LinearRows, penalties: tuple[float, float] | None = None) -> LinearFit:
    """Fit shared weights, and weights of each node that are shrunk towards them.

    Args:
        rows: The rows.
        penalties: Penalty of the shared weights, and of those of each node; None chooses them by the squared error of
            held-out folds.
    """
    folds = range(len(rows.gram))
    shared, own = (SHARED, OWN) if penalties is None else ((penalties[0],), (penalties[1],))
    if len(shared) > 1:
        none = torch.zeros(rows.own_gram.shape[1], 0)
        errors = [
            sum(_error(rows, rows.predict(rows.shared(penalty, fold), none, fold), fold) for fold in folds)
            for penalty in shared
        ]
        shared = (shared[errors.index(min(errors))],)
    made = torch.zeros(len(own), len(rows.target))
    for fold in folds:
        weight = rows.shared(shared[0], fold)
        for number, extra in enumerate(rows.own(weight, own, fold)):
            made[number, rows.folds == fold] = rows.predict(weight, extra, fold)
    best = int((made - rows.target).square().mean(1).argmin())
    weight = rows.shared(shared[0])
    return LinearFit(weight, rows.own(weight, (own[best],))[0], made[best], (shared[0], own[best]))


def _error(rows: LinearRows, made: Tensor, fold: int) -> float:
    return float((made - rows.target[rows.folds == fold]).square().sum())


def _solved(gram: Tensor, moment: Tensor, penalty: float) -> Tensor:
    """Solve for weights; the constant, the first of them, has a penalty of 1."""
    diagonal = torch.full(gram.shape[-1:], penalty, dtype=gram.dtype)
    diagonal[0] = 1.0
    solved: Tensor = torch.linalg.solve(gram + torch.diag(diagonal), moment.to(gram).unsqueeze(-1)).squeeze(-1)
    return solved
