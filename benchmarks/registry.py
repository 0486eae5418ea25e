"""The registry of benchmarks: a decorator that names a function, and a reader that finds the names without imports.

The decorator's arguments are literals, so that `list` reads them from the source: a benchmark may import torch or a
rival package that is not installed, and a thread count can be set before its file imports numpy.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent
RESULTS = HERE / "results"
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}


class BenchmarkError(Exception):
    """A request that cannot be met, in one line."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """A benchmark, as its decorator describes it.

    Attributes:
        name: Name on the command line and of its result files.
        claim: Claim that it tests, one line.
        cost: Rough cost, and what it needs.
        quick: Reduction of the work that `--quick` makes.
        seeds: Number of seeds that `--seeds` can change, or a tuple of seeds that are fixed.
        one_thread: Whether numpy and torch are held to one thread.
        module: Module that holds the function.
        function: Name of the function.
    """

    name: str
    claim: str
    cost: str
    quick: str
    seeds: int | tuple[int, ...] = ()
    one_thread: bool = False
    module: str = ""
    function: str = ""

    def load(self) -> Callable[..., Any]:
        """Import the function.

        Raises:
            BenchmarkError: A package that it imports is not installed.
        """
        try:
            made: Callable[..., Any] = getattr(importlib.import_module(self.module), self.function)
        except ModuleNotFoundError as error:
            raise BenchmarkError(f"{self.name} needs the package {error.name}, which is not installed") from error
        return made


def benchmark(
    name: str,
    *,
    claim: str,
    cost: str,
    quick: str,
    seeds: int | tuple[int, ...] = (),
    one_thread: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function `(options: Options, *, ...) -> Findings`; its further keywords are options of the command.

    Args:
        name: Name on the command line and of the result files.
        claim: Claim that is tested, one line.
        cost: Rough cost, and what is needed.
        quick: Reduction of the work that `--quick` makes.
        seeds: Number of seeds that `--seeds` can change, or a tuple of seeds that are fixed.
        one_thread: Hold numpy and torch to one thread, from before they are imported.
    """

    def keep(function: Callable[..., Any]) -> Callable[..., Any]:
        entry = Entry(name, claim, cost, quick, seeds, one_thread, function.__module__, function.__name__)
        function.benchmark = entry  # type: ignore[attr-defined]
        return function

    return keep


def find(folder: Path = HERE) -> dict[str, Entry]:
    """Find the benchmarks of a folder, by name, from the source alone.

    Args:
        folder: Package whose files are read, sub-packages too.

    Raises:
        BenchmarkError: Two benchmarks of one name.
    """
    found: dict[str, Entry] = {}
    for path in sorted(folder.rglob("*.py")):
        module = ".".join([folder.name, *path.relative_to(folder).with_suffix("").parts])
        for entry in _entries(path, module):
            if entry.name in found:
                raise BenchmarkError(f"{entry.name}: both in {found[entry.name].module} and in {module}")
            found[entry.name] = entry
    return dict(sorted(found.items()))


def _entries(path: Path, module: str) -> list[Entry]:
    """Read the decorators of a file."""
    functions = [n for n in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(n, ast.FunctionDef)]
    return [
        Entry(
            *(ast.literal_eval(a) for a in call.args),
            **{str(k.arg): ast.literal_eval(k.value) for k in call.keywords},
            module=module,
            function=function.name,
        )
        for function in functions
        for call in function.decorator_list
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "benchmark"
    ]
