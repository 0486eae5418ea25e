"""Tables of scores, made of their sums."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stgate.errors import ForecastError
from stgate.evaluation.plan import Plan
from stgate.evaluation.sums import Sums, Tally
from stgate.metrics.resample import resampled_bounds

KEPT = ("model", "title", "calibration", "valid_from", "valid_to")
"""Attributes of a forecast that its table has too."""


def table(sums: Sums, plan: Plan) -> xr.Dataset:
    """Make the table of an evaluation, as `evaluate` returns it.

    Args:
        sums: Sums of all blocks.
        plan: The plan of the evaluation.

    Raises:
        ForecastError: No observation has a forecast.
    """
    if not (count := int(sums.whole.scored.sum())):
        raise ForecastError(f"`{plan.name}_truth`: no observation has a forecast; nothing to score")
    each = _joined(sums.each) if plan.apart else sums.whole
    shown = each if "init_time" in plan.order else sums.whole
    scores = _empty(plan)
    scores["count"] = _named(shown.scored, plan)
    names = [*(["no_forecast"] if sums.whole.lost.any() else []), *plan.entries]
    bounds = _bounds(names, each, plan) if plan.resample else {}
    for name in names:
        total, weight = _of(name, shown, plan)
        with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0 is NaN
            values = {name: total / weight, **bounds.get(name, {})}
        for key, of_groups in values.items():
            scores[key] = _named(np.sqrt(of_groups) if name == "rmse" else of_groups, plan)
    if "vpt" in scores:
        scores = _with_valid_time(scores, plan)
    attrs = plan.frame.attrs
    scores.attrs = {key: attrs[key] for key in KEPT if key in attrs}
    scores.attrs |= {"target": plan.name, "crps": f"from {len(plan.quantiles)} quantiles"}
    if sums.seen:
        scores.attrs |= {"trained_until": attrs["trained_until"], "in_training": sums.seen / count}
    return scores


def _joined(parts: list[Tally]) -> Tally:
    """Join the sums of the origins of blocks."""
    each = [[getattr(part, field.name) for part in parts] for field in dataclasses.fields(Tally)]
    return Tally(*(np.concatenate(held, axis=-2) for held in each))


def _bounds(names: Sequence[str], each: Tally, plan: Plan) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Return the bounds of the means of entries, from resamples of the origins, by the name of the entry."""
    assert plan.resample is not None
    samples, block = plan.resample
    drawn = [name for name in names if not name.startswith("vpt")]
    sums = zip(*(_of(name, each, plan) for name in drawn), strict=True)
    low, high = resampled_bounds(*(np.concatenate(held, axis=1) for held in sums), block=block, samples=samples)
    pairs = zip(low.reshape(len(drawn), 1, -1), high.reshape(len(drawn), 1, -1), strict=True)
    return {name: {f"{name}_low": a, f"{name}_high": b} for name, (a, b) in zip(drawn, pairs, strict=True)}


def _of(name: str, tally: Tally, plan: Plan) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the sums of an entry and of its weights, (origin, group)."""
    if name == "no_forecast":
        return tally.lost.astype("float64"), (tally.lost + tally.scored).astype("float64")
    entry = plan.entries.index(name)
    return tally.totals[entry], tally.scored + tally.surplus[entry]


def _empty(plan: Plan) -> xr.Dataset:
    """Return a table without scores."""
    coords = {name: plan.frame[name].variable for name in plan.order if name in plan.frame.coords}
    scores = xr.Dataset(coords=coords)
    for group, labels in zip(plan.groups, plan.labels, strict=True):
        if group not in plan.dims:
            scores = scores.assign_coords(xr.Coordinates.from_xindex(xr.indexes.PandasIndex(labels, group)))
    return scores


def _named(values: NDArray[np.generic], plan: Plan) -> xr.Variable:
    """Give the values of groups, (origin, group), the dims of the table."""
    whole = values.reshape(len(values), *map(len, plan.labels))
    made = xr.Variable(("init_time", *plan.groups), whole)
    return made.transpose(*plan.order) if "init_time" in plan.order else made.isel(init_time=0)


def _with_valid_time(scores: xr.Dataset, plan: Plan) -> xr.Dataset:
    """Describe the valid prediction time, and add it in Lyapunov times."""
    attrs = plan.frame.attrs
    scores["vpt"].attrs = {
        "long_name": "valid prediction time, NRMSE of the mean below 0.5",
        "units": plan.frame["lead_time"].attrs.get("units", ""),
    }
    last = scores[["vpt_censored"]]
    scores = scores.drop_vars("vpt_censored")
    if "lyapunov_exponent" in attrs:
        scores["vpt_lyapunov"] = scores["vpt"] * attrs["lyapunov_exponent"]
    limit = attrs.get("valid_ground_truth_time")
    if limit is not None and bool((scores["vpt"] > limit).any()):
        scores["vpt"].attrs["comment"] = (
            f"longer than {limit:g}, the time for which the simulated truth follows its equation and not its time step"
        )
    return scores.assign(vpt_censored=last["vpt_censored"])
