"""Adoption of a panel by a new fit: the forecaster takes spec and scales from a data module."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lightning as L

from stgate.data.window_data import WindowData
from stgate.errors import RequestError
from stgate.nn.imputation import Climatology
from stgate.prediction.predictor import Predictor

if TYPE_CHECKING:
    from stgate.models.forecaster import Forecaster


def check_data(forecaster: Forecaster, data: L.LightningDataModule | None) -> WindowData:
    """Refuse data that a forecaster cannot be fitted on.

    Args:
        forecaster: A forecaster.
        data: A data module, or None where the trainer has none.

    Raises:
        RequestError: The data module is of another kind.
    """
    name, wanted = type(forecaster).__name__, forecaster.data_class
    if not isinstance(data, wanted) or not isinstance(data, WindowData):
        raise RequestError(f"{name} takes its panel from a {wanted.__name__}: pass datamodule={wanted.__name__}(…)")
    if data.spec.places and wanted is WindowData:
        raise RequestError(f"{name} forecasts from windows, not from a {type(data).__name__}: pass a WindowData")
    return data


def take_scales(predictor: Predictor, data: WindowData) -> None:
    """Give a new predictor the spec and the scales of the training part.

    Args:
        predictor: A predictor that has not seen a panel.
        data: The data that it is to be fitted on.

    Raises:
        RequestError: The likelihood does not allow the values of the training part.
    """
    statistics = data.statistics()
    predictor.likelihood.check(data.spec.targets, statistics.least, statistics.whole)
    predictor.configure(data.spec)
    predictor.n_observations = statistics.observed
    scaler = predictor.scaler
    for name in ("center", "scale", "static_center", "static_scale", "node_scale"):
        getattr(scaler, name).copy_(getattr(statistics, name))
    if isinstance(scaler.imputation, Climatology):
        scaler.imputation.means.copy_((data.cell_means() - statistics.center) / statistics.scale)


def check_leads(data: WindowData) -> None:
    """Refuse training windows of fewer leads than the horizon, for a forecaster that forecasts all leads at once.

    Args:
        data: The data that the forecaster is to be fitted on.

    Raises:
        RequestError: The leads are fewer.
    """
    if data.train_horizon < data.horizon:
        raise RequestError(
            f"train_horizon {data.train_horizon}: all {data.horizon} leads are forecast at once; leave it out"
        )
