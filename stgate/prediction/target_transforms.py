"""Transforms of the targets with what they learned from the training part, stored with the weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor

from stgate.data.bounds import Watched
from stgate.distributions.difference import Difference
from stgate.distributions.transformed import BoundTransforms, Transformed
from stgate.distributions.transforms import State, TrainingPart, Transform
from stgate.errors import PanelWarning
from stgate.nn.single import single_precision
from stgate.schema.batch import Batch
from stgate.schema.panel import at
from stgate.schema.spec import PanelSpec

MOST = 100_000
"""Number of values that a transform does not take from which on they are not counted."""


class TargetTransforms(Watched):
    """Transforms in the order in which they encode, with their learned numbers as buffers.

    While it is watched, it notes the values of windows that a transform does not take, by place.

    Args:
        transforms: The transforms.
        spec: The spec of the panel.
    """

    category: ClassVar[type[Warning]] = PanelWarning

    def __init__(self, transforms: Sequence[Transform], spec: PanelSpec) -> None:
        super().__init__()
        self.transforms, self.targets, self.spec = tuple(transforms), len(spec.targets), spec
        self._names: list[list[str]] = []
        for number, transform in enumerate(self.transforms):
            shapes = transform.shapes(spec)
            self._names.append(list(shapes))
            for name, shape in shapes.items():
                dtype = torch.float64 if name == "frequency" else torch.float32
                self.register_buffer(f"{number}_{name}", torch.zeros(shape, dtype=dtype))

    def state(self, number: int) -> State:
        """Return the learned numbers of a transform by name."""
        return {name: getattr(self, f"{number}_{name}") for name in self._names[number]}

    def learn(self, part: TrainingPart) -> None:
        """Learn each transform from the targets as the ones before it encode them."""
        for number, transform in enumerate(self.transforms):
            before = _Encoded(part, self, number) if number else part
            for name, value in transform.learn(before).items():
                getattr(self, f"{number}_{name}").copy_(value)

    @single_precision()
    def bind(self, time: Tensor, count: int | None = None, batch: Batch | None = None) -> BoundTransforms:
        """Return the transforms at some times.

        Args:
            time: (batch, step), seconds since 1970, or model time.
            count: Number of transforms, the first ones; all of them when None.
            batch: Raw windows, for a difference from their last values; None measures it from training means.
        """
        kept = self.transforms[:count]
        given = [transform.bind(self.state(number), time) for number, transform in enumerate(kept)]
        if batch is not None and kept and isinstance(kept[-1], Difference):
            past = batch["past"]
            before = self.bind(batch["time"][:, : past.shape[1]], len(kept) - 1)
            given[-1] = kept[-1].bind_window(self.state(len(kept) - 1), before.encode(past[..., : self.targets]))
        return BoundTransforms(kept, tuple(given))

    @property
    def limited(self) -> bool:
        """True if a transform does not take all values."""
        return any(transform.takes for transform in self.transforms)

    @property
    def of_window(self) -> bool:
        """True if the last transform is a difference, which needs the window."""
        return bool(self.transforms) and isinstance(self.transforms[-1], Difference)

    @property
    def without_window(self) -> int:
        """Number of transforms, the first ones, that need no window: all but a difference."""
        return len(self.transforms) - self.of_window

    def levels(self, values: Tensor, batch: Batch) -> Tensor:
        """Undo a difference: return values as the transforms before it encode them.

        Args:
            values: Encoded values, (batch, step, node, target, …).
            batch: Raw windows.
        """
        if not self.of_window:
            return values
        given = self.bind(batch["time"], None, batch).parameters[-1][..., 0]
        return values + given.reshape(*given.shape, *(1,) * (values.dim() - given.dim()))

    def encode_rows(self, values: Tensor, time: Tensor, count: int | None = None) -> Tensor:
        """Encode rows of a panel.

        Args:
            values: (member, time, node, target).
            time: (time,).
            count: Number of transforms, the first ones; all of them when None.
        """
        rows = time.expand(len(values), -1)
        return self.encoded(self.bind(time.unsqueeze(0), count), values, rows, torch.arange(len(values)))

    def encode(self, batch: Batch) -> Batch:
        """Return a batch whose targets, past and to be forecast, are encoded."""
        if not self.transforms:
            return batch
        window = batch["past"].shape[1]
        past, target = batch["past"].clone(), batch["target"]
        time, later, members = batch["time"][:, :window], batch["time"][:, window:], batch["origin"][:, 0]
        before = self.bind(time, batch=batch)
        past[..., : self.targets] = self.encoded(before, past[..., : self.targets], time, members)
        after = self.bind(later, batch=batch).first(target.shape[1])
        return cast(Batch, {**batch, "past": past, "target": self.encoded(after, target, later, members)})

    def encoded(self, bound: BoundTransforms, values: Tensor, time: Tensor, members: Tensor) -> Tensor:
        """Encode values; while watched, note those that a transform does not take by their places: windows overlap.

        Args:
            bound: The transforms at these times.
            values: (batch, step, node, target).
            time: (batch, step).
            members: (batch,).
        """
        if self.watched and self.limited and len(self.beyond) < MOST:
            number = bound.outside(values)
            for row, step, node, target in torch.nonzero(number >= 0)[:MOST].tolist():
                key = int(members[row]), float(time[row, step]), node, target
                self.beyond[key] = float(values[row, step, node, target]), int(number[row, step, node, target])
        return bound.encode(values)

    def report(self) -> list[str]:
        """Return a line for each target with values that a transform does not take."""
        lines, more = [], "over " * (len(self.beyond) >= MOST)
        for place, name in enumerate(self.spec.targets):
            found = [(key[1:3], value) for key, value in self.beyond.items() if key[3] == place]
            if found:
                (seconds, node), (value, number) = min(found)
                time = np.datetime64(round(seconds * 1e6), "us") if self.spec.time == "calendar" else seconds
                where = "" if self.spec.places else f", node {at(self.spec.nodes[node])}"
                transform = self.transforms[number]
                lines.append(
                    f"`{name}`: entries outside of what transform {type(transform).__name__} takes "
                    f"({transform.takes}): {more}{len(found):,}, which count as the nearest of these; the first is "
                    f"{value:g} at {at(time)}{where}; mark them as missing if they are wrong, or fit without it"
                )
        return lines

    def decoded(self, forecast: Any, batch: Batch) -> Any:  # noqa: ANN401 (a distribution)
        """Return the distribution of the targets in their own units, from that of the encoded ones."""
        if not self.transforms:
            return forecast
        ahead = batch["time"][:, batch["past"].shape[1] :]
        return Transformed(forecast, self.bind(ahead, batch=batch).first(forecast.batch_shape[-3]))


@dataclasses.dataclass(frozen=True)
class _Encoded:
    """Training part as the first transforms encode it."""

    part: TrainingPart
    transforms: TargetTransforms
    count: int

    @property
    def spec(self) -> PanelSpec:
        return self.part.spec

    def blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        for values, time in self.part.blocks():
            yield self.transforms.encode_rows(values, time, self.count), time

    def static(self, name: str) -> Tensor:
        return self.part.static(name)
