"""Errors of forecasts that no fit had seen, stored in the checkpoint: online intervals start from them."""

from __future__ import annotations

import dataclasses
from typing import Any, Self

import torch
from torch import Tensor

LARGEST = 2**21
"""Number of scores that a checkpoint holds at most, 8 MiB; of more, those of the latest origins are kept."""


@dataclasses.dataclass(frozen=True)
class PastErrors:
    """Sizes of the errors of forecasts from successive origins, each made by a fit that had not seen its truth.

    Attributes:
        scores: (origin, member, lead, node, target), float32: sizes of normal scores of the truth, which for a normal
            distribution are |truth - median| / standard deviation of the transformed targets. NaN where the truth is
            missing, or where no fit has left it out.
        since: (origin, member, node), int16: steps since each node was observed, at the origin.
        last: Time of the last origin: seconds since 1970, or model time.
    """

    scores: Tensor
    since: Tensor
    last: float

    @classmethod
    def of(cls, scores: Tensor, since: Tensor, origins: Tensor, time: Tensor) -> PastErrors | None:
        """Arrange scores by origin, one step apart.

        Args:
            scores: (window, lead, node, target), scores of each window.
            since: (window, node), steps since each node was observed.
            origins: (window, 2), member and row of each window.
            time: (time,), times of the rows.

        Returns:
            The errors of as many of the latest origins as may be stored; None if a single one is too large.
        """
        member, row = origins.unbind(1)
        members, last = int(member.max()) + 1, int(row.max())
        kept = min(last - int(row.min()) + 1, LARGEST // (members * scores[0].numel()))
        if kept == 0:
            return None
        place = row - (last - kept + 1)
        recent = place >= 0
        held = torch.full((kept, members, *scores.shape[1:]), torch.nan)
        steps = torch.zeros((kept, members, since.shape[1]), dtype=torch.int16)
        held[place[recent], member[recent]] = scores[recent].float()
        steps[place[recent], member[recent]] = since[recent].clamp(max=2**15 - 1).to(torch.int16)
        return cls(held, steps, float(time[last]))

    def to_plain(self) -> dict[str, Any]:
        """Return plain containers and tensors, as a checkpoint holds them."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> Self:
        """Build the errors from the values that `to_plain` returned."""
        return cls(**values)
