"""`stgate lyapunov SYSTEM`."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from stgate.commands.parser import Parser, progress, report_written
from stgate.commands.systems import add_parameters, listing, system_from, system_of
from stgate.io import paths
from stgate.simulate.registry import SYSTEMS

if TYPE_CHECKING:
    import xarray as xr

CHAOTIC = [name for name, kind in SYSTEMS.items() if kind.zeros]


def run(command: str, arguments: Sequence[str]) -> None:
    """Measure the Lyapunov exponents of a system."""
    name, rest = system_of(command, arguments, CHAOTIC)
    if name is None:
        print(listing(command, CHAOTIC), end="")
        return
    title = name.replace("_", "-")
    parser = Parser(
        f"{command} {title}",
        f"Lyapunov exponents of {title} by the tangent-linear flow and QR, with their standard errors.",
        f"stgate {command} {title} --members 8 --json",
    )
    names = [n for n in add_parameters(parser, SYSTEMS[name])]
    default = SYSTEMS[name].defaults
    add = parser.add_argument_group("the run").add_argument
    add(
        "--exponents",
        type=int,
        help="number of exponents (default: all of a small system, else enough for its dimension)",
    )
    add(
        "--duration",
        type=float,
        help=f"model time to average over, for each member (default {20 * default.duration:g})",
    )
    add("--transient", type=float, help="model time discarded at the start (default a tenth of --duration)")
    add("--step", type=float, help=f"integration step (default {default.step:g})")
    add("--members", type=int, default=8, help="independent trajectories (default 8)")
    add("--seed", type=int, default=0, help="seed of the initial states (default 0)")
    add("--force", action="store_true", help="run even if the step exceeds the system's limit")
    add("--json", action="store_true", help="print JSON instead of a table")
    parser.add_out("the result as a dataset, .nc or .zarr", required=False)
    given = parser.parse(rest)
    out = paths.check_out(given.out, overwrite=given.overwrite) if given.out else None
    values = {n: getattr(given, n) for n in names}
    run_options = {
        n: getattr(given, n) for n in ("exponents", "duration", "transient", "step", "members", "seed", "force")
    }
    system_from(name, given, names)  # a wrong parameter is refused at once

    from stgate.io import store
    from stgate.simulate.exponents import lyapunov

    found = lyapunov(name, **values, **run_options, progress=progress(f"lyapunov {title}", "steps"))
    print(json.dumps(_plain(found)) if given.json else table(found))
    if out:
        found.attrs["history"] = paths.history(f"{command} {' '.join(arguments)}")
        report_written(store.write(found, out, overwrite=given.overwrite))


def table(found: xr.Dataset) -> str:
    """Format the exponents and the quantities derived from them as text."""
    pairs = zip(found["exponent"].values, found["exponent_error"].values, strict=True)
    lines = [str(found.attrs["title"]), "", "rank  exponent     error"]
    lines += [f"{rank:4d} {value:9.4f} {error:9.4f}" for rank, (value, error) in enumerate(pairs, 1)]
    lines.append("")
    for name in found.data_vars:
        value = found[name]
        if value.ndim == 0 and not math.isnan(float(value)):
            lines.append(f"{value.attrs['long_name']}: {float(value):.6g}")
    if math.isnan(float(found["kaplan_yorke_dimension"])):
        lines.append(
            "Kaplan-Yorke dimension: unknown, since the sum of these exponents is positive; give more --exponents"
        )
    attrs = found.attrs
    if "reference_exponent" in attrs:
        lines.append(
            f"reference for the leading exponent: {attrs['reference_exponent']} +- "
            f"{attrs['reference_exponent_error']} ({attrs['reference_provenance']})"
        )
    return "\n".join(lines)


def _plain(found: xr.Dataset) -> dict[str, Any]:
    """Return numbers and lists for JSON; unknown values are null."""
    values = {str(name): found[name].values.tolist() for name in found.data_vars}
    known = {n: None if isinstance(v, float) and math.isnan(v) else v for n, v in values.items()}
    return {**known, "attrs": dict(found.attrs)}
