"""`stgate reconstruct PANEL`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from stgate.commands.inputs import check_inputs
from stgate.commands.parser import Parser, check_blocks, progress, report_written, resumable
from stgate.io import paths


def run(command: str, arguments: Sequence[str]) -> None:
    """Reconstruct every entry of a panel by a fitted field."""
    parser = Parser(
        command,
        "Reconstruct every entry of a panel by a fitted field: gaps, new stations, and observed entries.",
        "stgate reconstruct pm25.nc --checkpoint runs/pm25/best.ckpt --levels 0.5 0.9 --out filled.nc",
    )
    parser.add_inputs("a fitted CGLUBNF or BayesNF")
    parser.add_argument(
        "--from", dest="start", metavar="TIME", help="the first time (default: the first with the context)"
    )
    parser.add_argument("--to", dest="end", metavar="TIME", help="the last time (default: the panel's last)")
    parser.add_out("the reconstruction, .nc or .zarr; a .zarr store is written in blocks, and can be resumed")
    parser.add_blocks()
    given = parser.parse(arguments)
    check_blocks(given)
    out = paths.check_out(given.out, overwrite=given.overwrite or given.resume)
    check_inputs(given)

    from stgate.forecasting._reconstruct import reconstruct
    from stgate.io import store

    options: dict[str, Any] = {"history": paths.history(f"reconstruct {' '.join(arguments)}")}
    stored = out.suffix == ".zarr"
    if stored:
        options |= {"out": out, "overwrite": given.overwrite, "resume": given.resume, "dask": given.dask}
    with resumable(f"reconstruct {given.panel}", out if stored else None):
        result = reconstruct(
            given.checkpoint,
            given.panel,
            levels=given.levels,
            start=given.start,
            end=given.end,
            progress=progress("reconstructing"),
            max_memory=given.max_memory,
            **options,
        )
    report_written(out if stored else store.write(result, out, overwrite=given.overwrite))
    if "left_out" in result.attrs:
        print(f"left out: {result.attrs['left_out']}", file=sys.stderr)
