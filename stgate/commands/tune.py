"""`stgate tune`: a search for the options of a fit, by Optuna."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from stgate.commands.fit.desk.examine import examine
from stgate.commands.parser import Parser, report_written
from stgate.errors import Interrupted, RequestError, check_counts
from stgate.io import paths
from stgate.tuning.space import Dimension, space

if TYPE_CHECKING:
    from optuna import Study

OF_ONE_FIT = ("--resume", "--overwrite", "--ckpt_path")
"""Options that a search does not take."""


def run(command: str, arguments: Sequence[str]) -> None:
    """Search the options of a fit, and write the best ones as a config."""
    parser = _parser(command)
    given, fit = parser.parse_known_args(list(arguments))
    check_counts(trials=(given.trials, 1))
    if given.minutes is not None and not 0 < given.minutes < math.inf:
        raise RequestError(f"--minutes {given.minutes:g}: must be above zero")
    if given.out is None:
        raise RequestError("--out: missing; give the config to write, such as tuned.yaml")
    out = paths.check_out(given.out, overwrite=True, suffixes=(".yaml", ".yml"))
    storage = given.storage or str(out.with_suffix(".db"))
    name = given.study or out.stem
    if out.exists() and "://" not in storage and not os.path.exists(storage):
        raise RequestError(f"--out {out}: exists, but its study {storage} does not; give another name")
    for text in given.search:
        Dimension.parse(text)

    if named := next((word for word in fit if word.split("=")[0] in OF_ONE_FIT), None):
        raise RequestError(f"{named}: of a single fit; a search begins each fit anew, so leave it out")
    examine("fit", fit)

    from stgate.commands.fit.request import FitRequest
    from stgate.tuning.study import options_of, search

    request = FitRequest(fit)
    dimensions = space(given.search, request.model)
    for one in dimensions:
        for value in one.ends:
            request.config({one.name: value})

    def better(options: dict[str, str]) -> None:
        text = request.text(options)
        if not out.is_file() or out.read_text(encoding="utf-8") != text:
            with paths.atomic(out) as temporary:
                temporary.write_text(text, encoding="utf-8")

    try:
        study = search(
            dimensions,
            request.score,
            storage=storage,
            name=name,
            request="\n".join([request.text({}), *map(str, dimensions)]),
            trials=given.trials,
            minutes=given.minutes,
            seed=request.seed,
            tell=lambda line: print(line, file=sys.stderr, flush=True),
            better=better,
        )
    except KeyboardInterrupt as error:
        raise Interrupted("interrupted; the same command goes on where it stopped") from error
    print(_table(study))
    if out.is_file():
        report_written(out)
        said = " ".join(f"{name} {value}" for name, value in options_of(study.best_trial).items())
        print(f"best: {said or 'the request as it stands'}; fit it with: stgate fit --config {out}", file=sys.stderr)


def _parser(command: str) -> Parser:
    parser = Parser(
        command,
        "Search the options of a fit by its score on the validation part, with Optuna, and write the best ones as a\n"
        "config. All options of `stgate fit` say what is fitted. Start the same command in several shells, or on\n"
        "several machines, to share one study: --trials counts those of all; a stopped one goes on where it was.",
        "stgate tune --model GatedRNN --data.panel pm25.nc --data.targets pm25 --trials 40 --out tuned.yaml",
    )
    parser.add_argument(
        "--search",
        nargs="+",
        default=[],
        metavar="OPTION=SPACE",
        help="options that are searched: NAME=A,B,C (choices), NAME=LOW..HIGH (a range; of whole numbers if both are) "
        "or NAME=LOW..HIGH:log, such as model.hidden=16,32,64 (default: a space of the forecaster's own)",
    )
    parser.add_argument("--trials", type=int, default=30, help="number of trials of the whole study (default 30)")
    parser.add_argument("--minutes", type=float, help="begin no trial after so many minutes (default: no limit)")
    parser.add_argument(
        "--storage",
        help="where the study is kept: a file, .db (sqlite) or .log (a journal, for a disk that machines share), or "
        "the address of any Optuna storage (default: beside --out)",
    )
    parser.add_argument("--study", help="name of the study (default: that of --out)")
    parser.add_argument("--out", metavar="FILE", help="the config to write, .yaml")
    return parser


def _table(study: Study) -> str:
    """Return the best trials as lines."""
    done = [trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE"]
    lines = [f"{'trial':>6}  {'score':>12}  options"]
    for trial in sorted(done, key=lambda trial: trial.value)[:10]:
        options = " ".join(f"{name}={value}" for name, value in trial.user_attrs["options"].items())
        lines.append(f"{trial.number + 1:>6}  {trial.value:>12.6g}  {options or 'as asked'}")
    return "\n".join(lines)
