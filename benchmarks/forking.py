"""Commands of `stgate` in forks of a process that has imported everything, so that a run costs no imports.

As a module, `python -m benchmarks.forking`, it is that process: it reads one request a line, forks a child in a process
group of its own, which can be killed, and answers with its number and then with its exit code.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

from benchmarks.registry import ONE_THREAD, ROOT

COMMANDS = ("backtest", "calibrate", "data", "fit.cli", "select", "simulate")
LIBRARIES = ("lightning", "netCDF4", "scipy.stats", "torch", "xarray", "zarr", "xarray.backends.zarr")


class Running:
    """A command that runs.

    Args:
        number: Number of its process group.
        ended: Function that waits for its end and returns its exit code, negative for a signal that ended it.
    """

    def __init__(self, number: int, ended: Any) -> None:
        self.number, self._ended = number, ended
        self.code: int | None = None

    def send(self, number: int) -> None:
        """Send a signal to the whole group, unless it is gone."""
        try:
            os.killpg(self.number, number)
        except ProcessLookupError:
            return

    def wait(self) -> int:
        """Wait for its end and return its exit code."""
        if self.code is None:
            self.code = self._ended()
        return self.code


class Plain:
    """Runner of commands as processes of their own, imports included."""

    def start(self, words: list[str], folder: Path, errors: Path) -> Running:
        """Start a command in a folder.

        Args:
            words: Words after `stgate`.
            folder: Working folder.
            errors: File of its stderr.
        """
        with errors.open("wb") as file:
            made = subprocess.Popen(
                [sys.executable, "-m", "stgate", *words],
                cwd=folder,
                env=_environment(),
                stdout=subprocess.DEVNULL,
                stderr=file,
                start_new_session=True,
                preexec_fn=_usual_signals,
            )
        return Running(made.pid, made.wait)

    def close(self) -> None:
        """Do nothing."""


class Forked:
    """Runner of commands as forks of a process that has imported everything."""

    def __init__(self) -> None:
        self.server = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "benchmarks.forking"],
            cwd=ROOT,
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()  # all is imported

    def start(self, words: list[str], folder: Path, errors: Path) -> Running:
        """Start a command in a folder.

        Args:
            words: Words after `stgate`.
            folder: Working folder.
            errors: File of its stderr.
        """
        request = {"words": words, "folder": str(folder), "errors": str(errors)}
        assert self.server.stdin is not None
        print(json.dumps(request), file=self.server.stdin, flush=True)
        return Running(self._answer(), self._answer)

    def close(self) -> None:
        """End the process."""
        assert self.server.stdin is not None
        self.server.stdin.close()
        self.server.wait()

    def _answer(self) -> int:
        assert self.server.stdout is not None
        return int(self.server.stdout.readline())


def _environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return os.environ | ONE_THREAD | {"PYTHONPATH": path}


def _usual_signals() -> None:
    """Undo what a shell's background job has: it ignores SIGINT."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def _become(request: dict[str, Any]) -> None:
    """Become the process of a command: group, folder, output and arguments."""
    os.setpgid(0, 0)
    os.chdir(request["folder"])
    nothing, errors = os.open(os.devnull, os.O_RDWR), os.open(request["errors"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for target, source in ((0, nothing), (1, nothing), (2, errors)):
        os.dup2(source, target)
    sys.argv = ["stgate", *request["words"]]


def serve(requests: IO[str], answers: IO[str]) -> dict[str, Any] | None:
    """Answer requests until there are no more; in a child, return the request that it is to run.

    Args:
        requests: Requests, one a line.
        answers: Answers, one a line.
    """
    for line in iter(requests.readline, ""):
        answers.flush()
        number = os.fork()
        if number == 0:
            return dict(json.loads(line))
        os.setpgid(number, number)  # here too: it is there when the number is told
        print(number, file=answers, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]), file=answers, flush=True)
    return None


def main() -> None:
    """Import everything, serve, and in a child run the command."""
    from stgate.__main__ import entry

    _usual_signals()  # those that a new process has, in each child
    for name in (*LIBRARIES, *(f"stgate.commands.{name}" for name in COMMANDS)):
        importlib.import_module(name)
    for name in ("forecasting._forecast", "forecasting._calibrate", "forecasting._calibrate_reconstruction"):
        importlib.import_module(f"stgate.{name}")
    print(0, flush=True)
    request = serve(sys.stdin, sys.stdout)
    if request is not None:
        _become(request)
        sys.exit(entry())


if __name__ == "__main__":
    main()
