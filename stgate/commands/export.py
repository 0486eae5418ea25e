"""`stgate export CHECKPOINT`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from stgate.commands.parser import Parser, report_written
from stgate.io import store

SUFFIXES = (".onnx", ".pt2")


def run(command: str, arguments: Sequence[str]) -> None:
    """Write a checkpoint as one graph, for onnxruntime or torch.export."""
    parser = Parser(
        command,
        "Write a fitted forecaster as one graph, from raw windows with gaps to calibrated quantiles.",
        "stgate export runs/pm25/best.ckpt --levels 0.5 0.9 --out pm25.onnx",
    )
    add = parser.add_argument
    add("checkpoint", metavar="CHECKPOINT", help="a fitted forecaster")
    add("--levels", type=float, nargs="+", default=[0.5, 0.9], help="central-interval levels (default 0.5 0.9)")
    add(
        "--panel",
        metavar="PANEL",
        help="the panel whose static covariates the graph holds; a field needs it (default: they are an input)",
    )
    parser.add_out("the graph: .onnx (onnxruntime and others) or .pt2 (torch.export)")
    given = parser.parse(arguments)
    out = store.check_out(given.out, overwrite=given.overwrite, suffixes=SUFFIXES)

    from stgate.exporting._export import export
    from stgate.prediction.loading import load

    predictor = load(given.checkpoint)
    print(f"exporting {predictor.name}: takes seconds to minutes ...", file=sys.stderr)
    export(predictor, out, levels=given.levels, panel=given.panel, overwrite=given.overwrite)
    report_written(out)
