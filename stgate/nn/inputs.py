"""Preprocessing that travels with the weights: standardise, fill what is missing, say what was missing."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn


@dataclasses.dataclass
class Inputs:
    """What a network sees of a batch: standardised, no NaN anywhere.

    Attributes:
        values: (batch, window, node, channel), zero where missing.
        mask: (batch, window, node, channel), 1 where observed.
        since: (batch, window, node, target), log(1 + steps since last observed).
        calendar: (batch, window, feature).
        future: (batch, lead, node, 2 * future covariate): values and masks.
        future_calendar: (batch, lead, feature).
        static: (node, static).
    """

    values: Tensor
    mask: Tensor
    since: Tensor
    calendar: Tensor
    future: Tensor
    future_calendar: Tensor
    static: Tensor

    @property
    def last(self) -> Tensor:
        """The last observed value of each target in the window, zero where none: (batch, node, target)."""
        targets = self.since.shape[-1]
        values, mask = self.values[..., :targets], self.mask[..., :targets]
        steps = torch.arange(1, values.shape[1] + 1, device=values.device).view(1, -1, 1, 1)
        newest = (mask * steps).argmax(1, keepdim=True)
        return values.gather(1, newest).squeeze(1)


class Standardize(nn.Module):
    """Standardise a raw batch with stored centres and scales, and fill missing entries with zero."""

    center: Tensor
    scale: Tensor
    static_center: Tensor
    static_scale: Tensor
    node_scale: Tensor

    def __init__(self, channels: int, static: int, nodes: int, targets: int) -> None:
        super().__init__()
        self.targets = targets
        self.register_buffer("center", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(channels))
        self.register_buffer("static_center", torch.zeros(static))
        self.register_buffer("static_scale", torch.ones(static))
        self.register_buffer("node_scale", torch.ones(nodes, targets))

    @property
    def target_center(self) -> Tensor:
        """(target,)."""
        return self.center[: self.targets]

    @property
    def target_scale(self) -> Tensor:
        """(target,)."""
        return self.scale[: self.targets]

    def forward(self, batch: dict[str, Tensor]) -> Inputs:
        """A batch as `stgate.data.windows.Batch` describes it."""
        past, mask = self._filled(batch["past"], self.center, self.scale)
        first = len(self.center) - batch["future"].shape[-1]
        future, future_mask = self._filled(batch["future"], self.center[first:], self.scale[first:])
        static, _ = self._filled(batch["static"], self.static_center, self.static_scale)
        return Inputs(
            values=past,
            mask=mask,
            since=torch.log1p(batch["since"]),
            calendar=batch["past_calendar"],
            future=torch.cat([future, future_mask], -1),
            future_calendar=batch["future_calendar"],
            static=static,
        )

    @staticmethod
    def _filled(values: Tensor, center: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        standard = (values - center) / scale
        return torch.nan_to_num(standard, nan=0.0), (~torch.isnan(standard)).to(values.dtype)
