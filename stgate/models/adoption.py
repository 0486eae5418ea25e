"""Adoption of a panel by a new fit: the forecaster takes spec and scales from a data module."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dataclasses
from collections.abc import Iterator

import lightning as L
import numpy as np
import torch
from torch import Tensor

from stgate.data.climatology import cell_means
from stgate.data.encoded import EncodedSeries
from stgate.data.scaling import Statistics
from stgate.data.window_data import WindowData
from stgate.errors import PanelError, RequestError, did_you_mean
from stgate.nn.imputation import Climatology
from stgate.prediction.predictor import Predictor
from stgate.schema.spec import PanelSpec

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
    raw = statistics = data.statistics()
    predictor.configure(data.spec)
    series = predictor.encoded_series(data.series)
    if isinstance(series, EncodedSeries):
        predictor.transform.learn(TrainingTargets(data))
        statistics = Statistics.of_blocks(series, data.spec, data.parts.train)
        statistics = dataclasses.replace(statistics, node_scale=raw.node_scale)  # the unit of scores
    predictor.likelihood.check(data.spec.targets, statistics.least, statistics.whole)
    predictor.n_observations = statistics.observed
    scaler = predictor.scaler
    for name in ("center", "scale", "static_center", "static_scale", "node_scale"):
        getattr(scaler, name).copy_(getattr(statistics, name))
    if isinstance(scaler.imputation, Climatology):
        means = cell_means(series, data.spec, data.parts.train)
        scaler.imputation.means.copy_((means - statistics.center) / statistics.scale)


@dataclasses.dataclass(frozen=True)
class TrainingTargets:
    """Targets of a data module's training part, as transforms learn from them.

    Attributes:
        data: The data module.
    """

    data: WindowData

    @property
    def spec(self) -> PanelSpec:
        """The spec of the panel."""
        return self.data.spec

    def blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield values (member, time, node, target), NaN where missing, and their times (time,)."""
        series, targets = self.data.series, len(self.spec.targets)
        for first, last in series.blocks(*self.data.parts.train):
            yield series.read(first, last)[..., :targets], series.clock.time[first:last]

    def static(self, name: str) -> Tensor:
        """Return a static variable of the panel by its name, (node,), float64.

        Args:
            name: Name of a node coordinate or node variable.

        Raises:
            PanelError: The panel has no such variable over its nodes.
        """
        panel = self.data.panel
        if name not in panel or panel[name].dims != ("node",):
            known = [str(n) for n in panel.variables if panel[n].dims == ("node",) and n != "node"]
            raise PanelError(f"`{name}`: the panel has no such node variable; {did_you_mean(name, known)}")
        return torch.from_numpy(np.asarray(panel[name].values, "float64"))


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
