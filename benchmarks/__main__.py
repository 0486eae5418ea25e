"""The command of the benchmarks.

python -m benchmarks list
python -m benchmarks run NAME [--quick] [--out FOLDER] [--data FOLDER] [--work FOLDER] [--seeds N] [-- OPTION ...]
python -m benchmarks run GROUP ... [--quick]   all benchmarks whose names begin with a word, such as `speed scale`
python -m benchmarks run NAME --help
python -m benchmarks index
"""

from __future__ import annotations

import argparse
import difflib
import inspect
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import index, record
from benchmarks.options import Findings, Options, command_of, data_folder, own_parser
from benchmarks.registry import HERE, ONE_THREAD, RESULTS, ROOT, BenchmarkError, Entry, find


def main(arguments: Sequence[str] | None = None, folder: Path = HERE) -> int:
    """List or run benchmarks, or write the index; return the exit code.

    Args:
        arguments: Words of the command line.
        folder: Package whose benchmarks are known.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    cut = words.index("--") if "--" in words else len(words)
    try:
        known = find(folder)
        given = _parser().parse_args(words[:cut])
        if given.verb == "list":
            return _list(known)
        if given.verb == "index":
            print(index.write_index(known))
            return 0
        entries = [entry for name in given.names for entry in _entries(known, name)]
        if len(entries) < 2:
            return _run(entries[0] if entries else None, given, words[cut + 1 :])
        return _run_all(entries, given, words[cut + 1 :])
    except BrokenPipeError:  # the reader closed the pipe, as `| head` does
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (nothing is left to flush into the pipe)
        return 0
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Run benchmarks and keep their records.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("list", help="name, claim and rough cost of each benchmark")
    verbs.add_parser("index", help=f"write {RESULTS.name}/README.md: file, benchmark, commit and date of each result")
    run = verbs.add_parser("run", help="run one benchmark; its own options come after --", add_help=False)
    run.add_argument("names", nargs="*", help="benchmarks, or groups of them: `speed` is all speed_...")
    run.add_argument("-h", "--help", action="store_true", help="describe this command, or the benchmark NAME")
    run.add_argument("--quick", action="store_true", help="a reduced run; its figures go to a temporary folder")
    run.add_argument("--out", type=Path, help="folder of the results (benchmarks/results)")
    run.add_argument("--data", type=Path, help="folder of the real data sets ($STGATE_SHARED/data, ../shared/data)")
    run.add_argument("--work", type=Path, help="folder of what is kept between runs (a temporary one)")
    run.add_argument("--seeds", type=int, help="number of seeds, 0, 1, ..., where a benchmark takes several")
    run.set_defaults(parser=run)
    return parser


def _list(known: dict[str, Entry]) -> int:
    width = max(map(len, known), default=0)
    for name, entry in known.items():
        print(f"{name:{width}}  {entry.claim}\n{'':{width}}  [{entry.cost}]")
    return 0


def _entries(known: dict[str, Entry], name: str) -> list[Entry]:
    """Return the benchmark of a name, or those of a group."""
    if found := [known[name]] if name in known else [e for n, e in known.items() if n.startswith(f"{name}_")]:
        return found
    near = difflib.get_close_matches(name, known, n=1)
    raise BenchmarkError(f"no benchmark {name}" + (f"; did you mean {near[0]}?" if near else "; see `list`"))


def _run_all(entries: list[Entry], given: argparse.Namespace, rest: list[str]) -> int:
    """Run several benchmarks, each in a process of its own; return 1 if any missed a bar or failed."""
    if rest or given.help:
        raise BenchmarkError(f"{len(entries)} benchmarks have no options in common; name one")
    shared = [f"--{name}={getattr(given, name)}" for name in ("out", "data", "work") if getattr(given, name)]
    shared += ["--quick"] if given.quick else []
    codes = []
    for entry in entries:
        print(f"== {entry.name}", flush=True)
        command = [sys.executable, "-m", "benchmarks", "run", entry.name, *shared]
        codes.append(subprocess.run(command, check=False, cwd=ROOT).returncode)
    return int(any(codes))


def _run(entry: Entry | None, given: argparse.Namespace, rest: list[str]) -> int:
    if entry is None:
        given.parser.print_help()
        if not given.help:
            raise BenchmarkError("run needs the name of a benchmark; see `python -m benchmarks list`")
        return 0
    if entry.one_thread:
        os.environ.update(ONE_THREAD)
    function = entry.load()
    if given.help:
        print(_help(entry, function, given.parser))
        return 0
    own = vars(own_parser(function, entry.name).parse_args(rest))
    options, default = _options(entry, given), _seeds(entry, None)
    origin = record.Origin.now()
    if entry.one_thread and "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    found: Findings = function(options, **own)
    made = record.describe(entry, options, found, origin, command_of(entry.name, options, default, own))
    print(record.markdown(found, made))
    if options.quick:
        print("bars are not judged by a quick run")
    else:
        print("missed: " + "; ".join(found.missed) if found.missed else "no bar is missed")
    if found.keep:
        print("wrote", *record.keep(found, made, options.out))
    return int(bool(found.missed) and not options.quick)


def _options(entry: Entry, given: argparse.Namespace) -> Options:
    """Fill in the defaults; a quick run shares no folder with others."""
    own: dict[str, Any] = {"data": (given.data or data_folder()).absolute()}
    if given.quick:
        folder = Path(tempfile.mkdtemp(prefix=f"stgate-{entry.name}-quick-"))
        own |= {"out": folder, "work": folder / "work"}
    own |= {key: getattr(given, key).absolute() for key in ("out", "work") if getattr(given, key)}
    return Options(quick=given.quick, seeds=_seeds(entry, given.seeds), **own)


def _seeds(entry: Entry, asked: int | None) -> tuple[int, ...]:
    if isinstance(entry.seeds, int):
        return tuple(range(entry.seeds if asked is None else asked))
    if asked is not None:
        raise BenchmarkError(
            f"{entry.name} takes no --seeds; its seeds are {', '.join(map(str, entry.seeds)) or 'none'}"
        )
    return entry.seeds


def _help(entry: Entry, function: Any, shared: argparse.ArgumentParser) -> str:
    own = own_parser(function, entry.name)
    doc = inspect.getdoc(inspect.getmodule(function)) or ""
    text = (
        f"{entry.name}: {entry.claim}\n\ncost: {entry.cost}\n--quick: {entry.quick}\n\n{doc}\n\n{shared.format_help()}"
    )
    return text + (f"\nafter --, {own.format_help()}" if own._actions else "")


if __name__ == "__main__":
    sys.exit(main())
