"""Merging of panels on time, and selection of nodes by label or by box."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from stgate.errors import PanelError, RequestError, check_number, did_you_mean
from stgate.panels.graph import EDGES
from stgate.schema.longitudes import alike, inside, is_longitude
from stgate.schema.panel import at, check_panel, some, time_kind, time_step
from stgate.schema.steps import month_numbers, months_of
from stgate.schema.units import check_unit, conversion, in_units, other_units, units_of


def merge(panels: Sequence[xr.Dataset]) -> xr.Dataset:
    """Merge panels into one, on the union of their times and nodes; entries that no panel has are missing.

    Panels may add variables, nodes, or times. Entries that two panels both have must be equal. Variables and
    coordinates in several units (attribute `units`) are converted to that of the first panel that has one. Longitudes
    are counted as in the first panel.

    Args:
        panels: At least one panel.

    Returns:
        A checked panel; its attributes are those on which the panels agree.

    Raises:
        PanelError: Panels have different kinds of time or values, units that cannot be converted, or no common regular
            step.
        RequestError: No panel is given.
    """
    if not panels:
        raise RequestError("merge: no panels; give at least one")
    for panel in panels:
        check_panel(panel)
    kinds = [time_kind(panel) for panel in panels]
    if len(set(kinds)) > 1:
        raise PanelError("`time`: some panels have calendar time and some model time; they cannot be merged")
    panels = alike(_in_one_unit(panels))
    try:
        merged = xr.merge(panels, join="outer", compat="no_conflicts", combine_attrs="drop_conflicts")
    except xr.MergeError as error:
        raise PanelError(f"{_conflict(panels)}; decide which is right, and leave the other out") from error
    if all(panel.sizes["time"] > 1 and months_of(time_step(panel)) for panel in panels):
        _check_dates(panels, merged)
    check_panel(merged)
    return merged


def _in_one_unit(panels: Sequence[xr.Dataset]) -> list[xr.Dataset]:
    """Return the panels in the units of the first that has them."""
    units: dict[str, str] = {}
    made: list[xr.Dataset] = []
    for panel in panels:
        own = units_of(panel, map(str, panel.variables))
        changed: dict[str, xr.DataArray] = {}
        try:
            for name in other_units(units, own):
                if name in panel.dims:
                    check_unit(panel[name], units[name], f"`{name}`")
                slope, _ = conversion(panel[name], units[name], f"`{name}`")
                changed[name] = in_units(panel[name], units[name], f"`{name}`")
                for before in made:
                    if name in before and before[name].dims == panel[name].dims:
                        changed[name] = _rounded(changed[name], before[name], slope * panel[name])
        except RequestError as error:
            raise PanelError(str(error)) from error
        units = own | units
        made.append(panel.assign(changed) if changed else panel)
    return made


def _rounded(converted: xr.DataArray, known: xr.DataArray, scaled: xr.DataArray) -> xr.DataArray:
    """Return converted values, and known ones where they differ by no more than the digits that were stored.

    Args:
        converted: Values of one panel in the unit of the other, over the same dims as those of the other.
        known: Values of the other panel.
        scaled: Values of the one panel before an offset was added.
    """
    there = known.reindex_like(converted)
    precisions = [np.finfo(a.dtype).eps for a in (known, scaled) if a.dtype.kind == "f"]
    size = np.maximum(np.maximum(abs(converted), abs(there)), abs(scaled))
    return converted.where(~(abs(converted - there) <= 8 * max(precisions, default=0.0) * size), there)


def _check_dates(panels: Sequence[xr.Dataset], merged: xr.Dataset) -> None:
    """Refuse panels that put one month on different dates, such as its first day and its last."""
    same = month_numbers(merged["time"].values)
    if len(np.unique(same)) < len(same):
        first = next(p for p in panels[1:] if set(p["time"].values) - set(panels[0]["time"].values))["time"].values
        raise PanelError(
            f"`time`: one panel dates its months like {at(panels[0]['time'].values[0])}, another like {at(first[0])}; "
            "date both by first days with panel.assign_coords(time=panel['time'].values.astype('datetime64[M]')"
            ".astype('datetime64[s]'))"
        )


def select(
    panel: xr.Dataset,
    nodes: Sequence[Any] | None = None,
    without: Sequence[Any] = (),
    **box: tuple[float, float],
) -> xr.Dataset:
    """Select nodes of a panel, with the edges between them.

    Args:
        panel: A panel.
        nodes: Labels of the nodes to keep, in the order wanted; None keeps all.
        without: Labels of nodes to leave out, such as sensors that are never observed.
        **box: Bounds of node coordinates, ends included, such as `lat=(35, 45), lon=(110, 120)`. Longitudes whose first
            bound is above the second span the date line.

    Returns:
        The panel of the nodes that meet all conditions.

    Raises:
        PanelError: A node or coordinate does not exist, a node is named twice, or no node is left.
        RequestError: Bounds are not two numbers.

    >>> from stgate.simulate import sensor_network
    >>> panel = sensor_network(stations=30, duration=24.0)
    >>> select(panel, x=(0.0, 50.0), y=(0.0, 50.0)).sizes["node"] < 30
    True
    """
    kept = panel
    have = panel["node"].values.tolist()
    nodes = [nodes] if isinstance(nodes, str | int) else nodes
    without = [without] if isinstance(without, str | int) else list(without)
    if unknown := [n for n in (*(nodes or ()), *without) if n not in set(have)]:
        raise PanelError(
            f"`node`: the panel has no {some(unknown[:1])}; {did_you_mean(str(unknown[0]), map(str, have))}"
        )
    if nodes is not None:
        nodes = list(nodes)
        if len(set(nodes)) < len(nodes):
            raise PanelError(
                f"`node`: {some([n for n in nodes if nodes.count(n) > 1][:1])} appears twice; name it once"
            )
        kept = kept.sel(node=nodes)
    kept = kept.isel(node=np.flatnonzero(~np.isin(kept["node"].values, without)))
    for name, bounds in box.items():
        low, high = _bounds(name, bounds)
        if name not in kept.coords or kept[name].dims != ("node",):
            on_node = [str(n) for n, c in kept.coords.items() if c.dims == ("node",) and n != "node"]
            raise PanelError(f"`{name}`: the nodes have no such coordinate; {did_you_mean(name, on_node)}")
        if kept[name].dtype.kind not in "fiu":
            raise PanelError(f"`{name}`: holds text, which has no bounds; name the nodes instead")
        values = kept[name].values
        turning = is_longitude(name, kept[name].attrs)
        within = inside(values, low, high) if turning else (values >= low) & (values <= high)
        kept = kept.isel(node=np.flatnonzero(within))
    if kept.sizes["node"] == 0:
        raise PanelError("`node`: no node is left; widen the box, or leave out fewer")
    if set(EDGES[:2]) <= set(kept.variables):
        left = kept["node"].values
        both = np.isin(kept["edge_source"].values, left) & np.isin(kept["edge_target"].values, left)
        kept = kept.isel(edge=np.flatnonzero(both))
    return kept


def _bounds(name: str, bounds: Any) -> tuple[float, float]:  # noqa: ANN401 (anything)
    """Return the bounds of a coordinate, or refuse what is not two numbers."""
    if not isinstance(bounds, tuple | list | np.ndarray) or len(bounds) != 2:
        raise RequestError(f"{name} {bounds!r}: must be two bounds, such as (35, 45)")
    for bound in bounds:
        if bound not in (-math.inf, math.inf):  # open ends
            check_number(name, bound)
    return float(bounds[0]), float(bounds[1])


def _conflict(panels: Sequence[xr.Dataset]) -> str:
    """Describe the first difference between two panels."""
    for i, first in enumerate(panels):
        for second in panels[:i]:
            for name in set(first.variables) & set(second.variables):
                ours, theirs = xr.align(second[name], first[name], join="inner")
                if ours.dtype.kind == "f" and theirs.dtype.kind == "f" and ours.dims == theirs.dims:
                    apart = (ours != theirs) & ours.notnull() & theirs.notnull()
                    if bool(apart.any()):
                        return f"`{name}`: two panels differ in {int(apart.sum())} entries that both have"
    return "the panels contradict each other"
