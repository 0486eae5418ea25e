"""The index of results: each file with its benchmark, its commit and the date."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from benchmarks.record import git, write
from benchmarks.registry import RESULTS
from benchmarks.tables import table

HEAD = """# Results

Made by `python -m benchmarks index`. A file without a record (see `records/`) was last committed with the figures it
holds: the commit and the date are those of `git log -1 --format=%h -- FILE`. Files that are older than the command
`python -m benchmarks` name the script of that commit.
"""


def index(names: Iterable[str], folder: Path = RESULTS) -> str:
    """Return the table of all result files as Markdown.

    Args:
        names: Names of the benchmarks.
        folder: Folder of the results.
    """
    known, rows = set(names), []
    for path in sorted(p for p in folder.iterdir() if p.suffix in (".json", ".md") and p.name != "README.md"):
        commit, date = commit_of(path)
        rows.append([f"[{path.name}]({path.name})", path.stem if path.stem in known else "(none today)", commit, date])
    return HEAD + "\n" + "\n".join(table(["file", "benchmark", "commit", "date"], rows)) + "\n"


def commit_of(path: Path) -> tuple[str, str]:
    """Return the commit whose code made a file, and the date: by its record, else by git."""
    record = path.parent / "records" / f"{path.stem}.json"
    if record.exists():
        made = json.loads(record.read_text(encoding="utf-8"))
        return f"{made['commit'] or 'unknown'}{' with changes' if made['dirty'] else ''}", made["date"][:10]
    commit, _, date = (git("log", "-1", "--format=%h %cs", "--", str(path.resolve())) or "").partition(" ")
    return commit or "not committed", date or "-"


def write_index(names: Iterable[str], folder: Path = RESULTS) -> Path:
    """Write the index beside the results; return its path."""
    path = folder / "README.md"
    write(path, index(names, folder))
    return path
