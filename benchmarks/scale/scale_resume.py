"""A backtest to zarr that is killed at random moments and resumed: the same bytes, and no more than a block is lost.

Each of three backtests (stored, rolling and adaptive intervals) runs undisturbed once. Then it is killed with SIGKILL
at seeded random moments, from before its first byte to after its last; what is left is read, which must be refused or
whole; and it is resumed. The bytes of all files must then be those of the undisturbed run, but for the line `history`,
which holds the time of day. Commands are forks of a process that has imported everything (`benchmarks/forking.py`).
"""

from __future__ import annotations

import json
import random
import shutil
import time
from pathlib import Path

from benchmarks.forking import Forked
from benchmarks.kills import make_inputs
from benchmarks.options import Findings, Options
from benchmarks.registry import BenchmarkError, benchmark
from benchmarks.tables import table

WAYS = {
    "stored": ("--calibration", "stored"),
    "rolling": ("--calibration", "rolling", "--from", "2020-03-01", "--calibration-window", "100"),
    "adaptive": ("--calibration", "adaptive", "--from", "2020-03-01", "--calibration-window", "100"),
}


def bytes_of(store: Path) -> dict[str, bytes]:
    """Return the bytes of each file of a store, without the line of history."""
    held = {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}
    plain = json.loads(held["zarr.json"])
    plain["attributes"].pop("history")
    held["zarr.json"] = json.dumps(plain).encode()
    return held


class Bench:
    """Kills of one backtest.

    Args:
        way: Words of its options.
        folder: Working folder.
        inputs: Folder of inputs.
        runner: Runner of commands.
    """

    def __init__(self, way: tuple[str, ...], folder: Path, inputs: Path, runner: Forked) -> None:
        self.runner, self.scene, self.errors = runner, folder / "scene", folder / "stderr"
        given = [str(inputs / "panel.nc"), "--checkpoint", str(inputs / "model.ckpt")]
        self.words = ["backtest", *given, *way, "--out", "out.zarr"]
        self.out = self.scene / "out.zarr"
        self.clear()
        started = time.monotonic()
        self.finish()
        self.length = time.monotonic() - started
        self.whole = bytes_of(self.out)

    def clear(self) -> None:
        """Empty the folder of results."""
        shutil.rmtree(self.scene, ignore_errors=True)
        self.scene.mkdir(parents=True)

    def finish(self, *more: str) -> None:
        """Run the command to its end.

        Raises:
            BenchmarkError: It failed.
        """
        if code := self.runner.start([*self.words, *more], self.scene, self.errors).wait():
            raise BenchmarkError(f"{' '.join(self.words)}: {code}, {self.errors.read_text('utf-8')}")

    def kill(self, draw: random.Random) -> tuple[bool, int, bool]:
        """Kill a run and resume it; return if it was under way, the number of blocks kept, and if all is the same."""
        import stgate

        self.clear()
        running = self.runner.start(self.words, self.scene, self.errors)
        time.sleep(draw.uniform(0, 1.05 * self.length))
        running.send(9)
        running.wait()
        partial = self.out.with_name("out.zarr.partial")
        under_way, kept = partial.exists(), len(list(partial.glob("[0-9]*.npz")))
        safe = True
        if not self.out.exists():
            try:
                stgate.open_forecast(self.out)
                safe = False
            except stgate.StgateError:
                safe = True
        self.finish("--resume")
        left = [path.name for path in self.scene.iterdir()] != ["out.zarr"]
        return under_way, kept, safe and not left and bytes_of(self.out) == self.whole


@benchmark(
    "scale_resume",
    claim="20 of 20 killed backtests end in the bytes of an undisturbed one",
    cost="ten minutes",
    quick="two kills of each backtest",
)
def run(options: Options, *, kills: int = 20) -> Findings:
    """Kill backtests at random moments and resume them.

    Args:
        options: Options of all benchmarks.
        kills: Number of kills of each backtest.
    """
    kills = 2 if options.quick else kills
    folder = options.working("scale_resume")
    runner = Forked()
    rows, figures, missed = [], {}, []
    try:

        def once(words: list[str], where: Path) -> None:
            if code := runner.start(words, where, folder / "stderr").wait():
                raise BenchmarkError(f"{' '.join(words)}: {code}, {(folder / 'stderr').read_text('utf-8')}")

        make_inputs(folder / "inputs", once)
        for name, way in WAYS.items():
            bench, draw = Bench(way, folder, folder / "inputs", runner), random.Random(name)
            found = [bench.kill(draw) for _ in range(kills)]
            same, middle = sum(one[-1] for one in found), sum(one[0] for one in found)
            figures[name] = {"kills": kills, "in the middle": middle, "same bytes": same, "kept": [f[1] for f in found]}
            rows.append([name, kills, middle, f"{same} of {kills}"])
            print(f"{name}: {same} of {kills} gave the same bytes, {middle} of them in the middle", flush=True)
            if same < kills:
                missed.append(f"{name}: {same} of {kills}")
    finally:
        runner.close()
    lines = table(["intervals", "kills", "in the middle of its work", "the same bytes"], rows)
    return Findings("Backtests that are killed and resumed", lines, figures, missed=missed)
