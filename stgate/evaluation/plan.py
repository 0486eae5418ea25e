"""The plan of an evaluation: what is scored, over which groups, in which blocks. It holds no value of a forecast."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from stgate.errors import ForecastError, RequestError, check_counts, did_you_mean
from stgate.metrics.crps_empirical import levels_of_axis
from stgate.metrics.resample import check_room
from stgate.metrics.spreads import check_spread
from stgate.schema.forecast import in_months, targets_of
from stgate.schema.levels import as_levels, levels_of
from stgate.schema.steps import month_numbers
from stgate.schema.units import conversion
from stgate.schema.words import GROUPS, check_bootstrap

CASES = 2**16
"""Most observations of a block, unless one origin has more. Fixed: sums do not depend on who computes which block."""
PLACES = ("lead_time", "node", "observed")
"""Groups within one trajectory, which a valid prediction time does not have."""


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """An evaluation without its values; it can be pickled.

    Attributes:
        name: Name of the target.
        dims: Dims of the observations, `init_time` first.
        shape: Their lengths.
        block: Number of origins in a block.
        quantiles: Levels of the quantiles, ascending.
        middle: Number of the median among them.
        intervals: Label, level and numbers of the bounds of each interval that is scored.
        groups: Groups of the table in the order of its dims, without `init_time`.
        codes: Number of the group of each observation, broadcast against `shape`, of each of the groups.
        labels: Labels of each of the groups.
        apart: Whether sums are kept for each origin: for scores by `init_time`, and to draw origins.
        order: Dims of the table.
        within: Whether a missing forecast counts, by origin and lead; broadcast against `shape`.
        seen: Whether training saw the valid time, likewise; None where that is not known.
        factors: Slope and offset of the mean and of the truth, to the unit of the quantiles.
        sigma: Standard deviation of each node, broadcast against `shape`, for valid prediction times; None for none.
        resample: Number of resamples, and number of origins in a block of them; None for no bootstrap.
        frame: The forecast's coordinates of one dim, and its attributes.
    """

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    block: int
    quantiles: NDArray[np.float64]
    middle: int
    intervals: tuple[tuple[str, float, int, int], ...]
    groups: tuple[str, ...]
    codes: tuple[NDArray[np.int64], ...]
    labels: tuple[pd.Index, ...]
    apart: bool
    order: tuple[str, ...]
    within: NDArray[np.bool_]
    seen: NDArray[np.bool_] | None
    factors: tuple[tuple[float, float], tuple[float, float]]
    sigma: NDArray[np.float64] | None
    resample: tuple[int, int] | None
    frame: xr.Dataset

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return -(-self.shape[0] // self.block)

    @property
    def outputs(self) -> int:
        """Number of groups, those of `init_time` not counted."""
        return math.prod(map(len, self.labels))

    @property
    def entries(self) -> tuple[str, ...]:
        """Names of the scores that are means of one value an observation or, of the last two, a trajectory."""
        labels = [label for label, *_ in self.intervals]
        each = [f"{kind}_{label}" for label in labels for kind in ("coverage", "width", "interval_score")]
        times = ("vpt", "vpt_censored") if self.sigma is not None else ()
        return ("mae", "rmse", "crps", *each, *times)


def make_plan(
    forecast: xr.Dataset,
    name: str,
    *,
    by: str | Sequence[str],
    levels: Sequence[float] | None,
    bootstrap: int,
    block: int | None,
) -> Plan:
    """Make the plan of an evaluation, and refuse what cannot be evaluated.

    Args:
        forecast: Outline of a forecast with its truth; no values are used but those of coordinates.
        name: The target's name.
        by: Groups with separate scores.
        levels: Levels of the intervals to score; None takes all that the forecast holds.
        bootstrap: Number of resamples of the origins; 0 for none.
        block: Number of origins in a block of the bootstrap; None chooses it.

    Raises:
        ForecastError: The forecast lacks something that is asked for.
        RequestError: A group, level or option does not exist.
    """
    unit = str(forecast[name].attrs.get("units", ""))
    parts = [f"{name}_mean", f"{name}_truth"]
    of_mean, of_truth = (conversion(forecast[held], unit, f"`{held}`") if unit else (1.0, 0.0) for held in parts)
    asked = _groups(forecast, by)
    check_bootstrap(bootstrap)
    chosen = levels_of(forecast["quantile"].values.tolist()) if levels is None else as_levels(levels)
    _check_groups(forecast, asked)
    quantiles = levels_of_axis(forecast[name], None)
    middle = np.flatnonzero(np.isclose(quantiles, 0.5, atol=1e-6))
    if not middle.size:
        raise ForecastError("`quantile`: the forecast holds no median, the quantile 0.5")
    intervals = tuple(_interval(quantiles, level) for level in chosen)
    resample = (int(bootstrap), _block(forecast, block)) if bootstrap else None
    if resample and "init_time" in asked:
        raise RequestError("bootstrap: draws origins, so it cannot be used with by init_time; leave one of the two out")
    held = dict.fromkeys(d for part in (parts[1], name, parts[0]) for d in forecast[part].dims if d != "quantile")
    dims = ("init_time", *(str(d) for d in held if d != "init_time"))
    shape = tuple(forecast.sizes[d] for d in dims)
    split = [g for g in asked if g not in GROUPS or g == "observed"]
    order = (*split, *(str(d) for d in held if d in asked))
    groups = tuple(g for g in order if g != "init_time")
    coded = [_coded(forecast, group, dims) for group in groups]
    within, seen = _within_span(forecast), _seen(forecast) if "trained_until" in forecast.attrs else None
    chaotic = forecast["lead_time"].dtype.kind == "f" and f"{name}_sigma" in forecast.coords
    plan = Plan(
        name=name,
        dims=dims,
        shape=shape,
        block=max(CASES // max(math.prod(shape[1:]), 1), 1),
        quantiles=quantiles,
        middle=int(middle[np.abs(quantiles[middle] - 0.5).argmin()]),
        intervals=intervals,
        groups=groups,
        codes=tuple(codes for codes, _ in coded),
        labels=tuple(labels for _, labels in coded),
        apart=bool(resample) or "init_time" in asked,
        order=order,
        within=aligned(within.variable, dims),
        seen=None if seen is None else aligned(seen.variable, dims),
        factors=(of_mean, of_truth),
        sigma=_sigma(forecast[f"{name}_sigma"], dims) if chaotic and not set(groups) & {*PLACES, *split} else None,
        resample=resample,
        frame=forecast.drop_vars(
            [n for n, v in forecast.variables.items() if n in forecast.data_vars or v.ndim > 1]
        ).load(),
    )
    if resample:
        check_room(resample[0], shape[0], resample[1], plan.outputs)
    return plan


def aligned(variable: xr.Variable, dims: Sequence[str]) -> NDArray[Any]:
    """Return values with their dims in an order, and with a length of one for those that they lack.

    Args:
        variable: The values.
        dims: Names of the dims.
    """
    held = variable.transpose(*(d for d in dims if d in variable.dims))
    return np.asarray(held.values).reshape([variable.sizes.get(d, 1) for d in dims])


def target_of(forecast: xr.Dataset, target: str | None) -> str:
    """Return the name of the target that is scored.

    Args:
        forecast: A forecast.
        target: The name that is asked for; None takes the only one.

    Raises:
        RequestError: There is no such target, or there are several.
    """
    have = targets_of(forecast)
    if target is None and len(have) > 1:
        raise RequestError(f"target: the forecast has several targets; name one of {', '.join(have)}")
    name = have[0] if target is None else target
    if name not in have:
        raise RequestError(f"target {name!r}: {did_you_mean(name, have)}")
    return name


def _groups(forecast: xr.Dataset, by: str | Sequence[str]) -> list[str]:
    if not isinstance(by, str | list | tuple):
        raise RequestError(f"by {by!r}: must be the name of a group, or a list of names; known: {', '.join(GROUPS)}")
    return [by] if isinstance(by, str) else list(dict.fromkeys(by))


def _check_groups(forecast: xr.Dataset, groups: Sequence[str]) -> None:
    clusters = [str(key) for key, coord in forecast.coords.items() if coord.dims == ("node",) and key != "node"]
    for group in groups:
        known = [*GROUPS, *clusters]
        if group not in known or (group == "member" and "member" not in forecast.dims):
            raise RequestError(f"by {group!r}: {did_you_mean(group, known)}")
        if group == "observed" and "steps_since_observed" not in forecast.coords:
            raise ForecastError("`steps_since_observed`: missing; a split by `observed` needs this coordinate")


def _interval(quantiles: NDArray[np.float64], level: float) -> tuple[str, float, int, int]:
    """Return the label, the level and the numbers of the bounds of a central interval."""
    held = levels_of(quantiles.tolist())
    if not any(abs(level - have) < 1e-6 for have in held):
        raise RequestError(f"level {level:g}: not in this forecast, which holds {', '.join(f'{h:g}' for h in held)}")
    low, high = (int(np.abs(quantiles - q).argmin()) for q in ((1 - level) / 2, (1 + level) / 2))
    return f"{100 * level:g}", level, low, high


def _coded(forecast: xr.Dataset, group: str, dims: Sequence[str]) -> tuple[NDArray[np.int64], pd.Index]:
    """Return the number of the group of each observation, over `dims`, and the labels of the groups."""
    if group == "observed":
        before = (forecast["steps_since_observed"] != 0).variable
        return aligned(before, dims).astype("int64"), pd.Index(["at origin", "before origin"], name=group)
    if group not in GROUPS:  # a coordinate of the nodes; no label is a group, too
        numbers, labels = pd.factorize(forecast[group].values, sort=True, use_na_sentinel=False)
        return aligned(xr.Variable("node", numbers), dims).astype("int64"), pd.Index(list(labels), name=group)
    count = forecast.sizes[group]
    return aligned(xr.Variable(group, np.arange(count)), dims), pd.RangeIndex(count, name=group)


def _within_span(forecast: xr.Dataset) -> xr.DataArray:
    """Return True where the valid time lies within the span of the backtest; other forecasts are missing on purpose."""
    valid = forecast["valid_time"]
    inside = valid.notnull()
    for key, beyond in (("valid_from", valid.__ge__), ("valid_to", valid.__le__)):
        if key in forecast.attrs:
            inside = inside & beyond(_as_time(forecast.attrs[key], forecast))
    return inside


def _seen(forecast: xr.Dataset) -> xr.DataArray:
    """Return True where training saw the valid time; reconstructed values may have been masked in training."""
    valid = forecast["valid_time"]
    seen: xr.DataArray = (valid > forecast["init_time"]) & (
        valid <= _as_time(forecast.attrs["trained_until"], forecast)
    )
    return seen


def _as_time(text: str, forecast: xr.Dataset) -> np.ndarray:
    """Parse an attribute as a valid time."""
    return np.array(text).astype(forecast["valid_time"].dtype)


def _sigma(sigma: xr.DataArray, dims: Sequence[str]) -> NDArray[np.float64]:
    check_spread(sigma.values, name="sigma")
    return aligned(sigma.variable, dims).astype("float64")


def _block(forecast: xr.Dataset, block: int | None) -> int:
    """Return the number of origins in a block of the bootstrap."""
    count = forecast.sizes["init_time"]
    if count < 4:
        raise ForecastError(f"bootstrap: {count} origins are too few to draw from; backtest over a longer span")
    if block is not None:
        check_counts(block=(block, 1))
        if block > count:
            raise RequestError(f"block {block}: must lie between 1 and {count}, the number of origins")
        return block
    origins = forecast["init_time"].values
    if in_months(forecast["lead_time"]):
        origins = month_numbers(origins)
    apart = np.median(np.diff(origins))
    overlap: int = math.ceil(float(forecast["lead_time"].values.max() / apart))
    length: int = min(max(overlap, round(count ** (1 / 3))), count // 2)
    return length
