"""Long runs to zarr: peak memory, and kill -9 at random moments: python benchmarks/streaming.py (needs 4 GB of disk).

1. 10^7 output states of Lorenz-96, N = 40, as one long trajectory and as a hundred shorter ones: peak memory of the
   whole command.
2. Runs of four systems, killed with SIGKILL at twenty seeded random moments of their life and resumed: the files and
   bytes of the store must be those of an unbroken run (but for the attribute `history`, which tells when it was made).
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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


def watched(arguments):
    """Run to the end; wall seconds and peak resident memory in MB."""
    started = time.monotonic()
    process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"failed: {' '.join(arguments)}")
    return time.monotonic() - started, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


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
            raise SystemExit(f"failed: {' '.join(arguments)}")
        shutil.rmtree(out)


def contents(store):
    """Every file's bytes; of the root's attributes all but the history."""
    files = {str(p.relative_to(store)): p.read_bytes() for p in sorted(store.rglob("*")) if p.is_file()}
    root = json.loads(files["zarr.json"])
    root["attributes"].pop("history")
    return {**files, "zarr.json": root}


def main():
    figures = {"peak memory, MB": {}, "killed after s of s": []}
    folder = Path(tempfile.mkdtemp())
    try:
        for name, options in LONG.items():
            seconds, peak = watched(command("lorenz96", *options, out=folder / "long.zarr"))
            figures["peak memory, MB"][name] = {"MB": round(peak), "seconds": round(seconds, 1)}
            print(f"{name}: {peak:.0f} MB, {seconds:.1f} s", flush=True)
            shutil.rmtree(folder / "long.zarr")
        moments = random.Random(0)
        unbroken, broken = {}, 0
        for kill in range(KILLS):
            run = RUNS[kill % len(RUNS)]
            if run not in unbroken:
                whole = folder / f"{run[0]}.zarr"
                seconds, _ = watched(command(*run, out=whole))
                unbroken[run] = seconds, contents(whole)
            seconds, expected = unbroken[run]
            out = folder / "killed.zarr"
            moment = killed(command(*run, out=out), moments, seconds, out)
            watched([*command(*run, out=out), "--resume"])
            same = contents(out) == expected and not (folder / "killed.zarr.partial").exists()
            broken += not same
            figures["killed after s of s"].append([run[0], round(moment, 2), round(seconds, 2), same])
            print(f"{run[0]} killed after {moment:.2f} of {seconds:.2f} s: same bytes {same}", flush=True)
            shutil.rmtree(out)
    finally:
        shutil.rmtree(folder)
    write(figures)
    return broken or max(f["MB"] for f in figures["peak memory, MB"].values()) >= LIMIT


def write(figures):
    lines = [
        "# Long runs to zarr",
        "",
        "`python benchmarks/streaming.py`: 10^7 output states of Lorenz-96, N = 40, float32, with the `fast` extra.",
        "",
        "| run | peak memory, MB | wall s |",
        "|---|---|---|",
        *(f"| {name} | {f['MB']} | {f['seconds']} |" for name, f in figures["peak memory, MB"].items()),
        "",
        "kill -9 at a random moment, then `--resume`; compared with an unbroken run byte by byte:",
        "",
        "| run | killed after, s | of, s | same bytes |",
        "|---|---|---|---|",
        *(f"| {n} | {m} | {s} | {'yes' if same else 'NO'} |" for n, m, s, same in figures["killed after s of s"]),
    ]
    folder = Path(__file__).parent / "results"
    (folder / "streaming.json").write_text(json.dumps(figures, indent=1) + "\n")
    (folder / "streaming.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
