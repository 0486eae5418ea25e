"""Simulated missingness, so that reconstruction can be scored: the masked values are known, and their share is exact.

Every pattern gives each entry a rank, and the observed entries of lowest rank are masked, as many as the rate asks for.
So the rate is met to one entry, entries that were missing before do not count, and for one seed a higher rate masks the
same entries and more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stgate.errors import PanelError, RequestError, check_counts, did_you_mean
from stgate.panels.geometry import Places, nearest
from stgate.panels.graph import Graph
from stgate.schema.panel import check_panel, first_row, some
from stgate.schema.words import PATTERNS as PATTERNS
from stgate.schema.words import Pattern as Pattern
from stgate.schema.words import check_mask

Floats = NDArray[np.float64]


def mask(
    panel: xr.Dataset,
    name: str,
    *,
    pattern: Pattern = "point",
    rate: float = 0.2,
    seed: int = 0,
    length: int | tuple[int, int] = 24,
    neighbours: int = 4,
    start: str | float | None = None,
    strength: float = 2.0,
) -> tuple[xr.Dataset, xr.DataArray]:
    """Mask a share of a variable's observed entries.

    | pattern | masked entries | name among the four patterns of air quality |
    |---|---|---|
    | `point` | single entries, completely at random | random in space, random in time |
    | `block` | a node for a run of steps, one length a fault | random in space, block in time |
    | `spatial_block` | a neighbourhood at a single time | clustered in space, random in time |
    | `spatiotemporal_block` | a neighbourhood for a run of steps | clustered in space, block in time |
    | `outage` | whole nodes, from `start` on or over all times | |
    | `value_dependent` | high values rather than low ones (not at random) | |

    The last fault is cut short, and the last node of an outage fails later, so that the rate is exact.

    Args:
        panel: The panel; it is not changed.
        name: The variable's name.
        pattern: Name of a pattern in the table.
        rate: Share of the observed entries to mask, between 0 and 1; exactly round(rate * observed) are masked.
        seed: Seed of the random numbers.
        length: Length of a fault in steps, or a pair of the shortest and the longest length, between which each fault
            draws its own.
        neighbours: Number of nearest nodes in a neighbourhood. Where nodes have no coordinates, a neighbourhood is
            formed by the panel's edges instead.
        start: Time from which on nodes are out; None masks all times.
        strength: Factor in the exponent: a value that is one standard deviation higher is exp(strength) times as likely
            to be masked.

    Returns:
        The panel with the masked entries missing, and the mask: True where masked, over the variable's dims.

    Raises:
        PanelError: The panel has no such variable, nothing is observed, or a neighbourhood has no coordinates.
        RequestError: The pattern is unknown, the rate is not a share or cannot be reached, or another option is wrong.

    >>> import pandas as pd, stgate
    >>> days = pd.date_range("2020-01-01", periods=100)
    >>> panel = stgate.to_panel(pd.DataFrame({"a": range(100), "b": range(100)}, days), name="y")
    >>> masked, hidden = mask(panel, "y", pattern="block", rate=0.25, length=5, seed=1)
    >>> int(hidden.sum()), int(masked["y"].isnull().sum())
    (50, 50)
    """
    check_panel(panel)
    if name not in panel.data_vars:
        raise PanelError(f"`{name}`: the panel has no such variable; {did_you_mean(name, map(str, panel.data_vars))}")
    check_mask(pattern, rate, seed)
    variable = panel[name]
    values = variable.values.reshape(-1, *variable.shape[-2:])  # (member, time, node)
    observed = ~np.isnan(values)
    if not observed.any():
        raise PanelError(f"`{name}`: nothing is observed, so nothing can be masked")
    options = {
        "values": values,
        "length": _lengths(length, values.shape[1]) if "block" in pattern else (1, 1),
        "near": _neighbourhoods(panel, neighbours) if pattern.startswith("spati") else None,
        "start": _row(panel, start),
        "strength": strength,
    }
    rank = RANKS[pattern](np.random.default_rng(seed), observed.shape, options)
    hidden = _lowest(rank, observed, rate, latest_first=pattern == "outage").reshape(variable.shape)
    flags = xr.DataArray(hidden, variable.coords, variable.dims, name=f"{name}_hidden")
    flags.attrs = {"long_name": f"{name} was masked", "pattern": pattern, "rate": float(rate), "seed": int(seed)}
    kept = variable.copy(data=np.where(hidden, np.array(np.nan, variable.dtype), variable.values))
    return panel.assign({name: kept}), flags


def _lowest(rank: Floats, observed: NDArray[np.bool_], rate: float, *, latest_first: bool) -> NDArray[np.bool_]:
    """Choose the observed entries of lowest rank, as many as the rate asks for; in a fault earlier steps come first."""
    count = round(rate * int(observed.sum()))
    rank = np.where(observed, rank, np.inf)
    possible = int(np.isfinite(rank).sum())
    if count > possible:
        raise RequestError(f"rate {rate:g}: the pattern can mask at most {possible / observed.sum():.4g}")
    ordered = np.moveaxis(
        rank[:, ::-1] if latest_first else rank, 1, -1
    )  # (member, node, time): the steps of a fault are adjacent
    chosen = np.zeros(ordered.size, bool)
    chosen[np.argsort(ordered, axis=None, kind="stable")[:count]] = True
    hidden = np.moveaxis(chosen.reshape(ordered.shape), -1, 1)
    return hidden[:, ::-1] if latest_first else hidden


# Each pattern returns ranks (member, time, node): lower ranks are masked first, infinite ones never.


def _point(rng: np.random.Generator, shape: tuple[int, ...], options: dict[str, Any]) -> Floats:
    return rng.random(shape)


def _block(rng: np.random.Generator, shape: tuple[int, ...], options: dict[str, Any]) -> Floats:
    return _runs(rng, shape, options["length"])


def _spatial_block(rng: np.random.Generator, shape: tuple[int, ...], options: dict[str, Any]) -> Floats:
    return _around(rng.random(shape), options["near"])


def _spatiotemporal_block(rng: np.random.Generator, shape: tuple[int, ...], options: dict[str, Any]) -> Floats:
    return _around(_runs(rng, shape, options["length"]), options["near"])


def _outage(rng: np.random.Generator, shape: tuple[int, ...], options: dict[str, Any]) -> Floats:
    members, _, nodes = shape
    rank = np.broadcast_to(rng.random((members, 1, nodes)), shape).copy()
    rank[:, : options["start"]] = np.inf
    return rank


def _value_dependent(rng: np.random.Generator, shape: tuple[int, ...], options: dict[str, Any]) -> Floats:
    values, strength = options["values"].astype("float64"), options["strength"]
    if not np.isfinite(strength):
        raise RequestError(f"strength {strength}: must be a finite number")
    deviation = np.nanstd(values)
    # The lowest of these are a sample without replacement, weighted by exp(strength * z) (Gumbel's trick).
    lost: Floats = strength * (values - np.nanmean(values)) / (deviation or 1.0) + rng.gumbel(size=shape)
    return -lost


RANKS: dict[Pattern, Callable[[np.random.Generator, tuple[int, ...], dict[str, Any]], Floats]] = {
    "point": _point,
    "block": _block,
    "outage": _outage,
    "spatial_block": _spatial_block,
    "spatiotemporal_block": _spatiotemporal_block,
    "value_dependent": _value_dependent,
}


def _runs(rng: np.random.Generator, shape: tuple[int, ...], length: tuple[int, int]) -> Floats:
    """Rank entries by faults that start at any step, also before the first; an entry has its faults' lowest rank."""
    members, times, nodes = shape
    least, most = length
    fault = rng.random((members, times + most - 1, nodes))
    lasting = rng.integers(least, most + 1, fault.shape) if most > least else None
    rank = np.full(shape, np.inf)
    for age in range(most):  # faults that started `age` steps ago
        rows = slice(most - 1 - age, most - 1 - age + times)
        started = fault[:, rows]
        if lasting is not None and age >= least:
            started = np.where(lasting[:, rows] > age, started, np.inf)
        np.minimum(rank, started, out=rank)
    return rank


def _around(rank: Floats, near: list[NDArray[np.int64]]) -> Floats:
    """Spread each fault from its node to that node's neighbours."""
    struck_by: list[list[int]] = [[] for _ in near]
    for centre, others in enumerate(near):
        for node in (centre, *others.tolist()):
            struck_by[node].append(centre)
    return np.stack([rank[..., centres].min(axis=-1) for centres in struck_by], axis=-1)


def _neighbourhoods(panel: xr.Dataset, neighbours: int) -> list[NDArray[np.int64]]:
    try:
        places = Places.of(panel)
    except PanelError:
        if "edge_source" not in panel:
            raise
    else:
        others = len(places.points) - 1
        check_counts(neighbours=(neighbours, 1))
        if neighbours > others:
            raise RequestError(f"neighbours {neighbours}: must lie between 1 and {others}, the number of other nodes")
        return list(nearest(places, neighbours)[0])
    graph = Graph.of(panel)
    return [graph.source[graph.target == node] for node in range(panel.sizes["node"])]


def _lengths(length: int | tuple[int, int], times: int) -> tuple[int, int]:
    bounds = length if isinstance(length, tuple | list) and len(length) == 2 else (length, length)
    least, most = bounds
    for bound in bounds:
        check_counts(length=(bound, 1))
    if not 1 <= least <= most:
        raise RequestError(f"length {length}: must be at least 1, and the minimum not above the maximum")
    if most > times:
        raise RequestError(f"length {some([most])}: must be at most {times}, the steps of the panel")
    return int(least), int(most)


def _row(panel: xr.Dataset, start: str | float | None) -> int:
    """Return the first row at or after a time; 0 for None."""
    if start is None:
        return 0
    try:
        row = first_row(panel, start)
    except ValueError as error:
        raise RequestError(f"start {start!r}: not a time of this panel ({error})") from error
    if row >= panel.sizes["time"]:
        raise RequestError(f"start {start}: lies after the panel's last time; give an earlier one")
    return row
