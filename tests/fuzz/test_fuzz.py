"""A short run of the fuzzers; `make fuzz` is the long one."""

import random

import pytest
from fuzz import harness
from fuzz.harness import GOOD, run_cases
from fuzz.readers import READERS, Reader

from stgate.errors import StoreError


@pytest.mark.parametrize("name", READERS)
def test_edited_files_are_read_or_refused_in_one_line(name):
    report = run_cases(name, range(25), seed=1)
    assert set(report.outcomes) <= set(GOOD), report.examples
    assert sum(report.outcomes.values()) == 25
    assert report.outcomes["refused"] > 0
    assert report.memory < 2e9


def _edit(path, draw: random.Random) -> None:
    path.write_text(draw.choice(["crash", "hang", "raise", "refuse", "read"]))


def _read(path) -> None:
    import os
    import time

    what = path.read_text()
    if what == "crash":
        os.abort()
    if what == "hang":
        time.sleep(60)
    if what == "raise":
        raise KeyError("x")
    if what == "refuse":
        raise StoreError("a line")


def test_the_harness_counts_what_should_not_be(monkeypatch):
    monkeypatch.setitem(harness.READERS, "odd", Reader("a", lambda path: path.write_text(""), _read, (_edit,)))
    monkeypatch.setattr(harness, "HANG", 0.5)
    report = run_cases("odd", range(30))
    assert sum(report.outcomes.values()) == 30
    outcomes = {outcome.split()[0]: count for outcome, count in report.outcomes.items()}
    assert set(outcomes) == {"read", "refused", "crash", "hang", "KeyError"}
    assert report.bad == outcomes["crash"] + outcomes["hang"] + outcomes["KeyError"]
