"""`stgate simulate SYSTEM`."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from stgate._memory import size_text
from stgate.commands.parser import Parser, check_blocks, progress, report_written
from stgate.commands.systems import add_parameters, listing, system_from, system_of
from stgate.errors import Interrupted, RequestError
from stgate.io import paths
from stgate.simulate.engine import seconds_needed
from stgate.simulate.plan import Plan, RunOptions
from stgate.simulate.registry import SYSTEMS
from stgate.simulate.system import System


def run(command: str, arguments: Sequence[str]) -> None:
    """Simulate a system and write the panel."""
    name, rest = system_of(command, arguments, list(SYSTEMS))
    if name is None:
        print(listing(command, list(SYSTEMS)), end="")
        return
    parser, names = _parser(command, name)
    given = parser.parse(rest)
    system = system_from(name, given, names)
    options = _options(given)
    if given.dry_run:
        if given.out is not None:
            paths.check_out(given.out, overwrite=given.overwrite or given.resume)
        print(_dry_run(Plan.make(system, options)))
        return
    if given.out is None:
        raise RequestError(f"the following arguments are required: --out; {parser.prog} --help lists the options")
    options["history"] = paths.history(f"{command} {' '.join(arguments)}")
    options["progress"] = progress(f"simulating {name}", "steps")
    _run(system, options, given)


def _parser(command: str, name: str) -> tuple[Parser, list[str]]:
    kind = SYSTEMS[name]
    title = name.replace("_", "-")
    parser = Parser(
        f"{command} {title}",
        str(kind.__doc__).split("\n\n    Args:")[0].replace("\n    ", "\n"),
        f"stgate {command} {title} --duration {kind.defaults.duration:g} --members 4 --out {title}.zarr",
    )
    names = add_parameters(parser, kind)
    default = kind.defaults
    add = parser.add_argument_group("the run").add_argument
    add("--duration", type=float, help=f"model time to keep (default {default.duration:g})")
    add("--step", type=float, help=f"integration step (default {default.step:g})")
    add(
        "--every",
        type=int,
        help=f"number of integration steps from one kept state to the next (default {default.every})",
    )
    add("--members", type=int, help="independent trajectories (default 1)")
    add("--seed", type=int, help="seed of the initial states (default 0)")
    add("--spinup", type=float, help=f"model time discarded at the start (default {default.spinup:g})")
    add(
        "--dtype",
        choices=("float32", "float64"),
        help="type of the kept values (default float32); all is computed in float64",
    )
    if kind.zeros:  # other systems cannot start from a panel and are not chaotic
        add("--initial", metavar="FILE", help="start from the last time of this panel, by default without spin-up")
        add("--no-verify", action="store_true", help="do not measure the valid-ground-truth time by a twin run")
    add("--force", action="store_true", help="run even if the step exceeds the system's limit")
    add("--workers", type=int, help="number of threads, over blocks of members (default: one a core)")
    add("--dry-run", action="store_true", help="print the size and the run time, and stop")
    add("--resume", action="store_true", help="resume the stopped run of --out, a .zarr store")
    parser.add_dask()
    parser.add_out("the panel, .nc or .zarr; a .zarr store is streamed to, and can be resumed", required=False)
    return parser, names


def _options(given: argparse.Namespace) -> RunOptions:
    named = ("duration", "step", "every", "members", "seed", "spinup", "dtype", "workers")
    options: dict[str, Any] = {n: getattr(given, n) for n in named if getattr(given, n) is not None}
    if getattr(given, "initial", None):
        paths.check_stored(given.initial)

        from stgate.io.store import open_dataset

        options["initial"] = open_dataset(given.initial)
    return cast(RunOptions, {**options, "verify": not getattr(given, "no_verify", False), "force": given.force})


def _plan_of(system: System, options: RunOptions) -> None:
    """Refuse options of the run before what runs it is imported; it warns of them itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Plan.make(system, options)


def _dry_run(plan: Plan) -> str:
    sizes = f"{plan.members} member{'s' * (plan.members > 1)} x {plan.outputs:,} times x {plan.system.sites} nodes"
    many = len(plan.system.variables)
    what = f"{sizes} x {many} variables" if many > 1 else sizes
    return (
        f"{plan.system.title}: {what}, {size_text(plan.nbytes)}; "
        f"{plan.steps:,} steps of {plan.step:g}, about {seconds_needed(plan):,.0f} s"
    )


def _run(system: System, options: RunOptions, given: argparse.Namespace) -> None:
    out = Path(given.out)
    check_blocks(given)
    if out.suffix != ".zarr":
        paths.check_out(out, overwrite=given.overwrite)
        _plan_of(system, options)

        from stgate.io import store
        from stgate.simulate.run import simulate

        report_written(store.write(simulate(system, **options), out, overwrite=given.overwrite))
        return
    if not given.resume:
        paths.check_out(out, overwrite=given.overwrite)
        _plan_of(system, options)

    from stgate.simulate.run import simulate

    try:
        options["out"], options["overwrite"], options["resume"] = out, given.overwrite, given.resume
        options["dask"] = given.dask
        simulate(system, **options)
    except KeyboardInterrupt as error:
        raise Interrupted(f"interrupted; resume with stgate simulate … --out {out} --resume") from error
    report_written(out)
