"""Preprocessing that travels with the weights: standardise, fill what is missing, say what was missing."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from stgate.nn.imputation import Zero
from stgate.schema.batch import Batch


@dataclasses.dataclass
class Inputs:
    """What a network sees of a batch: standardised, no NaN anywhere.

    Attributes:
        values: (batch, window, node, channel), what the fill says where missing.
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
        """The last observed value of each target in the window; where none, what the fill says of the last step.

        Returns:
            (batch, node, target).
        """
        targets = self.since.shape[-1]
        values, mask = self.values[..., :targets], self.mask[..., :targets]
        steps = torch.arange(1, values.shape[1] + 1, device=values.device).view(1, -1, 1, 1)
        newest = torch.where(mask > 0, steps, 0).argmax(1, keepdim=True)
        newest = torch.where(mask.amax(1, keepdim=True) > 0, newest, values.shape[1] - 1)
        return values.gather(1, newest).squeeze(1)


class Standardize(nn.Module):
    """Standardise a raw batch with stored centres and scales, and fill missing entries.

    Args:
        channels: How many channels there are, targets first, future covariates last.
        static: How many static covariates; where missing they are zero.
        nodes: How many nodes.
        targets: How many targets.
        imputation: A module of `stgate.nn.imputation`; Zero when None.
    """

    center: Tensor
    scale: Tensor
    static_center: Tensor
    static_scale: Tensor
    node_scale: Tensor

    def __init__(
        self, channels: int, static: int, nodes: int, targets: int, imputation: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.targets = targets
        self.imputation = imputation or Zero()
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

    def forward(self, batch: Batch) -> Inputs:
        """Return what a network sees of a raw batch."""
        past = (batch["past"] - self.center) / self.scale
        first = len(self.center) - batch["future"].shape[-1]
        future = (batch["future"] - self.center[first:]) / self.scale[first:]
        static = (batch["static"] - self.static_center) / self.static_scale
        values = self.imputation(past, batch["past_cell"], 0)
        ahead = self.imputation(future, batch["future_cell"], first, values[:, -1, :, first:])
        return Inputs(
            values=values,
            mask=_mask(past),
            since=torch.log1p(batch["since"]),
            calendar=batch["past_calendar"],
            future=torch.cat([ahead, _mask(future)], -1),
            future_calendar=batch["future_calendar"],
            static=torch.nan_to_num(static, nan=0.0),
        )


def _mask(values: Tensor) -> Tensor:
    return (~torch.isnan(values)).to(values.dtype)
