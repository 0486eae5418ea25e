"""`stgate calibrate PANEL`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stgate.commands.inputs import check_inputs
from stgate.commands.parser import Parser, report_written
from stgate.errors import RequestError
from stgate.io import paths
from stgate.schema.words import check_conformity_score

if TYPE_CHECKING:
    from stgate.prediction.intervals import Calibration


def run(command: str, arguments: Sequence[str]) -> None:
    """Fit a checkpoint's intervals again, on data that it has not seen, without training."""
    parser = Parser(
        command,
        "Fit a checkpoint's intervals again, on data that training has not seen; the weights stay as they are.",
        "stgate calibrate pm25.nc --checkpoint runs/pm25/best.ckpt --from 2015-03-01 --to 2016-02-29 --out new.ckpt",
    )
    add = parser.add_argument
    add("panel", metavar="PANEL", help="the panel: .nc, .zarr, or a long .csv")
    add("--checkpoint", required=True, metavar="FILE", help="a fitted forecaster")
    add(
        "--from",
        dest="start",
        metavar="TIME",
        help="the first valid time (default: the first that fit has not seen)",
    )
    add("--to", dest="end", metavar="TIME", help="the last one; a date means its last step (default: the panel's last)")
    add("--levels", type=float, nargs="+", help="central-interval levels to hold (default: twelve from 0.1 to 0.99)")
    add(
        "--by",
        nargs="*",
        metavar="GROUP",
        help="separate groups: missing, and node or a node coordinate that holds clusters (default missing)",
    )
    add(
        "--reconstruction",
        action="store_true",
        help="calibrate `stgate reconstruct` of a field: the observed entries of PANEL are scored, each one unseen",
    )
    add("--truth", metavar="PANEL", help="with --reconstruction: score the values of this panel that PANEL lacks")
    add("--conformity-score", help="scaled, residual, quantile, or distribution (default: the forecaster's own)")
    parser.add_memory()
    parser.add_out("the checkpoint with these intervals, .ckpt")
    given = parser.parse(arguments)
    out = paths.check_out(given.out, overwrite=given.overwrite, suffixes=(".ckpt",))

    if given.truth and not given.reconstruction:
        raise RequestError("--truth: only used with --reconstruction; add it, or leave --truth out")
    if given.reconstruction and given.by not in (None, ["missing"]):
        raise RequestError("--by: reconstructions are always calibrated by missingness; leave it out")
    check_conformity_score(given.conformity_score)
    check_inputs(given)
    if given.truth:
        paths.check_panel_path(given.truth)

    from stgate.forecasting._calibrate import recalibrate
    from stgate.forecasting._calibrate_reconstruction import calibrate_reconstruction
    from stgate.prediction.checkpoint import write_calibrated
    from stgate.prediction.loading import load

    predictor = load(given.checkpoint)
    shared = {"start": given.start, "end": given.end, "levels": given.levels}
    shared |= {"max_memory": given.max_memory}
    shared |= {"conformity_score": given.conformity_score} if given.conformity_score else {}
    if given.reconstruction:
        covered = calibrate_reconstruction(predictor, given.panel, given.truth, **shared)
    else:
        covered = recalibrate(predictor, given.panel, by=["missing"] if given.by is None else given.by, **shared)
    write_calibrated(predictor, given.checkpoint, out, resumable=False)
    report_written(out)
    calibration: Calibration = vars(predictor)["reconstruction_calibration" if given.reconstruction else "calibration"]
    print(f"{calibration.method}, {calibration.start} to {calibration.end}")
    print(f"  {'level':>5}  covered there")
    for level, share in covered.items():
        print(f"  {100 * level:>4g} %  {100 * share:.1f} %")
    for line in calibration.report:
        print(f"  {line}")
    print(
        "  The next interval of a level covers with at least that probability, in each group, if its error is\n"
        "  exchangeable with those of this span. Under drift use backtest --calibration rolling | adaptive."
    )
