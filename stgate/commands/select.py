"""`stgate data select PANEL`. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stgate.commands.parser import Parser, report_written
from stgate.errors import RequestError, did_you_mean
from stgate.io import paths

if TYPE_CHECKING:
    import xarray as xr


def select_part(arguments: Sequence[str]) -> None:
    """Write a part of a panel: some nodes, a span of time, some variables."""
    parser = Parser(
        "data select",
        "Write a part of a panel, with the edges between its nodes.",
        "stgate data select air.nc --without 1013A 1022A --from 2015 --to 2016-06 --out part.nc",
    )
    parser.add_argument("panel", metavar="PANEL", help="a panel: .nc, .zarr, or a long .csv")
    add = parser.add_argument
    add("--nodes", nargs="+", metavar="NODE", help="the nodes to keep (default: all)")
    add("--without", nargs="+", default=[], metavar="NODE", help="nodes to leave out")
    add(
        "--within",
        nargs=3,
        action="append",
        default=[],
        metavar=("COORD", "LOW", "HIGH"),
        help="nodes with a coordinate between two bounds, such as --within lat 35 45; may be repeated",
    )
    add("--variables", nargs="+", metavar="NAME", help="the variables to keep (default: all)")
    add("--from", dest="start", metavar="TIME", help="the first time")
    add("--to", dest="end", metavar="TIME", help="the last time; a date means its last step")
    parser.add_out("the part, .nc or .zarr")
    given = parser.parse(arguments)
    out = paths.check_out(given.out, overwrite=given.overwrite)
    paths.check_panel_path(given.panel)
    for name, low, high in given.within:
        _bounds(name, low, high)

    from stgate.io import store
    from stgate.io.readers import open_panel
    from stgate.panels.combine import select

    panel = open_panel(given.panel)
    labels = {str(label): label for label in panel["node"].values.tolist()}
    nodes, without = (
        None if names is None else [labels.get(name, name) for name in names] for names in (given.nodes, given.without)
    )
    part = select(panel, nodes, without or ())
    places = [str(name) for name, coord in panel.coords.items() if coord.dims == ("node",)]
    for name, low, high in given.within:
        if name not in places:
            raise RequestError(f"--within {name}: the nodes have no such coordinate; {did_you_mean(name, places)}")
        part = select(part, **{name: _bounds(name, low, high)})
    part = part.isel(time=_rows(part, given.start, given.end))
    if given.variables is not None:
        part = part.drop_vars(_others(part, given.variables))
    before = panel.attrs.get("history")
    part.attrs["history"] = paths.history(f"data select {' '.join(arguments)}") + (f"\n{before}" if before else "")
    report_written(store.write(part, out, overwrite=given.overwrite))
    print(", ".join(f"{name} {part.sizes[name]:,} of {panel.sizes[name]:,}" for name in ("time", "node")))


def _bounds(name: str, low: str, high: str) -> tuple[float, float]:
    try:
        return float(low), float(high)
    except ValueError:
        raise RequestError(f"--within {name} {low} {high}: give two numbers, the lower and the upper bound") from None


def _rows(panel: xr.Dataset, start: str | None, end: str | None) -> slice:
    """Return the rows of a time span, ends included."""
    from stgate.schema.panel import at, first_row, last_row

    options = " ".join(f"{option} {time}" for option, time in (("--from", start), ("--to", end)) if time is not None)
    times = panel["time"].values
    try:
        first = 0 if start is None else first_row(panel, start)
        last = len(times) - 1 if end is None else last_row(panel, end)
    except ValueError as error:
        raise RequestError(f"{options}: not a time of this panel ({error})") from error
    if last < first:
        raise RequestError(f"{options}: no time of the panel is selected; it spans {at(times[0])} to {at(times[-1])}")
    return slice(first, last + 1)


def _others(panel: xr.Dataset, wanted: Sequence[str]) -> list[str]:
    """Return the variables over time that are not wanted."""
    have = [str(name) for name, variable in panel.data_vars.items() if "time" in variable.dims]
    for name in wanted:
        if name not in have:
            raise RequestError(f"--variables {name}: {did_you_mean(name, have)}")
    return [name for name in have if name not in wanted]
