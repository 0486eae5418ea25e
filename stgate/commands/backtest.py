"""`stgate backtest PANEL`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stgate.commands.inputs import check_inputs
from stgate.commands.parser import Parser, check_blocks, progress, report_written, resumable
from stgate.io import paths
from stgate.schema.words import check_backtest


def run(command: str, arguments: Sequence[str]) -> None:
    """Forecast through the past, each time from what was known then."""
    parser = Parser(
        command,
        "Forecast again and again through the past, each time from what was known then.",
        "stgate backtest pm25.nc --checkpoint runs/pm25/best.ckpt --from 2016-06-01 --every 24 --out hindcast.nc",
    )
    parser.add_inputs()
    parser.add_argument("--from", dest="start", metavar="TIME", help="the first valid time (origins may precede it)")
    parser.add_argument("--to", dest="end", metavar="TIME", help="the last valid time; a date means its last step")
    parser.add_argument("--every", type=int, default=1, metavar="STEPS", help="steps between origins (default 1)")
    parser.add_argument(
        "--calibration",
        default="stored",
        metavar="KIND",
        help="source of the intervals: stored (the checkpoint's, the default), rolling (errors known at the origin), "
        "or adaptive (the same, and coverage recovers after a shift)",
    )
    parser.add_argument(
        "--calibration-window",
        type=int,
        default=500,
        metavar="ORIGINS",
        help="number of origins whose errors rolling and adaptive use (default 500)",
    )
    parser.add_out("the hindcast, .nc or .zarr; a .zarr store is written in blocks, and can be resumed")
    parser.add_blocks()
    given = parser.parse(arguments)
    check_blocks(given)
    out = paths.check_out(given.out, overwrite=given.overwrite or given.resume)
    check_backtest(given.every, given.calibration_window, given.calibration)
    check_inputs(given)

    from stgate.forecasting._forecast import backtest
    from stgate.io import store

    options: dict[str, Any] = {"history": paths.history(f"backtest {' '.join(arguments)}")}
    stored = out.suffix == ".zarr"
    if stored:
        options |= {"out": out, "overwrite": given.overwrite, "resume": given.resume, "dask": given.dask}
    with resumable(f"backtest {given.panel}", out if stored else None):
        result = backtest(
            given.checkpoint,
            given.panel,
            start=given.start,
            end=given.end,
            every=given.every,
            levels=given.levels,
            calibration=given.calibration,
            calibration_window=given.calibration_window,
            progress=progress("forecasting"),
            max_memory=given.max_memory,
            **options,
        )
    report_written(out if stored else store.write(result, out, overwrite=given.overwrite))
