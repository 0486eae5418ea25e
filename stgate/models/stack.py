"""Stack: a weighted pool of fitted forecasters."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, cast

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.utils.data import DataLoader

from stgate.data.window_data import WindowData
from stgate.data.windows import to_device
from stgate.distributions.pools import PoolName
from stgate.errors import RequestError
from stgate.inference.pool_spread import GRID, at_levels, curves_of
from stgate.inference.pool_weights import ELEMENTS, LEVELS, Cases, Learned, learn_weights
from stgate.models.baselines import Baseline
from stgate.models.training.adoption import check_data
from stgate.prediction import checkpoint as ckpt
from stgate.prediction.evaluating import evaluation_mode
from stgate.prediction.intervals import REFITTED
from stgate.prediction.loading import Model
from stgate.prediction.stack import PoolChoice, StackPredictor
from stgate.schema.batch import Batch

ROLES = ("past_covariates", "future_covariates", "static_covariates")
Forecasts = tuple[Tensor, Tensor, Tensor]
"""Quantiles (member, origin, lead, node, target, level) at the levels of `GRID`, truth (origin, lead, node,
target), and rows (origin,)."""


class Stack(Baseline):
    """A weighted pool of fitted forecasters of one panel, targets and horizon.

    Fitting it learns the weights, by lead and target, from forecasts of the validation part: those of least CRPS,
    shrunk towards equal weights as far as that helps in blocks in time that are left out. Before that, each member's
    spread is set right, by lead and target, and with it the shape of its tails: one that is too sure of itself is made
    wider. The members stay as they are; the checkpoint of the stack holds them. Their own calibrations are not used:
    the stack is calibrated as a whole.

    Args:
        members: Fitted forecasters, or paths of their checkpoints. Windows and covariates may differ.
        pool: Pool of the members: `quantile` (weighted mean of their quantiles, as sharp as its members), `linear`
            (their mixture, wider where members disagree), or `auto` (the better one in the blocks left out).

    Raises:
        RequestError: The pool is unknown, or the members differ in panel, targets or horizon.
    """

    predictor: StackPredictor
    unsaved: ClassVar[tuple[str, ...]] = ("members",)

    def __init__(self, *, members: Sequence[Any] | None = None, pool: PoolChoice = "auto") -> None:
        super().__init__(StackPredictor(members=cast("Sequence[Model] | None", members), pool=pool))
        self.learned: list[Learned] = []

    def data_of(self, panel: str | os.PathLike[str] | xr.Dataset, **options: Any) -> WindowData:  # noqa: ANN401
        """Return the data of a stack: window, horizon, targets and covariates are those of its members.

        Args:
            panel: The panel that the members were fitted on, or its path.
            **options: Further options of `WindowData`, such as `split`.
        """
        spec = self.predictor.fitted_spec
        given = {name: getattr(spec, name) for name in ("targets", "window", "horizon", "calendar", *ROLES)}
        return WindowData(panel, **{**given, **options})

    def adopt(self, data: Any) -> None:  # noqa: ANN401 (Lightning's data modules)
        """Check that the data are those of the members.

        Args:
            data: A data module.

        Raises:
            RequestError: The data differ from those of the members.
        """
        checked, spec = check_data(self, data), self.predictor.fitted_spec
        if spec != checked.spec:
            raise RequestError(ckpt.difference(spec, checked.spec))

    def on_fit_start(self) -> None:
        """Learn the weights from the validation part."""
        self.learn(check_data(self, getattr(self.trainer, "datamodule", None)))

    def learn(self, data: WindowData) -> None:
        """Learn the weights from the members' forecasts of the validation part, without a trainer.

        Args:
            data: The data that the members were fitted on.

        Raises:
            RequestError: The data differ from those of the members or have no validation part, or a member was fitted
                on more than their training part.
        """
        self.adopt(data)
        start, stop = data.parts.validation
        if stop <= start:
            raise RequestError("split: leaves no validation part, from which weights are learned; give it a share")
        times = data.panel["time"].values
        for name, one in zip(self.predictor.names, self.predictor.predictors, strict=True):
            late = one.seen is not None and np.array(one.seen).astype(times.dtype) > times[stop - 1]
            if late or (one.calibration is not None and REFITTED in one.calibration.method):
                raise RequestError(
                    f"{name}: was fitted on all rows before the test part, the validation part among them, by which "
                    "weights are learned; fit it with --calibration split, or stack by `stgate fit --model auto`"
                )
        self.learn_from(member_forecasts(self.predictor, cast(Any, data.part_dataloader("validation"))), data)

    def learn_from(self, forecasts: Forecasts, data: WindowData) -> None:
        """Learn the weights from forecasts of the members that training has not seen.

        Args:
            forecasts: Quantiles of the members, truth, and rows of the origins.
            data: The data that the members were fitted on.
        """
        predictor = self.predictor
        self.take(data)
        quantiles, truth, rows = forecasts
        quantiles = quantiles.clamp(min=predictor.lowest)
        option = predictor.pool_option
        pools: list[PoolName] = ["quantile", "linear"] if option == "auto" else [option]
        cases, curves = [], []
        for target, (own, seen) in enumerate(zip(quantiles.unbind(-2), truth.unbind(-1), strict=True)):
            curves.append(curves_of(own, seen) if len(own) > 1 else predictor.curves[..., target, :])
            cases.append(Cases(at_levels(own, curves[-1][:, None, :, None], LEVELS), seen, rows))
        learned = [learn_weights(one, pools) for one in cases]
        if len({one.pool for one in learned}) > 1:  # one pool for all targets
            learned = [learn_weights(one, [learned[0].pool]) for one in cases]
        predictor.pool, self.learned = learned[0].pool, learned
        predictor.weights.copy_(torch.stack([one.weights for one in learned], -1))
        predictor.curves.copy_(torch.stack(curves, 2))

    def describe(self) -> list[str]:
        """Return lines of text with pool, shrinkage and weights, once they have been learned."""
        predictor, lines = self.predictor, []
        horizon = predictor.fitted_spec.horizon
        leads = sorted({1, (1 + horizon) // 2, horizon})
        for index, (target, one) in enumerate(zip(predictor.fitted_spec.targets, self.learned, strict=True)):
            how = f"chosen on {one.blocks} blocks in time" if one.blocks > 1 else "not chosen: too few blocks in time"
            lines.append(f"{target}: {one.pool} pool, shrinkage {one.shrinkage:g} ({how}); weights at lead:")
            lines.append(f"  {'member':<32}" + "".join(f"{lead:>7}" for lead in leads))
            for name, weights in zip(predictor.names, predictor.weights[..., index], strict=True):
                lines.append(f"  {name:<32}" + "".join(f"{float(weights[lead - 1]):>7.2f}" for lead in leads))
        return lines

    def take(self, data: WindowData) -> None:
        """Take what the checkpoint needs besides weights: scales, seed, the last row seen and the least value.

        Args:
            data: The data that the members were fitted on.
        """
        predictor, statistics = self.predictor, data.statistics()
        for name in ("center", "scale", "static_center", "static_scale", "node_scale"):
            getattr(predictor.scaler, name).copy_(getattr(statistics, name))
        predictor.calibration = None
        predictor.range = [*zip(statistics.least.tolist(), statistics.most.tolist(), strict=True)]
        predictor.n_observations = statistics.observed
        predictor.seed = next((one.seed for one in predictor.predictors if one.seed is not None), None)
        last = str(data.panel["time"].values[max(data.parts.train[1], data.parts.validation[1]) - 1])
        seen = [one.seen for one in predictor.predictors if one.seen is not None]
        predictor.seen = max([*seen, last], key=lambda time: (len(time), time))
        bounded = any(one.lowest >= 0 or any(not t.affine for t in one.transforms) for one in predictor.predictors)
        least = float(statistics.least.min())
        predictor.built.get_buffer("lowest").fill_(0.0 if bounded and least >= 0 else -torch.inf)


def member_forecasts(predictor: StackPredictor, loader: DataLoader[Batch]) -> Forecasts:
    """Forecast batches with each member of a stack; origins are thinned evenly to what weights are learned from.

    Args:
        predictor: The stack.
        loader: Loader of raw batches of the stack, from windows of known origins.
    """
    stride = stride_of(predictor, len(cast(Any, loader.dataset).origins))
    return joined_forecasts((predictor, batch) for batch in _thinned(loader, stride))


def stride_of(predictor: StackPredictor, origins: int) -> int:
    """Return the stride that thins origins evenly to as many as weights are learned from."""
    spec = predictor.fitted_spec
    width = len(predictor.predictors) * spec.horizon * len(spec.nodes) * len(spec.targets) * len(GRID)
    return max(-(-origins * width // ELEMENTS), 1)


def joined_forecasts(batches: Iterable[tuple[StackPredictor, Batch]]) -> Forecasts:
    """Forecast batches with each member of a stack, and join them in the order of their origins.

    Args:
        batches: Raw batches, each with the stack that forecasts it.
    """
    parts: list[list[Tensor]] = [[], [], []]
    for predictor, raw in batches:
        with evaluation_mode(predictor):
            batch = to_device(raw, predictor.device)
            forecasts = predictor.forecasts(batch)
            each = [torch.stack([one.icdf(torch.tensor(p)) for p in GRID], -1) for one in forecasts]
        for part, value in zip(parts, (torch.stack(each), batch["target"], batch["origin"][:, 1]), strict=True):
            part.append(value.cpu())
    quantiles, truth, rows = torch.cat(parts[0], 1), torch.cat(parts[1]), torch.cat(parts[2])
    order = torch.argsort(rows, stable=True)
    return quantiles[:, order], truth[order], rows[order]


def _thinned(batches: Iterable[Batch], stride: int) -> Iterator[Batch]:
    """Yield batches with every window whose number is a multiple of the stride."""
    seen = 0
    for batch in batches:
        size = len(batch["origin"])
        chosen = torch.arange(-seen % stride, size, stride)
        seen += size
        held = cast(dict[str, Tensor], batch)
        if len(chosen):
            yield cast(Batch, {k: v if k in ("static", "ever") else v[chosen] for k, v in held.items()})
