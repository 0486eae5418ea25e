"""Plots of forecasts, as matplotlib figures: a fan chart of one node, and a space-time (Hovmöller) plot."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from stgate.errors import ForecastError, RequestError, did_you_mean
from stgate.schema.forecast import (
    as_forecast,
    check_forecast,
    in_months,
    interval,
    lead_unit,
    levels_of,
    median,
    targets_of,
)
from stgate.schema.panel import time_bounds

INK, TRUTH, MISSING = "#1f3a5f", "#111111", "#bbbbbb"


def fan(
    forecast: xr.Dataset,
    *,
    node: str | int | None = None,
    target: str | None = None,
    init: str | int | None = None,
    member: int = 0,
) -> Figure:
    """Draw a fan chart: median and central intervals of one node against lead time, with the truth where known.

    Args:
        forecast: A forecast, or a reconstruction, which is drawn against time.
        node: Label of the node; None takes the first.
        target: Name of the target; None takes the first.
        init: The origin, by its number or its time; None takes the first origin with a forecast at every lead.
        member: Number of the member, when the forecast has members.

    Returns:
        The figure.

    Raises:
        ForecastError: The dataset is not a forecast.
        RequestError: The node, target, origin or member does not exist.
    """
    check_forecast(as_forecast(forecast))
    name, label = _target(forecast, target), _node(forecast, node)
    shown = _one_origin(forecast, name, init, member).sel(node=label)
    leads = _lead_values(shown)
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.add_subplot()
    levels = levels_of(shown["quantile"].values.tolist())
    shades = colormaps["Blues"](np.linspace(0.15, 0.55, max(len(levels), 2)))
    for shade, level in zip(shades, reversed(levels), strict=False):  # the widest first, each over the one before
        lower, upper = interval(shown, name, level)
        text = f"{100 * level:g} % interval" if len(levels) <= 4 or level in (0.5, 0.9) else None
        axes.fill_between(leads, lower, upper, color=shade, lw=0, label=text)
    axes.plot(leads, median(shown, name), color=INK, lw=1.6, label="median")
    if f"{name}_truth" in shown and bool(shown[f"{name}_truth"].notnull().any()):
        axes.plot(leads, shown[f"{name}_truth"], color=TRUTH, lw=1, marker=".", ms=4, label="observed", clip_on=False)
    axes.set(xlabel=_lead_label(shown), ylabel=_quantity(shown, name))
    axes.set_title(_title(shown, f"node {label}"), loc="left")
    _label_dates(axes, shown)
    axes.margins(x=0)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return figure


def hovmoeller(
    forecast: xr.Dataset, *, target: str | None = None, init: str | int | None = None, member: int = 0
) -> Figure:
    """Draw a space-time (Hovmöller) plot: truth, forecast mean and error over nodes and lead time.

    Args:
        forecast: A forecast with its truth, or a reconstruction, which is drawn against time.
        target: Name of the target; None takes the first.
        init: The origin, by its number or its time; None takes the first origin with a forecast at every lead.
        member: Number of the member, when the forecast has members.

    Returns:
        The figure.

    Raises:
        ForecastError: The dataset is not a forecast, or has no truth.
        RequestError: The target, origin or member does not exist.
    """
    check_forecast(as_forecast(forecast))
    name = _target(forecast, target)
    if f"{name}_truth" not in forecast:
        raise ForecastError(f"`{name}_truth`: the forecast carries no truth; make it with backtest")
    shown = _one_origin(forecast, name, init, member)
    truth, mean = (shown[v].transpose("node", _along(shown)).values for v in (f"{name}_truth", f"{name}_mean"))
    both = np.concatenate([truth[np.isfinite(truth)], mean[np.isfinite(mean)]])
    if both.size == 0:
        raise ForecastError(f"`{name}`: all values are missing at this origin; choose another")
    leads = _lead_values(shown)
    low, high = np.percentile(both, [1, 99])
    limit = max(float(np.nanpercentile(np.abs(mean - truth), 99)), 1e-12) if np.isfinite(mean - truth).any() else 1.0
    figure = Figure(figsize=(8, 7), layout="constrained")
    rows: Any = figure.subplots(3, 1, sharex=True, sharey=True)
    quantity = _quantity(shown, name)
    what = "forecast" if _along(shown) == "lead_time" else "reconstruction"
    panels = (
        (truth, f"observed {quantity}", low, high, "viridis"),
        (mean, f"{what} mean {quantity}", low, high, "viridis"),
    )
    for axes, (values, title, least, most, colours) in zip(
        rows,
        (*panels, (mean - truth, f"{what} minus observed (grey: missing)", -limit, limit, "RdBu_r")),
        strict=True,
    ):
        _image(axes, figure, leads, shown["node"].values, values, title, (least, most), colours)
    exponent = shown.attrs.get("lyapunov_exponent")
    label = _lead_label(shown)
    if exponent:
        label += f"   (1 Lyapunov time = {1 / exponent:.2f})"
    rows[-1].set_xlabel(label)
    _label_dates(rows[-1], shown)
    figure.suptitle(_title(shown), x=0.01, ha="left")
    return figure


def _image(
    axes: Axes,
    figure: Figure,
    leads: np.ndarray,
    nodes: np.ndarray,
    values: np.ndarray,
    title: str,
    limits: tuple[float, float],
    colours: str,
) -> None:
    rows = np.arange(len(nodes))
    axes.set_facecolor(MISSING)
    mesh = axes.pcolormesh(leads, rows, values, cmap=colours, vmin=limits[0], vmax=limits[1], shading="nearest")
    figure.colorbar(mesh, ax=axes, pad=0.01)
    axes.set_title(title, loc="left", fontsize=10)
    if nodes.dtype.kind in "iuf":
        axes.set_ylabel("node")
    else:
        axes.set_yticks(rows, [str(n) for n in nodes], fontsize=7)


def _quantity(shown: xr.Dataset, name: str) -> str:
    units = shown[name].attrs.get("units", "")
    return name if units in ("", "1") else f"{name} ({units})"


def _title(shown: xr.Dataset, *more: str) -> str:
    member = [f"member {int(shown['member'])}"] if "member" in shown.coords else []
    start = [f"from {_time_text(shown['init_time'].values)}"] if "init_time" in shown.coords else ["reconstruction"]
    return ", ".join([str(shown.attrs.get("model", "forecast")), *more, *member, *start])


def _target(forecast: xr.Dataset, target: str | None) -> str:
    have = targets_of(forecast)
    if target is not None and target not in have:
        raise RequestError(f"target {target!r}: {did_you_mean(target, have)}")
    return target or have[0]


def _node(forecast: xr.Dataset, node: str | int | None) -> str | int:
    labels = forecast["node"].values.tolist()
    by_text = {str(label): label for label in labels}
    if node is None:
        return labels[0]  # type: ignore[no-any-return]
    if str(node) not in by_text:
        raise RequestError(f"node {node!r}: {did_you_mean(str(node), by_text)}")
    return by_text[str(node)]  # type: ignore[no-any-return]


def _one_origin(forecast: xr.Dataset, name: str, init: str | int | None, member: int) -> xr.Dataset:
    """Select the forecast from one origin, of one member."""
    if "member" in forecast.dims:
        if not 0 <= member < forecast.sizes["member"]:
            raise RequestError(f"member {member}: the forecast has members 0 to {forecast.sizes['member'] - 1}")
        forecast = forecast.isel(member=member)
    elif member:
        raise RequestError(f"member {member}: the forecast has no members; leave it out")
    if "lead_time" not in forecast.dims:
        if init is not None:
            raise RequestError(f"init {init}: a reconstruction has no origins; leave it out")
        return forecast
    count = forecast.sizes["init_time"]
    if init is None:
        whole = median(forecast, name).notnull().any("node").all("lead_time")
        return forecast.isel(init_time=int(np.argmax(whole.values)))
    number = int(init) if isinstance(init, int) or str(init).lstrip("-").isdigit() else None
    if number is not None:
        if not -count <= number < count:
            raise RequestError(f"init {init}: the forecast has {count} origins, counted from 0")
        return forecast.isel(init_time=number)
    try:
        if forecast["init_time"].dtype.kind == "f":
            return forecast.sel(init_time=float(init))
        low, high = time_bounds(init, "calendar", 1.0)  # a month may name its only origin, whatever its day
        inside = np.flatnonzero((forecast["init_time"] >= low) & (forecast["init_time"] <= high))
        return forecast.isel(init_time=int(inside[0])) if len(inside) == 1 else forecast.sel(init_time=low)
    except (ValueError, KeyError) as error:
        first, last = (_time_text(forecast["init_time"].values[i]) for i in (0, -1))
        raise RequestError(f"init {init}: no origin at this time; they run from {first} to {last}") from error


def _label_dates(axes: Axes, forecast: xr.Dataset) -> None:
    """Label the horizontal axis with short dates."""
    if _along(forecast) == "time" and forecast["time"].dtype.kind == "M":
        locator = AutoDateLocator(maxticks=8)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]


def _along(forecast: xr.Dataset) -> str:
    """Return the name of the dim along the horizontal axis."""
    return "lead_time" if "lead_time" in forecast.dims else "time"


def _lead_values(forecast: xr.Dataset) -> np.ndarray:
    if _along(forecast) == "time":
        return np.asarray(forecast["time"].values)
    leads = forecast["lead_time"].values
    if leads.dtype.kind != "m":
        return np.asarray(leads)
    return np.asarray(leads / lead_unit(leads)[1])


def _lead_label(forecast: xr.Dataset) -> str:
    if _along(forecast) == "time":
        return "time" if forecast["time"].dtype.kind == "M" else "time (model time units)"
    leads = forecast["lead_time"].values
    if in_months(forecast["lead_time"]):
        return "lead time (months)"
    if leads.dtype.kind != "m":
        return "lead time (model time units)"
    return f"lead time ({lead_unit(leads)[0]})"


def _time_text(value: Any) -> str:  # noqa: ANN401 (a numpy scalar of either kind)
    value = np.asarray(value)
    return str(value.astype("datetime64[m]")) if value.dtype.kind == "M" else f"{float(value):g}"
