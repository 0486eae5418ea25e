"""The README's shell lines run as they stand, in order, in an empty folder. (Its Python lines run as a doctest.)"""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
SMALL = ["--model.hidden", "4", "--model.rollout.width", "4", "--model.rollout.substeps", "1"]


def test_the_shell_lines_run_as_they_stand(stgate_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    block = next(b for b in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) if "stgate simulate" in b)
    lines = [line for line in block.replace("\\\n", " ").splitlines() if line.startswith("stgate ")]
    assert len(lines) >= 5
    for line in lines:
        arguments = shlex.split(line, comments=True)[1:]
        if arguments[0] == "fit":  # the same command, made small
            arguments += ["--trainer.max_epochs", "1", "--data.every", "50", "--data.batch_size", "256"]
            arguments += SMALL if "--config" in arguments else []
        if arguments[0] == "simulate":
            arguments += ["--no-verify"]  # the twin run, which has tests of its own
        code, _, err = stgate_command(*arguments)
        assert code == 0, (line, err)


def test_the_table_of_defaults_is_that_of_the_benchmark():
    table = README.partition("## With defaults alone")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("|")]
    measured = (ROOT / "benchmarks" / "results" / "defaults.md").read_text().splitlines()
    assert len(rows) >= 12
    assert [row for row in rows if row not in measured] == []
