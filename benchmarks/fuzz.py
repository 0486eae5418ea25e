"""Edited files, counted: what each reader does with ten thousand of them.

The files and the edits are those of tests/fuzz, whose short run is a part of `make test`.
"""

import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from benchmarks.options import Findings, Options
from benchmarks.processes import call
from benchmarks.registry import ONE_THREAD, ROOT, benchmark
from benchmarks.store import Store
from benchmarks.tables import table

sys.path.insert(0, str(ROOT / "tests"))
PIECE = 1000
"""Cases that a fresh process tries."""


def names() -> list[str]:
    """Return the names of the readers."""
    from fuzz.readers import READERS

    return list(READERS)


def try_cases(name: str, first: int, last: int, seed: int) -> dict[str, object]:
    """Try cases of a reader, in processes that are forked from this one.

    Args:
        name: The reader.
        first: The first case.
        last: The case behind the last one.
        seed: Seed of all cases.
    """
    from fuzz.harness import run_cases

    begin = time.monotonic()
    report = run_cases(name, range(first, last), seed)
    return {
        "outcomes": dict(report.outcomes),
        "examples": report.examples,
        "megabytes": round(report.memory / 1e6),
        "slowest": round(report.slowest, 2),
        "seconds": round(time.monotonic() - begin, 1),
    }


@benchmark(
    "fuzz",
    claim="of ten thousand edited files a reader, each is read or refused in one line; no crash, no hang, below 2 GB",
    cost="more than an hour on two cores",
    quick="100 cases a reader",
    seeds=(0,),
)
def run(options: Options, *, cases: int = 10_000, reader: str | None = None):
    """Try edited files.

    Args:
        options: Options of all benchmarks.
        cases: Number of cases of each reader.
        reader: A reader; all by default.
    """
    cases = 100 if options.quick else cases
    chosen = [reader] if reader else call(names, environment=ONE_THREAD)
    seed = options.seeds[0]
    store = Store(options.working("fuzz") / f"{cases}-{seed}.json")
    pieces = [(name, first) for name in chosen for first in range(0, cases, PIECE)]

    def once(piece: tuple[str, int]) -> dict[str, object]:
        name, first = piece
        arguments = (name, first, min(first + PIECE, cases), seed)
        return store.get(name, {}).get(str(first)) or call(try_cases, *arguments, environment=ONE_THREAD)

    with ThreadPoolExecutor(2) as pool:
        for (name, first), made in zip(pieces, pool.map(once, pieces), strict=True):
            store.once(name, str(first), make=lambda made=made: made)
    figures = {name: _summed(list(store[name].values())) for name in chosen}
    rows = [
        [
            name,
            sum(f["outcomes"].values()),
            f["outcomes"].get("read", 0),
            f["outcomes"].get("refused", 0),
            f["bad"],
            f"{f['slowest']:.1f}",
            f["megabytes"],
        ]
        for name, f in figures.items()
    ]
    header = ["reader", "cases", "read", "refused in one line", "anything else", "slowest, s", "most memory, MB"]
    missed = [f"{name}: {f['bad']} cases, such as {f['examples'][:3]}" for name, f in figures.items() if f["bad"]]
    missed += [f"{name}: {f['megabytes']} MB" for name, f in figures.items() if f["megabytes"] >= 2000]
    return Findings("Edited files, by reader", table(header, rows), figures, missed=missed, keep=reader is None)


def _summed(pieces: list[dict]) -> dict:
    """Add up the pieces of a reader."""
    outcomes: Counter[str] = sum((Counter(piece["outcomes"]) for piece in pieces), Counter())
    return {
        "outcomes": dict(outcomes),
        "bad": sum(count for outcome, count in outcomes.items() if outcome not in ("read", "refused")),
        "examples": [text for piece in pieces for texts in piece["examples"].values() for text in texts],
        "megabytes": max(piece["megabytes"] for piece in pieces),
        "slowest": max(piece["slowest"] for piece in pieces),
    }
