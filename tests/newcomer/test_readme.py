"""The README's shell lines run as they stand, in order, in an empty folder. (Its Python lines run as a doctest.)"""

import re
import shlex
from pathlib import Path

README = (Path(__file__).parents[2] / "README.md").read_text()
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
