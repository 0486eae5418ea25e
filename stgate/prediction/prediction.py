"""Numbers of a forecast dataset, for one batch of windows."""

from __future__ import annotations

from typing import NotRequired, TypedDict, cast

from torch import Tensor
from torch.distributions import Distribution

from stgate.distributions.mixture import Mixture
from stgate.distributions.transformed import Transformed
from stgate.schema.batch import Batch
from stgate.schema.forecast import PARTS


class Prediction(TypedDict):
    """Numbers of a forecast dataset, for one batch of windows.

    Attributes:
        quantiles: (batch, lead, node, target, quantile), calibrated where the predictor is.
        mean: (batch, lead, node, target).
        truth: (batch, lead, node, target), NaN where unknown.
        since: (batch, node), steps since any target was observed, at the origin.
        origin: (batch, 2), the member and the row of the last input step.
        aleatoric: (batch, lead, node, target), the part of the standard deviation that more data would not reduce; only
            with several members.
        epistemic: (batch, lead, node, target), the part of the standard deviation that comes from differences between
            members; only with several members.
        score: (batch, lead, node, target), size of the normal score of the truth, NaN where it is unknown; only for
            online intervals.
    """

    quantiles: Tensor
    mean: Tensor
    truth: Tensor
    since: Tensor
    origin: Tensor
    aleatoric: NotRequired[Tensor]
    epistemic: NotRequired[Tensor]
    score: NotRequired[Tensor]


def prediction_of(forecast: Distribution, batch: Batch, quantiles: Tensor) -> Prediction:
    """Return the prediction of a batch.

    Args:
        forecast: A distribution of batch shape (batch, lead, node, target).
        batch: The windows.
        quantiles: (batch, lead, node, target, quantile).
    """
    since = batch["since"][:, -1].amin(-1)
    held = {"quantiles": quantiles, "mean": forecast.mean, "truth": batch["target"], "since": since}
    return cast(Prediction, {**held, "origin": batch["origin"], **deviations(forecast)})


def on_host(prediction: Prediction) -> Prediction:
    """Return a prediction in the host's memory: a device then holds one batch of them, not all."""
    return cast(Prediction, {name: cast(Tensor, value).cpu() for name, value in prediction.items()})


def deviations(forecast: Distribution) -> dict[str, Tensor]:
    """Return the two parts of the standard deviation of a mixture of members by name; nothing for another forecast."""
    base = forecast.base if isinstance(forecast, Transformed) else forecast
    return {part: getattr(forecast, f"{part}_variance").sqrt() for part in PARTS} if type(base) is Mixture else {}
