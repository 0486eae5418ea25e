"""Summary of a panel: its size, missing values, and anything suspicious or that a forecaster would refuse."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stgate.panels.graph import EDGES
from stgate.schema.fills import marks_of
from stgate.schema.panel import at, some, step_text

Values = NDArray[np.floating]
STUCK = 24
"""Number of steps without any change from which on a sensor counts as stuck."""


def summarize(panel: xr.Dataset) -> str:
    """Describe a panel on one screen: time span, step and nodes; range, missing share and oddities of each variable."""
    times = panel["time"].values
    nodes = panel["node"].values.tolist()
    lines = [
        f"time  {panel.sizes['time']} steps of {step_text(panel)}, {_when(times[0])} to {_when(times[-1])}",
        f"node  {len(nodes)}: {', '.join(str(n) for n in nodes[:6])}{', …' if len(nodes) > 6 else ''}",
    ]
    if "member" in panel.dims:
        lines.append(f"member  {panel.sizes['member']}")
    if set(EDGES[:2]) <= set(panel.data_vars):
        lines += _edge_lines(panel, set(nodes))
    lines.append(f"{'variable':<16}{'units':<10}{'missing':>8}{'longest gap':>13}{'min':>10}{'median':>10}{'max':>10}")
    for name, variable in panel.data_vars.items():
        if "time" not in variable.dims:
            continue
        values = variable.values.reshape(-1, *variable.shape[-2:])
        missing = np.isnan(values)
        shown = [
            f"{f(values):>10.4g}" if not missing.all() else f"{'-':>10}" for f in (np.nanmin, np.nanmedian, np.nanmax)
        ]
        units = str(variable.attrs.get("units", ""))
        lines.append(f"{name!s:<16}{units:<10}{100 * missing.mean():>6.1f} %{_longest(missing):>13}{''.join(shown)}")
        lines += [f"  {remark}" for remark in remarks(values, times, nodes)]
    for name, held in panel.variables.items():
        if held.dims == ("node",) and held.dtype.kind == "f":
            found = marks_of(held.values).items()
            lines += [
                f"`{name}`: {mark:g} at {count} of the nodes seems to mark missing values" for mark, count in found
            ]
    return "\n".join(lines)


def _edge_lines(panel: xr.Dataset, nodes: set[object]) -> list[str]:
    ends = [panel[name].values.tolist() for name in EDGES[:2]]
    lines = [f"edge  {len(ends[0])} between nodes"]
    gone = [label for label in dict.fromkeys([*ends[0], *ends[1]]) if label not in nodes]
    if gone:
        lines.append(
            f"  {some(gone)} is not a node of the panel, so the edges make no graph; stgate.panels.select drops them"
        )
    isolated = len(nodes - {label for labels in ends for label in labels})
    return lines + [f"  nodes without an edge: {isolated}"] * (isolated > 0)


def remarks(values: Values, times: NDArray[np.generic], nodes: list[object]) -> list[str]:
    """List what is odd about a variable.

    Args:
        values: Values of the variable, shape (member, time, node).
        times: Times, shape (time,).
        nodes: Labels of the nodes.

    Returns:
        One line a remark.
    """
    missing = np.isnan(values)
    found = []
    silent = [nodes[i] for i in np.flatnonzero(missing.all((0, 1)))]
    if silent:
        found.append(f"never observed at {some(silent)}: `fit` refuses it as a target there")
    if missing.all():
        return found
    seen = values[~missing]
    marks = list(marks_of(seen))
    others = seen[~np.isin(seen, np.array(marks, seen.dtype))]
    if others.size and (frequent := _mark(others)) is not None:
        marks.append(frequent)
    for mark in marks:
        share = 100 * (seen == np.array(mark, seen.dtype)).mean()
        found.append(
            f"{mark:g} is the value of {share:.2g} % of the entries, far from all others: if it marks missing values, "
            f"give --missing {mark:g}"
        )
    zeros = float((seen == 0).mean())
    if seen.min() == 0 and 0.01 <= zeros <= 0.5 and not marks:
        found.append(
            f"0 is the value of {100 * zeros:.2g} % of the entries: if it marks missing values, give --missing 0"
        )
    constant = [
        nodes[i]
        for i in range(values.shape[2])
        if values.shape[1] > 1 and not missing[..., i].all() and np.nanmin(values[..., i]) == np.nanmax(values[..., i])
    ]
    if constant:
        found.append(f"never changes at {some(constant)}")
        return found
    steps, member, first, node = _stuck(values if zeros <= 0.5 else np.where(values == 0, np.nan, values))
    if steps >= STUCK:
        found.append(
            f"stuck at {values[member, first, node]:g} for {steps} steps at {nodes[node]} from {_when(times[first])}"
        )
    return found


def _mark(seen: Values) -> float | None:
    """Find an extreme value that is frequent and far from all others, such as -999."""
    for extreme, others in ((seen.min(), seen[seen > seen.min()]), (seen.max(), seen[seen < seen.max()])):
        if not others.size or not 3 <= seen.size - others.size <= seen.size // 2:
            continue
        width = float(others.max() - others.min())
        gap = float(min(abs(extreme - others.min()), abs(extreme - others.max())))
        if gap > 2 * width:
            return float(extreme)
    return None


def _stuck(values: Values) -> tuple[int, int, int, int]:
    """Return the longest run of one value: its length, member, first row and node."""
    same = np.zeros(values.shape, bool)
    same[:, 1:] = values[:, 1:] == values[:, :-1]
    length = _run(same)
    member, last, node = (int(i) for i in np.unravel_index(int(length.argmax()), length.shape))
    steps = int(length[member, last, node]) + 1
    return steps, member, last - steps + 1, node


def _longest(missing: NDArray[np.bool_]) -> int:
    """Return the longest run of missing steps at any node, for a mask of shape (member, time, node)."""
    return int(_run(missing).max())


def _run(flags: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Count, at each entry, the consecutive steps up to it at which the flag is set; shape (member, time, node)."""
    rows = np.arange(1, flags.shape[1] + 1)[None, :, None]
    down: NDArray[np.int64] = np.maximum.accumulate(np.where(flags, 0, rows), axis=1)
    return rows - down


def _when(value: object) -> str:
    return at(value) if isinstance(value, np.datetime64) else f"{value:g}"
