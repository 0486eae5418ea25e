"""Values to which a likelihood gives no density, found before they spoil a score."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from stgate.data.encoded import EncodedSeries
from stgate.data.streaming import StoredSeries
from stgate.data.windows import Series
from stgate.distributions.likelihoods import Likelihood
from stgate.errors import RequestError
from stgate.schema.panel import at
from stgate.schema.spec import PanelSpec


def check_support(
    likelihood: Likelihood,
    series: Series | StoredSeries | EncodedSeries,
    spec: PanelSpec,
    times: NDArray[Any],
    rows: tuple[int, int],
    part: str,
) -> None:
    """Refuse rows with values to which a likelihood gives no density: their scores would be NaN or infinite.

    Args:
        likelihood: The likelihood.
        series: The panel as tensors; with the transforms of the forecaster, if it has any.
        spec: The panel's spec.
        times: Times of the panel.
        rows: Row range `[start, stop)`.
        part: Name of the rows, for the message.

    Raises:
        RequestError: There is such a value; the message names its target, time, node and part.
    """
    if likelihood.support == "real":
        return
    for first, last in series.blocks(*rows):
        values = series.read(first, last)[..., : len(spec.targets)]
        check_values(likelihood, values, spec, times[first:last], part, encoded=isinstance(series, EncodedSeries))


def check_values(
    likelihood: Likelihood, values: Tensor, spec: PanelSpec, times: NDArray[Any], part: str, *, encoded: bool
) -> None:
    """Refuse values to which a likelihood gives no density.

    Args:
        likelihood: The likelihood.
        values: (member, row, node, target), NaN where missing.
        spec: The panel's spec.
        times: The time of each row.
        part: Name of the rows, for the message.
        encoded: Whether the values are transformed.

    Raises:
        RequestError: There is such a value; the message names its target, time, node and part.
    """
    wrong = torch.nonzero(~torch.isnan(values) & ~likelihood.allowed(values))
    if len(wrong):
        _, row, node, target = place = tuple(wrong[wrong[:, 1].argmin()].tolist())
        kind = " (transformed)" if encoded else ""
        what = f"`{spec.targets[target]}` is {values[place].item():g}{kind} at {at(times[row])}"
        raise RequestError(
            f"likelihood {type(likelihood).__name__}: {what}, node {at(spec.nodes[node])}, in the {part}; it takes "
            f"{likelihood.takes}"
        )
