"""Counts of forecasts that diverged or lie far out, over all blocks of a run, and the warnings of them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from stgate.errors import ForecastWarning
from stgate.prediction.prediction import Prediction
from stgate.prediction.predictor import Predictor

PREFIX = "tally_"


class Tally:
    """Counts of forecast means.

    Args:
        lost: Number of means that are not finite.
        total: Number of means.
        far: (target,), number of means far beyond the training part.
        extreme: (target,), the largest size of these.
        each: Number of means of each target.
    """

    def __init__(self, lost: int, total: int, far: NDArray[np.int64], extreme: NDArray[np.float64], each: int) -> None:
        self.lost, self.total, self.far, self.extreme, self.each = lost, total, far, extreme, each

    @classmethod
    def of(cls, model: Predictor, predictions: Sequence[Prediction]) -> Self:
        """Count the means of predictions.

        Args:
            model: The predictor that made them.
            predictions: The predictions.
        """
        targets = len(model.fitted_spec.targets)
        made = cls(0, 0, np.zeros(targets, "int64"), np.zeros(targets), 0)
        for part in predictions:
            mean = part["mean"]
            made.lost += int((~torch.isfinite(mean)).sum())
            made.total += mean.numel()
            made.each += mean[..., 0].numel()
            for index, (low, high) in enumerate(model.range or ()):
                reach = high - low or 1e-6 * max(abs(low), 1.0)  # of a target that never changed, rounding
                means = mean[..., index]
                far = torch.isfinite(means) & ((means < low - reach) | (means > high + reach))
                if far.any():
                    made.far[index] += int(far.sum())
                    made.extreme[index] = max(made.extreme[index], means[far].abs().max().item())
        return made

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Restore the counts that `arrays` returned."""
        lost, total, each = (int(arrays[f"{PREFIX}{name}"]) for name in ("lost", "total", "each"))
        return cls(lost, total, arrays[f"{PREFIX}far"], arrays[f"{PREFIX}extreme"], each)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the counts as arrays by name."""
        return {f"{PREFIX}{name}": np.asarray(held) for name, held in vars(self).items()}

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.lost + other.lost,
            self.total + other.total,
            self.far + other.far,
            np.maximum(self.extreme, other.extreme),
            self.each + other.each,
        )

    def warn(self, model: Predictor, *, stacklevel: int = 4) -> None:
        """Warn of a network's means that are not finite; else of those farther out than training values are apart.

        Args:
            model: The predictor that made them. A baseline may lack the observations for a forecast.
            stacklevel: Number of callers up to the one to which the warning belongs.
        """
        if model.always_forecasts and self.lost:
            warnings.warn(
                f"{self.lost:,} of {self.total:,} forecast values diverged and are not finite; fit longer, with noise, "
                "with a longer unroll or in smaller steps; evaluate counts them as no_forecast",
                ForecastWarning,
                stacklevel=stacklevel,
            )
            return
        for index, (name, far) in enumerate(zip(model.fitted_spec.targets, self.far.tolist(), strict=True)):
            if far and model.range is not None:
                low, high = model.range[index]
                warnings.warn(
                    f"`{name}`: {far:,} of {self.each:,} forecast means reach to {self.extreme[index]:.4g}, far beyond "
                    f"the {low:.4g} to {high:.4g} of the training part; check units and inputs, or fit on newer data",
                    ForecastWarning,
                    stacklevel=stacklevel,
                )
