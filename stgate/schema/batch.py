"""A batch of windows: what a data module serves and a forecaster reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, NotRequired, Protocol, TypedDict, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor


SHARED = ("static", "ever")
"""Entries of a batch that are the same for all of its windows."""


class Batch(TypedDict):
    """Windows of a panel as tensors, in raw units, NaN where a value is missing.

    Attributes:
        past: (batch, window, node, channel), channels as in `PanelSpec.channels`.
        since: (batch, window, node, target), steps since the target was last observed, 0 where it is observed.
        past_calendar: (batch, window, feature), calendar features.
        past_cell: (batch, window), the calendar cell of each step.
        future: (batch, lead, node, future covariate).
        future_calendar: (batch, lead, feature).
        future_cell: (batch, lead).
        time: (batch, window + lead), seconds since 1970, or model time.
        static: (node, static), static covariates; the same for all windows.
        ever: (node,), true where a node observes any target at any time of the panel; the same for all windows.
        target: (batch, lead, node, target), the values to be forecast.
        origin: (batch, 2), the member and the row of the last input step.
        after: (batch, step, node, target), the values after the last input step that a field sees; only where the spec
            has steps ahead.

    What the host has to know of a batch that lies on a device, an entry for each window, is noted before it is moved
    (`noted`); where it is not, the host waits for the device:

        complete: True if all targets of the window are observed; for rollouts.
        origins: `origin` as numbers; for rollouts and fields.
        observed: Positions of the nodes that observe a target at the last input step; for fields in training.
    """

    past: Tensor
    since: Tensor
    past_calendar: Tensor
    past_cell: Tensor
    future: Tensor
    future_calendar: Tensor
    future_cell: Tensor
    time: Tensor
    static: Tensor
    ever: Tensor
    target: Tensor
    origin: Tensor
    after: NotRequired[Tensor]
    complete: NotRequired[list[bool]]
    origins: NotRequired[list[list[int]]]
    observed: NotRequired[list[Tensor]]


@runtime_checkable
class Noting(Protocol):
    """A predictor whose work depends on values of a batch, which the host has to know."""

    def noted(self, batch: Batch) -> Batch:
        """Return a batch of the host with such values noted."""


def noted(predictor: object, batch: Batch) -> Batch:
    """Return a batch of the host, before it is moved to a device, with what a predictor has to know of it there.

    Args:
        predictor: The predictor.
        batch: Windows in raw units.
    """
    return predictor.noted(batch) if isinstance(predictor, Noting) else batch
