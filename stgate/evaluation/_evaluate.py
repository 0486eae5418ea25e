"""Scores of a forecast against its truth. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from stgate import metrics
from stgate.errors import ForecastError, RequestError, check_counts, did_you_mean
from stgate.evaluation.truth import with_truth
from stgate.schema.forecast import (
    as_forecast,
    as_levels,
    check_forecast,
    in_months,
    interval,
    levels_of,
    median,
    targets_of,
)
from stgate.schema.steps import month_numbers
from stgate.schema.units import in_units
from stgate.schema.words import GROUPS, check_bootstrap


def evaluate(
    forecast: xr.Dataset,
    *,
    by: str | Sequence[str] = (),
    target: str | None = None,
    truth: xr.DataArray | None = None,
    levels: Sequence[float] | None = None,
    bootstrap: int = 0,
    block: int | None = None,
) -> xr.Dataset:
    """Score a forecast against its truth.

    Args:
        forecast: A forecast from `backtest` or `reconstruct`, or any dataset of the forecast schema with
            `<target>_truth`.
        by: Groups with separate scores: `lead_time`, `node`, `init_time`, `member`, `observed` (the node is observed at
            the origin, or not), or the name of a node coordinate, whose values group the nodes. Empty: one score over
            all.
        target: The variable to score; None takes the only one.
        truth: Observed values over `time` and `node`, used in the place of the forecast's own truth. They may be
            observed after the forecast was made, or masked before the fit (`panel["pm25_hidden"]` of a panel from
            `stgate mask`). Values in another unit (attribute `units`) are converted to that of the forecast.
        levels: Levels of the intervals to score; None takes all that the forecast holds.
        bootstrap: Number of resamples of the origins, in blocks, from which each score gets an interval; 0 for none.
        block: Number of origins in a block; None takes as many as have overlapping leads, and at least the cube root of
            the number of origins.

    Returns:
        Scores over the groups:

        * `count`, the number of scored observations, and `no_forecast`, the share of observations without a forecast,
          where there are any;
        * `mae` of the median, `rmse` of the mean, and `crps` from the quantiles;
        * `coverage_90`, `width_90` and `interval_score_90`, and the same for each other level;
        * for model time `vpt`, the valid prediction time, `vpt_lyapunov`, the same in Lyapunov times where the exponent
          is known, and `vpt_censored`, the share of valid prediction times that are lower bounds. Where `vpt` exceeds
          the panel's valid-ground-truth time, its attribute `comment` says so;
        * with `bootstrap`, `mae_low`, `mae_high` and so on, the bounds of a 95 % interval of each score.

        The attribute `in_training` is the share of observations no later than the end of training, where that is known
        and not 0; errors on new data are larger. Observations without a forecast, and forecasts without an observation,
        are not scored; a group without any is NaN.

    Raises:
        ForecastError: The forecast has no truth, or nothing is observed.
        RequestError: A target, group or level is unknown, the bootstrap's options are wrong, or the truth is in a unit
            that cannot be converted to that of the forecast.
    """
    forecast = as_forecast(forecast)
    check_forecast(forecast)
    name = _target(forecast, target)
    if truth is not None:
        forecast = with_truth(forecast, name, truth)
    _check_scorable(forecast, name)
    unit = str(forecast[name].attrs.get("units", ""))
    forecast = forecast.assign(
        {held: in_units(forecast[held], unit, f"`{held}`") for held in (f"{name}_mean", f"{name}_truth")}
    )
    if not isinstance(by, str | list | tuple):
        raise RequestError(f"by {by!r}: must be the name of a group, or a list of names; known: {', '.join(GROUPS)}")
    groups = [by] if isinstance(by, str) else list(dict.fromkeys(by))
    clusters = [str(key) for key, coord in forecast.coords.items() if coord.dims == ("node",) and key != "node"]
    chosen = levels_of(forecast["quantile"].values.tolist()) if levels is None else as_levels(levels)
    check_bootstrap(bootstrap)
    for group in groups:
        known = [*GROUPS, *clusters]
        if group not in known or (group == "member" and "member" not in forecast.dims):
            raise RequestError(f"by {group!r}: {did_you_mean(group, known)}")
        if group == "observed" and "steps_since_observed" not in forecast.coords:
            raise ForecastError("`steps_since_observed`: missing; a split by `observed` needs this coordinate")
    truth = forecast[f"{name}_truth"]
    middle = median(forecast, name)
    # Only pairs of a forecast and a truth count, so that all scores of a table are over the same observations.
    made = middle.notnull() & forecast[f"{name}_mean"].notnull()
    scored = truth.notnull() & made
    lost = truth.notnull() & ~made & _within_span(forecast)
    if not bool(scored.any()):
        raise ForecastError(f"`{name}_truth`: no observation has a forecast; nothing to score")
    truth = truth.where(scored)
    entries = {
        "mae": metrics.absolute_error(truth, middle),
        "rmse": metrics.squared_error(truth, forecast[f"{name}_mean"]),
        "crps": metrics.crps_quantiles(truth, forecast[name]),
    }
    for level in chosen:
        lower, upper = interval(forecast, name, level)
        label = f"{100 * level:g}"
        entries[f"coverage_{label}"] = metrics.coverage(truth, lower, upper)
        entries[f"width_{label}"] = metrics.interval_width(truth, lower, upper)
        entries[f"interval_score_{label}"] = metrics.interval_score(truth, lower, upper, level=level)
    resample = (bootstrap, _block(forecast, block)) if bootstrap else None
    if resample and "init_time" in groups:
        raise RequestError("bootstrap: draws origins, so it cannot be used with by init_time; leave one of the two out")
    if bool(lost.any()):
        entries = {"no_forecast": lost.astype("float64").where(lost | scored), **entries}
    scores = _grouped(xr.Dataset(entries), scored, forecast, groups, resample)
    for key in ("rmse", "rmse_low", "rmse_high"):
        if key in scores:
            scores[key] = np.sqrt(scores[key])
    chaotic = forecast["lead_time"].dtype.kind == "f" and f"{name}_sigma" in forecast.coords
    if chaotic and not {"lead_time", "node", "observed"} & set(groups):
        _add_valid_prediction_time(scores, forecast, name, groups)
    scores.attrs = {
        k: forecast.attrs[k] for k in ("model", "title", "calibration", "valid_from", "valid_to") if k in forecast.attrs
    }
    scores.attrs["target"] = name
    scores.attrs["crps"] = f"from {forecast.sizes['quantile']} quantiles"
    if "trained_until" in forecast.attrs:
        ahead = forecast["valid_time"] > forecast["init_time"]  # reconstructed values may have been masked in training
        seen = ahead & (forecast["valid_time"] <= _as_time(forecast.attrs["trained_until"], forecast))
        if share := float(seen.where(scored).mean()):
            scores.attrs |= {"trained_until": forecast.attrs["trained_until"], "in_training": share}
    return scores


def _target(forecast: xr.Dataset, target: str | None) -> str:
    have = targets_of(forecast)
    if target is None and len(have) > 1:
        raise RequestError(f"target: the forecast has several targets; name one of {', '.join(have)}")
    name = have[0] if target is None else target
    if name not in have:
        raise RequestError(f"target {name!r}: {did_you_mean(name, have)}")
    return name


def _check_scorable(forecast: xr.Dataset, name: str) -> None:
    if f"{name}_truth" not in forecast:
        raise ForecastError(
            f"`{name}_truth`: the forecast carries no truth; use backtest, or give a panel with it (truth=, --truth)"
        )
    if f"{name}_mean" not in forecast:
        raise ForecastError(f"`{name}_mean`: missing; a forecast holds the mean beside its quantiles")


def _grouped(
    entries: xr.Dataset,
    scored: xr.DataArray,
    forecast: xr.Dataset,
    groups: Sequence[str],
    resample: tuple[int, int] | None,
) -> xr.Dataset:
    """Average the scores over all dims but the groups.

    Args:
        entries: Scores of each observation.
        scored: True where there is a score, over the same dims.
        forecast: The forecast that is scored.
        groups: Names of the groups.
        resample: Number of resamples and number of origins in a block of the bootstrap; None for no bootstrap.
    """
    split = next((g for g in groups if g == "observed" or g not in GROUPS), None)
    if split is not None:
        rest = [g for g in groups if g != split]
        parts = _parts(forecast, split)
        tables: list[xr.Dataset] = [
            _grouped(entries.where(inside), scored & inside, forecast, rest, resample) for inside in parts.values()
        ]
        return xr.concat(tables, pd.Index(list(parts), name=split))
    dims = [d for d in scored.dims if d not in groups]
    table = xr.Dataset({"count": scored.sum(dims)})
    for key, values in entries.items():
        table[str(key)] = metrics.average(values, groups)
        if resample:
            samples, block = resample
            low, high = metrics.bootstrap(values, by=list(groups), block=block, samples=samples)
            table[f"{key}_low"], table[f"{key}_high"] = low, high
    return table.drop_vars([c for c in table.coords if c not in groups])


def _parts(forecast: xr.Dataset, split: str) -> dict[object, xr.DataArray]:
    """Return the parts of a split, by label: True where an observation belongs to the part."""
    if split == "observed":
        at_origin = forecast["steps_since_observed"] == 0
        return {"at origin": at_origin, "before origin": ~at_origin}
    cluster = forecast[split].drop_vars([name for name in forecast[split].coords if name != "node"])
    numbers, labels = pd.factorize(cluster.values, sort=True, use_na_sentinel=False)  # no label is a group, too
    return {label: cluster.copy(data=numbers == number) for number, label in enumerate(labels)}


def _within_span(forecast: xr.Dataset) -> xr.DataArray:
    """Return True where the valid time lies within the span of the backtest; other forecasts are missing on purpose."""
    valid = forecast["valid_time"]
    inside = valid.notnull()
    for key, beyond in (("valid_from", valid.__ge__), ("valid_to", valid.__le__)):
        if key in forecast.attrs:
            inside = inside & beyond(_as_time(forecast.attrs[key], forecast))
    return inside


def _as_time(text: str, forecast: xr.Dataset) -> np.ndarray:
    """Parse an attribute as a valid time."""
    return np.array(text).astype(forecast["valid_time"].dtype)


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


def _add_valid_prediction_time(scores: xr.Dataset, forecast: xr.Dataset, name: str, groups: Sequence[str]) -> None:
    times, censored = metrics.valid_prediction_time(
        forecast[f"{name}_truth"], forecast[f"{name}_mean"], forecast[f"{name}_sigma"]
    )
    scores["vpt"] = metrics.average(times, groups).drop_vars("quantile", errors="ignore")
    scores["vpt"].attrs = {
        "long_name": "valid prediction time, NRMSE of the mean below 0.5",
        "units": forecast["lead_time"].units,
    }
    if "lyapunov_exponent" in forecast.attrs:
        scores["vpt_lyapunov"] = scores["vpt"] * forecast.attrs["lyapunov_exponent"]
    limit = forecast.attrs.get("valid_ground_truth_time")
    if limit is not None and bool((scores["vpt"] > limit).any()):
        scores["vpt"].attrs["comment"] = (
            f"longer than {limit:g}, the time for which the simulated truth follows its equation and not its time step"
        )
    share = metrics.average(censored.astype("float64").where(times.notnull()), groups)
    scores["vpt_censored"] = share
