"""`stgate data convert | check`. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from stgate import store
from stgate.commands.parser import Parser, said
from stgate.data.read import open_panel, read_csv
from stgate.errors import RequestError, did_you_mean
from stgate.panel import check_panel, step_text


def run(command: str, arguments: Sequence[str]) -> None:
    """Dispatch to a data command."""
    actions = {"convert": convert, "check": check}
    if not arguments or arguments[0] in ("-h", "--help"):
        print(
            "usage: stgate data convert FILE... | check FILE\n\n"
            "  convert   csv tables into a panel\n  check     a panel's portrait"
        )
        if not arguments:
            raise RequestError("data: say what to do: convert or check")
        return
    if arguments[0] not in actions:
        raise RequestError(f"data {arguments[0]}: {did_you_mean(arguments[0], actions)}")
    actions[arguments[0]](arguments[1:])


def convert(arguments: Sequence[str]) -> None:
    """Read csv tables into one panel and write it."""
    parser = Parser(
        "data convert",
        "Read one csv table or several into one panel.\n"
        "Long: give --node, the column of node labels. Wide, one column a node: give --name.\n"
        "One file a station: several files, with --node or named after their station.",
        "stgate data convert station_*.csv --time year month day hour --node station --drop wd --out air.nc",
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="csv tables, compressed or not")
    parser.add_argument(
        "--time",
        nargs="+",
        default=["time"],
        metavar="COLUMN",
        help="the column of times, or its parts (year month day hour)",
    )
    parser.add_argument("--node", metavar="COLUMN", help="the column of node labels")
    parser.add_argument("--name", help="the variable's name, for a wide table")
    parser.add_argument("--variables", nargs="+", metavar="COLUMN", help="columns to keep (default: all)")
    parser.add_argument("--drop", nargs="+", default=[], metavar="COLUMN", help="columns to leave out")
    parser.add_argument("--rename", nargs="+", default=[], metavar="OLD=NEW", help="new names of variables")
    parser.add_argument("--units", nargs="+", default=[], metavar="NAME=UNIT", help="units by new name")
    parser.add_argument("--coords", metavar="FILE", help="csv of node coordinates: label, then lat, lon or x, y")
    parser.add_argument("--time-format", help="how times are written, as in '%%d/%%m/%%Y %%H:%%M' (default: ISO 8601)")
    parser.add_argument("--freq", help="put rows on this grid (h, D, 5min); absent ones become missing values")
    parser.add_out("the panel, .nc or .zarr")
    given = parser.parse(arguments)
    out = store.check_out(given.out, overwrite=given.overwrite)
    panel = read_csv(
        given.files,
        time=given.time,
        node=given.node,
        name=given.name,
        variables=given.variables,
        drop=given.drop,
        rename=_pairs(given.rename, "--rename"),
        units=_pairs(given.units, "--units"),
        coords=given.coords,
        freq=given.freq,
        time_format=given.time_format,
    )
    panel.attrs["history"] = store.history(f"data convert ({len(given.files)} files)")
    shown = portrait(panel)
    said(store.write(panel, out, overwrite=given.overwrite))
    print(shown)


def check(arguments: Sequence[str]) -> None:
    """Check a panel and print its portrait."""
    parser = Parser(
        "data check", "Check a panel against the schema and print its portrait.", "stgate data check air.nc"
    )
    parser.add_argument("file", metavar="FILE", help="a panel: .nc, .zarr, or a long .csv")
    panel = open_panel(parser.parse(arguments).file)
    check_panel(panel)
    print(portrait(panel))


def portrait(panel: xr.Dataset) -> str:
    """A few lines: span, step, nodes, and for each variable its range, share missing and longest gap."""
    times = panel["time"].values
    nodes = panel["node"].values
    lines = [
        f"time  {panel.sizes['time']} steps of {step_text(panel)}, {_when(times[0])} to {_when(times[-1])}",
        f"node  {len(nodes)}: {', '.join(str(n) for n in nodes[:6])}{', …' if len(nodes) > 6 else ''}",
    ]
    if "member" in panel.dims:
        lines.append(f"member  {panel.sizes['member']}")
    lines.append(
        f"{'variable':<16}{'units':<10}{'missing':>8}{'longest gap':>13}{'least':>10}{'median':>10}{'most':>10}"
    )
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
        silent = nodes[missing.all((0, 1))]
        if silent.size:
            lines.append(f"  never observed at {', '.join(map(str, silent[:4]))}: `fit` refuses it as a target there")
    return "\n".join(lines)


def _longest(missing: np.ndarray) -> int:
    """The longest run of missing steps at any node; (member, time, node)."""
    rows = np.arange(1, missing.shape[1] + 1)[None, :, None]
    last_seen = np.maximum.accumulate(np.where(missing, 0, rows), axis=1)
    return int((rows - last_seen).max())


def _when(value: object) -> str:
    return str(value)[:16] if isinstance(value, np.datetime64) else f"{value:g}"


def _pairs(given: Sequence[str], option: str) -> Mapping[str, str]:
    for pair in given:
        if pair.count("=") != 1:
            raise RequestError(f"{option} {pair}: write OLD=NEW, as in PM2.5=pm25")
    return dict(pair.split("=") for pair in given)
