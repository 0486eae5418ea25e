"""Growth of tree ensembles by LightGBM where it is installed, else by scikit-learn's histogram boosting."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stgate.nn.trees import Tree, Trees

Floats = NDArray[np.floating[Any]]
Flags = NDArray[np.bool_]
PATIENCE = 10
"""Number of trees without a smaller error on held-out rows after which growth stops."""
FEATURES, L2 = 0.6, 1.0
"""Share of the features that a tree, or a split, may use; penalty on the outputs of leaves."""

BINS = {"verbose": -1, "deterministic": True, "force_row_wise": True, "feature_pre_filter": False}
"""Options of LightGBM that hold for all ensembles of some rows."""


@dataclasses.dataclass(frozen=True)
class Growth:
    """Options of an ensemble that is grown by squared error.

    Attributes:
        leaves: Largest number of leaves of a tree.
        smallest: Smallest number of rows of a leaf.
        rate: Learning rate.
        trees: Largest number of trees.
        seed: Seed of the features that trees may use.
    """

    leaves: int
    smallest: int
    rate: float
    trees: int
    seed: int


class Grower:
    """Rows from which several ensembles are grown.

    Args:
        rows: Features, (row, feature), float32, NaN where missing.
    """

    def __init__(self, rows: Floats) -> None:
        self.rows = rows
        self._binned: Any = None

    def grow(
        self, target: Floats, growth: Growth, *, fitted: Flags | None = None, held: Flags | None = None
    ) -> list[Tree]:
        """Grow the trees of an ensemble; their outputs add up to the prediction.

        Args:
            target: Values to be predicted, (row,).
            growth: Options.
            fitted: True for the rows of the fit, (row,); None for all.
            held: True for rows on which the number of trees is chosen, (row,); None for all trees.
        """
        fitted = np.ones(len(target), bool) if fitted is None else fitted
        if fitted.sum() < 2 * growth.smallest or growth.trees == 0:
            return [constant(float(target[fitted].mean()) if fitted.any() else 0.0)]
        if has_lightgbm():
            return self._by_lightgbm(target, growth, fitted, held)
        return _by_sklearn(
            self.rows[fitted], target[fitted], growth, None if held is None else (self.rows[held], target[held])
        )

    def _by_lightgbm(self, target: Floats, growth: Growth, fitted: Flags, held: Flags | None) -> list[Tree]:
        import lightgbm

        options = {
            "objective": "l2",
            "num_leaves": growth.leaves,
            "min_data_in_leaf": growth.smallest,
            "learning_rate": growth.rate,
            "feature_fraction": FEATURES,
            "bagging_fraction": 0.8,
            "bagging_freq": 1,
            "lambda_l2": L2,
            "seed": growth.seed,
        }
        if self._binned is None:
            nothing = np.zeros(len(target))  # a part must be made of rows with labels before it takes its own
            self._binned = lightgbm.Dataset(self.rows, nothing, params=BINS, free_raw_data=False).construct()
        data = self._part(target, fitted)
        stopped: dict[str, Any] = {}
        if held is not None:
            stop = lightgbm.early_stopping(PATIENCE, verbose=False)
            stopped = {"valid_sets": [self._part(target, held)], "callbacks": [stop]}
        threads = {"num_threads": torch.get_num_threads()}
        model = lightgbm.train({**BINS, **threads, **options}, data, growth.trees, **stopped)
        return trees_of_lightgbm(model.dump_model(num_iteration=model.best_iteration if held is not None else None))

    def _part(self, target: Floats, chosen: Flags) -> Any:  # noqa: ANN401 (its types need not be installed)
        part = self._binned.subset(np.flatnonzero(chosen), params=BINS).construct()
        return part.set_label(target[chosen])


def has_lightgbm() -> bool:
    """Return True if LightGBM is installed."""
    return importlib.util.find_spec("lightgbm") is not None


def constant(value: float) -> Tree:
    """Return a tree of one leaf."""
    zero = np.zeros(1, np.int64)
    return Tree(zero, np.zeros(1), zero, zero, np.zeros(1, bool), np.array([value]))


def trees_of_lightgbm(dump: dict[str, Any]) -> list[Tree]:
    """Return the trees of a LightGBM model.

    Args:
        dump: The model as `Booster.dump_model` returns it.
    """
    return [_tree_of_lightgbm(tree["tree_structure"]) for tree in dump["tree_info"]]


def _tree_of_lightgbm(root: dict[str, Any]) -> Tree:
    nodes: list[dict[str, Any]] = [root]
    left, right = [], []
    for number, node in enumerate(nodes):  # it grows while it is read
        if "split_feature" not in node:
            left.append(number)
            right.append(number)
            continue
        left.append(len(nodes))
        right.append(len(nodes) + 1)
        nodes += [node["left_child"], node["right_child"]]
    threshold = np.array([float(node.get("threshold", 0.0)) for node in nodes])
    # Without missing values in the training rows, LightGBM reads a missing value as zero.
    missing_left = [
        bool(node.get("default_left")) if node.get("missing_type") == "NaN" else node.get("threshold", 0.0) >= 0
        for node in nodes
    ]
    return Tree(
        np.array([node.get("split_feature", 0) for node in nodes]),
        threshold,
        np.array(left),
        np.array(right),
        np.array(missing_left),
        np.array([node.get("leaf_value", 0.0) if "split_feature" not in node else 0.0 for node in nodes]),
    )


def _by_sklearn(rows: Floats, target: Floats, growth: Growth, held: tuple[Floats, Floats] | None) -> list[Tree]:
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    empty = np.isnan(rows).all(0)
    if empty.any():  # it takes no feature that is missing in all rows, and would not split by one
        rows = np.where(empty, 0.0, rows)
    model = HistGradientBoostingRegressor(
        max_iter=growth.trees,
        learning_rate=growth.rate,
        max_leaf_nodes=growth.leaves,
        min_samples_leaf=growth.smallest,
        l2_regularization=L2,
        max_features=FEATURES,
        early_stopping=held is not None,
        n_iter_no_change=PATIENCE,
        tol=0.0,
        random_state=growth.seed,
    )
    with threadpool_limits(torch.get_num_threads()):
        if held is None:
            return trees_of_sklearn(model.fit(rows, target))
        model.fit(rows, target, X_val=held[0], y_val=held[1])
    best = int(np.argmax(model.validation_score_[1:]))  # the first score is that of no tree
    return trees_of_sklearn(model)[: best + 1]


def trees_of_sklearn(model: Any) -> list[Tree]:  # noqa: ANN401 (its types are not installed)
    """Return the trees of a fitted HistGradientBoostingRegressor; the first one holds the mean of the target too."""
    trees: list[Tree] = []
    for (predictor,) in model._predictors:
        nodes = predictor.nodes
        leaf = nodes["is_leaf"].astype(bool)
        own = np.arange(len(nodes))
        base = float(np.ravel(model._baseline_prediction)[0]) if not trees else 0.0
        trees.append(
            Tree(
                np.where(leaf, 0, nodes["feature_idx"]).astype(np.int64),
                np.where(leaf, 0.0, nodes["num_threshold"]),
                np.where(leaf, own, nodes["left"]).astype(np.int64),
                np.where(leaf, own, nodes["right"]).astype(np.int64),
                nodes["missing_go_to_left"].astype(bool) & ~leaf,
                np.where(leaf, nodes["value"] + base, 0.0),
            )
        )
    return trees


def predict(trees: Sequence[Tree], rows: Floats, *, each: bool = False) -> Floats:
    """Return the predictions of an ensemble, (row,), or of each of its trees, (row, tree).

    Args:
        trees: The trees.
        rows: Features, (row, feature), NaN where missing.
        each: Return those of each tree.
    """
    held = Trees.of(trees, rows.shape[1])
    made = held.outputs(torch.from_numpy(np.ascontiguousarray(rows, np.float32))).double()
    found: Floats = (made if each else made.sum(1)).numpy()
    return found
