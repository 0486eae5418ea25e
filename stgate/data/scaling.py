"""Centres and scales of channels, fitted on observed training values only."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from stgate.data.windows import Series
from stgate.errors import PanelError
from stgate.schema.precision import check_scale, warn_of_common_scale
from stgate.schema.spec import PanelSpec


class Blocks(Protocol):
    """Series that is read in blocks of rows."""

    @property
    def static(self) -> Tensor:
        """The static covariates, (node, static)."""

    def read(self, start: int, stop: int) -> Tensor:
        """Return the rows `[start, stop)`, (member, time, node, channel)."""

    def blocks(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Yield row ranges that make up `[start, stop)`."""


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Centres and scales of a panel's training part.

    Attributes:
        center: (channel,), mean of the observed values, all nodes pooled.
        scale: (channel,), standard deviation of the observed values, all nodes pooled.
        static_center: (static,), mean over nodes of each static covariate.
        static_scale: (static,), standard deviation over nodes of each static covariate.
        node_scale: (node, target), standard deviation node by node: the sigma of chaotic scores.
        observed: Number of observed values of all targets.
        least: (target,), the smallest observed value.
        most: (target,), the largest observed value.
        whole: (target,), True if all observed values are whole numbers.
        covariates: Smallest and largest observed value of the channels that are no targets, (covariate,) each.
    """

    center: Tensor
    scale: Tensor
    static_center: Tensor
    static_scale: Tensor
    node_scale: Tensor
    observed: int
    least: Tensor
    most: Tensor
    whole: Tensor
    covariates: tuple[Tensor, Tensor]

    @classmethod
    def of(cls, series: Series, spec: PanelSpec, rows: tuple[int, int]) -> Statistics:
        """Compute the statistics of some rows.

        Args:
            series: The panel as tensors.
            spec: The panel's spec.
            rows: Row range `[start, stop)` of the training part.

        Raises:
            PanelError: A variable is never observed in these rows.
        """
        part = series.values[:, rows[0] : rows[1]]  # (member, time, node, channel)
        channels, nodes = Moments(), Moments()
        channels.add(part.flatten(0, 2))
        nodes.add(part[..., : len(spec.targets)].flatten(0, 1))
        return cls.of_moments(channels, nodes, series.static, spec)

    @classmethod
    def of_blocks(cls, series: Blocks, spec: PanelSpec, rows: tuple[int, int]) -> Statistics:
        """Compute the statistics of some rows that are read in blocks.

        Args:
            series: The panel as tensors.
            spec: The panel's spec.
            rows: Row range `[start, stop)` of the training part.

        Raises:
            PanelError: A variable is never observed in these rows.
        """
        channels, nodes = Moments(), Moments()
        for first, last in series.blocks(*rows):
            part = series.read(first, last)  # (member, time, node, channel)
            channels.add(part.flatten(0, 2))
            nodes.add(part[..., : len(spec.targets)].flatten(0, 1))
        return cls.of_moments(channels, nodes, series.static, spec)

    @classmethod
    def of_moments(cls, channels: Moments, nodes: Moments, static: Tensor, spec: PanelSpec) -> Statistics:
        """Compute the statistics from moments.

        Args:
            channels: Moments of each channel, (channel,), all nodes pooled.
            nodes: Moments of each target at each node, (node, target).
            static: (node, static), the static covariates.
            spec: The panel's spec.

        Raises:
            PanelError: A variable is never observed, or float32 cannot compute with its standard deviation.
        """
        if (channels.count == 0).any():
            name = spec.channels[int((channels.count == 0).int().argmax())]
            raise PanelError(f"`{name}`: never observed in the training part; split later or leave it out")
        for place in torch.nonzero(channels.least < channels.most).flatten().tolist():
            check_scale(spec.channels[place], channels.deviation[place].item(), target=place < len(spec.targets))
        for place, name in enumerate(spec.targets):
            center, scale = channels.mean[place].item(), channels.deviation[place].item()
            warn_of_common_scale(name, center, scale, nodes.deviation[:, place].numpy())
        fixed = Moments()
        fixed.add(static)
        return cls(
            center=channels.mean.float(),
            scale=channels.stddev,
            static_center=fixed.mean.float(),
            static_scale=fixed.stddev,
            node_scale=nodes.stddev,
            observed=int(nodes.count.sum()),
            least=nodes.least.amin(0),
            most=nodes.most.amax(0),
            whole=nodes.whole.all(0),
            covariates=(channels.least[len(spec.targets) :], channels.most[len(spec.targets) :]),
        )


PIECE = 2**19
"""Number of values that are added at once; with intermediate results in float64 they take about 16 MB."""


class Moments:
    """Count, mean and squared deviations of the observed values, added up in float64, piece by piece.

    It also keeps the smallest and the largest value (infinite if none is observed), and if all are whole numbers.

    References:
        Chan, T. F., Golub, G. H., LeVeque, R. J. (1983), The American Statistician 37, 242-247.
    """

    count: Tensor
    mean: Tensor
    squares: Tensor
    least: Tensor
    most: Tensor
    whole: Tensor

    def __init__(self) -> None:
        self._empty = True

    def add(self, values: Tensor) -> None:
        """Add values along their first axis, NaN left out."""
        rows = max(PIECE // max(values[:1].numel(), 1), 1)
        for piece in torch.split(values, rows):
            self._add(piece.double())

    def _add(self, values: Tensor) -> None:
        count = (~torch.isnan(values)).sum(0)
        mean = torch.where(count > 0, torch.nansum(values, 0) / count.clamp(min=1), 0.0)
        squares = torch.nansum((values - mean).square(), 0)
        none = values.new_full((1, *values.shape[1:]), torch.inf)
        least = torch.cat([torch.nan_to_num(values, nan=torch.inf), none]).amin(0)
        most = torch.cat([torch.nan_to_num(values, nan=-torch.inf), -none]).amax(0)
        whole = ((values == values.floor()) | torch.isnan(values)).all(0)
        if self._empty:
            self.count, self.mean, self.squares, self._empty = count, mean, squares, False
            self.least, self.most, self.whole = least, most, whole
            return
        self.least, self.most = torch.minimum(self.least, least), torch.maximum(self.most, most)
        self.whole = self.whole & whole
        total = (self.count + count).clamp(min=1)
        gap = mean - self.mean
        self.squares = self.squares + squares + gap.square() * self.count * count / total
        self.mean = self.mean + gap * count / total
        self.count = self.count + count

    @property
    def deviation(self) -> Tensor:
        """The standard deviation, float64."""
        return (self.squares / self.count.clamp(min=1)).sqrt()

    @property
    def stddev(self) -> Tensor:
        """The standard deviation, float32; 1 where it is zero or unknown."""
        stddev = self.deviation.float()
        return torch.where(stddev > 0, stddev, 1.0)
