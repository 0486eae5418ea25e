"""Gradient boosting of trees on lags, rolling statistics, neighbours, the node and the calendar."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stgate.data.window_data import WindowData
from stgate.data.windows import hash_seed
from stgate.distributions.transforms import Auto, Transform
from stgate.models.baselines import Baseline
from stgate.models.closed_form.boosting import FOLDS, LEAVES, SMALLEST, Sample, fit_boosting
from stgate.models.closed_form.nearest import correlated_nodes, leading_patterns
from stgate.models.closed_form.tree_growth import Growth
from stgate.models.training.adoption import check_leads
from stgate.prediction.predictor import NeighbourMeans
from stgate.prediction.tabular.boosting import GradientBoostingPredictor
from stgate.schema.batch import Batch

LARGEST = 2**26
"""Largest number of features of leads that a fit holds."""


class GradientBoosting(Baseline):
    """Gradient boosting of regression trees on features of the window, as an expert would set it up by hand.

    Features are lags, rolling means and extremes, the age of the last observation, means over neighbours and over all
    nodes, the last values of correlated nodes, covariates, node statistics, the calendar of the valid time, and the
    value one season before it. Missing values stay missing: trees send them to a branch of their own. A ridge
    regression with weights of each node comes first; trees, as many as forecast best out of fold, forecast its errors.
    Further trees forecast the absolute error, and quantiles of errors in its units make the distribution.

    Trees are grown by LightGBM if it is installed (extra `boost`), else by scikit-learn. The checkpoint holds them as
    tensors and needs neither.

    Args:
        trees: Largest number of trees of an ensemble; fewer are kept if they forecast held-out blocks better. 0 leaves
            the ridge regression alone.
        learning_rate: Share of a tree's output that is added.
        max_rows: Largest number of rows (a window at a node) of an ensemble's fit; of more, a random part is taken.
        transforms: Transforms of the targets, in the order in which they are applied, such as `[Log(), Anomaly()]`;
            every output is in the targets' own units. `auto` chooses them from the training part, None is for none.
        node_statistics: Give the trees each node's training mean and standard deviation.
        neighbour_means: Give the trees the mean of each node's neighbours: `auto` (if the panel has edges or
            coordinates), `graph` (they are required) or `none`.

    References:
        Ke et al. (2017), LightGBM: a highly efficient gradient boosting decision tree. NeurIPS 30.
    """

    predictor: GradientBoostingPredictor

    def __init__(
        self,
        *,
        trees: int = 200,
        learning_rate: float = 0.1,
        max_rows: int = 60_000,
        transforms: Sequence[Transform] | Auto | None = "auto",
        node_statistics: bool = True,
        neighbour_means: NeighbourMeans = "auto",
    ) -> None:
        super().__init__(
            GradientBoostingPredictor(
                trees=trees,
                learning_rate=learning_rate,
                max_rows=max_rows,
                transforms=transforms,
                node_statistics=node_statistics,
                neighbour_means=neighbour_means,
            )
        )
        self._pieces: list[list[tuple[Tensor, ...]]] = []
        self._share = 1.0

    def prepare(self, data: WindowData) -> None:
        """Refuse training windows of fewer leads than the horizon."""
        check_leads(data)

    def fit_series(self, data: WindowData) -> None:
        """Find the nodes whose values are features of each node, and the share of rows that is kept."""
        nearest = self.predictor.tables.features.nearest
        nearest.copy_(correlated_nodes(self.predictor, data, nearest.shape[-1]))
        patterns = self.predictor.tables.features.patterns
        if patterns is not None:
            patterns.copy_(leading_patterns(self.predictor, data, patterns.shape[-1]))
        start, stop = data.parts.train
        total = (stop - start) // data.every * len(data.spec.nodes) * data.panel.sizes.get("member", 1)
        features = self.predictor.tables.features
        rows = min(self.predictor.max_rows, LARGEST // (data.spec.horizon * len(features.lead_names)))
        self._share = min(1.0, rows / total)
        self._pieces = [[] for _ in data.spec.targets]

    @torch.no_grad()
    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Keep the features of a random part of the batch's windows and nodes."""
        if not self._pieces:
            return
        generator = torch.Generator().manual_seed(hash_seed(self.predictor.seed or 0, batch_idx))
        windows = torch.rand(len(batch["past"]), generator=generator) < 8 * self._share  # the rest is not looked at
        if not bool(windows.any()):
            return
        encoded = self.predictor.encode(_chosen(batch, torch.nonzero(windows).flatten()))
        scaler, (size, _, nodes, _) = self.predictor.scaler, encoded["past"].shape
        truth = (encoded["target"] - scaler.target_center) / scaler.target_scale
        draw = torch.rand(size, nodes, generator=generator)
        kept = draw < self._share / min(1.0, 8 * self._share)
        order = encoded["origin"][:, 1:].expand(-1, nodes)[kept]
        node = torch.arange(nodes).expand(size, -1)[kept]
        for target, rows in enumerate(self.predictor.rows(encoded)):
            known = truth[..., target].transpose(1, 2)[kept]
            seen = ~torch.isnan(known).all(1)
            made = rows.origin[kept], rows.ahead.transpose(1, 2)[kept], known, node, order
            self._pieces[target].append(tuple(each[seen] for each in made))

    def on_validation_start(self) -> None:
        """Fit: validation comes before the epoch's end."""
        self._fit()

    def on_train_epoch_end(self) -> None:
        """Fit if there was no validation, and stop."""
        self._fit()
        super().on_train_epoch_end()

    @torch.no_grad()
    def _fit(self) -> None:
        if not any(self._pieces):
            return
        predictor, samples = self.predictor, []
        for pieces in self._pieces:
            *made, nodes, rows = (torch.cat(each) for each in zip(*pieces, strict=True))
            order = torch.argsort(rows * len(predictor.fitted_spec.nodes) + nodes, stable=True)
            rank = torch.unique(rows, return_inverse=True)[1]
            folds = (rank * FOLDS // (int(rank.max()) + 1)).clamp(max=FOLDS - 1)
            samples.append(Sample(*(each[order] for each in (*made, nodes, folds))))
        self._pieces = []
        growth = Growth(LEAVES, SMALLEST, predictor.learning_rate, predictor.trees, (predictor.seed or 0) % 2**31)
        fit_boosting(predictor.tables, samples, growth, predictor.max_rows)


def _chosen(batch: Batch, windows: Tensor) -> Batch:
    """Return some windows of a batch."""
    shared = ("static", "ever")
    made: Batch = {n: v if n in shared else v[windows] for n, v in batch.items()}  # type: ignore[assignment, index]
    return made
