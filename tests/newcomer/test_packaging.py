"""Configs and cards are found from a wheel and from an editable install."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FIND = """
from pathlib import Path
from stgate.io import store
cards = sorted(p.parent.name for p in store.cards_folder().glob("*/card.yaml"))
print(store.cards_folder())
print(store.config_path("lorenz96-gated-rnn"))
print(",".join(cards))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return next(folder.glob("*.whl"))


def test_a_wheel_carries_configs_cards_and_types(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path)
    assert {"stgate/py.typed", "stgate/configs/lorenz96-gated-rnn.yaml", "stgate/cards/beijing_air/card.yaml"} <= names
    assert not any(name.startswith(("tests/", "datasets/", "benchmarks/")) for name in names)
    # Isolated from the checkout: only the unpacked wheel is on the path.
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{FIND}"
    found = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    folder, config, cards = found.stdout.split()
    assert Path(folder) == tmp_path / "stgate" / "cards"
    assert Path(config) == tmp_path / "stgate" / "configs" / "lorenz96-gated-rnn.yaml"
    assert "beijing_air" in cards


def test_an_editable_install_finds_the_checkouts_cards(tmp_path):
    found = subprocess.run([sys.executable, "-c", FIND], cwd=tmp_path, capture_output=True, text=True, check=True)
    folder, _, cards = found.stdout.split()
    assert Path(folder) == ROOT / "datasets"
    assert "beijing_air" in cards
