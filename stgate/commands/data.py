"""`stgate data convert | check | select | list | describe | fetch`. No torch."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stgate.commands import cards
from stgate.commands.parser import Parser, report_written
from stgate.commands.select import select_part
from stgate.errors import RequestError, did_you_mean
from stgate.io import paths

if TYPE_CHECKING:
    import xarray as xr

    from stgate.io.frames import Marks


def run(command: str, arguments: Sequence[str]) -> None:
    """Run the data command that the first argument names."""
    actions = {
        "convert": convert,
        "check": check,
        "select": select_part,
        "list": cards.list_cards,
        "describe": cards.describe,
        "fetch": cards.fetch_files,
    }
    if not arguments or arguments[0] in ("-h", "--help"):
        print(
            "usage: stgate data convert FILE... | check FILE | select FILE | list | describe NAME | fetch NAME\n\n"
            "  convert    tables, arrays and lattices into a panel\n"
            "  check      a panel against the schema, with its summary\n"
            "  select     some of its nodes, times and variables\n"
            "  list       the public data sets that have a card\n"
            "  describe   a data set: source, licence, reader, split, published figures\n"
            "  fetch      its files, into a cache"
        )
        if not arguments:
            raise RequestError(f"data: give a command: {', '.join(actions)}")
        return
    if arguments[0] not in actions:
        raise RequestError(f"data {arguments[0]}: {did_you_mean(arguments[0], actions)}")
    actions[arguments[0]](arguments[1:])


def convert(arguments: Sequence[str]) -> None:
    """Read files into one panel and write it."""
    parser = Parser(
        "data convert",
        "Read files into one panel: tables (.csv, .parquet, .h5), arrays (.npz, .h5), lattices (.nc, .zarr).\n"
        "Long table: give --node, the column of node labels. Wide, one column a node: give --name.\n"
        "One file a station: several files, with --node or named after their station.\n"
        "Arrays, (time, node, variable): give --variables, their names. A lattice needs nothing.\n"
        "Arrays with masks in HDF5 (`values`, `masks`), one file a year: their names give the years.",
        "stgate data convert station_*.csv --time year month day hour --node station --drop wd --out air.nc",
    )
    add = parser.add_argument
    add("files", nargs="+", metavar="FILE", help="tables (compressed or not), one .npz, or one lattice")
    add("--time", nargs="+", metavar="COLUMN", help="the column of times, or its parts (year month day hour)")
    add("--node", metavar="COLUMN", help="the column of node labels")
    add("--name", help="the variable's name, for a wide table")
    add(
        "--variables",
        nargs="+",
        metavar="NAME",
        help="columns to keep (default: all); the names of an array's variables",
    )
    add("--drop", nargs="+", metavar="COLUMN", help="columns to leave out")
    add("--rename", nargs="+", metavar="OLD=NEW", help="new names of variables")
    add("--units", nargs="+", metavar="NAME=UNIT", help="units by new name")
    add("--coords", metavar="FILE", help="table of node coordinates: label, then lat, lon or x, y")
    add(
        "--missing",
        nargs="+",
        action="extend",
        metavar="[NAME=]VALUE",
        help="values that mark missing ones: -999, speed=0, or a text",
    )
    add("--start", metavar="TIME", help="time of the first row, for files without times; --freq is the step")
    add("--freq", help="put rows on this grid (h, D, 5min, MS); absent ones become missing values")
    add("--time-format", help="format of the times, such as '%%d/%%m/%%Y %%H:%%M' (default: ISO 8601)")
    add("--time-zone", metavar="ZONE", help="time zone of the times, such as Europe/Berlin; they become UTC")
    add("--separator", metavar="MARK", help="mark between columns (default a comma)")
    add("--decimal", metavar="MARK", help="the decimal mark (default a point)")
    add("--thousands", metavar="MARK", help="the mark between groups of three digits (default none)")
    add("--encoding", metavar="NAME", help="text encoding, such as latin-1 (default utf-8)")
    add("--no-header", action="store_true", help="the first row holds no names; columns are numbered from 0")
    parser.add_out("the panel, .nc or .zarr")
    parser.add_dask()
    given = parser.parse(arguments)
    if given.dask is not None:
        from stgate.io.cluster import check_dask

        check_dask(given.dask)
    out = paths.check_out(given.out, overwrite=given.overwrite)
    options = _options(given)

    from stgate.io import store
    from stgate.panels.summary import summarize

    panel = _read(given, options)
    panel.attrs["history"] = paths.history(f"data convert ({len(given.files)} files)")
    summary = summarize(panel)
    report_written(store.write(panel, out, overwrite=given.overwrite))
    print(summary)


def _options(given: argparse.Namespace) -> dict[str, Any]:
    """Return the options that are given; refuse one that does not apply to the kind of the files, and no files."""
    first = str(given.files[0])
    options: dict[str, Any] = {
        "rename": _pairs(given.rename, "--rename"),
        "units": _pairs(given.units, "--units"),
        "missing": _marks(given.missing),
        **{n: getattr(given, n) for n in ("time", "node", "name", "variables", "drop", "coords", "start", "freq")},
        **{n: getattr(given, n) for n in ("time_format", "time_zone", "separator", "decimal", "thousands", "encoding")},
        "header": False if given.no_header else None,
        "dask": given.dask,
    }
    options = {name: value for name, value in options.items() if value not in (None, {}, [])}
    if first.endswith((".nc", ".zarr", ".npz")):
        if len(given.files) > 1:
            raise RequestError(f"{given.files[1]}: a second file is not allowed here; only tables can be several")
        kind = "an .npz" if first.endswith(".npz") else "a lattice"
        wanted = {"variables", "start", "freq", "missing", "units"} if first.endswith(".npz") else {"missing", "freq"}
        for name in options:
            if name not in wanted:
                option = "no-header" if name == "header" else name.replace("_", "-")
                raise RequestError(f"--{option}: does not apply to {kind}; leave it out")
        options["missing"] = _numbers(options.get("missing", ()))
        if first.endswith(".npz"):
            if "variables" not in options:
                raise RequestError("--variables: name the variables of the array, in order")
        else:
            paths.check_stored(first)
        return options
    for path in paths.expand(given.files):
        paths.check_table(path)
    return options


def _read(given: argparse.Namespace, options: dict[str, Any]) -> xr.Dataset:
    """Read the files into a panel."""
    from stgate.io.frames import mark_missing, on_grid
    from stgate.io.npz import read_npz
    from stgate.io.readers import open_panel, read_tables
    from stgate.schema.panel import check_panel

    first = str(given.files[0])
    if first.endswith(".npz"):
        return read_npz(first, **options)
    if first.endswith((".nc", ".zarr")):
        panel = open_panel(first)
        panel = panel if given.freq is None else on_grid(panel.sortby("time"), given.freq)
        check_panel(panel)
        return mark_missing(panel, options["missing"])
    if first.endswith(paths.HDF) and os.path.isfile(first):
        from stgate.io.masked import holds_masked, read_masked
        from stgate.io.readers import read_coords
        from stgate.io.tables import Dialect

        if holds_masked(first):
            for name in options:
                if name not in ("variables", "start", "freq", "coords", "rename", "units"):
                    raise RequestError(f"--{name.replace('_', '-')}: does not apply to arrays with masks; leave it out")
            table = read_coords(Path(given.coords), Dialect()) if given.coords else None
            return read_masked(paths.expand(given.files), **{**options, "coords": table})
    return read_tables(given.files, **options)


def check(arguments: Sequence[str]) -> None:
    """Check a panel and print its summary."""
    parser = Parser("data check", "Check a panel against the schema and print its summary.", "stgate data check air.nc")
    parser.add_argument("file", metavar="FILE", help="a panel: .nc, .zarr, or a long .csv")
    path = parser.parse(arguments).file
    paths.check_panel_path(path)

    from stgate.io.readers import open_panel
    from stgate.panels.summary import summarize
    from stgate.schema.panel import check_panel

    panel = open_panel(path)
    check_panel(panel)
    print(summarize(panel))


def _pairs(given: Sequence[str] | None, option: str) -> Mapping[str, str]:
    for pair in given or ():
        if pair.count("=") != 1:
            raise RequestError(f"{option} {pair}: write OLD=NEW, such as PM2.5=pm25")
    return dict(pair.split("=") for pair in given or ())


def _numbers(marks: Mapping[str, Sequence[float]] | Sequence[float | str]) -> Marks:
    """Return the marks for a file that holds numbers only; refuse texts."""
    if not isinstance(marks, Mapping) and (texts := [m for m in marks if isinstance(m, str)]):
        raise RequestError(f"--missing {texts[0]}: this file holds numbers; write a number, or NAME=NUMBER")
    return marks  # type: ignore[return-value]


def _marks(given: Sequence[str] | None) -> Mapping[str, Sequence[float]] | Sequence[float | str]:
    """Parse marks of missing values: `-999` or a text for all variables, or `speed=0` for one, but not both kinds."""
    everywhere: list[float | str] = []
    by_name: dict[str, list[float]] = {}
    for text in given or ():
        name, _, value = text.rpartition("=")
        try:
            number = float(value)
        except ValueError:
            everywhere.append(text)
            continue
        (by_name.setdefault(name, []) if name else everywhere).append(number)
    if everywhere and by_name:
        raise RequestError("--missing: give values for all variables, or NAME=VALUE for each, not both")
    return by_name or everywhere
