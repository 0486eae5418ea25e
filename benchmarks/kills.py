"""Commands that are killed, or told to stop, at random moments: nothing is lost, and nothing is left.

Each of six commands runs undisturbed once, which is the reference. Then it is killed with SIGKILL, its whole process
group, at seeded random moments; every second time an older result is in its place, made with other options. After each
kill the result has to be absent, or whole: that of the reference, or the older one. (A zarr store that is replaced may
be absent, since a folder is not replaced in one step; the next command puts it back. The folder of a fit may hold the
epochs so far, or what the older run has left of itself, but never a mixture of the two; each checkpoint has to load.)
The command then runs once more, with `--resume` where there is a run to resume, else with `--overwrite`: its exit code
has to be 0, its result that of the reference bit for bit (values of panels and forecasts, tensors of checkpoints, rows
of metrics), and nothing hidden, temporary or partial may be left. It is also told to stop by SIGTERM and by SIGINT: the
exit code has to be 143 or 130, stderr may hold one line that an undisturbed run does not, and nothing hidden is left.

A third of the kills hit processes that were started as a user starts them, at uniform moments of their life, most of
which is imports. Two thirds hit forks of a process that has imported everything (`forking.py`): half of them at uniform
moments of what is left, half at uniform moments after the first sign of writing, which is watched for. Moments go on to
1.1 times the length of the undisturbed run, so that some runs have ended by then. Runs after a kill are forks.
A process that a signal ends before any line of the package runs counts as 143 or 130, as in a shell.

Progress is kept in `--work`, one file for each commit: a run that was stopped goes on, unless there are changes that
are not committed.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import random
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr

from benchmarks.contents import contents, hidden, same
from benchmarks.forking import Forked, Plain
from benchmarks.options import Findings, Options
from benchmarks.record import Origin
from benchmarks.registry import BenchmarkError, benchmark
from benchmarks.tables import table

STEPS, NODES = 6000, 12
SIGNALS = {signal.SIGTERM: 143, signal.SIGINT: 130}
WHEN = ("before", "during", "after")
FAULTS = {"SIGKILL": ("lost", "left", "not equal")} | dict.fromkeys(
    ("SIGTERM", "SIGINT"), ("lost", "left", "wrong code", "tracebacks", "lines")
)
DATA = ("--data.targets", "[y]", "--data.window", "12", "--data.horizon", "6", "--data.eval_every", "6")
FIT = ("--model", "GatedRNN", "--model.hidden", "4", "--trainer.max_epochs", "3", "--calibration", "refit")


@dataclasses.dataclass(frozen=True)
class Case:
    """A command whose runs are killed.

    Attributes:
        name: Name of the command.
        words: Words after `stgate`; INPUTS stands for the folder of inputs.
        older: Words that make an older result, other than that of `words`.
        outs: Names of results, which the kills take in turns.
    """

    name: str
    words: tuple[str, ...]
    older: tuple[str, ...]
    outs: tuple[str, ...]


_FORECAST = ("INPUTS/panel.nc", "--checkpoint", "INPUTS/model.ckpt")
_TABLE = ("data", "convert", "INPUTS/table.csv", "--time", "time", "--node", "node", "--variables", "y")
CASES = (
    Case("fit", ("fit", "--data.panel", "INPUTS/short.nc", *FIT, *DATA), ("--seed_everything", "1"), ("run",)),
    Case(
        "simulate",
        ("simulate", "lorenz96", "--members", "20", "--duration", "1000", "--no-verify"),
        ("--seed", "1"),
        ("out.zarr",),
    ),
    Case("backtest", ("backtest", *_FORECAST, "--every", "2"), ("--from", "2020-08-20"), ("out.nc", "out.zarr")),
    Case("convert", _TABLE, ("--variables", "u"), ("out.nc", "out.zarr")),
    Case("calibrate", ("calibrate", *_FORECAST, "--from", "2020-03-01"), ("--levels", "0.5"), ("out.ckpt",)),
    Case(
        "data select",
        ("data", "select", "INPUTS/large.nc", "--without", "n1"),
        ("--nodes", "n2", "n3"),
        ("out.nc", "out.zarr"),
    ),
)


def make_inputs(folder: Path, run: Callable[[list[str], Path], None]) -> None:
    """Make panels, a table and a checkpoint, unless they are there.

    Args:
        folder: Folder of inputs.
        run: Function that runs a command in a folder.
    """
    if (folder / "model.ckpt").exists():
        return
    import stgate

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    panel = random_panel(STEPS, NODES)
    stgate.write(panel, folder / "panel.nc")
    stgate.write(panel.isel(time=slice(500)), folder / "short.nc")
    stgate.write(random_panel(20 * STEPS, NODES), folder / "large.nc")
    random_panel(3 * STEPS, NODES).to_dataframe().reset_index().to_csv(folder / "table.csv", index=False)
    run(["fit", "--data.panel", str(folder / "short.nc"), *FIT, *DATA, "--out", "made"], folder)
    (folder / "made" / "best.ckpt").rename(folder / "model.ckpt")


def random_panel(steps: int, nodes: int) -> xr.Dataset:
    """Return an hourly panel with gaps: `y` with a daily cycle, and `u`."""
    rng = np.random.default_rng(0)
    cycle = np.sin(2 * np.pi * np.arange(steps) / 24)[:, None] + np.arange(nodes)
    values = {"y": 10 + 3 * cycle + rng.standard_normal((steps, nodes)), "u": rng.standard_normal((steps, nodes))}
    time_axis = pd.date_range("2020-01-01", periods=steps, freq="h")
    coords = {"time": time_axis, "node": [f"n{number}" for number in range(nodes)]}
    panel = xr.Dataset({name: (("time", "node"), v.astype("float32")) for name, v in values.items()}, coords)
    return panel.where(rng.random((steps, nodes)) > 0.1)


class Bench:
    """Runs of one command for one kind of result.

    Args:
        case: The command.
        out: Name of its result.
        folder: Working folder.
        inputs: Folder of inputs.
        runners: The two runners.
    """

    def __init__(self, case: Case, out: str, folder: Path, inputs: Path, runners: dict[str, Any]) -> None:
        self.case, self.folder, self.runners = case, folder, runners
        self.words = [word.replace("INPUTS", str(inputs)) for word in case.words] + ["--out", out]
        self.scene, self.kept, self.errors = folder / "scene", folder / f"older-{out}", folder / "stderr"
        self.target = self.scene / out
        self.clear()
        self.finish([*self.words, *case.older])
        self.older = contents(self.target)
        shutil.rmtree(self.kept, ignore_errors=True)
        self.kept.mkdir()
        self.target.rename(self.kept / out)
        self.spans = {way: self.watched(way) for way in runners}
        self.lines = {masked(line) for line in self.stderr()}
        self.whole = contents(self.target)
        spans = ", ".join(f"{way} {began:.2f} and {whole:.2f} s" for way, (began, whole) in self.spans.items())
        print(f"{case.name}, {out}: writes after, and ends after, {spans}", flush=True)
        if same(self.whole, self.older):
            raise BenchmarkError(f"{case.name}: the older result cannot be told from the new one")

    def clear(self, *, older: bool = False) -> None:
        """Empty the folder in which the command runs; put the older result there if it is to be replaced."""
        shutil.rmtree(self.scene, ignore_errors=True)
        if older:
            shutil.copytree(self.kept, self.scene)
        else:
            self.scene.mkdir(parents=True)

    def stderr(self) -> list[str]:
        """Return the lines of stderr of the last run."""
        return self.errors.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").splitlines()

    def finish(self, words: list[str]) -> None:
        """Run a command to its end, in a fork.

        Raises:
            BenchmarkError: It failed.
        """
        code = self.runners["forked"].start(words, self.scene, self.errors).wait()
        if code:
            raise BenchmarkError(f"{' '.join(words)}: {code}, {' | '.join(self.stderr())}")

    def watched(self, way: str) -> tuple[float, float]:
        """Run the command; return the seconds until it began to write, and until its end."""
        self.clear()
        started, began = time.monotonic(), 0.0
        running = self.runners[way].start(self.words, self.scene, self.errors)
        waiting = threading.Thread(target=running.wait)
        waiting.start()
        while waiting.is_alive():
            if not began and any(self.scene.iterdir()):
                began = time.monotonic() - started
            time.sleep(0.005)
        if running.wait():
            raise BenchmarkError(f"{' '.join(self.words)}: {' | '.join(self.stderr())}")
        return began, time.monotonic() - started

    def hit(self, signal_number: int, draw: random.Random, number: int, *, older: bool) -> tuple[str, float, int]:
        """Start a run and send it a signal at a random moment; return way, moment and exit code."""
        self.clear(older=older)
        there, way = self.names(), ("plain", "forked", "forked")[number % 3]
        began, whole = self.spans[way]
        words = [*self.words, "--overwrite"] if older else self.words
        started = time.monotonic()
        running = self.runners[way].start(words, self.scene, self.errors)
        if number % 3 == 2:
            while self.names() == there and time.monotonic() - started < 2 * whole:
                time.sleep(0.001)
            time.sleep(draw.uniform(0, 1.1 * (whole - began)))
        else:
            time.sleep(draw.uniform(0, 1.1 * whole))
        running.send(signal_number)
        return way, time.monotonic() - started, running.wait()

    def names(self) -> set[str]:
        """Return the names of what is in the folder in which the command runs."""
        return {str(path) for path in (*self.scene.iterdir(), *self.target.glob("*.*"))}

    def state(self, *, older: bool) -> tuple[str, str]:
        """Return when the run was hit, before, during or after its writing, and what is lost in words."""
        left, found, lost = hidden(self.scene), None, ""
        try:
            found = self._run() if self.target.name == "run" else contents(self.target)
        except Exception as error:  # whatever its reader says of what is not whole
            return "during", f"not whole: {' '.join(str(error).split())[:200]}"
        new = found is not None and same(found, self.whole)
        old = found is not None and older and same(found, self.older)
        if self.target.name != "run" and not (new or old) and (found is not None or (older and not left)):
            lost = "another result" if found is not None else "the older result is gone"
        before = old or (found is None and not older)
        return ("after" if new and not left else "before" if before and not left else "during"), lost

    def _run(self) -> Any:
        """Return the contents of a run's folder, which may hold the epochs so far, but no mixture of two runs."""
        found = contents(self.target)
        if found is None:
            return None
        of, other = (
            (self.whole, self.older) if found["config.yaml"] != self.older["config.yaml"] else (self.older, self.whole)
        )
        for name in ("best.ckpt", "last.ckpt"):
            if same(found[name], other[name]) or (of is self.older and found[name] and not same(found[name], of[name])):
                raise ValueError(f"{name}: not of the run of config.yaml")
        rows = found["metrics.csv"]
        if rows is not None and not rows.equals(of["metrics.csv"].iloc[: len(rows)].reindex(columns=rows.columns)):
            raise ValueError("metrics.csv: not of the run of config.yaml")
        return found

    def again(self) -> str:
        """Run the command once more, in a fork; return what went wrong, in words."""
        try:
            self.finish(self._next())
            return "" if same(contents(self.target), self.whole) else f"not equal after {' '.join(self._next()[:1])}"
        except Exception as error:
            return " ".join(str(error).split())[:300]

    def _next(self) -> list[str]:
        """Return the words with which a user goes on."""
        if self.target.with_name("out.zarr.partial").exists():
            return [*self.words, "--resume"]
        if (self.target / "last.ckpt").exists() and contents(self.target / "config.yaml") == self.whole["config.yaml"]:
            return ["fit", "--out", "run", "--resume"]
        return [*self.words, "--overwrite"]

    def is_usual(self, line: str) -> bool:
        """Return whether a line is one of an undisturbed run, or of progress, which shows after a second of work."""
        return masked(line) in self.lines or re.match(r"\w+( \w+)*: \d+ % ", line) is not None

    def killed(self, number: int) -> dict[str, Any]:
        """Kill a run, look at what is there, and run it again."""
        older = number // 3 % 2 == 1
        draw = random.Random(f"{self.case.name} {self.target.name} {number}")
        way, moment, _ = self.hit(signal.SIGKILL, draw, number, older=older)
        when, lost = self.state(older=older)
        there = hidden(self.scene)
        wrong = self.again()
        left = hidden(self.scene)
        return {
            **{"kind": "SIGKILL", "way": way, "moment": round(moment, 3), "older": older, "when": when, "there": there},
            **{"lost": lost, "left": left, "not equal": wrong},
        }

    def told(self, signal_number: int, number: int) -> dict[str, Any]:
        """Tell a run to stop, and look at its exit code, its lines and what is there."""
        draw = random.Random(f"{self.case.name} {self.target.name} {signal_number} {number}")
        way, moment, code = self.hit(signal_number, draw, number, older=False)
        when, lost = self.state(older=False)
        lines = [line for line in self.stderr() if line.strip() and not self.is_usual(line)]
        ended = code in (SIGNALS[signal.Signals(signal_number)], -signal_number) or (code == 0 and when == "after")
        left = [name for name in hidden(self.scene) if name != "out.zarr.partial"]  # a run that can be resumed
        own = sum(line.startswith("stgate: ") for line in lines)
        return {
            **{"kind": signal.Signals(signal_number).name, "way": way, "moment": round(moment, 3), "when": when},
            **{"code": code, "lost": lost, "left": left, "wrong code": "" if ended else str(code)},
            "tracebacks": [line for line in lines if line.startswith("Traceback")],
            "lines": lines if len(lines) > own or own > 1 else [],
        }


def masked(line: str) -> str:
    """Return a line without its numbers."""
    return re.sub(r"[-+.,\d]+(e[-+]?\d+)?", "#", line).strip()


def rounds(case: Case, made: Callable[[str], Bench], kills: int, signals: int, done: list[Any]) -> Iterator[Any]:
    """Run what has not been done yet of a command; yield what was found.

    Args:
        case: The command.
        made: Maker of the bench of a result's name.
        kills: Number of kills.
        signals: Number of runs that are told to stop by each of two signals.
        done: Findings of earlier runs.
    """
    for kind, count in ((signal.SIGKILL, kills), *((number, signals) for number in SIGNALS)):
        for number in range(count):
            key = {"command": case.name, "kind": kind.name, "number": number}
            if any(key.items() <= one.items() for one in done):
                continue
            bench = made(case.outs[number // 6 % len(case.outs)])
            yield key | (bench.killed(number) if kind == signal.SIGKILL else bench.told(kind, number))


def rows_of(found: list[Any]) -> list[list[object]]:
    """Return the rows of the table, one a command and signal."""
    rows: list[list[object]] = []
    for command in dict.fromkeys(one["command"] for one in found):
        for kind, faults in FAULTS.items():
            own = [one for one in found if (one["command"], one["kind"]) == (command, kind)]
            if own:
                times = " / ".join(str(sum(one["when"] == when for one in own)) for when in WHEN)
                counts = {fault: sum(bool(one[fault]) for one in own) for fault in faults}
                rows.append([command, kind, len(own), times, *(counts.get(name, "") for name in HEADER[4:])])
    return rows


HEADER = ("command", "signal", "times", "before / during / after writing", *("lost", "left", "not equal"))
HEADER = (*HEADER, "wrong code", "tracebacks", "lines")


@benchmark(
    "kills",
    claim="50 kills each lose nothing and leave nothing",
    cost="an hour",
    quick="3 kills and 1 of each signal",
)
def run(options: Options, *, kills: int = 50, signals: int = 20, commands: list[str] | None = None) -> Findings:
    """Kill commands at random moments.

    Args:
        options: Options of all benchmarks.
        kills: Number of kills of each command.
        signals: Number of runs of each command that are told to stop by SIGTERM, and as many by SIGINT.
        commands: Names of commands (default: all).
    """
    torch.set_num_threads(1)
    kills, signals = (3, 1) if options.quick else (kills, signals)
    folder = options.working("kills")
    origin = Origin.now()
    notes = folder / f"{origin.commit}.jsonl"
    if origin.dirty:  # nobody can tell of which code earlier findings are
        notes.unlink(missing_ok=True)
    found = [json.loads(line) for line in notes.read_text("utf-8").splitlines()] if notes.exists() else []
    runners = {"forked": Forked(), "plain": Plain()}
    reused = len(found)
    try:
        make_inputs(folder / "inputs", functools.partial(_run_plainly, runners["plain"], folder / "stderr"))
        for case in CASES:
            if commands is None or case.name in commands:
                made = functools.cache(lambda out, case=case: Bench(case, out, folder, folder / "inputs", runners))
                for one in rounds(case, made, kills, signals, found):
                    found.append(one)
                    with notes.open("a", encoding="utf-8") as file:
                        print(json.dumps(one), file=file)
                    print(_line(one), flush=True)
    finally:
        for runner in runners.values():
            runner.close()
    missed = [_line(one) for one in found if any(one[fault] for fault in FAULTS[one["kind"]])]
    return Findings("Commands that are killed", table(HEADER, rows_of(found)), found, missed=missed, reused=reused)


def _run_plainly(runner: Plain, errors: Path, words: list[str], folder: Path) -> None:
    if code := runner.start(words, folder, errors).wait():
        raise BenchmarkError(f"{' '.join(words)}: {code}, {errors.read_text('utf-8')}")


def _line(one: dict[str, Any]) -> str:
    faults = "; ".join(f"{fault}: {one[fault]}" for fault in FAULTS[one["kind"]] if one[fault])
    hit = f"{one['command']} {one['number']}: {one['kind']} after {one['moment']:.2f} s ({one['way']})"
    return f"{hit}, {one['when']} its writing: {faults or 'ok'}"
