"""Fuzz the readers: `python tests/fuzz --cases 10000`."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzz.harness import make_case, run_cases, try_case
from fuzz.readers import READERS


def main() -> int:
    """Fuzz the readers and print what became of the cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reader", action="append", choices=READERS, help="a reader; all by default")
    parser.add_argument("--cases", type=int, default=10_000, help="cases of each reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="a single case, with its traceback")
    given = parser.parse_args()
    bad = 0
    for name in given.reader or READERS:
        if given.only is not None:
            with tempfile.TemporaryDirectory() as folder:
                valid = Path(folder) / "valid" / READERS[name].name
                valid.parent.mkdir()
                READERS[name].make(valid)
                path = make_case(name, given.seed, given.only, valid, Path(folder))
                print(try_case(name, path))
                READERS[name].read(path)
            continue
        begin = time.monotonic()
        report = run_cases(name, range(given.cases), given.seed)
        seconds = time.monotonic() - begin
        print(f"{name}: {dict(report.outcomes)}, {report.memory / 1e6:.0f} MB, {seconds:.0f} s", flush=True)
        for outcome, examples in report.examples.items():
            print(*(f"    {outcome}: {example}" for example in examples), sep="\n", flush=True)
        bad += report.bad
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
