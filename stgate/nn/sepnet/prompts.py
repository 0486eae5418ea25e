"""Prompts: what a language model is told of a window in words."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

TOP = 5
"""Lags of the strongest autocorrelation that are told."""


def prompts(values: Tensor, names: Sequence[str], description: str, horizon: int) -> list[str]:
    """One text a window: the data set, the task, then least, largest and median value, trend and top lags.

    Args:
        values: (batch, step, target), means over nodes, in own units.
        names: Of the targets, with their units.
        description: Of the data set.
        horizon: Steps that are asked for.

    References:
        Jin et al. (2024), Time-LLM: time series forecasting by reprogramming large language models. ICLR.
    """
    steps = values.shape[1]
    head = f"Dataset: {description} Task: forecast the next {horizon} steps given the previous {steps} steps."
    least, largest, median = values.amin(1), values.amax(1), values.median(1).values
    rises = values[:, -1] > values[:, 0]
    lags = top_lags(values)
    told = []
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
        told.append(" ".join(parts))
    return told


def top_lags(values: Tensor) -> Tensor:
    """Lags of the largest circular autocorrelation, (batch, lag, target), by the Wiener-Khinchin theorem."""
    centred = values - values.mean(1, keepdim=True)
    power = torch.fft.rfft(centred, dim=1).abs().square()
    correlation = torch.fft.irfft(power, n=values.shape[1], dim=1)
    made: Tensor = correlation[:, 1 : values.shape[1] // 2 + 1].topk(min(TOP, values.shape[1] // 2), 1).indices + 1
    return made
