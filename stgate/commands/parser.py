"""Parser of all commands, whose errors are one helpful line, and progress and reports on stderr."""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NoReturn

from stgate.errors import Interrupted, RequestError, did_you_mean

NEGATIVE = re.compile(r"-(\d|[.,]\d|inf\b|nan\b)", re.IGNORECASE)
"""Beginning of a number below zero, of which argparse knows but plain ones: -1e-3 and -99,9 were options to it."""


class Parser(argparse.ArgumentParser):
    """An argparse parser that raises RequestError, allows no abbreviations and suggests the nearest option."""

    def __init__(self, command: str, description: str, example: str) -> None:
        super().__init__(
            prog=f"stgate {command}",
            description=description,
            epilog=f"example:\n  {example}",
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self._negative_number_matcher = NEGATIVE
        self._given: list[str] = []

    def error(self, message: str) -> NoReturn:
        """Raise a RequestError instead of printing the usage and exiting."""
        hint = f"{self.prog} --help lists the options"
        if found := re.match(r"argument (?:-\w/)?(--[\w-]+)\S*: expected", message):
            for option, value in pairwise(self._given):
                if option == found[1] and value.startswith("-") and value not in self._option_string_actions:
                    hint = f"a value that begins with a hyphen needs an equals sign: {option}={value}"
        raise RequestError(f"{message}; {hint}")

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse arguments, and suggest the nearest option for an unknown one.

        Args:
            arguments: Arguments of the command.

        Returns:
            The parsed arguments.

        Raises:
            RequestError: An option is unknown or missing, or a value has the wrong type.
        """
        self._given = list(arguments)
        parsed, unknown = self.parse_known_args(self._given)
        if unknown:
            known = [o for action in self._actions for o in action.option_strings if o.startswith("--")]
            odd = unknown[0].split("=")[0]
            hint = did_you_mean(odd, known) if odd.startswith("-") else "it is one argument too many"
            raise RequestError(f"{odd}: no such option of {self.prog}; {hint}")
        return parsed

    def add_out(self, what: str, *, required: bool = True) -> None:
        """Add the options `--out` and `--overwrite`, which every command that writes has."""
        self.add_argument("--out", required=required, metavar="FILE", help=what)
        self.add_argument("--overwrite", action="store_true", help="replace an existing --out")

    def add_blocks(self) -> None:
        """Add the options of commands that write a .zarr store in blocks: `--resume` and `--dask`."""
        self.add_argument("--resume", action="store_true", help="continue the stopped run of --out, a .zarr store")
        self.add_dask()

    def add_dask(self) -> None:
        """Add the option `--dask`, which every command that works in blocks has."""
        self.add_argument(
            "--dask",
            metavar="ADDRESS",
            help="work on a dask cluster: the address of its scheduler, or local:N for N processes of this machine",
        )

    def add_inputs(self, fitted: str = "a fitted forecaster") -> None:
        """Add the panel, the checkpoint and the levels, which every command that forecasts has."""
        self.add_argument("panel", metavar="PANEL", help="the panel: .nc, .zarr, or a long .csv")
        self.add_argument("--checkpoint", required=True, metavar="FILE", help=fitted)
        self.add_argument(
            "--levels", type=float, nargs="+", default=[0.5, 0.9], help="central-interval levels (default 0.5 0.9)"
        )
        self.add_memory()

    def add_memory(self) -> None:
        """Add the option `--max-memory`, which every command that reads panels larger than memory has."""
        self.add_argument(
            "--max-memory",
            type=float,
            metavar="MB",
            help="a .zarr panel that needs more memory is read in blocks (default: half of the free memory)",
        )


def check_blocks(given: argparse.Namespace) -> None:
    """Refuse the options of commands that write in blocks where they do not apply.

    Args:
        given: The parsed arguments.

    Raises:
        RequestError: The result is no .zarr store, or `--dask` names no cluster.
    """
    for option in ("resume", "dask"):
        if getattr(given, option, None) and not str(given.out).endswith(".zarr"):
            raise RequestError(f"--{option}: works with a .zarr store only, {given.out} is none; give --out FILE.zarr")
    if given.dask is not None:
        from stgate.io.cluster import check_dask

        check_dask(given.dask)


def check_cluster(dask: str | None, stores: Sequence[str]) -> None:
    """Refuse a cluster whose workers could not open what they are to read.

    Args:
        dask: The value of `--dask`; None for no cluster.
        stores: Paths of what is read.

    Raises:
        RequestError: A path is no .zarr store, or `--dask` names no cluster.
    """
    if dask is None:
        return
    if other := next((path for path in stores if not path.rstrip("/").endswith(".zarr")), None):
        raise RequestError(f"--dask: workers read a .zarr store only, {other} is none; leave --dask out")
    from stgate.io.cluster import check_dask

    check_dask(dask)


@contextlib.contextmanager
def resumable(command: str, out: object) -> Iterator[None]:
    """Say how an interrupted run goes on.

    Args:
        command: The command and what it acts on.
        out: The store; None for another file, which is not resumed.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        if out is None:
            raise
        raise Interrupted(f"interrupted; resume with stgate {command} … --out {out} --resume") from error


def progress(what: str, unit: str | None = None) -> Callable[[int, int], None]:
    """Make a function that reports progress on stderr.

    On a terminal one line is redrawn; in a log there are a few lines. Work under a second is not reported.

    Args:
        what: Name of the work, with which the line begins.
        unit: Unit of the work, such as `steps`, in which its rate is reported; None reports no rate.

    Returns:
        A function of (work done, work in total).
    """
    started = time.monotonic()
    terminal = sys.stderr.isatty()
    last, before = 0.0, -1

    def report(done: int, total: int) -> None:
        nonlocal last, before
        before = done if before < 0 else before  # work before a resumed run does not count in its rate
        elapsed = time.monotonic() - started
        finished = done >= total
        wait = 0.2 if terminal else 10.0
        if elapsed < 1.0 or not (finished or elapsed - last > wait):
            return
        last = elapsed
        left = elapsed * (total - done) / max(done - before, 1)
        text = f"{what}: {100 * done // max(total, 1)} % in {elapsed:.0f} s"
        text += f", {(done - before) / elapsed:,.0f} {unit}/s" if unit else ""
        text += "" if finished else f", about {left:.0f} s left"
        end = "\n" if finished or not terminal else ""
        print(f"\r{text}\033[K" if terminal else text, end=end, file=sys.stderr, flush=True)

    return report


def report_written(path: object) -> None:
    """Report on stderr that a file was written."""
    print(f"wrote {path}", file=sys.stderr)
