"""The `stgate` command: a dispatcher that needs nothing but the standard library."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from stgate._version import __version__
from stgate.errors import StgateError, StgateWarning, did_you_mean

COMMANDS = {
    "simulate": ("stgate.commands.simulate", "make a benchmark panel from a chaotic system"),
    "lyapunov": ("stgate.commands.lyapunov", "measure the Lyapunov exponents of a chaotic system"),
    "data": ("stgate.commands.data", "convert tables to a panel; check a panel"),
    "mask": ("stgate.commands.mask", "mask a share of a panel, to score reconstruction"),
    "fit": ("stgate.commands.fit.cli", "train a forecaster and calibrate its intervals"),
    "validate": ("stgate.commands.fit.cli", "score a checkpoint on the validation part"),
    "test": ("stgate.commands.fit.cli", "score a checkpoint on the test part"),
    "predict": ("stgate.commands.fit.cli", "forecast every window of the test part"),
    "stack": ("stgate.commands.stack", "pool fitted forecasters into one"),
    "calibrate": ("stgate.commands.calibrate", "fit a checkpoint's intervals again, on data it has not seen"),
    "forecast": ("stgate.commands.forecast", "forecast the steps after a panel's last observation"),
    "backtest": ("stgate.commands.backtest", "forecast again and again through the past"),
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
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: The command's name and arguments; None takes those of the process.

    Returns:
        Exit status: 0 when done, 1 when the work failed, 2 when the request was wrong, 130 when it was interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    arguments = [a for a in arguments if a != "--debug"]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        commands = "\n".join(f"  {name:<11} {what}" for name, (_, what) in COMMANDS.items())
        print(USAGE.format(commands=commands), end="")
        return 0 if arguments else 2
    name, rest = arguments[0], arguments[1:]
    if name in ("-V", "--version"):
        print(f"stgate {__version__}")
        return 0
    if name not in COMMANDS:
        return _fail(f"no command {name!r}; {did_you_mean(name, COMMANDS)}", 2)
    try:
        with _warnings_as_lines():
            return int(importlib.import_module(COMMANDS[name][0]).run(name, rest) or 0)
    except StgateError as error:
        if debug:
            raise
        return _fail(str(error), error.exit_code)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except PermissionError as error:
        return _fail(f"{error.filename}: permission denied; choose another place", 2)
    except BrokenPipeError:
        return 0  # the reader of a table closed it, as `| head` does
    except Exception as error:
        if debug:
            raise
        return _fail(f"failed: {type(error).__name__}: {' '.join(str(error).split())[:300]} (--debug shows where)", 1)


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


def _fail(message: str, code: int) -> int:
    print(f"stgate: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
