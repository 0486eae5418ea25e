"""A backtest whose origins are chosen: any block of them can be forecast by itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from stgate._version import __version__
from stgate.data.history import BATCH, History
from stgate.data.windows import to_device
from stgate.forecasting.dataset import assemble, join, times_of
from stgate.forecasting.identity import calibration_of
from stgate.forecasting.online_intervals import MODES, Mode, OnlineIntervals, by_origin
from stgate.forecasting.tally import Tally
from stgate.forecasting.warm_up import errors_before, errors_instead
from stgate.prediction.evaluating import evaluation_mode
from stgate.prediction.prediction import Prediction
from stgate.prediction.predictor import Predictor
from stgate.schema.forecast import levels_of


@dataclasses.dataclass(frozen=True)
class Backtest:
    """A backtest whose origins are chosen.

    Attributes:
        model: The predictor.
        history: The panel.
        predicted: Rows of the origins that are forecast, ascending.
        before: Number of these that come before the first one asked for.
        span: Rows of the first and the last valid time asked for.
        every: Number of steps between origins.
        quantiles: Quantile levels, ascending.
        calibration: Source of the intervals.
        window: Number of origins whose conformity scores `rolling` and `adaptive` use.
    """

    model: Predictor
    history: History
    predicted: NDArray[np.int64]
    before: int
    span: tuple[int, int]
    every: int
    quantiles: Sequence[float]
    calibration: Mode
    window: int

    dim = "init_time"
    verb = "backtest"

    @property
    def rows(self) -> NDArray[np.int64]:
        """Rows of the origins asked for."""
        return self.predicted[self.before :]

    @property
    def members(self) -> int:
        """Number of members of the panel."""
        return int(self.history.frame.sizes.get("member", 1))

    @property
    def row_bytes(self) -> int:
        """Number of bytes of the forecasts from one origin."""
        spec = self.history.spec
        values = spec.horizon * len(spec.nodes) * len(spec.targets) * (len(self.quantiles) + 2)
        return 4 * self.members * values

    def intervals(self) -> OnlineIntervals | None:
        """Return intervals that learn from origin to origin, before the first of them; None for stored ones."""
        rate = MODES[self.calibration]
        if rate is None:
            return None
        options = {"every": self.every, "window": self.window}
        time = self.history.series.clock.time
        online = OnlineIntervals(self.model, self.quantiles, time, rate=rate, **options)
        earlier = errors_before(self.model, self.history, self.predicted, **options)
        if earlier is not None:
            online.begin(*earlier)
        return online

    def identity(self) -> dict[str, Any]:
        """Return what determines the bytes of the result, by name."""
        times = self.history.times
        made = {
            "weights": self.model.fingerprint(),
            "checkpoint": calibration_of(self.model),
            "panel": self.history.digest(),
            "from": str(times[self.span[0]]),
            "to": str(times[self.span[1]]),
            "every": self.every,
            "levels": ", ".join(f"{level:g}" for level in levels_of(self.quantiles)),
            "calibration": self.calibration,
            "stgate_version": __version__,
        }
        if MODES[self.calibration] is not None:
            made["calibration_window"] = self.window
        return made

    def axis(self) -> dict[Any, Any]:
        """Return the coordinates over the origins that are known in advance."""
        times = times_of(self.model, self.history.frame, self.rows)
        return {name: times[name] for name in ("init_time", "valid_time")}

    def sample(self) -> xr.Dataset:
        """Return the result for a single origin; its values do not matter, only what it holds."""
        with evaluation_mode(self.model):
            batch = to_device(next(self.history.batches(self.rows[:1])), self.model.device)
            if MODES[self.calibration] is None:
                return self.dataset([self.model.predict(batch, self.quantiles)])
            made = self.model.predict_online(batch)
        wide = made["quantiles"][..., :1].expand(*made["quantiles"].shape[:-1], len(self.quantiles))
        return self.dataset([cast(Prediction, {**made, "quantiles": wide})])

    def forecast(self, first: int, stop: int) -> tuple[list[Prediction], Tally]:
        """Forecast from some of the origins, in the batches that a forecast from all has, so that the bits are its own.

        Args:
            first: Number of the first of them, among those that are forecast.
            stop: Number after the last.

        Returns:
            Predictions, of `predict_online` for online intervals; and their counts.
        """
        rows, made = self.predicted[first:stop], []
        whole = stop - first >= BATCH or (stop == len(self.predicted) and first % BATCH == 0)
        windows = self.history.batches(self.predicted, part=(first, stop)) if whole else self.history.batches(rows)
        wanted = torch.from_numpy(rows)
        online = MODES[self.calibration] is not None
        with evaluation_mode(self.model):
            for batch in windows:
                there = to_device(batch, self.model.device)
                part = self.model.predict_online(there) if online else self.model.predict(there, self.quantiles)
                kept = torch.isin(batch["origin"][:, 1], wanted)
                numbers = cast(dict[str, torch.Tensor], part)
                made.append(cast(Prediction, {name: held[kept.to(held.device)] for name, held in numbers.items()}))
        return made, Tally.of(self.model, made)

    def numbers(self, predictions: Sequence[Prediction]) -> dict[str, NDArray[Any]]:
        """Return the numbers of predictions by origin and member."""
        return by_origin(join(predictions))

    def instead(self, first: int, stop: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]] | tuple[None, None]:
        """Return the stored errors that take the place of those of some origins, and where; None if there are none."""
        held = errors_instead(self.model, self.history, self.predicted[first:stop])
        return (None, None) if held is None else held

    def dataset(self, predictions: Sequence[Prediction]) -> xr.Dataset:
        """Return the forecast dataset of some origins; values outside the span are missing.

        Args:
            predictions: Predictions of these origins.
        """
        result = assemble(self.model, self.history.frame, predictions, self.quantiles)
        if MODES[self.calibration] is not None:
            result.attrs["calibration"] = (
                f"{self.calibration} conformal over {self.window} origins, per lead time, per missingness group"
            )
            for name in ("calibration_span", "calibration_levels"):
                result.attrs.pop(name, None)
        low, high = (self.history.times[row] for row in self.span)
        inside = (result["valid_time"] >= low) & (result["valid_time"] <= high)
        result = result.map(lambda variable: variable.where(inside), keep_attrs=True)
        result.attrs["valid_from"], result.attrs["valid_to"] = str(low), str(high)
        return result
