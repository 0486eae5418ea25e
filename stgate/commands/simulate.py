"""`stgate simulate SYSTEM`."""

from __future__ import annotations

from collections.abc import Sequence

from stgate import store
from stgate.commands.parser import Parser, progress, said
from stgate.errors import RequestError, did_you_mean
from stgate.simulate.systems.lorenz96 import lorenz96

SYSTEMS = {"lorenz96": lorenz96}


def run(command: str, arguments: Sequence[str]) -> None:
    """Simulate a system and write the panel."""
    parser = Parser(
        command,
        "Simulate a chaotic system and write it as a panel.",
        "stgate simulate lorenz96 --nodes 40 --forcing 8 --duration 500 --members 4 --out l96.nc",
    )
    parser.add_argument("system", metavar="SYSTEM", help=f"one of {', '.join(SYSTEMS)}")
    parser.add_argument("--nodes", type=int, default=40, help="number of sites (default 40)")
    parser.add_argument("--forcing", type=float, default=8.0, help="F (default 8)")
    parser.add_argument("--duration", type=float, default=100.0, help="model time kept (default 100)")
    parser.add_argument("--step", type=float, default=0.01, help="integration step (default 0.01)")
    parser.add_argument("--every", type=int, default=5, help="keep one state every so many steps (default 5)")
    parser.add_argument("--members", type=int, default=1, help="independent trajectories (default 1)")
    parser.add_argument("--seed", type=int, default=0, help="of the initial states (default 0)")
    parser.add_argument("--spinup", type=float, default=20.0, help="model time discarded at the start (default 20)")
    parser.add_out("the panel, .nc or .zarr")
    given = parser.parse(arguments)
    if given.system not in SYSTEMS:
        raise RequestError(f"system {given.system!r}: {did_you_mean(given.system, SYSTEMS)}")
    out = store.check_out(given.out, overwrite=given.overwrite)
    panel = SYSTEMS[given.system](
        nodes=given.nodes,
        forcing=given.forcing,
        duration=given.duration,
        step=given.step,
        every=given.every,
        members=given.members,
        seed=given.seed,
        spinup=given.spinup,
        progress=progress("simulating"),
    )
    panel.attrs["history"] = store.history(f"simulate {' '.join(arguments)}")
    said(store.write(panel, out, overwrite=given.overwrite))
