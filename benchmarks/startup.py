"""CPU seconds of `import stgate` and `stgate --help`: the least of five runs."""

import sys

from benchmarks.options import Findings, Options
from benchmarks.processes import watch
from benchmarks.registry import benchmark
from benchmarks.tables import table

COMMANDS = {
    "import stgate": ("-c", "import stgate"),
    "stgate --help": ("-m", "stgate", "--help"),
    "stgate simulate --help": ("-m", "stgate", "simulate", "--help"),
    "stgate forecast --help": ("-m", "stgate", "forecast", "--help"),
    "stgate fit --help": ("-m", "stgate", "fit", "--help"),
    "python -c pass": ("-c", "pass"),
}


@benchmark(
    "startup",
    claim="`import stgate` takes under 0.5 s and `stgate --help` under 0.3 s of CPU",
    cost="30 seconds",
    quick="one run of each command",
)
def run(options: Options):
    rounds = 1 if options.quick else 5
    figures = {
        name: round(min(watch([sys.executable, *arguments])["cpu"] for _ in range(rounds)), 3)
        for name, arguments in COMMANDS.items()
    }
    lines = table(["command", "CPU seconds"], ([f"`{name}`", f"{seconds:.3f}"] for name, seconds in figures.items()))
    return Findings("What starting costs", lines, figures)
