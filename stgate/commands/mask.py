"""`stgate mask PANEL`. No torch."""

from __future__ import annotations

from collections.abc import Sequence

from stgate.commands.parser import Parser, report_written
from stgate.errors import RequestError, did_you_mean
from stgate.io import paths
from stgate.schema.words import PATTERNS, check_mask


def run(command: str, arguments: Sequence[str]) -> None:
    """Mask a share of the observed entries and write the panel with these gaps."""
    parser = Parser(
        command,
        "Mask a share of the observed entries, so that reconstruction can be scored. The masked values are kept\n"
        "beside the variable as NAME_hidden, which is missing elsewhere.\n"
        "Patterns: point (at random), block (a node for a run of steps), spatial_block (a neighbourhood at one time),\n"
        "spatiotemporal_block (a neighbourhood for a run), outage (whole nodes), value_dependent (high values).",
        "stgate mask pm25.nc --pattern block --rate 0.3 --length 12 48 --seed 1 --out pm25_masked.nc",
    )
    parser.add_argument("panel", metavar="PANEL", help="a panel: .nc, .zarr, or a long .csv")
    add = parser.add_argument
    add("--variable", metavar="NAME", help="the variable, when the panel has several")
    add("--pattern", default="point", help=f"{', '.join(PATTERNS)} (default point)")
    add("--rate", type=float, required=True, help="exact share of the observed entries to mask")
    add("--seed", type=int, default=0, help="seed of the mask (default 0)")
    add(
        "--length",
        type=int,
        nargs="+",
        default=[24],
        metavar="STEPS",
        help="length of a fault, or its minimum and maximum (default 24)",
    )
    add("--neighbours", type=int, default=4, help="number of nearest nodes in a neighbourhood (default 4)")
    add("--start", help="time from which on nodes are out (default: all times)")
    add("--strength", type=float, default=2.0, help="preference for high values in value_dependent (default 2)")
    parser.add_out("the panel with gaps, .nc or .zarr")
    given = parser.parse(arguments)
    if len(given.length) > 2:
        raise RequestError(
            f"--length {' '.join(map(str, given.length))}: give one number, or the minimum and the maximum"
        )
    out = paths.check_out(given.out, overwrite=given.overwrite)
    paths.check_panel_path(given.panel)
    check_mask(given.pattern, given.rate, given.seed)

    from stgate.io import store
    from stgate.io.readers import open_panel
    from stgate.panels.missing import mask

    panel = open_panel(given.panel)
    names = [str(name) for name, variable in panel.data_vars.items() if "time" in variable.dims]
    if given.variable is None and len(names) > 1:
        raise RequestError(f"--variable: the panel has several variables; name one of {', '.join(names)}")
    name = names[0] if given.variable is None else given.variable
    if name not in names:
        raise RequestError(f"--variable {name}: {did_you_mean(name, names)}")
    masked, hidden = mask(
        panel,
        name,
        pattern=given.pattern,
        rate=given.rate,
        seed=given.seed,
        length=given.length[0] if len(given.length) == 1 else (given.length[0], given.length[1]),
        neighbours=given.neighbours,
        start=given.start,
        strength=given.strength,
    )
    values = panel[name].where(hidden)
    if f"{name}_hidden" in panel:  # masked before: keep the values that were masked then
        values = values.fillna(panel[f"{name}_hidden"])
    values.attrs = {**panel[name].attrs, **hidden.attrs, "long_name": f"{name}, the masked values"}
    masked[f"{name}_hidden"] = values
    masked.attrs["history"] = paths.history(f"{command} {' '.join(arguments)}") + _before(panel.attrs.get("history"))
    report_written(store.write(masked, out, overwrite=given.overwrite))
    print(f"{name}: masked {int(hidden.sum()):,} of {int(panel[name].notnull().sum()):,} observed entries")


def _before(history: object) -> str:
    return f"\n{history}" if history else ""
