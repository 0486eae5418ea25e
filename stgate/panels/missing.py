"""Simulated missingness, so that reconstruction can be scored: what is hidden is known, and how much of it is exact.

Every pattern gives each entry a rank, and as many observed entries as the rate asks for are hidden by rank. So the rate
is met to one entry, what was missing already counts for nothing, and with one seed a higher rate hides the same entries
and more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stgate.errors import PanelError, RequestError, did_you_mean
from stgate.panels.geometry import Places, nearest
from stgate.panels.graph import Graph
from stgate.schema.panel import check_panel, first_row, some

Floats = NDArray[np.float64]


def hide(
    panel: xr.Dataset,
    name: str,
    *,
    pattern: str = "point",
    rate: float = 0.2,
    seed: int = 0,
    length: int | tuple[int, int] = 24,
    neighbours: int = 4,
    start: str | float | None = None,
    strength: float = 2.0,
) -> tuple[xr.Dataset, xr.DataArray]:
    """Hide a share of what is observed of a variable.

    | pattern | what is lost | of the four of air quality |
    |---|---|---|
    | `point` | single entries, completely at random | random in space, random in time |
    | `block` | a node for a run of steps, one length a fault | random in space, block in time |
    | `spatial_block` | a neighbourhood at a single time | clustered in space, random in time |
    | `spatiotemporal_block` | a neighbourhood for a run of steps | clustered in space, block in time |
    | `outage` | whole nodes, from `start` on or altogether | |
    | `value_dependent` | high values rather than low ones (not at random) | |

    The last fault is cut short, and the last node of an outage falls silent later, so that the rate is exact.

    Args:
        panel: It is not changed.
        name: The variable.
        pattern: One of the table's.
        rate: Share of the observed entries that is hidden; round(rate * observed) of them are.
        seed: Of numpy's Generator.
        length: Steps of a fault, or the least and the most, of which each fault draws its own.
        neighbours: How many nearest others a neighbourhood has, by coordinates, or all that an edge of the panel joins
            where it has no coordinates.
        start: The time from which on nodes are out; the whole record when None.
        strength: How much likelier a value is lost for each standard deviation that it is higher, as the exponent of e.

    Returns:
        The panel with the entries missing, and the mask of them, True where hidden, over the variable's dims.

    Raises:
        PanelError: No such variable, nothing observed, or no coordinates for a neighbourhood.
        RequestError: An unknown pattern, a rate that is no share or cannot be reached, another wrong option.

    >>> import pandas as pd, stgate
    >>> days = pd.date_range("2020-01-01", periods=100)
    >>> panel = stgate.to_panel(pd.DataFrame({"a": range(100), "b": range(100)}, days), name="y")
    >>> masked, hidden = hide(panel, "y", pattern="block", rate=0.25, length=5, seed=1)
    >>> int(hidden.sum()), int(masked["y"].isnull().sum())
    (50, 50)
    """
    check_panel(panel)
    if name not in panel.data_vars:
        raise PanelError(f"`{name}`: the panel has no such variable; {did_you_mean(name, map(str, panel.data_vars))}")
    if pattern not in PATTERNS:
        raise RequestError(f"pattern {pattern!r}: {did_you_mean(pattern, PATTERNS)}")
    if not 0 <= rate <= 1:
        raise RequestError(f"rate {rate:g}: a share, between 0 and 1")
    if seed < 0:
        raise RequestError(f"seed {seed}: must not be negative")
    variable = panel[name]
    values = variable.values.reshape(-1, *variable.shape[-2:])  # (member, time, node)
    observed = ~np.isnan(values)
    if not observed.any():
        raise PanelError(f"`{name}`: nothing is observed, so nothing can be hidden")
    options = {
        "values": values,
        "length": _lengths(length, values.shape[1]) if "block" in pattern else (1, 1),
        "near": _neighbourhoods(panel, neighbours) if pattern.startswith("spati") else None,
        "start": _row(panel, start),
        "strength": strength,
    }
    rank = PATTERNS[pattern](np.random.default_rng(seed), observed.shape, options)
    hidden = _lowest(rank, observed, rate, latest_first=pattern == "outage").reshape(variable.shape)
    mask = xr.DataArray(hidden, variable.coords, variable.dims, name=f"{name}_hidden")
    mask.attrs = {"long_name": f"{name} was hidden", "pattern": pattern, "rate": float(rate), "seed": int(seed)}
    kept = variable.copy(data=np.where(hidden, np.array(np.nan, variable.dtype), variable.values))
    return panel.assign({name: kept}), mask


def _lowest(rank: Floats, observed: NDArray[np.bool_], rate: float, *, latest_first: bool) -> NDArray[np.bool_]:
    """The observed entries of lowest rank, as many as the rate asks for; in a fault earlier steps come first."""
    count = round(rate * int(observed.sum()))
    rank = np.where(observed, rank, np.inf)
    possible = int(np.isfinite(rank).sum())
    if count > possible:
        raise RequestError(f"rate {rate:g}: at most {possible / observed.sum():.4g} lies in what the pattern can hide")
    ordered = np.moveaxis(
        rank[:, ::-1] if latest_first else rank, 1, -1
    )  # (member, node, time): a fault's steps adjoin
    chosen = np.zeros(ordered.size, bool)
    chosen[np.argsort(ordered, axis=None, kind="stable")[:count]] = True
    hidden = np.moveaxis(chosen.reshape(ordered.shape), -1, 1)
    return hidden[:, ::-1] if latest_first else hidden


# Ranks: (member, time, node), lower is hidden sooner, infinite is never.


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
        raise RequestError(f"strength {strength}: a finite number")
    spread = np.nanstd(values)
    # The lowest of these are a sample without replacement, weighted by exp(strength * z) (Gumbel's trick).
    lost: Floats = strength * (values - np.nanmean(values)) / (spread or 1.0) + rng.gumbel(size=shape)
    return -lost


PATTERNS: dict[str, Callable[[np.random.Generator, tuple[int, ...], dict[str, Any]], Floats]] = {
    "point": _point,
    "block": _block,
    "outage": _outage,
    "spatial_block": _spatial_block,
    "spatiotemporal_block": _spatiotemporal_block,
    "value_dependent": _value_dependent,
}


def _runs(rng: np.random.Generator, shape: tuple[int, ...], length: tuple[int, int]) -> Floats:
    """Faults start at any step, also before the first; an entry has the lowest rank of those that cover it."""
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
    """A fault strikes its node and that node's neighbours."""
    struck_by: list[list[int]] = [[] for _ in near]
    for centre, others in enumerate(near):
        for node in (centre, *others.tolist()):
            struck_by[node].append(centre)
    return np.stack([rank[..., centres].min(axis=-1) for centres in struck_by], axis=-1)


def _neighbourhoods(panel: xr.Dataset, neighbours: int) -> list[NDArray[np.int64]]:
    try:
        return list(nearest(Places.of(panel), neighbours)[0])
    except PanelError:
        if "edge_source" not in panel:
            raise
    graph = Graph.of(panel)
    return [graph.source[graph.target == node] for node in range(panel.sizes["node"])]


def _lengths(length: int | tuple[int, int], times: int) -> tuple[int, int]:
    least, most = (length, length) if isinstance(length, int | np.integer) else tuple(length)
    if not 1 <= least <= most:
        raise RequestError(f"length {length}: at least 1 step, the least not above the most")
    if most > times:
        raise RequestError(f"length {some([most])}: the panel has {times} steps")
    return int(least), int(most)


def _row(panel: xr.Dataset, start: str | float | None) -> int:
    """The first row at or after a time."""
    if start is None:
        return 0
    try:
        row = first_row(panel, start)
    except ValueError as error:
        raise RequestError(f"start {start!r}: not a time of this panel ({error})") from error
    if row >= panel.sizes["time"]:
        raise RequestError(f"start {start}: after the panel's last time")
    return row
