"""Normal equations of ridge regressions with missing targets, whose penalties blocked cross-validation chooses."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

FOLDS = 5
"""Number of blocks of time; penalties are chosen by the error on each block of a regression on the others."""
PENALTIES = tuple(10 ** (k / 2) for k in range(-8, 4))
"""Penalties to choose from, in units of the features' mean square, which is about 1."""
LEADS = 5
"""Number of leads whose penalty is chosen; those of other leads lie between."""
MOST = 2**26
"""Numbers of the cross-products of rows whose targets are missing; where there would be more, leads share theirs."""
FEWEST = 10
"""Number of rows for each feature below which a fit is not cut."""
WORK = 2**42
"""Multiplications for these cross-products that are affordable: it bounds the number of rows of a fit."""


def together(features: int, leads: int, targets: int) -> int:
    """Return the number of leads that take the same rows: one, unless the cross-products of each took too much memory.

    Args:
        features: Number of features.
        leads: Number of leads.
        targets: Number of targets.
    """
    affordable = max(MOST // (FOLDS * features**2 * targets), 1)  # groups of leads
    return -(-leads // min(affordable, leads))


def affordable_rows(features: int, leads: int, targets: int) -> int:
    """Return the number of rows of a fit that takes a bounded time.

    Args:
        features: Number of features.
        leads: Number of leads.
        targets: Number of targets.
    """
    groups = -(-leads // together(features, leads, targets)) * targets
    return max(WORK // (features**2 * groups), FEWEST * features)


@dataclasses.dataclass
class Sums:
    """Sums over the training windows of each fold.

    Attributes:
        gram: Cross-products of the features, (fold, feature, feature).
        missing: Those of the rows whose target is missing, by group of columns, (fold, feature, feature).
        cross: Products of features and targets, (fold, feature, column).
        square: Squares of the targets, (fold, column).
        count: Numbers of observed targets, (fold, column).
        group: Number of the group of each column, (column,). The columns of a group take the same rows: those at which
            all of them are observed.
        observed: Number of observed targets, those in rows that are not taken included.
    """

    gram: Tensor
    missing: dict[int, Tensor]
    cross: Tensor
    square: Tensor
    count: Tensor
    group: Tensor
    observed: float = 0.0

    @property
    def taken(self) -> float:
        """Share of the observed targets whose rows are taken; 1 where no columns share rows."""
        return float(self.count.sum()) / self.observed if self.observed else 1.0

    @classmethod
    def empty(cls, features: int, leads: int, targets: int = 1) -> Sums:
        """Return sums of nothing.

        Args:
            features: Number of features.
            leads: Number of leads.
            targets: Number of targets; the columns are those of the first lead, then those of the second.
        """
        columns = leads * targets
        zeros = torch.zeros(FOLDS, columns, dtype=torch.float64)
        gram = torch.zeros(FOLDS, features, features, dtype=torch.float64)
        cross = torch.zeros(FOLDS, features, columns, dtype=torch.float64)
        each = together(features, leads, targets)
        group = torch.arange(columns) // targets // each * targets + torch.arange(columns) % targets
        return cls(gram, {}, cross, zeros, zeros.clone(), group)

    def add(self, fold: int, features: Tensor, target: Tensor, *, grams: bool = True) -> None:
        """Add rows of one fold.

        Args:
            fold: Number of the fold.
            features: (row, feature).
            target: (row, column), NaN where missing.
            grams: Add the cross-products of the features, too.
        """
        seen = ~torch.isnan(target)
        self.observed += float(seen.sum())
        if len(groups := torch.unique(self.group)) < len(self.group):
            for group in groups.tolist():
                seen[:, self.group == group] = seen[:, self.group == group].all(1, keepdim=True)
        filled = torch.where(seen, target, 0.0)
        self.cross[fold].addmm_(features.T, filled)
        self.square[fold] += filled.square().sum(0)
        self.count[fold] += seen.sum(0)
        if not grams:
            return
        self.gram[fold].addmm_(features.T, features)
        lacking = {int(self.group[column]): column for column in torch.nonzero(~seen.all(0)).flatten().tolist()}
        for group, column in lacking.items():
            rows = features[~seen[:, column]]
            self.missing.setdefault(group, torch.zeros_like(self.gram))[fold].addmm_(rows.T, rows)

    def with_targets_of(self, other: Sums) -> Sums:
        """Return these cross-products of the features, with the sums of other targets, missing at the same places."""
        return Sums(self.gram, self.missing, other.cross, other.square, other.count, self.group)

    def grams_of(self, column: int) -> Tensor:
        """Return the cross-products of the rows whose target is observed, (fold, feature, feature)."""
        group = int(self.group[column])
        return self.gram - self.missing[group] if group in self.missing else self.gram

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
