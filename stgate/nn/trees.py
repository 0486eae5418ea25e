"""Ensembles of regression trees as tensors, which forecast without the library that grew them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

PIECE = 2**20
"""Number of pairs (row, tree) that are evaluated at once."""
LARGEST = float(np.finfo("f4").max)
"""Largest threshold; a threshold beyond it parts missing values from all others."""


@dataclasses.dataclass(frozen=True)
class Tree:
    """A regression tree, its nodes numbered from the root, 0.

    Attributes:
        feature: Feature that a node splits on, (node,); 0 at leaves.
        threshold: Largest value that goes left, (node,), float64.
        left: Left child, (node,); a leaf is its own child.
        right: Right child, (node,); a leaf is its own child.
        missing_left: Whether a missing value goes left, (node,).
        value: Output of a leaf, (node,), float64; 0 at splits.
    """

    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    missing_left: NDArray[np.bool_]
    value: NDArray[np.float64]

    @property
    def depth(self) -> int:
        """Number of splits on the longest way from the root to a leaf."""
        level, depth = np.array([0]), 0
        while True:
            split = level[self.left[level] != level]
            if len(split) == 0:
                return depth
            level, depth = np.concatenate([self.left[split], self.right[split]]), depth + 1


class Trees(nn.Module):
    """Trees, padded to one number of nodes, of which consecutive ones make up an ensemble.

    Rows are float32. So are the thresholds, rounded down: a float32 number is at most the threshold in float64 exactly
    if it is at most the rounded one.

    Args:
        trees: Number of trees.
        nodes: Number of nodes of the largest tree.
        features: Number of features of a row.
    """

    column: Tensor
    threshold: Tensor
    branch: Tensor
    value: Tensor
    depth: Tensor

    def __init__(self, trees: int = 0, nodes: int = 1, features: int = 1) -> None:
        super().__init__()
        self.features = features
        self._depths: dict[tuple[int, int | None], int] = {}
        self.register_buffer("column", torch.zeros(trees, nodes, dtype=torch.int32))
        self.register_buffer("threshold", torch.zeros(trees, nodes))
        self.register_buffer("branch", torch.zeros(trees, nodes, 2, dtype=torch.int32))
        self.register_buffer("value", torch.zeros(trees, nodes))
        self.register_buffer("depth", torch.zeros(trees, dtype=torch.int32))

    @classmethod
    def of(cls, trees: Sequence[Tree], features: int) -> Trees:
        """Hold trees as tensors.

        Args:
            trees: The trees.
            features: Number of features of a row.
        """
        made = cls(len(trees), max((len(tree.value) for tree in trees), default=1), features)
        for number, tree in enumerate(trees):
            count = len(tree.value)
            low = tree.threshold.clip(-LARGEST, LARGEST)
            single = low.astype("f4")
            single = np.where(single > low, np.nextafter(single, np.float32(-np.inf)), single)
            # A missing value is +inf in the first copy of the features, which goes right, and -inf in the second.
            made.column[number, :count] = torch.from_numpy(tree.feature + features * tree.missing_left).int()
            made.threshold[number, :count] = torch.from_numpy(single)
            made.branch[number, :count] = torch.from_numpy(np.stack([tree.left, tree.right], -1)).int()
            made.value[number, :count] = torch.from_numpy(tree.value).float()
            made.depth[number] = tree.depth
        return made

    @property
    def size(self) -> tuple[int, int]:
        """Number of trees, and of nodes of the largest."""
        return self.value.shape[0], self.value.shape[1]

    def forward(self, rows: Tensor, first: int = 0, last: int | None = None) -> Tensor:
        """Sum the outputs of the trees of an ensemble.

        Args:
            rows: Features, (row, feature), float32, NaN where missing.
            first: First tree of the ensemble.
            last: Tree after its last one; None for the end.

        Returns:
            (row,).
        """
        return self.outputs(rows, first, last).sum(1)

    def outputs(self, rows: Tensor, first: int = 0, last: int | None = None) -> Tensor:
        """Return the output of each tree of an ensemble, (row, tree).

        Args:
            rows: Features, (row, feature), float32, NaN where missing.
            first: First tree of the ensemble.
            last: Tree after its last one; None for the end.
        """
        chosen = slice(first, last)
        column, threshold = self.column[chosen].long().flatten(), self.threshold[chosen].flatten()
        count, nodes = self.value[chosen].shape
        if count == 0:
            return rows.new_zeros(rows.shape[0], 0)
        start = torch.arange(count, device=rows.device) * nodes
        branch = (self.branch[chosen].long() + start[:, None, None]).flatten()
        if not torch.compiler.is_compiling():  # which cannot ask: a call before has
            self._depths[first, last] = int(self.depth[chosen].max())
        value, depth = self.value[chosen].flatten(), self._depths[first, last]
        made = []
        pieces = [rows] if torch.compiler.is_compiling() else torch.split(rows, max(PIECE // count, 1))
        for piece in pieces:
            missing = torch.isnan(piece)
            both = torch.cat([piece.masked_fill(missing, torch.inf), piece.masked_fill(missing, -torch.inf)], 1)
            node = start.expand(piece.shape[0], -1)
            for _ in range(depth):
                right = both.gather(1, column[node]) > threshold[node]
                node = branch[2 * node + right]
            made.append(value[node])
        return torch.cat(made)
