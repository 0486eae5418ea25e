"""Transforms of targets: increasing maps to values that are easier to forecast, undone in every forecast."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor

from stgate._configured import Configured, check_options
from stgate.errors import PanelError, RequestError
from stgate.schema.spec import PanelSpec

Auto = Literal["auto"]
"""Option in place of transforms: they are chosen from the training part."""
State = Mapping[str, Tensor]
"""Numbers that a transform has learned from the training part, by name."""


class TrainingPart(Protocol):
    """Training part of a panel, as a transform sees it: its targets, after the transforms before this one."""

    @property
    def spec(self) -> PanelSpec:
        """The spec of the panel."""

    def blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield values (member, time, node, target), NaN where missing, and their times (time,)."""

    def static(self, name: str) -> Tensor:
        """Return a static variable of the panel by its name, (node,), float64."""


class Transform(Configured, ABC):
    """Increasing map of the targets; it holds options only, and what it learns is kept by the predictor.

    Attributes:
        affine: True if the map is affine at each node and time, so that means transform like values.
        takes: Values that it maps, in words; empty if it maps all. The others are mapped like the nearest of them.
    """

    affine: ClassVar[bool] = False
    takes: str = ""

    def shapes(self, spec: PanelSpec) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the learned numbers by name; none by default."""
        return {}

    def learn(self, part: TrainingPart) -> State:
        """Learn from the training part; nothing by default."""
        return {}

    @abstractmethod
    def bind(self, state: State, time: Tensor) -> Tensor:
        """Return the parameters of the map at some times.

        Args:
            state: Learned numbers.
            time: (batch, step), seconds since 1970, or model time.

        Returns:
            Parameters, (batch or 1, step or 1, node or 1, target or 1, parameter).
        """

    def outside(self, values: Tensor, given: Tensor) -> Tensor:
        """Flag the values, (…, node, target), that the map with given parameters does not take; none by default."""
        return torch.zeros_like(values, dtype=torch.bool)

    @abstractmethod
    def encode(self, values: Tensor, given: Tensor) -> Tensor:
        """Map values (…, node, target) of the target; NaN stays NaN.

        Args:
            values: Values.
            given: Parameters, (…, node, target, parameter).
        """

    @abstractmethod
    def decode(self, values: Tensor, given: Tensor) -> Tensor:
        """Undo `encode`.

        Args:
            values: Encoded values.
            given: Parameters, (…, node, target, parameter).
        """

    @abstractmethod
    def log_slope(self, values: Tensor, given: Tensor) -> Tensor:
        """Return the logarithm of the derivative of `encode`, for densities.

        Args:
            values: Values before the map.
            given: Parameters, (…, node, target, parameter).
        """


class Log(Transform):
    """Logarithm of the value plus an offset: log(y + offset); for positive quantities whose errors grow with them.

    Args:
        offset: Number added before the logarithm, in the target's units. None learns it: zero if all values are above
            zero, else half of the smallest value above zero.

    Raises:
        RequestError: The offset is negative.
    """

    def __init__(self, offset: float | None = None) -> None:
        check_options(Log.__init__, locals())
        if offset is not None and offset < 0:
            raise RequestError(f"offset {offset:g}: must not be negative")
        self.offset = offset
        self.takes = "values above zero" if offset == 0 else "values of zero or above, and above zero without an offset"

    def outside(self, values: Tensor, given: Tensor) -> Tensor:
        """Flag values that have no logarithm, or are below zero."""
        return (values + given[..., 0] <= 0) | (values < 0)

    def shapes(self, spec: PanelSpec) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the offset and of the least value of which a logarithm is taken, one for each target."""
        return {"offset": (len(spec.targets),), "floor": (len(spec.targets),)}

    def learn(self, part: TrainingPart) -> State:
        """Learn the offset, and refuse values of which there is no logarithm.

        Args:
            part: The training part.

        Raises:
            PanelError: A value is negative, or zero without an offset.
        """
        least, positive = _least(part)
        if self.offset is not None:
            offset = torch.full_like(least, self.offset)
        else:
            offset = torch.where(least > 0, 0.0, positive / 2)
        _refuse(part, least, least < 0, "log", "is below zero; leave the transform out")
        _refuse(part, least, least + offset <= 0, "log", "has no logarithm; leave the transform out, or give an offset")
        return {"offset": offset, "floor": (least + offset) / 2}

    def bind(self, state: State, time: Tensor) -> Tensor:
        """Return the offsets and the floors."""
        return torch.stack([state["offset"], state["floor"]], -1)

    def encode(self, values: Tensor, given: Tensor) -> Tensor:
        """Return log(y + offset); values below all of training count as half of the least there, at the lowest."""
        return torch.log(torch.maximum(values + given[..., 0], given[..., 1].expand_as(values)))

    def decode(self, values: Tensor, given: Tensor) -> Tensor:
        """Return exp(z) - offset, not below zero."""
        return (torch.exp(values) - given[..., 0]).clamp(min=0.0)

    def log_slope(self, values: Tensor, given: Tensor) -> Tensor:
        """Return -log(y + offset)."""
        return -self.encode(values, given)


class Power(Transform):
    """Power of the value, y**power; a square or fourth root for counts and concentrations with zeros.

    Args:
        power: Exponent, above 0 and at most 1.

    Raises:
        RequestError: The power is out of range.
    """

    def __init__(self, power: float = 0.5) -> None:
        check_options(Power.__init__, locals())
        if not 0 < power <= 1:
            raise RequestError(f"power {power:g}: must be above 0 and at most 1")
        self.power = power
        self.takes = "values of zero or above"

    def outside(self, values: Tensor, given: Tensor) -> Tensor:
        """Flag values below zero."""
        return values < 0

    def shapes(self, spec: PanelSpec) -> dict[str, tuple[int, ...]]:
        """Return the shape of the smallest value above zero, one for each target."""
        return {"smallest": (len(spec.targets),)}

    def learn(self, part: TrainingPart) -> State:
        """Learn the smallest value above zero, and refuse negative values.

        Args:
            part: The training part.

        Raises:
            PanelError: A value is negative.
        """
        least, positive = _least(part)
        _refuse(part, least, least < 0, "power", "is below zero; leave the transform out")
        return {"smallest": positive}

    def bind(self, state: State, time: Tensor) -> Tensor:
        """Return the smallest values above zero."""
        return state["smallest"][:, None]

    def encode(self, values: Tensor, given: Tensor) -> Tensor:
        """Return y**power; 0 for values below zero, which training has not seen."""
        return values.clamp(min=0.0) ** self.power

    def decode(self, values: Tensor, given: Tensor) -> Tensor:
        """Return z**(1/power), and 0 for z below zero."""
        return values.clamp(min=0.0) ** (1 / self.power)

    def log_slope(self, values: Tensor, given: Tensor) -> Tensor:
        """Return log(power) + (power - 1) log y; at zero that of half of the smallest value above zero."""
        kept = torch.maximum(values, (given[..., 0] / 2).expand_as(values))
        return math.log(self.power) + (self.power - 1) * torch.log(kept)


class Asinh(Transform):
    """Inverse hyperbolic sine, asinh(y / scale): linear near zero, logarithmic far from it, of either sign.

    Args:
        scale: Value up to which the map is about linear, in the target's units, above zero. None learns the median
            absolute value.

    Raises:
        RequestError: The scale is not above zero.
    """

    def __init__(self, scale: float | None = None) -> None:
        check_options(Asinh.__init__, locals())
        if scale is not None and scale <= 0:
            raise RequestError(f"scale {scale:g}: must be above zero")
        self.scale = scale

    def shapes(self, spec: PanelSpec) -> dict[str, tuple[int, ...]]:
        """Return the shape of the scale, one for each target."""
        return {"scale": (len(spec.targets),)}

    def learn(self, part: TrainingPart) -> State:
        """Learn the scale."""
        if self.scale is not None:
            return {"scale": torch.full((len(part.spec.targets),), self.scale)}
        sizes = torch.cat([_some(values.abs().flatten(0, 2)) for values, _ in part.blocks()])
        scale = sizes.nanmedian(0).values
        return {"scale": torch.where(scale > 0, scale, 1.0)}

    def bind(self, state: State, time: Tensor) -> Tensor:
        """Return the scales."""
        return state["scale"][:, None]

    def encode(self, values: Tensor, given: Tensor) -> Tensor:
        """Return asinh(y / scale)."""
        return torch.asinh(values / given[..., 0])

    def decode(self, values: Tensor, given: Tensor) -> Tensor:
        """Return scale * sinh(z)."""
        return given[..., 0] * torch.sinh(values)

    def log_slope(self, values: Tensor, given: Tensor) -> Tensor:
        """Return the logarithm of the slope, -log(scale) - log(1 + (y / scale)²) / 2."""
        return -torch.log(given[..., 0]) - 0.5 * torch.log1p((values / given[..., 0]).square())


class Logit(Transform):
    """Logit between two bounds, log((y - low) / (high - y)); for shares, humidity and other bounded quantities.

    Args:
        low: Lower bound, in the target's units.
        high: Upper bound, in the target's units.
        margin: Share of the range by which values at a bound are moved inside.

    Raises:
        RequestError: The bounds are not in order, or the margin is out of range.
    """

    def __init__(self, low: float = 0.0, high: float = 1.0, margin: float = 1e-3) -> None:
        check_options(Logit.__init__, locals())
        if not low < high:
            raise RequestError(f"low {low:g}: must be below high {high:g}")
        if not 0 < margin < 0.5:
            raise RequestError(f"margin {margin:g}: must be above 0 and below 0.5")
        self.low, self.high, self.margin = low, high, margin
        self.takes = f"values from {low:g} to {high:g}"

    def outside(self, values: Tensor, given: Tensor) -> Tensor:
        """Flag values beyond the bounds."""
        return (values < self.low) | (values > self.high)

    def learn(self, part: TrainingPart) -> State:
        """Refuse values beyond the bounds.

        Args:
            part: The training part.

        Raises:
            PanelError: A value lies beyond a bound.
        """
        for values, _ in part.blocks():
            beyond = ((values < self.low) | (values > self.high)).flatten(0, 2)
            why = f"values lie beyond {self.low:g} to {self.high:g}; give other bounds, or leave the transform out"
            _refuse(part, beyond.sum(0), beyond.any(0), "logit", why)
        return {}

    def bind(self, state: State, time: Tensor) -> Tensor:
        """Return no parameters."""
        return torch.zeros(0)

    def _share(self, values: Tensor) -> Tensor:
        return ((values - self.low) / (self.high - self.low)).clamp(self.margin, 1 - self.margin)

    def encode(self, values: Tensor, given: Tensor) -> Tensor:
        """Return the logit."""
        return torch.logit(self._share(values))

    def decode(self, values: Tensor, given: Tensor) -> Tensor:
        """Return the value, between the bounds."""
        return self.low + (self.high - self.low) * torch.sigmoid(values)

    def log_slope(self, values: Tensor, given: Tensor) -> Tensor:
        """Return the logarithm of the slope; at a bound that of the margin."""
        share = self._share(values)
        return -torch.log(share * (1 - share)) - math.log(self.high - self.low)


class Rate(Transform):
    """Rate per unit of a static variable, such as cases per inhabitant: y * mean(per) / per.

    Args:
        per: Name of a node coordinate or node variable, above zero at each node. The mean over nodes keeps the target's
            units and size.
    """

    affine = True

    def __init__(self, per: str = "population") -> None:
        check_options(Rate.__init__, locals())
        self.per = per

    def shapes(self, spec: PanelSpec) -> dict[str, tuple[int, ...]]:
        """Return the shape of the factors, one for each node."""
        return {"factor": (len(spec.nodes),)}

    def learn(self, part: TrainingPart) -> State:
        """Take the static variable.

        Args:
            part: The training part.

        Raises:
            PanelError: It is missing, zero or negative at a node.
        """
        size = part.static(self.per)
        wrong = torch.nonzero(~(size > 0)).flatten()
        if len(wrong):
            node = part.spec.nodes[int(wrong[0])]
            raise PanelError(f"`{self.per}`: is {float(size[wrong[0]]):g} at node {node!r}; Rate needs it above zero")
        return {"factor": (size.mean() / size).float()}

    def bind(self, state: State, time: Tensor) -> Tensor:
        """Return the factors."""
        return state["factor"][:, None, None]

    def encode(self, values: Tensor, given: Tensor) -> Tensor:
        """Return the rate."""
        return values * given[..., 0]

    def decode(self, values: Tensor, given: Tensor) -> Tensor:
        """Return the value of a rate."""
        return values / given[..., 0]

    def log_slope(self, values: Tensor, given: Tensor) -> Tensor:
        """Return the logarithm of the factor."""
        return torch.log(given[..., 0]).expand_as(values)


def _some(rows: Tensor) -> Tensor:
    """Return evenly spread rows, at most about 2**16."""
    return rows[:: 1 + len(rows) // 2**16]


def _least(part: TrainingPart) -> tuple[Tensor, Tensor]:
    """Return the smallest observed value of each target, and the smallest above zero (1 if there is none)."""
    least = positive = torch.full((len(part.spec.targets),), torch.inf)
    for values, _ in part.blocks():
        flat = values.flatten(0, 2)
        least = torch.minimum(least, torch.nan_to_num(flat, nan=torch.inf).amin(0))
        positive = torch.minimum(positive, torch.where(flat > 0, flat, torch.inf).amin(0))
    return least, torch.where(torch.isinf(positive), 1.0, positive)


def _refuse(part: TrainingPart, value: Tensor, wrong: Tensor, transform: str, why: str) -> None:
    for name, number, is_wrong in zip(part.spec.targets, value.tolist(), wrong.tolist(), strict=True):
        if is_wrong:
            raise PanelError(f"transform {transform}: `{name}` {number:g} {why}")
