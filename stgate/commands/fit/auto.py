"""`stgate fit --model auto`: a short list is fitted, compared, stacked and calibrated within a budget of time."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonargparse import ArgumentParser, Namespace

from stgate.commands.fit.arguments import value_of
from stgate.commands.fit.folder import check_automatic_folder
from stgate.commands.fit.limits import check_seed
from stgate.commands.fit.one_line import OneLineParser
from stgate.commands.fit.resumption import GOES_ON, check_resumed
from stgate.commands.fit.runs import quiet
from stgate.commands.parser import report_written
from stgate.data.window_data import WindowData
from stgate.errors import Interrupted
from stgate.fitting.auto import fit, window_data
from stgate.fitting.field_fit import field_data, follow_no_step
from stgate.io import store
from stgate.io.safe.lock import claimed
from stgate.schema.words import check_automatic

FREE = (*(name for name in GOES_ON if name != "data.split"), "config", "budget")
"""Options that may differ on a resume."""


def run_auto(arguments: Sequence[str]) -> None:
    """Fit, compare and stack a short list of forecasters.

    Args:
        arguments: Arguments of `stgate fit`, `--model auto` among them.
    """
    quiet()
    words, given = _without_resume(list(arguments))
    parser = _parser()
    config = _parsed(parser, words, resume="--resume" in given, overwrite="--overwrite" in given)
    check_seed(config.seed_everything)
    out = Path(config.out)
    ways = {"resume": "--resume" in given, "overwrite": "--overwrite" in given}
    check_automatic_folder(out, **ways)
    options = config.data.as_dict() if isinstance(config.data, Namespace) else dict(config.data)
    options.pop("seed")  # that of the weights is that of the shuffles
    check_automatic(config.budget, config.calibration)
    if follow_no_step(options["panel"]):  # a wrong request leaves no folder behind
        rest = {name: value for name, value in options.items() if name != "panel"}
        chosen = {"budget": config.budget, "calibration": config.calibration, "seed": config.seed_everything}
        field_data(options["panel"], rest, **chosen)
    else:
        window_data(**options)
    with claimed(out):
        check_automatic_folder(out, **ways)  # again: another fit may have ended in between
        if not ways["resume"]:
            _empty(out)
        with store.atomic(out / "config.yaml") as temporary:
            temporary.write_text(parser.dump(config, skip_none=False), encoding="utf-8")
        try:
            fit(
                **options,
                budget=config.budget,
                calibration=config.calibration,
                seed=config.seed_everything,
                out=out,
                tell=_tell,
            )
        except KeyboardInterrupt as error:
            raise Interrupted(f"interrupted; continue with: stgate fit --out {out} --resume") from error
    report_written(out / "best.ckpt")
    print((out / "scores.md").read_text(encoding="utf-8"), end="")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class AutoParser(OneLineParser):
    """The parser of an automatic fit, its errors one helpful line."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise instead of printing usage and exiting; names of options have no command before them here."""
        super().error(re.sub(r"(?<=[ ,])data\.(?=\w+)", "fit.data.", message) if "required" in message else message, ex)


def _parser() -> ArgumentParser:
    """Return the parser of an automatic fit: the data's options, budget, calibration and folder."""
    parser = AutoParser(prog="stgate fit --model auto", allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--model", type=str, default="auto", help="auto")
    parser.add_class_arguments(WindowData, "data")
    parser.add_argument(
        "--budget",
        type=float | None,
        default=None,
        help="minutes for the whole (default: one for 25,000 values before the test part, from 2.5 to 15)",
    )
    parser.add_argument(
        "--calibration", type=str, default="auto", help="split, refit, cross, or auto (by the length of the record)"
    )
    parser.add_argument("--seed_everything", type=int, default=0, help="seed of weights and shuffles")
    parser.add_argument("--out", type=str, default="runs/auto", help="the run's folder")
    return parser


def _without_resume(arguments: list[str]) -> tuple[list[str], set[str]]:
    """Return the arguments without flags, and the flags."""
    flags = {"--resume", "--overwrite"}
    return [a for a in arguments if a not in flags], flags & set(arguments)


def _parsed(parser: ArgumentParser, words: list[str], *, resume: bool, overwrite: bool) -> Any:  # noqa: ANN401
    """Return the options as given; a run that is resumed has those of its own config unless they are given again.

    Raises:
        RequestError: An option that says what is fitted is not that of the run.
    """
    beside = Path(value_of(words, "--out") or "runs/auto") / "config.yaml"
    if not (resume and beside.is_file()):
        return parser.parse_args(words)
    parser.add_argument("--config", action="config")
    begun, asked = parser.parse_args(["--config", str(beside)]), parser.parse_args(["--config", str(beside), *words])
    before, now = (yaml.safe_load(parser.dump(options, skip_none=False)) for options in (begun, asked))
    check_resumed(now, before, free=FREE)
    return asked


def _empty(out: Path) -> None:
    """Remove the run that is replaced, its result first; the folder stays, since it is locked."""
    for path in sorted(out.iterdir(), key=lambda path: path.name != "best.ckpt"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
