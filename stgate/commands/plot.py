"""`stgate plot FORECAST`."""

from __future__ import annotations

from collections.abc import Sequence

from stgate.commands.parser import Parser
from stgate.errors import RequestError, did_you_mean
from stgate.io import paths

KINDS = ("fan", "hovmoeller")


def run(command: str, arguments: Sequence[str]) -> None:
    """Plot a forecast and print the picture's path."""
    parser = Parser(command, "Draw a forecast.", "stgate plot hindcast.nc --kind fan --node Dongsi --out fan.png")
    parser.add_argument("forecast", metavar="FORECAST", help="from `stgate forecast` or `stgate backtest`")
    parser.add_argument(
        "--kind",
        default="fan",
        metavar="KIND",
        help="fan (default): intervals of one node; hovmoeller: nodes against time",
    )
    parser.add_argument("--node", help="node label, for a fan (default: the first)")
    parser.add_argument(
        "--init",
        metavar="TIME",
        help="the origin, by number (-1 is the last) or time (default: the first complete one)",
    )
    parser.add_argument("--member", type=int, default=0, help="number of the member (default 0)")
    parser.add_argument("--target", help="the variable (default: the first)")
    parser.add_argument("--out", required=True, metavar="FILE", help="the picture: .png, .svg or .pdf")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing --out")
    given = parser.parse(arguments)
    if given.kind not in KINDS:
        raise RequestError(f"--kind {given.kind}: {did_you_mean(given.kind, KINDS)}")
    out = paths.check_out(given.out, overwrite=given.overwrite, suffixes=(".png", ".svg", ".pdf"))
    paths.check_stored(given.forecast)

    from stgate.evaluation import plot
    from stgate.io import store

    forecast = store.open_forecast(given.forecast)

    if given.kind == "fan":
        figure = plot.fan(forecast, node=given.node, target=given.target, init=given.init, member=given.member)
    else:
        figure = plot.hovmoeller(forecast, target=given.target, init=given.init, member=given.member)
    with paths.atomic(out) as temporary:
        figure.savefig(temporary, format=out.suffix[1:], dpi=150)
    print(out)
