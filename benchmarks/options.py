"""The two sides of a benchmark's function: what it is asked, and what it finds."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import os
import shlex
import tempfile
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.registry import RESULTS, ROOT, BenchmarkError


def data_folder() -> Path:
    """Return the folder of the real data sets: $STGATE_SHARED/data, or ../shared/data beside the repository."""
    return Path(os.environ.get("STGATE_SHARED", ROOT.parent / "shared")) / "data"


@dataclasses.dataclass(frozen=True)
class Options:
    """Options that every benchmark takes.

    Attributes:
        data: Folder of the real data sets, one folder each.
        out: Folder of the results.
        work: Folder of what is kept between runs: panels, fits, scores.
        quick: Whether a reduced run is asked for, whose figures are not results.
        seeds: Random seeds of the runs.
    """

    data: Path = dataclasses.field(default_factory=data_folder)
    out: Path = RESULTS
    work: Path = Path(tempfile.gettempdir()) / "stgate-benchmarks"
    quick: bool = False
    seeds: tuple[int, ...] = ()

    def dataset(self, name: str) -> Path:
        """Return the folder of a data set.

        Raises:
            BenchmarkError: It is not there.
        """
        if not (self.data / name).is_dir():
            raise BenchmarkError(f"no data set {name} in {self.data}; set STGATE_SHARED or give --data FOLDER")
        return self.data / name

    def working(self, name: str) -> Path:
        """Return a folder below `work`, made if it is not there."""
        folder = self.work / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder


@dataclasses.dataclass(frozen=True)
class Findings:
    """Results of a run, before they are written.

    Attributes:
        title: Heading of the table.
        lines: Body of the Markdown file.
        figures: All figures, as JSON can hold them.
        note: Words after the command in the Markdown file.
        missed: Bars that are missed; with any, the command exits with 1.
        keep: Whether the figures are a result to be written.
        seeds: Seeds that were used, where they are not those that were asked for.
        reused: Number of scores that an earlier run had made.
        text: File of figures already formatted, in place of the indented JSON of `figures`.
    """

    title: str
    lines: list[str]
    figures: Any
    note: str = ""
    missed: list[str] = dataclasses.field(default_factory=list)
    keep: bool = True
    seeds: tuple[int, ...] | None = None
    reused: int = 0
    text: str | None = None


def own_parser(function: Callable[..., Any], name: str) -> argparse.ArgumentParser:
    """Make a parser of the options that a benchmark's signature declares after `options`."""
    hints = typing.get_type_hints(function)
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks run {name} --", add_help=False, allow_abbrev=False)
    described = _arguments(inspect.getdoc(function) or "")
    for key, parameter in list(inspect.signature(function).parameters.items())[1:]:
        option, help_ = f"--{key.replace('_', '-')}", described.get(key)
        kind = _plain(hints[key])
        if kind is bool:
            parser.add_argument(option, dest=key, action="store_true", help=help_)
        elif typing.get_origin(kind) is list:
            of = typing.get_args(kind)[0]
            parser.add_argument(option, dest=key, nargs="+", type=of, default=parameter.default, help=help_)
        else:
            metavar = "PATH" if kind is Path else None
            parser.add_argument(option, dest=key, type=kind, default=parameter.default, metavar=metavar, help=help_)
    return parser


def command_of(name: str, options: Options, default_seeds: tuple[int, ...], own: dict[str, Any]) -> str:
    """Write the command that repeats a run; paths are named, not given.

    Args:
        name: Name of the benchmark.
        options: Options of all benchmarks.
        default_seeds: Seeds of a run that asks for none.
        own: Options of this benchmark.
    """
    words = ["python", "-m", "benchmarks", "run", name]
    words += ["--quick"] if options.quick else []
    words += ["--seeds", str(len(options.seeds))] if options.seeds != default_seeds else []
    given = []
    for key, value in own.items():
        option = f"--{key.replace('_', '-')}"
        if isinstance(value, Path):
            given += [option, key.upper()]
        elif isinstance(value, list):
            given += [option, *map(str, value)]
        elif value is not None and value is not False:
            given += [option] if value is True else [option, str(value)]
    return shlex.join([*words, *(["--", *given] if given else [])])


def _plain(hint: Any) -> Any:
    """Strip None from a union."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return next(part for part in typing.get_args(hint) if part is not type(None))
    return hint


def _arguments(doc: str) -> dict[str, str]:
    """Read the one-line descriptions below `Args:`."""
    lines = doc.partition("Args:\n")[2].splitlines()
    pairs = (line.strip().partition(": ") for line in lines if line.startswith("    "))
    return {key: text.replace("%", "%%") for key, colon, text in pairs if colon}
