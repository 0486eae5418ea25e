"""Processes of their own: a function called in a fresh interpreter, and the memory of a process.

As a module, `python -m benchmarks.processes MODULE:FUNCTION JSON`, it is the fresh interpreter's side.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.registry import ROOT, BenchmarkError

MAXRSS = 1 if sys.platform == "darwin" else 1024
"""Bytes in a unit of `ru_maxrss`."""


def call(
    function: Callable[..., Any],
    *arguments: object,
    python: Path | str = sys.executable,
    environment: Mapping[str, str] | None = None,
    core: int | None = None,
) -> Any:
    """Call a module's function in a fresh interpreter and return what it returns, by way of JSON.

    Args:
        function: Function of a module of this package.
        arguments: Arguments that JSON can hold; paths become text.
        python: Interpreter.
        environment: Variables that are set beside those of this process.
        core: Core that the process is held to.
    """
    target = f"{function.__module__}:{function.__name__}"
    given = json.dumps([str(a) if isinstance(a, Path) else a for a in arguments])
    made = subprocess.run(
        [str(python), "-W", "ignore", "-m", "benchmarks.processes", target, given],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | dict(environment or {}),
        preexec_fn=None if core is None else lambda: os.sched_setaffinity(0, {core}),
    )
    if made.returncode:
        raise BenchmarkError(f"{target} failed in a process of its own: {(made.stderr.splitlines() or ['-'])[-1]}")
    return json.loads(made.stdout.splitlines()[-1])


def peak_memory() -> int:
    """Return the peak resident memory of this process, in bytes.

    On Linux not from getrusage, which counts what the parent held when it made this process.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text(encoding="utf-8").splitlines()
        return int(next(x for x in lines if x.startswith("VmHWM")).split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS


def watch(command: Sequence[str], *, cwd: Path | str | None = None, code: int = 0) -> dict[str, float]:
    """Run a command to its end; return its wall seconds, its CPU seconds and its peak resident memory in bytes.

    Args:
        command: The command and its arguments.
        cwd: Folder that it runs in; None for this one.
        code: Exit status that it should have.
    """
    started = time.monotonic()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=cwd, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != code:
        raise BenchmarkError(f"ended with {process.returncode}: {' '.join(command)}")
    spent = {"wall": time.monotonic() - started, "cpu": usage.ru_utime + usage.ru_stime}
    return spent | {"peak": usage.ru_maxrss * MAXRSS}


def main() -> None:
    """Call the function that the command line names and print what it returns."""
    module, _, function = sys.argv[1].partition(":")
    print(json.dumps(getattr(importlib.import_module(module), function)(*json.loads(sys.argv[2]))))


if __name__ == "__main__":
    main()
