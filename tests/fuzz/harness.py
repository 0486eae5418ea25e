"""Edited files given to a reader, in a process that may crash, hang or take too much memory."""

from __future__ import annotations

import collections
import dataclasses
import os
import pickle
import random
import resource
import select
import signal
import tempfile
import time
import traceback
import warnings
from pathlib import Path

from fuzz.mutations import copy
from fuzz.readers import READERS

from stgate.errors import StgateError

HANG = 60.0
"""Seconds after which a case hangs."""
GOOD = ("read", "refused")
"""Outcomes of a case as they should be."""


@dataclasses.dataclass
class Report:
    """What became of the cases of a reader.

    Attributes:
        outcomes: Numbers of cases by outcome: `read`, `refused`, or what should not be.
        examples: The numbers of a few cases, and what happened, by each outcome that should not be.
        memory: The most memory that a process with cases held, in bytes.
        slowest: The seconds of the slowest case.
    """

    outcomes: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    examples: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    memory: int = 0
    slowest: float = 0.0

    def add(self, number: int, outcome: str, seconds: float, memory: int = 0, detail: str = "") -> None:
        """Count a case."""
        self.outcomes[outcome] += 1
        self.slowest, self.memory = max(self.slowest, seconds), max(self.memory, memory)
        if outcome not in GOOD and len(self.examples.setdefault(outcome, [])) < 5:
            self.examples[outcome].append(f"case {number}: {detail}")

    @property
    def bad(self) -> int:
        """Number of cases that should not be."""
        return sum(count for outcome, count in self.outcomes.items() if outcome not in GOOD)


def make_case(name: str, seed: int, number: int, valid: Path, place: Path) -> Path:
    """Write the file of a case.

    Args:
        name: The reader.
        seed: Seed of all cases.
        number: Number of the case.
        valid: The valid file.
        place: Folder of the case's file.

    Returns:
        The edited file.
    """
    reader, draw = READERS[name], random.Random(f"{name} {seed} {number}")
    path = place / reader.name
    copy(valid, path)
    draw.choice(reader.edits)(path, draw)
    return path


def try_case(name: str, path: Path) -> tuple[str, str]:
    """Read a file; return the outcome, and what happened if it should not be."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            READERS[name].read(path)
        return "read", ""
    except StgateError as error:
        if len(str(error).splitlines()) == 1 and str(error).isprintable():
            return "refused", ""
        return "several lines", repr(str(error))[:300]
    except BaseException as error:
        frame = [f for f in traceback.extract_tb(error.__traceback__) if "stgate" in f.filename][-1:]
        where = f"{Path(frame[0].filename).name}:{frame[0].lineno}" if frame else "?"
        return f"{type(error).__name__} at {where}", " ".join(str(error).split())[:200]


def run_cases(name: str, numbers: range, seed: int = 0) -> Report:
    """Try cases, a few hundred in a process; after a crash or a hang the next ones are tried in another.

    Args:
        name: The reader.
        numbers: Numbers of the cases.
        seed: Seed of all cases.

    Returns:
        What became of them.
    """
    report = Report()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        valid = Path(folder) / "valid" / READERS[name].name
        valid.parent.mkdir()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            READERS[name].make(valid)
        first = numbers.start
        while first < numbers.stop:
            first = _batch(report, name, range(first, min(first + 500, numbers.stop)), seed, valid)
    return report


def _batch(report: Report, name: str, numbers: range, seed: int, valid: Path) -> int:
    """Try cases in one process; return the number of the next case."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reading)
        with os.fdopen(writing, "wb") as answers:
            _work(name, numbers, seed, valid, answers)
        os._exit(0)
    os.close(writing)
    number, content = numbers.start, b""
    with os.fdopen(reading, "rb", buffering=0) as answers:
        while number < numbers.stop:
            if not select.select([answers], [], [], HANG)[0]:
                os.killpg(process, signal.SIGKILL)
                os.waitpid(process, 0)
                report.add(number, "hang", HANG)
                return number + 1
            content += (piece := answers.read(65536))
            while len(content) >= 4 and len(content) >= 4 + (size := int.from_bytes(content[:4], "big")):
                report.add(number, *pickle.loads(content[4 : 4 + size]))
                content, number = content[4 + size :], number + 1
            if not piece and number < numbers.stop:
                _, status = os.waitpid(process, 0)
                report.add(number, f"crash {os.waitstatus_to_exitcode(status)}", 0.0)
                return number + 1
    os.waitpid(process, 0)
    return number


def _work(name: str, numbers: range, seed: int, valid: Path, answers) -> None:
    """Try cases and tell of each."""
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=valid.parents[1]) as folder:
        for number in numbers:
            path = make_case(name, seed, number, valid, Path(folder))
            begin = time.monotonic()
            outcome, detail = try_case(name, path)
            seconds = time.monotonic() - begin
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            content = pickle.dumps((outcome, seconds, peak, detail))
            answers.write(len(content).to_bytes(4, "big") + content)
            answers.flush()
