"""A panel's tensors with encoded targets, read in blocks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

from torch import Tensor

from stgate.data.streaming import StoredSeries
from stgate.data.windows import Clock, Series

Encode = Callable[[Tensor, Tensor], Tensor]
"""A function of values (member, time, node, target) and times (time,): the encoded values, of the same shape."""


@dataclasses.dataclass(frozen=True)
class EncodedSeries:
    """Series whose targets are encoded as they are read.

    Attributes:
        raw: The panel as tensors.
        encode: Encodes the targets.
        targets: Number of targets.
    """

    raw: Series | StoredSeries
    encode: Encode
    targets: int

    @property
    def clock(self) -> Clock:
        """The times, with their calendar features and cells."""
        return self.raw.clock

    @property
    def static(self) -> Tensor:
        """The static covariates, (node, static)."""
        return self.raw.static

    @property
    def observed(self) -> Tensor:
        """True for each step at which any node observes a target, (member, time)."""
        return self.raw.observed

    def read(self, start: int, stop: int) -> Tensor:
        """Return the rows `[start, stop)`, (member, time, node, channel), targets encoded."""
        values = self.raw.read(start, stop).clone()
        values[..., : self.targets] = self.encode(values[..., : self.targets], self.clock.time[start:stop])
        return values

    def blocks(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Yield row ranges that make up `[start, stop)`, each small enough for little memory."""
        return self.raw.blocks(start, stop)
