"""`stgate forecast PANEL`."""

from __future__ import annotations

from collections.abc import Sequence

from stgate.commands.inputs import check_inputs
from stgate.commands.parser import Parser, report_written
from stgate.io import paths


def run(command: str, arguments: Sequence[str]) -> None:
    """Forecast the steps after the last observation, or from a time on."""
    parser = Parser(
        command,
        "Forecast the steps after a panel's last observation.",
        "stgate forecast pm25.nc --checkpoint runs/pm25/best.ckpt --levels 0.5 0.9 --out forecast.nc",
    )
    parser.add_inputs()
    parser.add_argument(
        "--from", dest="start", metavar="TIME", help="the first time to forecast; default: after the last observation"
    )
    parser.add_out("the forecast, .nc or .zarr")
    given = parser.parse(arguments)
    out = paths.check_out(given.out, overwrite=given.overwrite)
    check_inputs(given)

    from stgate.forecasting._forecast import forecast
    from stgate.io import store

    result = forecast(
        given.checkpoint, given.panel, levels=given.levels, start=given.start, max_memory=given.max_memory
    )
    result.attrs["history"] = paths.history(f"forecast {' '.join(arguments)}")
    report_written(store.write(result, out, overwrite=given.overwrite))
