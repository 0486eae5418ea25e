"""Long runs to zarr: peak memory, and kill -9 at random moments.

1. 10^7 output states of Lorenz-96, N = 40, as one long trajectory and as a hundred shorter ones: peak memory of the
   whole command.
2. Runs of four systems, killed with SIGKILL at twenty seeded random moments of their life and resumed: the files and
   bytes of the store must be those of an unbroken run (but for the attribute `history`, which tells when it was made).
"""

import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.options import Findings, Options
from benchmarks.processes import watch
from benchmarks.registry import BenchmarkError, benchmark
from benchmarks.tables import table

LIMIT = 600  # MB
LONG = {
    "1 member x 10,000,000 times": ("--members", "1", "--duration", "499999.95"),
    "100 members x 100,000 times": ("--members", "100", "--duration", "4999.95"),
}
RUNS = (
    ("lorenz96", "--members", "100", "--duration", "1500"),
    ("kuramoto-sivashinsky", "--members", "20", "--duration", "2000"),
    ("lorenz96-two-scale", "--members", "4", "--duration", "40", "--scales", "x", "y", "--spinup", "1"),
    ("sensor-network", "--members", "4", "--duration", "20000"),
)
KILLS = 20


def command(system, *options, out):
    verify = () if system == "sensor-network" else ("--no-verify",)  # it has no twin run to leave out
    return [sys.executable, "-m", "stgate", "simulate", system, *options, *verify, "--out", str(out)]


def killed(arguments, moments, seconds, out):
    """Start a run and kill it at a random moment of its life, which is told; once more if it was done by then."""
    while True:
        moment = moments.uniform(0, seconds)
        process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL)
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        code = process.wait()
        if code == -signal.SIGKILL:
            return moment
        if code:
            raise BenchmarkError(f"failed: {' '.join(arguments)}")
        shutil.rmtree(out)


def contents(store):
    """Every file's bytes; of the root's attributes all but the history."""
    files = {str(p.relative_to(store)): p.read_bytes() for p in sorted(store.rglob("*")) if p.is_file()}
    root = json.loads(files["zarr.json"])
    root["attributes"].pop("history")
    return {**files, "zarr.json": root}


def peaks(folder, runs):
    """Peak memory in MB and wall seconds of long runs, by name."""
    found = {}
    for name, options in runs.items():
        spent = watch(command("lorenz96", *options, out=folder / "long.zarr"))
        found[name] = {"MB": round(spent["peak"] / 1e6), "seconds": round(spent["wall"], 1)}
        print(f"{name}: {found[name]['MB']} MB, {found[name]['seconds']} s", flush=True)
        shutil.rmtree(folder / "long.zarr")
    return found


def kills(folder, count):
    """System, moment of the kill, length of an unbroken run in seconds, and whether the bytes are the same, of each."""
    moments = random.Random(0)
    unbroken, found = {}, []
    for kill in range(count):
        run = RUNS[kill % len(RUNS)]
        if run not in unbroken:
            whole = folder / f"{run[0]}.zarr"
            unbroken[run] = watch(command(*run, out=whole))["wall"], contents(whole)
        seconds, expected = unbroken[run]
        out = folder / "killed.zarr"
        moment = killed(command(*run, out=out), moments, seconds, out)
        watch([*command(*run, out=out), "--resume"])
        same = contents(out) == expected and not (folder / "killed.zarr.partial").exists()
        found.append([run[0], round(moment, 2), round(seconds, 2), same])
        print(f"{run[0]} killed after {moment:.2f} of {seconds:.2f} s: same bytes {same}", flush=True)
        shutil.rmtree(out)
    return found


@benchmark(
    "streaming",
    claim="10^7 states go to zarr below 600 MB; a run that is killed and resumed has the same bytes",
    cost="20 minutes; 4 GB of disk, the extra fast",
    quick="four kills, no long run",
    seeds=(0,),
)
def run(options: Options):
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        figures = {
            "peak memory, MB": peaks(folder, {} if options.quick else LONG),
            "killed after s of s": kills(folder, 4 if options.quick else KILLS),
        }
    lines = table(
        ["run", "peak memory, MB", "wall s"],
        ([name, f["MB"], f["seconds"]] for name, f in figures["peak memory, MB"].items()),
    )
    lines += ["", "kill -9 at a random moment, then `--resume`; compared with an unbroken run byte by byte:", ""]
    lines += table(
        ["run", "killed after, s", "of, s", "same bytes"],
        ([n, m, s, "yes" if same else "NO"] for n, m, s, same in figures["killed after s of s"]),
    )
    missed = [f"other bytes: {n} killed after {m} s" for n, m, _, same in figures["killed after s of s"] if not same]
    missed += [f"{name}: {LIMIT} MB or more" for name, f in figures["peak memory, MB"].items() if f["MB"] >= LIMIT]
    note = "10^7 output states of Lorenz-96, N = 40, float32, with the `fast` extra."
    return Findings("Long runs to zarr", lines, figures, note, missed)
