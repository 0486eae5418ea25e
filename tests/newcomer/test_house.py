"""The house: rooms of the size that one takes in, floors that imports only go down, and a picture that is true."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "stgate"
FILES = sorted(PACKAGE.rglob("*.py"))


def picture() -> dict[int, str]:
    """Each floor of the picture in CONTRIBUTING by its number: what stands before the captions."""
    lines = re.findall(r"^floor (\d+)  (.*)$", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.MULTILINE)
    return {int(number): re.split(r"   +|(?<=\))  +|  +(?=[a-z])", line)[0] for number, line in lines}


def test_the_root_holds_what_is_for_everyone():
    assert len(list(PACKAGE.glob("*.py"))) <= 8


def test_a_room_is_taken_in_at_a_glance():
    rooms = {file.parent for file in FILES} - {PACKAGE}
    crowded = {room.name for room in rooms if len(list(room.glob("*.py"))) > 16}
    assert crowded <= {room.name for room in rooms if any((f / "__init__.py").exists() for f in room.iterdir())}


def test_no_file_is_over_400_lines():
    lengths = {str(f.relative_to(PACKAGE)): len(f.read_text(encoding="utf-8").splitlines()) for f in FILES}
    assert {name: count for name, count in lengths.items() if count > 400} == {}


def test_the_picture_shows_every_room_and_no_other():
    shown = set(re.findall(r"[\w/]+(?=/)", "  ".join(picture().values())))
    rooms = {str(file.parent.relative_to(PACKAGE)) for file in PACKAGE.rglob("__init__.py")} - {"."}
    assert shown == rooms


def test_the_floors_of_the_picture_are_those_that_are_checked():
    with (ROOT / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["name"] == "floors")
    checked = [set(re.findall(r"\w+", layer)) for layer in layers]
    checked = [*checked[:-2], checked[-2] | checked[-1]]  # the ground is drawn as one floor
    shown = [
        {name for name in re.findall(r"(?<![\w/])\w+(?![\w]*/\w)", line) if not re.search(rf"\w/{name}\b", line)}
        for _, line in sorted(picture().items(), reverse=True)
    ]
    assert shown == checked
    assert len(checked) <= 10


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    code = "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)


def test_an_import_upward_is_refused(tmp_path):
    """The contracts as they are pass in `make test`; here one import each breaks the floors and the need of torch."""
    shutil.copytree(PACKAGE, tmp_path / "stgate", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    up = tmp_path / "stgate" / "schema" / "panel.py"
    up.write_text(up.read_text(encoding="utf-8") + "\nfrom stgate.panels import graph\n", encoding="utf-8")
    heavy = tmp_path / "stgate" / "metrics" / "point.py"
    heavy.write_text(heavy.read_text(encoding="utf-8") + "\nimport torch\n", encoding="utf-8")
    done = lint(tmp_path)
    assert done.returncode == 1
    assert "floors BROKEN" in done.stdout and "no torch below BROKEN" in done.stdout
    assert "no room imports the face of the package KEPT" in done.stdout
