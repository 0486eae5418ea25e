"""Scales fitted on observed training values only."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from stgate.data.windows import Series
from stgate.errors import PanelError
from stgate.spec import PanelSpec


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Centres and scales of a panel's training part.

    Attributes:
        center: (channel,), mean of the observed values, all nodes pooled.
        scale: (channel,), their standard deviation.
        static_center: (static,).
        static_scale: (static,).
        node_scale: (node, target), standard deviation node by node: the sigma of chaotic scores.
    """

    center: Tensor
    scale: Tensor
    static_center: Tensor
    static_scale: Tensor
    node_scale: Tensor

    @classmethod
    def of(cls, series: Series, spec: PanelSpec, rows: tuple[int, int]) -> Statistics:
        """Statistics of the rows `[start, stop)`.

        Raises:
            PanelError: A variable is never observed in these rows.
        """
        part = series.values[:, rows[0] : rows[1]].double()  # (member, time, node, channel)
        channels = part.flatten(0, 2)
        count = (~torch.isnan(channels)).sum(0)
        if (count == 0).any():
            name = spec.channels[int((count == 0).int().argmax())]
            raise PanelError(f"`{name}`: never observed in the training part; split later or leave it out")
        targets = part[..., : len(spec.targets)].flatten(0, 1)
        static = series.static.double()
        return cls(
            center=channels.nanmean(0).float(),
            scale=_spread(channels),
            static_center=static.nanmean(0).float(),
            static_scale=_spread(static),
            node_scale=_spread(targets),
        )


def _spread(values: Tensor) -> Tensor:
    """Standard deviation along the first axis, NaN left out; 1 where it is zero or unknown."""
    spread = (values - values.nanmean(0)).square().nanmean(0).sqrt().float()
    return torch.where(spread > 0, spread, 1.0)
