"""The `stgate` command: a dispatcher that needs nothing but the standard library."""

from __future__ import annotations

import atexit
import errno
import importlib
import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from types import CodeType, FrameType
from typing import Any

from stgate._version import __version__
from stgate.errors import StgateError, StgateWarning, did_you_mean, one_line

COMMANDS = {
    "simulate": ("stgate.commands.simulate", "make a benchmark panel from a chaotic system"),
    "lyapunov": ("stgate.commands.lyapunov", "measure the Lyapunov exponents of a chaotic system"),
    "data": ("stgate.commands.data", "convert tables to a panel; check a panel"),
    "mask": ("stgate.commands.mask", "mask a share of a panel, to score reconstruction"),
    "fit": ("stgate.commands.fit.desk.examine", "train a forecaster and calibrate its intervals"),
    "tune": ("stgate.commands.tune", "search the options of a fit by its validation score"),
    "validate": ("stgate.commands.fit.desk.examine", "score a checkpoint on the validation part"),
    "test": ("stgate.commands.fit.desk.examine", "score a checkpoint on the test part"),
    "predict": ("stgate.commands.fit.desk.examine", "forecast every window of the test part"),
    "stack": ("stgate.commands.stack", "pool fitted forecasters into one"),
    "calibrate": ("stgate.commands.calibrate", "fit a checkpoint's intervals again, on data it has not seen"),
    "forecast": ("stgate.commands.forecast", "forecast the steps after a panel's last observation"),
    "backtest": ("stgate.commands.backtest", "forecast again and again through the past"),
    "export": ("stgate.commands.export", "write a checkpoint as one graph, for onnxruntime or torch.export"),
    "reconstruct": (
        "stgate.commands.reconstruct",
        "impute a panel's gaps, or other places, from a fitted field",
    ),
    "evaluate": ("stgate.commands.evaluate", "score forecasts against the observed truth"),
    "plot": ("stgate.commands.plot", "draw a forecast: fan chart or space-time picture"),
}

USAGE = """usage: stgate COMMAND ...

Gated spatiotemporal forecasting: a panel goes in, a forecast with intervals comes out.

{commands}

  stgate COMMAND --help   the options of a command
  stgate --version        the version
  --debug                 with any command: show the traceback of an error
  --untrusted             with any command: read netCDF and HDF5 files in another process first, all of their values
"""

PATIENCE = 20.0
"""Seconds after which a command that was told to stop, and does not, is ended."""
TRIES = 100
"""Largest number of times, 0.01 seconds apart, that an exception waits for a context to be entered or left."""
PLACES = (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EROFS)
"""Numbers of errors that say that a path cannot be used: the request was wrong."""
received: list[int] = []
"""Signals that have told the command to stop."""


class Terminated(KeyboardInterrupt):
    """Raised by SIGTERM: what cleans up after SIGINT, which raises KeyboardInterrupt, then does so here too."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: The command's name and arguments; None takes those of the process.

    Returns:
        Exit status: 0 when done, 1 when the work failed, 2 when the request was wrong, 130 when it was interrupted, 143
        when it was terminated.
    """
    with _stoppable():
        try:
            code = 0 if received else _main(argv)
        except KeyboardInterrupt:
            return _stopped()
        return code if code or not received else _stopped()


def entry() -> int:
    """Run a command as a process of its own; a signal that comes after its work is answered, too."""
    codes: list[int] = []
    atexit.register(_leave, codes)  # before all others, so that it is called last
    if isinstance(sys.stdout, io.TextIOWrapper):  # of a name that it cannot hold it prints the code
        sys.stdout.reconfigure(errors="backslashreplace")
    code = main()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: _end(number))
    codes.append(code)
    return code


def _leave(codes: list[int]) -> None:
    """End the process without taking the libraries down one by one: Python answers no signal meanwhile."""
    if codes:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):  # closed by the caller: it is None then
                stream.flush()
        os._exit(codes[0])


def _main(argv: Sequence[str] | None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug, untrusted = "--debug" in arguments, "--untrusted" in arguments
    arguments = [a for a in arguments if a not in ("--debug", "--untrusted")]
    try:
        os.getcwd()
    except FileNotFoundError:  # in which some libraries cannot be loaded
        return _fail("the working folder is gone; change to one that exists", 2)
    name, rest = (arguments[0] if arguments else ""), arguments[1:]
    try:
        if name not in COMMANDS:
            return _about(name)
        with _warnings_as_lines(), _distrust() if untrusted else nullcontext():
            return int(importlib.import_module(COMMANDS[name][0]).run(name, rest) or 0)
    except StgateError as error:
        if debug:
            raise
        return _fail(str(error), error.exit_code)
    except SystemExit as stop:
        if received:  # Lightning turns an interrupt into it
            return _stopped()
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BrokenPipeError:
        return 0  # the reader of a table closed it, as `| head` does
    except Exception as error:
        if debug:
            raise
        if received:  # such as that of a worker which was stopped, too
            return _stopped()
        if isinstance(error, OSError) and error.errno in PLACES and error.strerror:
            return _fail(one_line(f"{error.filename}: {error.strerror.lower()}; choose another place"), 2)
        if isinstance(error, MemoryError) or "can't allocate memory" in str(error):  # torch's is a RuntimeError
            return _fail("needs more memory than there is; give smaller options or less data (--debug shows where)", 1)
        return _fail(f"failed: {type(error).__name__}: {' '.join(str(error).split())[:300]} (--debug shows where)", 1)


def _about(name: str) -> int:
    """Print the commands or the version."""
    if name in ("-V", "--version"):
        print(f"stgate {__version__}")
        return 0
    if name not in ("", "-h", "--help", "help"):
        return _fail(f"no command {name!r}; {did_you_mean(name, COMMANDS)}", 2)
    commands = "\n".join(f"  {name:<11} {what}" for name, (_, what) in COMMANDS.items())
    print(USAGE.format(commands=commands), end="")
    return 0 if name else 2


@contextmanager
def _distrust() -> Iterator[None]:
    """Tell the readers of files, in this process and its workers, that the files are those of strangers."""
    before = os.environ.get("STGATE_UNTRUSTED")
    os.environ["STGATE_UNTRUSTED"] = "1"
    try:
        yield
    finally:
        os.environ.pop("STGATE_UNTRUSTED")
        if before is not None:
            os.environ["STGATE_UNTRUSTED"] = before


@contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Print the package's warnings as one line each, each only once."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", StgateWarning)
        usual, shown = warnings.showwarning, set()

        def show(message: Warning | str, category: type[Warning], *rest: Any) -> None:  # noqa: ANN401
            if not issubclass(category, StgateWarning):
                usual(message, category, *rest)
            elif str(message) not in shown:
                shown.add(str(message))
                print(f"stgate: warning: {message}", file=sys.stderr)

        warnings.showwarning = show  # type: ignore[assignment]
        yield


@contextmanager
def _stoppable() -> Iterator[None]:
    """Turn the first SIGTERM or SIGINT into an exception; a second one, or a long wait, ends the process."""
    if threading.current_thread() is not threading.main_thread():  # only that one may set handlers
        yield
        return
    owner, before, late = os.getpid(), {}, threading.Timer(PATIENCE, lambda: _end(received[0]))
    late.daemon = True
    again: list[threading.Timer] = []  # those that send the signal again, since it came at a bad moment
    waiting = False

    def later() -> None:
        nonlocal waiting
        waiting = True
        again.append(threading.Timer(0.01, os.kill, (owner, received[0])))
        again[-1].daemon = True
        again[-1].start()

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal waiting
        if os.getpid() != owner:  # a worker: it ends as it would by default
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif received and not waiting:
            _end(received[0])
        else:
            if not received:
                received.append(number)
                late.start()
            waiting, called = False, _called(frame)
            if _main.__code__ not in called:  # not begun, or done: `main` knows
                return
            if len(again) < TRIES and any(code.co_name in ("__enter__", "__exit__", "__del__") for code in called):
                return later()  # a lock written in Python would be held for ever after
            raise Terminated if received[0] == signal.SIGTERM else KeyboardInterrupt

    def ignored(unraisable: Any) -> None:  # noqa: ANN401 (a type that Python has no name for)
        if not received:
            hook(unraisable)
        elif isinstance(unraisable.exc_value, KeyboardInterrupt):  # raised in a callback of a library, which drops it
            later()

    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) not in (signal.SIG_IGN, None):  # a shell's background job ignores SIGINT
            before[number] = signal.signal(number, stop)
    hook, sys.unraisablehook = sys.unraisablehook, ignored  # objects that a signal left half-made complain at their end
    try:
        yield
    finally:
        for timer in (late, *again):
            timer.cancel()
        for timer in again:
            timer.join()  # one that sends its signal now has to meet the handler
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.unraisablehook = hook
        received.clear()


def _called(frame: FrameType | None) -> list[CodeType]:
    """Return the code of a frame, and that of its callers."""
    called = []
    while frame is not None:
        called.append(frame.f_code)
        frame = frame.f_back
    return called


def _end(number: int) -> None:
    """End the process with a line, without a clean-up: a later command does that."""
    os.write(2, b"stgate: stopped\n")
    os._exit(128 + number)


def _stopped() -> int:
    return _fail("terminated" if received and received[0] == signal.SIGTERM else "interrupted", 130)


def _fail(message: str, code: int) -> int:
    """Print an error and return its exit status, or that of the signal behind it."""
    print(f"stgate: {message}", file=sys.stderr)
    return 128 + received[0] if received else code


if __name__ == "__main__":
    sys.exit(entry())
