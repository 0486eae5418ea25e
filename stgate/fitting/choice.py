"""Choice of the way in which a fit is calibrated, by the length of the record."""

from __future__ import annotations

from typing import Literal, cast

from stgate.data.streaming import StoredSeries
from stgate.data.window_data import WindowData
from stgate.errors import PanelError
from stgate.fitting.blocks import before_test, blocks_of
from stgate.models.forecaster import Forecaster
from stgate.models.training.targets import TrainingTargets
from stgate.prediction.target_transforms import TargetTransforms

How = Literal["split", "cross", "refit"]
"""Ways to calibrate a fit."""
FOLDS = 5
"""Number of blocks that `cross` holds out in turn."""
SHORT = 500
"""Number of steps before the test part, times members, below which `auto` takes `cross`."""
LONG = 10_000
"""Number of steps before the test part, times members, from which on `auto` takes `split` for networks."""


def choose(asked: str, forecaster: Forecaster, data: WindowData, folds: int = FOLDS) -> tuple[How, str]:
    """Choose a way, and say why.

    A short record has few calibration forecasts, of one season perhaps, and its last rows are worth most: errors are
    taken from every block of it (`cross`). A longer one has enough of them, and trends make its old errors poor guides:
    it is fitted again on all rows (`refit`). In a long one the rows that are kept back cost little, and a second fit of
    a network takes long (`split`).

    Args:
        asked: `auto`, or a way.
        forecaster: The forecaster.
        data: The data of the fit.
        folds: Number of blocks of `cross`.

    Returns:
        The way, and the reason in words.

    Raises:
        RequestError: The record is too short for the way that is asked for.
        PanelError: A transform that was asked for does not take values that the last fit would learn from.
    """
    how, reason = _chosen(asked, forecaster, data, folds)
    if how != "split":
        _check_transforms(forecaster, data, how)
    return how, reason


def _check_transforms(forecaster: Forecaster, data: WindowData, how: How) -> None:
    """Refuse transforms that the last fit could not learn, before the first one.

    Raises:
        PanelError: A value before the test part has no transformed one.
    """
    predictor = forecaster.predictor
    if predictor.transforms_option == "auto" or not any(one.takes for one in predictor.transforms):
        return
    try:
        whole = before_test(data)
        TargetTransforms(predictor.transforms, whole.spec).learn(TrainingTargets(whole))
    except PanelError as error:
        raise PanelError(
            f"{error}; the last fit of calibration {how} learns from all rows before the test part: calibration split "
            "learns from the training part alone"
        ) from error


def _chosen(asked: str, forecaster: Forecaster, data: WindowData, folds: int) -> tuple[How, str]:
    if asked != "auto":
        if asked == "cross":
            blocks_of(data, folds)
        return cast(How, asked), "as asked"
    rows, calibration = data.parts.test[0], data.parts.calibration
    if calibration[1] == calibration[0]:
        return "split", "the split leaves no calibration part"
    if data.spec.places:
        return "split", "a field"
    if isinstance(data.series, StoredSeries):
        return "split", "the panel is read in blocks"
    steps = rows * data.panel.sizes.get("member", 1)
    length = f"{steps:,} steps before the test part"
    if steps >= LONG and forecaster.automatic_optimization:
        return "split", length
    if steps < SHORT and rows >= 2 * (data.window + data.horizon):
        return "cross", length
    return "refit", length
