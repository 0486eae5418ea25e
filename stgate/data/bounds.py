"""Ranges of the covariates in the training part: a forecaster knows nothing of values far beyond them."""

from __future__ import annotations

import contextlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from stgate.data.scaling import Moments, Statistics
from stgate.errors import ForecastWarning
from stgate.schema.batch import Batch
from stgate.schema.spec import PanelSpec

ROUNDING = 1e-6
"""Relative difference from the end of a range that is rounding."""


class Watched(nn.Module, ABC):
    """Module that notes, while it is `watched`, values that it cannot take as they are: in `beyond`."""

    category: ClassVar[type[Warning]] = ForecastWarning
    """Kind of its warnings."""

    def __init__(self) -> None:
        super().__init__()
        self.watched = False
        self.beyond: dict[Any, Any] = {}

    @abstractmethod
    def report(self) -> list[str]:
        """Return what was noted, a line for each variable."""


class CovariateBounds(Watched):
    """Bounds of the covariates: the range in the training part, on each side one width wider; it counts what is beyond.

    A covariate that never changed in the training part keeps that value for ever: its effect is not known.

    Args:
        spec: The spec of the panel.
        ranges: Smallest and largest value of each covariate in the training part, by its name.
    """

    low: Tensor
    high: Tensor

    def __init__(self, spec: PanelSpec, ranges: Mapping[str, tuple[float, float]]) -> None:
        super().__init__()
        self.ranges = dict(ranges)
        self.names = (*spec.channels[len(spec.targets) :], *spec.static_covariates)
        self.static, self.targets = len(spec.static_covariates), len(spec.targets)
        ends = [self.ranges.get(name, (-torch.inf, torch.inf)) for name in self.names]
        wide = [(low - (high - low), high + (high - low)) for low, high in ends]
        both = torch.tensor(wide, dtype=torch.float64).view(-1, 2)
        self.register_buffer("low", both[:, 0].float(), persistent=False)
        self.register_buffer("high", both[:, 1].float(), persistent=False)
        self._last: tuple[Tensor, Tensor] | None = None

    @classmethod
    def of(cls, spec: PanelSpec, statistics: Statistics, static: Tensor) -> CovariateBounds:
        """Take the bounds from the training part; places have none.

        Args:
            spec: The spec of the panel.
            statistics: Statistics of the training part.
            static: The static covariates, (node, static).
        """
        fixed, ends = Moments(), {}
        fixed.add(static)
        least, most = (torch.cat(pair) for pair in zip(statistics.covariates, (fixed.least, fixed.most), strict=True))
        names = (*spec.channels[len(spec.targets) :], *spec.static_covariates)
        for name, low, high in zip(names, least.tolist(), most.tolist(), strict=True):
            if name not in spec.places and low <= high:  # else never observed
                ends[name] = low, high
        return cls(spec, ends)

    def forward(self, batch: Batch) -> Batch:
        """Bound the covariates of a raw batch; NaN stays NaN.

        Args:
            batch: Windows in raw units.

        Returns:
            The batch with bounded covariates; the static ones are the same object where none lies beyond.
        """
        if not self.ranges:
            return batch
        varying, future = len(self.names) - self.static, batch["future"].shape[-1]
        changed: dict[str, Tensor] = {}
        if varying:
            past = self._kept(batch["past"][..., self.targets :], 0, varying)
            changed["past"] = torch.cat([batch["past"][..., : self.targets], past], -1)
            changed["future"] = self._kept(batch["future"], varying - future, varying)
        if self.static:
            changed["static"] = self._kept_static(batch["static"], varying)
        return cast(Batch, {**batch, **changed})

    def _kept_static(self, values: Tensor, first: int) -> Tensor:
        """Return static covariates within their bounds: for the same panel the same object."""
        kept = self._kept(values, first, len(self.names))
        if torch.compiler.is_compiling():
            return kept
        if self._last is None or self._last[0] is not values:
            beyond = bool(((kept < values) | (kept > values)).any())  # of a new panel; the host may wait
            with torch.inference_mode(False):
                self._last = values, kept.clone() if beyond else values
        return self._last[1]

    def _kept(self, values: Tensor, first: int, last: int) -> Tensor:
        """Return values within their bounds, and count those that were not."""
        kept = values.clamp(self.low[first:last].to(values), self.high[first:last].to(values))
        if self.watched:
            far = ((kept - values).abs() > ROUNDING * kept.abs()).flatten(0, -2).sum(0)
            seen = (~torch.isnan(values)).flatten(0, -2).sum(0)
            self.beyond[first, last] = torch.stack([far, seen]) + self.beyond.get((first, last), 0)
        return kept

    def report(self) -> list[str]:
        """Return a line for each covariate that was beyond its bounds since the counts began."""
        lines, counts = [], {name: (0, 0) for name in self.names}
        for (first, last), both in self.beyond.items():
            for name, far, seen in zip(self.names[first:last], *both.tolist(), strict=True):
                counts[name] = counts[name][0] + far, counts[name][1] + seen
        for name, (far, seen) in counts.items():
            if far:
                low, high = self.ranges[name]
                trained = f"it is always {low:g}" if low == high else f"it spans {low:g} to {high:g}"
                share = max(100 * far / seen, 1)
                lines.append(
                    f"`{name}`: {share:.0f} % of its values lie far beyond the training part, in which {trained}; they "
                    "are bounded, for their effect is not known: fit on data in which it varies so, or leave it out"
                )
        return lines

    def to_plain(self) -> dict[str, Any]:
        """Return the ranges as plain containers."""
        return {name: list(ends) for name, ends in self.ranges.items()}


@contextlib.contextmanager
def watched(module: nn.Module) -> Iterator[None]:
    """Warn at the end of values that no forecaster inside a module could take as they were.

    Args:
        module: A predictor, or a module that holds some.
    """
    inside = [one for one in module.modules() if isinstance(one, Watched) and not one.watched]
    for one in inside:
        one.watched, one.beyond = True, {}
    try:
        yield
    finally:
        for one in inside:
            one.watched = False
    for line, category in {line: one.category for one in inside for line in one.report()}.items():
        warnings.warn(line, category, stacklevel=4)
