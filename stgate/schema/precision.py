"""Precision: values whose digits float32 does not hold. Forecasters compute in float32."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from stgate.errors import PanelError, PanelWarning

SHARE = 0.01
"""Share of a node's typical change from value to value that rounding to float32 may reach."""
INVISIBLE = 1e-3
"""Share of the typical change of the node that changes most below which the changes of a node do not count."""
PIECE = 2**20
"""Number of values that are looked at together; the typical change is the median of those of the first ones."""
SCALES, COVARIATE_SCALES = (1e-16, 1e16), (1e-36, 1e36)
"""Standard deviations of targets, whose squares float32 holds, and those of covariates."""
Floats = NDArray[np.floating]


class Digits:
    """Rounding of a variable to float32, and its changes from value to value, of pieces of rows in order of time."""

    def __init__(self) -> None:
        self.written, self.low, self.high = True, np.inf, -np.inf
        self._worst: Floats = np.empty(0)  # of each column: a node, of a member
        self._middle: Floats = np.empty(0)
        self._before: Floats = np.empty((0, 0))
        self._changes: list[Floats] = []
        self._typical: Floats | None = None

    def add(self, values: NDArray[np.floating]) -> None:
        """Add rows.

        Args:
            values: Values, (…, time, node), NaN where missing.
        """
        if values.dtype == np.float32 or not values.size:
            return
        rows = np.moveaxis(values, -2, 0).reshape(values.shape[-2], -1)
        size = max(PIECE // rows.shape[1], 1)
        for first in range(0, len(rows), size):
            self._add(rows[first : first + size])

    def _add(self, rows: Floats) -> None:
        if not self._before.size:
            self._before, self._worst, self._middle = rows[:0], np.zeros(rows.shape[1]), _medians(rows)
        self.low = min(self.low, float(np.nanmin(rows, initial=np.inf)))
        self.high = max(self.high, float(np.nanmax(rows, initial=-np.inf)))
        held = np.concatenate([self._before, rows])
        lost = errors(held)
        if self._typical is not None and not (lost.max(0) > SHARE * self._typical).any():
            self._before = rows[-1:]
            return
        last = np.where(np.isnan(held), 0, np.arange(len(held))[:, None])
        held = np.take_along_axis(held, np.maximum.accumulate(last), 0)  # a gap holds the value before it
        self._before, change = held[-1:], np.abs(np.diff(held, axis=0, prepend=held[:1]))
        moves = change > 0
        if self._typical is None:
            self._changes.append(np.where(moves, change, np.nan))
            if sum(part.size for part in self._changes) >= PIECE:
                self._typical, self._changes = self.change, []
        lost[~(moves & (lost > SHARE * change)) & np.isfinite(lost)] = 0.0  # a jump to a large value stays a jump
        if (lost > 0).any():
            self._worst = np.maximum(self._worst, lost.max(0))
            self.written = self.written and _as_written(rows.ravel()[:: 1 + rows.size // 2**14])

    @property
    def largest(self) -> float:
        """The largest size of a value."""
        return max(self.high, -self.low, 0.0)

    @property
    def change(self) -> Floats:
        """The median size of each column's changes, zero left out, or the least that counts; NaN if nothing changes."""
        if self._typical is not None:
            return self._typical
        own = _medians(np.concatenate(self._changes))
        return np.asarray(np.fmax(own, INVISIBLE * np.fmax.reduce(own)))

    @property
    def fault(self) -> tuple[float, float, float] | None:
        """The rounding, change and middle of a node where float32 holds too few digits; None if it holds all."""
        if not self._worst.any():
            return None
        change = self.change
        bad = np.isinf(self._worst) | ((self._worst > SHARE * change) & (not self.written))
        first = int(np.argmax(bad))
        held = self._worst[first], change[first], self._middle[first]
        return (float(held[0]), float(held[1]), float(held[2])) if bad.any() else None

    def check(self, name: str) -> None:
        """Refuse the variable if float32 does not hold its digits.

        Args:
            name: The variable's name.

        Raises:
            PanelError: Float32 does not hold them; the message says what to take instead.
        """
        if (fault := self.fault) is None:
            return
        worst, change, near = fault
        middle, variable = float(np.nanmedian(self._middle)), f"panel[{name!r}]"
        if np.isinf(worst) or self.largest < COVARIATE_SCALES[0]:
            raise PanelError(_beyond(name, self.largest))
        apart = np.abs(self._middle - middle) > abs(middle) / 2
        fix = f"{variable} - {variable}.median('time')" if apart.any() else f"{variable} - {middle:.10g}"
        shown, ways = f"near {near:.4g}", f"take {fix}, or its changes, {variable}.diff('time')"
        ends = (np.nanmin(self._middle), np.nanmax(self._middle)) if apart.any() else (middle, middle)
        left = max(self.high - ends[1], ends[0] - self.low)
        if np.spacing(np.float32(left)) / 2 > SHARE * change:  # they move too far for one number to be taken away
            shown, ways = f"of up to {self.largest:.4g}", f"take its changes, {variable}.diff('time')"
        raise PanelError(
            f"`{name}`: values {shown} change by {change:.2g} from step to step, which float32, in which forecasters "
            f"compute, rounds by up to {worst:.2g}; {ways}"
        )


def fits_float32(values: NDArray[np.floating], *, integers: bool = False) -> bool:
    """Tell if float32 holds values: whole numbers exactly, others as written, or to a hundredth of a typical change.

    Args:
        values: Values, (…, time, node), NaN where missing.
        integers: Whether they were integers where they come from.

    >>> fits_float32(np.array([[0.1], [0.3]])), fits_float32(np.array([[1e8 + 0.1], [1e8 + 0.3]]))
    (True, False)
    """
    if values.dtype == np.float32 or not (lost := errors(values)).any():
        return True
    if integers or (np.isnan(values) | (values == np.floor(values))).all():
        return False
    digits = Digits()
    digits.add(values)
    return not np.isinf(lost).any() and digits.fault is None


def narrowed(values: NDArray[np.float64], *, integers: bool = False) -> NDArray[np.floating]:
    """Return values in float32 where it holds them (see `fits_float32`), else in float64."""
    return values.astype("float32") if fits_float32(values, integers=integers) else values


def errors(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the error of rounding each value to float32: 0 where missing, infinite where float32 does not reach."""
    with np.errstate(over="ignore", invalid="ignore"):
        lost = np.abs(values - values.astype("float32"))
    return np.where(np.isfinite(values), lost, 0.0)


def check_precision(name: str, values: NDArray[np.floating]) -> None:
    """Refuse a variable whose digits float32 does not hold.

    Args:
        name: The variable's name.
        values: Its values, (…, time, node).

    Raises:
        PanelError: Float32 does not hold them; the message says what to take instead.
    """
    digits = Digits()
    digits.add(values)
    digits.check(name)


def check_static(name: str, values: NDArray[np.float64]) -> None:
    """Refuse a static covariate of which float32 does not hold how the nodes differ.

    Args:
        name: The covariate's name.
        values: Its values, (node,), NaN where unknown.

    Raises:
        PanelError: Float32 does not hold it; the message says what to take instead.
    """
    seen = values[np.isfinite(values)]
    if not seen.size or seen.min() == seen.max():
        return
    worst, largest = float(errors(seen).max()), float(np.abs(seen).max())
    if np.isinf(worst) or largest < COVARIATE_SCALES[0]:
        raise PanelError(_beyond(name, largest))
    if worst > SHARE * (spread := float(seen.std())):
        middle = float(np.median(seen))
        raise PanelError(
            f"`{name}`: values near {middle:.4g} differ by {spread:.2g} from node to node, which float32, in which "
            f"forecasters compute, rounds by up to {worst:.2g}; take panel[{name!r}] - {middle:.10g}"
        )


def check_scale(name: str, scale: float, *, target: bool) -> None:
    """Refuse a standard deviation with which float32 cannot compute.

    Args:
        name: Name of the variable.
        scale: Its standard deviation in the training part.
        target: Whether it is a target, of which scores and likelihoods take squares.

    Raises:
        PanelError: It is too small or too large; the message says what to take instead.
    """
    low, high = SCALES if target else COVARIATE_SCALES
    if not low <= scale <= high:
        raise PanelError(_beyond(name, scale, "a standard deviation of"))


def warn_of_common_scale(name: str, center: float, scale: float, nodes: NDArray[np.float64]) -> None:
    """Warn of a target whose centre and scale over all nodes leave too few digits for the values of most nodes.

    Args:
        name: The target's name.
        center: Its mean in the training part, all nodes pooled.
        scale: Its standard deviation, all nodes pooled.
        nodes: Its standard deviation at each node.
    """
    moving = nodes[nodes > INVISIBLE * nodes.max(initial=0.0)]
    common = max(abs(center), scale)
    if moving.size and np.spacing(np.float32(common)) / 2 > SHARE * (own := float(np.median(moving))):
        variable = f"panel[{name!r}]"
        warnings.warn(
            f"`{name}`: most nodes vary by {own:.2g}, but values differ so much from node to node (by {scale:.2g}) "
            "that forecasters, which scale all nodes alike in float32, lose that; leave out nodes that are far off, "
            f"or take {variable} - {variable}.median('time')",
            PanelWarning,
            stacklevel=4,
        )


def _beyond(name: str, size: float, what: str = "values of up to") -> str:
    """Say that a variable is too small or too large for float32, and by what to divide it."""
    unit = 10.0 ** np.floor(np.log10(size)) if size else 1.0
    return (
        f"`{name}`: has {what} {size:.2g}, with which forecasters cannot compute in float32; change its units: "
        f"panel[{name!r}] / {unit:.0e}"
    )


def _medians(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the lower median of each column, NaN left out; NaN if nothing is left."""
    ordered, count = np.sort(values, axis=0), (~np.isnan(values)).sum(0)  # NaN sorts last
    return np.where(count > 0, np.take_along_axis(ordered, (np.maximum(count, 1)[None] - 1) // 2, 0)[0], np.nan)


def _as_written(values: NDArray[np.floating]) -> bool:
    """Tell if values are the shortest decimals of their float32, as 101325.12 is; whole numbers must be exact."""
    seen = values[np.isfinite(values)]
    with np.errstate(over="ignore"):
        held = seen.astype("float32")
    same = held.astype(str).astype("float64") == seen
    return bool((same & ((seen != np.floor(seen)) | (held == seen))).all())
