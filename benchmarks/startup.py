"""CPU seconds of `import stgate` and `stgate --help`, the least of several runs: python benchmarks/startup.py."""

import json
import resource
import subprocess
import sys
from pathlib import Path

COMMANDS = {
    "import stgate": ("-c", "import stgate"),
    "stgate --help": ("-m", "stgate", "--help"),
    "stgate simulate --help": ("-m", "stgate", "simulate", "--help"),
    "stgate forecast --help": ("-m", "stgate", "forecast", "--help"),
    "stgate fit --help": ("-m", "stgate", "fit", "--help"),
    "python -c pass": ("-c", "pass"),
}


def cpu_seconds(arguments):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    figures = {name: round(min(cpu_seconds(arguments) for _ in range(5)), 3) for name, arguments in COMMANDS.items()}
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    (folder / "startup.json").write_text(json.dumps(figures, indent=1) + "\n")
    lines = [f"| `{name}` | {seconds:.3f} |" for name, seconds in figures.items()]
    text = "\n".join(["| command | CPU seconds |", "|---|---|", *lines])
    (folder / "startup.md").write_text(f"# What starting costs\n\n`python benchmarks/startup.py`\n\n{text}\n")
    print(text)


if __name__ == "__main__":
    main()
