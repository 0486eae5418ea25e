"""`stgate stack CHECKPOINT …`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stgate._memory import memory_limit
from stgate.commands.parser import Parser, report_written
from stgate.errors import RequestError, StoreError
from stgate.io import paths
from stgate.io.safe.documents import parse_yaml, read_yaml
from stgate.prediction.plain import look

if TYPE_CHECKING:
    from stgate.models.stack import Stack


def run(command: str, arguments: Sequence[str]) -> None:
    """Pool fitted forecasters, with weights learned on the validation part, and calibrate the pool."""
    parser = Parser(
        command,
        "Pool fitted forecasters of one panel: weights by lead, learned from their forecasts of the validation part.\n"
        "The stack is calibrated as a whole; its checkpoint holds the members.",
        "stgate stack runs/a/best.ckpt runs/b/best.ckpt --data.panel pm25.nc --out stack.ckpt",
    )
    add = parser.add_argument
    add("members", metavar="CHECKPOINT", nargs="+", help="fitted forecasters, of the same panel, targets and horizon")
    add("--data.panel", dest="panel", required=True, metavar="FILE", help="the panel that they were fitted on")
    add(
        "--data.split",
        dest="split",
        metavar="[A,B,C]",
        help="the split of the fits (default: that of config.yaml beside the first checkpoint, else that of fit)",
    )
    add("--pool", default="auto", help="quantile, linear (a mixture), or auto (default: the better one)")
    add("--data.max_memory", dest="max_memory", type=float, metavar="MB", help="as in fit")
    parser.add_out("the stack's checkpoint, .ckpt")
    given = parser.parse(arguments)
    out = paths.check_out(given.out, overwrite=given.overwrite, suffixes=(".ckpt",))
    for member in given.members:
        look(member)
    memory_limit(given.max_memory)
    paths.check_panel_path(given.panel)
    split = _split(given.split, Path(given.members[0]).parent / "config.yaml")

    from stgate.commands.fit.runs import quiet
    from stgate.models.stack import Stack

    quiet()
    stack = Stack(members=given.members, pool=given.pool)
    data = stack.data_of(given.panel, max_memory=given.max_memory, **({} if split is None else {"split": split}))
    data.setup()
    stack.learn(data)
    _calibrate(stack, data)
    stack.save(out)
    report_written(out)
    for line in stack.describe():
        print(line)


def _calibrate(stack: Stack, data: Any) -> None:  # noqa: ANN401 (a data module, imported late)
    from stgate.forecasting._calibrate import calibrate

    start, stop = data.parts.calibration
    if stop > start:
        covered = calibrate(stack.predictor, data)
        print(f"calibrated: {', '.join(f'{100 * p:g}' for p in covered)} % intervals", file=sys.stderr)
    else:
        print("not calibrated: the split leaves no calibration part", file=sys.stderr)


def _split(given: str | None, beside: Path) -> list[float | str] | None:
    """Return the split as given, else that of a run's config; None if there is neither."""
    if given is None:
        held = read_yaml(beside) if beside.is_file() else None
        data = held.get("data") if isinstance(held, dict) else None
        options = data.get("init_args", data) if isinstance(data, dict) else {}
        return options.get("split") if isinstance(options, dict) else None
    try:
        parsed = parse_yaml(given, "--data.split")
    except StoreError as error:
        raise RequestError(f"--data.split {given}: not a list; write it as [0.6,0.1,0.15,0.15]") from error
    if not isinstance(parsed, list):
        raise RequestError(f"--data.split {given}: not a list; write it as [0.6,0.1,0.15,0.15]")
    return [value if isinstance(value, int | float) else str(value) for value in parsed]
