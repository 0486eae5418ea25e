"""Out-of-fold forecasts: each block in time is forecast by a fit that has not seen it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence

import torch
import xarray as xr
from torch.utils.data import DataLoader

from stgate.data.streaming import BatchNumbers, StoredSeries, StoredWindows
from stgate.data.window_data import WindowData
from stgate.data.windows import Windows, part_origins, to_device
from stgate.fitting.blocks import Rows, before_test, blocks_of, without
from stgate.fitting.training import Length, MakeTrainer, quiet_trainer, train
from stgate.forecasting.dataset import assemble
from stgate.io import store
from stgate.models.forecaster import Forecaster
from stgate.prediction.evaluating import evaluation_mode
from stgate.prediction.prediction import Prediction
from stgate.prediction.predictor import Predictor
from stgate.schema.batch import Batch
from stgate.schema.forecast import quantiles_of

Make = Callable[[], Forecaster]
"""A function that makes a forecaster that has not been fitted; each call returns a new one."""
Tell = Callable[[str], None]
"""A function that is called with lines of progress."""
LARGEST = 2**25
"""Number of quantiles above which out-of-fold forecasts are made from every few origins only."""


def silent(line: str) -> None:
    """Do nothing with a line of progress."""


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Fits, each with the rows that it has not seen.

    Attributes:
        data: The data with all values.
        predictors: The fitted predictors.
        blocks: Row range of each that it has not seen.
    """

    data: WindowData
    predictors: tuple[Predictor, ...]
    blocks: tuple[Rows, ...]

    def batches(self, every: int = 1) -> Iterator[tuple[Predictor, Batch]]:
        """Yield the windows whose leads all lie in a block, with the predictor that has not seen it.

        Args:
            every: Number of steps between origins.
        """
        for predictor, rows in zip(self.predictors, self.blocks, strict=True):
            with evaluation_mode(predictor):
                for batch in _windows(self.data, rows, every):
                    yield predictor, to_device(batch, predictor.device)

    def forecasts(self, levels: Sequence[float], every: int | None = None) -> xr.Dataset:
        """Return the forecasts of all blocks as one dataset of the forecast schema, with its truth.

        Args:
            levels: Central-interval levels.
            every: Number of steps between origins; None for 1, or as many as keep the dataset small.
        """
        quantiles = quantiles_of(levels)
        stride = self._stride(len(quantiles)) if every is None else every
        made: list[Prediction] = [p.predict(batch, quantiles) for p, batch in self.batches(stride)]
        result = assemble(self.predictors[0], self.data.panel, made, quantiles)
        result.attrs["history"] = store.history("out_of_fold")
        return result

    def _stride(self, quantiles: int) -> int:
        """Return the stride of origins that keeps a dataset small, and that visits every hour, weekday and month."""
        spec = self.data.spec
        size = self.data.panel.sizes.get("member", 1) * spec.horizon * len(spec.nodes) * len(spec.targets) * quantiles
        stride = max(-(-self.data.parts.test[0] * size // LARGEST), 1)
        while math.gcd(stride, 42) > 1:
            stride += 1
        return stride


def cross_fit(
    make: Make,
    data: WindowData,
    *,
    folds: int,
    length: Length,
    seed: int,
    make_trainer: MakeTrainer = quiet_trainer,
    tell: Tell = silent,
) -> HeldOut:
    """Fit a forecaster once for each block of the rows before the test part, with that block hidden.

    Args:
        make: Maker of the forecaster.
        data: The data.
        folds: Number of blocks.
        length: Length of each fit.
        seed: Seed of each fit.
        make_trainer: Maker of each fit's trainer.
        tell: Function that is called with a line before each fit.
    """
    blocks = blocks_of(data, folds)
    fitted = []
    for number, rows in enumerate(blocks, 1):
        tell(f"fold {number} of {len(blocks)}")
        forecaster = make()
        train(forecaster, without(data, rows), seed=seed, length=length, make_trainer=make_trainer)
        fitted.append(forecaster.predictor)
    return HeldOut(before_test(data), tuple(fitted), tuple(blocks))


def out_of_fold(
    make: Make,
    data: WindowData,
    *,
    folds: int = 4,
    levels: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98),
    every: int | None = None,
    epochs: int | None = None,
    length: Length | None = None,
    seed: int = 0,
    make_trainer: MakeTrainer = quiet_trainer,
    tell: Tell = silent,
) -> xr.Dataset:
    """Forecast every block in time before the test part by a fit that has not seen it.

    The rows before the test part are cut into blocks of equal length. For each block a forecaster is fitted on the
    other ones: the block's targets and past covariates are missing in its data. It then forecasts the block from the
    whole panel, from the origins whose leads all lie in the block.

    Args:
        make: Function that makes a forecaster that has not been fitted; each call returns a new one.
        data: The data; its test part is not used.
        folds: Number of blocks; fewer are made where a block could not hold a window and its horizon.
        levels: Central-interval levels. The quantiles are those of the forecaster's own distribution, not calibrated.
        every: Number of steps between origins; None for 1, or as many as keep the dataset small.
        epochs: Number of epochs of a first fit on the split of the data, whose best epoch ends the fits of the blocks;
            None plans them by the number of batches.
        length: Length of the fits of the blocks; None finds it by the first fit.
        seed: Seed of each fit.
        make_trainer: Maker of the trainers; those that are made neither print nor write.
        tell: Function that is called with a line before each fit.

    Returns:
        A forecast over `init_time` and `lead_time` with `<target>_truth`.

    Raises:
        RequestError: The rows before the test part are too few for two blocks.
    """
    if length is None:
        tell("first fit, to choose the number of epochs")
        length = train(make(), data, seed=seed, epochs=epochs, make_trainer=make_trainer)
    held = cross_fit(make, data, folds=folds, length=length, seed=seed, make_trainer=make_trainer, tell=tell)
    return held.forecasts(levels, every)


def _windows(data: WindowData, rows: Rows, every: int) -> Iterator[Batch]:
    """Yield the windows whose leads all lie in some rows, in order."""
    origins = part_origins(data.series.observed, data.spec, rows, every=every, name="held-out")
    if isinstance(data.series, StoredSeries):
        stored = StoredWindows(data.series, origins, batch_size=data.batch_size, max_memory=data._memory(), seed=None)
        yield from DataLoader(stored, batch_size=None, sampler=BatchNumbers(len(stored)))
        return
    windows = Windows(data.series, data.spec, origins)
    for chosen in torch.split(torch.arange(len(windows)), data.batch_size):
        yield windows[chosen]
