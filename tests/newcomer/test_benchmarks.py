"""The one command of the benchmarks: it lists them all, and every result says where it comes from."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
NAMES = [line.split("`")[1].split()[0] for line in PAGE.splitlines() if line.startswith("| `")]
TINY = '''
from benchmarks.options import Findings, Options
from benchmarks.registry import benchmark
from benchmarks.tables import table


@benchmark("tiny", claim="two is more than one", cost="nothing", quick="one", seeds=2)
def run(options: Options, *, words: list[str] | None = None, bar: float = 1.0, loud: bool = False):
    """Count.

    Args:
        options: Options of all benchmarks.
        bar: Least figure.
    """
    figures = {"seeds": list(options.seeds), "words": words, "loud": loud}
    missed = ["too few"] if len(options.seeds) < bar else []
    return Findings("Tiny", table(["a", ""], [[1, 2]]), figures, missed=missed)
'''


@pytest.fixture
def package(monkeypatch):
    """The modules of the benchmarks, which are not installed with the package."""
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: importlib.import_module(f"benchmarks.{name}" if name else "benchmarks")


@pytest.fixture
def tiny(package, tmp_path, monkeypatch):
    """A command that knows one fake benchmark, and the folder of its results."""
    name = f"fakes_{tmp_path.name}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    (tmp_path / name / "tiny.py").write_text(TINY)
    monkeypatch.syspath_prepend(str(tmp_path))
    out = tmp_path / "results"
    return lambda *words: package("__main__").main(["run", "tiny", "--out", str(out), *words], tmp_path / name), out


def test_the_list_needs_no_package_that_a_benchmark_imports():
    code = (
        "import sys; from benchmarks.__main__ import main; main(['list']);"
        "sys.exit(any(m in sys.modules for m in ('numpy', 'torch', 'stgate')))"
    )
    made = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    assert "startup" in made.stdout and "german_pm10" in made.stdout


def test_every_benchmark_has_a_claim_a_cost_and_a_name_of_its_own(package):
    known = package("registry").find()
    assert len(known) >= 36
    for entry in known.values():
        assert entry.claim and "\n" not in entry.claim
        assert entry.cost and entry.quick
    files = [p for p in (ROOT / "benchmarks").rglob("*.py") if "\n@benchmark(" in p.read_text(encoding="utf-8")]
    assert len(files) == len(known)  # one a file, each name once


def test_two_benchmarks_of_one_name_are_refused(package, tmp_path):
    for file in ("a.py", "b.py"):
        (tmp_path / file).write_text(TINY)
    registry = package("registry")
    with pytest.raises(registry.BenchmarkError, match="tiny: both in"):
        registry.find(tmp_path)


def test_the_page_of_the_benchmarks_names_each_of_them(package):
    assert sorted(NAMES) == sorted(package("registry").find())


def test_a_record_says_where_the_figures_come_from(tiny):
    run, out = tiny
    assert run("--", "--words", "x", "y", "--loud") == 0
    record = json.loads((out / "records" / "tiny.json").read_text())
    assert record["command"] == "python -m benchmarks run tiny -- --words x y --bar 1.0 --loud"
    assert {"commit", "dirty", "date"} <= set(record)
    assert record["seeds"] == [0, 1]
    assert record["machine"]["processor"] and record["machine"]["cores"] > 0 and record["machine"]["memory_gb"] > 0
    assert {"python", "stgate", "torch", "numpy"} <= set(record["versions"])
    assert json.loads((out / "tiny.json").read_text()) == {"seeds": [0, 1], "words": ["x", "y"], "loud": True}
    table = (out / "tiny.md").read_text()
    assert "| a | |" in table and record["versions"]["torch"] in table and "seeds: 0, 1" in table
    assert sorted(p.name for p in out.rglob("*") if p.is_file()) == ["tiny.json", "tiny.json", "tiny.md"]


def test_a_missed_bar_is_exit_code_1_but_not_of_a_quick_run(tiny):
    run, _ = tiny
    assert run("--seeds", "1", "--", "--bar", "2") == 1
    assert run("--seeds", "1", "--quick", "--", "--bar", "2") == 0


def test_a_quick_run_leaves_the_results_alone(package):
    main = package("__main__")
    given = main._parser().parse_args(["run", "startup", "--quick"])
    options = main._options(package("registry").find()["startup"], given)
    assert options.out != package("registry").RESULTS and options.out in options.work.parents


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_quick_run_of_each_benchmark_ends_well(tmp_path, name):
    """A benchmark calls what the package has: some had called functions and options that were gone."""
    words = [sys.executable, "-m", "benchmarks", "run", name, "--quick", "--work", str(tmp_path)]
    made = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=1800)
    last = (made.stderr.strip().splitlines() or [""])[-1]
    lacks = re.search(r"No module named '(?!stgate|benchmarks)", last)  # a rival that is not installed
    if lacks or (made.returncode == 2 and "needs" in last):
        pytest.skip(f"not on this machine: {last}")
    assert made.returncode == 0, made.stderr[-2000:]


def test_a_wrong_name_gets_the_right_one(package, capsys):
    assert package("__main__").main(["run", "los_lop"]) == 2
    assert "did you mean los_loop?" in capsys.readouterr().err


def test_scores_that_were_made_are_not_made_again(package, tmp_path):
    store = package("store").Store(tmp_path / "scores.json")
    assert store.once("a", "0", make=lambda: 1.5) == 1.5
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "scores.json").write_text("{}")
    again = package("store").Store(tmp_path / "scores.json")
    assert again.once("a", "0", make=lambda: pytest.fail("made again")) == 1.5
    assert (tmp_path / "records" / "scores.json").exists()
    again.once("a", "1", make=lambda: 2.5)
    assert again.reused(2) == 1
    assert not (tmp_path / "records" / "scores.json").exists()  # it was of other figures


def test_the_index_names_the_commit_of_every_result(package):
    rows = (ROOT / "benchmarks" / "results" / "README.md").read_text(encoding="utf-8").splitlines()
    listed = {line.split("[")[1].split("]")[0] for line in rows if line.startswith("| [")}
    results = (ROOT / "benchmarks" / "results").iterdir()
    assert listed == {p.name for p in results if p.suffix in (".json", ".md")} - {"README.md"}


def test_a_group_is_all_benchmarks_whose_names_begin_with_it(package, capsys):
    main, known = package("__main__"), package("registry").find()
    assert {entry.name for entry in main._entries(known, "speed")} == {n for n in known if n.startswith("speed_")}
    assert [entry.name for entry in main._entries(known, "export")] == ["export"]
    assert main.main(["run", "speed", "--", "--words", "x"]) == 2
    assert "no options in common" in capsys.readouterr().err
