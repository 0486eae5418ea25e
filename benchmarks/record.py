"""The record of a run: its figures as JSON, its table as Markdown, and where both come from.

NAME.json holds the figures, NAME.md the table, and records/NAME.json the command, the commit and whether the tree was
dirty, the date, the machine, the versions and the seeds. Each file is written whole or not at all.
"""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import uuid
from pathlib import Path
from typing import Any

from benchmarks.options import Findings, Options
from benchmarks.registry import ROOT, Entry

PACKAGES = (
    *("torch", "numpy", "lightning", "xarray", "pandas", "scipy", "zarr", "torchmetrics", "torch-geometric"),
    *("numba", "scikit-learn", "scoringrules", "dapper", "jax", "exponax", "reservoirpy", "pytorch-optimizer"),
)


@dataclasses.dataclass(frozen=True)
class Origin:
    """Commit, date and tree at the start of a run, which may last longer than the code stays as it is."""

    commit: str | None
    dirty: bool | None
    date: str

    @classmethod
    def now(cls) -> Origin:
        """Ask git; results that other runs have written do not make the tree dirty."""
        changed = git("status", "--porcelain", "--", ".", ":(exclude)benchmarks/results")
        date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        return cls(git("rev-parse", "--short", "HEAD"), None if changed is None else bool(changed), date)


def git(*arguments: str) -> str | None:
    """Return git's answer about the repository, None without git or without a repository."""
    try:
        made = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return made.stdout.strip()


def machine() -> dict[str, Any]:
    """Return the processor's model, the cores of this process, and the memory in GB."""
    model = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        names = [x for x in information.read_text(encoding="utf-8").splitlines() if x.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
    return {
        "processor": model,
        "cores": cores,
        "memory_gb": None if memory is None else round(memory / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Return the versions of Python, stgate and the packages that are installed of those that matter."""
    import stgate

    found = {"python": platform.python_version(), "stgate": stgate.__version__}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def describe(entry: Entry, options: Options, found: Findings, origin: Origin, command: str) -> dict[str, Any]:
    """Return where figures come from, as JSON can hold it.

    Args:
        entry: Benchmark that was run.
        options: Options of the run.
        found: Findings of the run.
        origin: State of the repository when the run began.
        command: Command that repeats the run.
    """
    made = {
        "benchmark": entry.name,
        "claim": entry.claim,
        "command": command,
        "quick": options.quick,
        **dataclasses.asdict(origin),
        "machine": machine(),
        "versions": versions(),
        "seeds": list(options.seeds if found.seeds is None else found.seeds),
        "missed": found.missed,
    }
    return made | ({"scores_of_earlier_runs": found.reused} if found.reused else {})


def markdown(found: Findings, record: dict[str, Any]) -> str:
    """Return the table with its heading, the command, and a last line on where it comes from."""
    computer, version = record["machine"], record["versions"]
    commit = f"commit {record['commit'] or 'unknown'}{' with changes' if record['dirty'] else ''}"
    packages = ", ".join(
        f"{name} {version[name]}" for name in ("stgate", "python", "torch", "numpy") if name in version
    )
    seeds = ", ".join(map(str, record["seeds"])) or "none"
    earlier = record.get("scores_of_earlier_runs")
    foot = (
        f"{record['date'][:10]}, {commit}; {computer['processor']}, {computer['cores']} cores, "
        f"{computer['memory_gb']} GB; {packages}; seeds: {seeds}"
        + (f"; {earlier} scores were made by earlier runs" if earlier else "")
        + "."
    )
    heading = f"`{record['command']}`" + (f"; {found.note}" if found.note else "")
    body = "\n".join(found.lines).strip("\n")
    return f"# {found.title}\n\n{heading}\n\n{body}\n\n{foot}\n"


def keep(found: Findings, record: dict[str, Any], folder: Path) -> list[Path]:
    """Write figures, table and record into a folder; return their paths."""
    name = record["benchmark"]
    figures = json.dumps(found.figures, indent=1) + "\n" if found.text is None else found.text
    files = {
        folder / f"{name}.json": figures,
        folder / f"{name}.md": markdown(found, record),
        folder / "records" / f"{name}.json": json.dumps(record, indent=1) + "\n",
    }
    for path, text in files.items():
        write(path, text)
    return list(files)


def write(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
