"""Prompts: descriptions of a window in words, for a language model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

TOP = 5
"""Number of lags of the strongest autocorrelation in a prompt."""


def prompts(values: Tensor, names: Sequence[str], description: str, horizon: int) -> list[str]:
    """Write one prompt for each window: data set, task, least, largest and median value, trend and top lags.

    Args:
        values: Means over nodes in the targets' own units, (batch, step, target).
        names: Names of the targets, with their units.
        description: Description of the data set.
        horizon: Number of steps to forecast.

    Returns:
        Prompts, one for each window.

    References:
        Jin et al. (2024), Time-LLM: time series forecasting by reprogramming large language models. ICLR.
    """
    steps = values.shape[1]
    head = f"Dataset: {description} Task: forecast the next {horizon} steps given the previous {steps} steps."
    least, largest, median = values.amin(1), values.amax(1), values.median(1).values
    rises = values[:, -1] > values[:, 0]
    lags = top_lags(values)
    texts = []
    for row in range(len(values)):
        parts = [head]
        for i, name in enumerate(names):
            numbers = (f"{x[row, i].item():.4g}" for x in (least, largest, median))
            low, high, middle = numbers
            trend = "upward" if rises[row, i] else "downward"
            top = ", ".join(map(str, lags[row, :, i].tolist()))
            parts.append(
                f"Input statistics of {name}: min {low}, max {high}, median {middle}, the trend is {trend}, "
                f"top lags are {top}."
            )
        texts.append(" ".join(parts))
    return texts


def top_lags(values: Tensor) -> Tensor:
    """Find the lags of the largest circular autocorrelation, by the Wiener-Khinchin theorem.

    Args:
        values: Series, (batch, step, target).

    Returns:
        Lags in steps, (batch, lag, target), strongest first.
    """
    centred = values - values.mean(1, keepdim=True)
    power = torch.fft.rfft(centred, dim=1).abs().square()
    correlation = torch.fft.irfft(power, n=values.shape[1], dim=1)
    made: Tensor = correlation[:, 1 : values.shape[1] // 2 + 1].topk(min(TOP, values.shape[1] // 2), 1).indices + 1
    return made
