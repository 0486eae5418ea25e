"""A fresh clone in a temporary folder, nothing installed but Python and make."""

import os
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fresh") / "stgate"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)
    return folder


def make(folder, goal):
    bare = {k: v for k, v in os.environ.items() if not k.startswith(("VIRTUAL_ENV", "PYTHON", "OMP_"))}
    return subprocess.run(["make", goal], cwd=folder, env=bare, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_make_demo_ends_with_a_table_and_two_pictures(clone):
    started = time.monotonic()
    installed = make(clone, "install")
    assert installed.returncode == 0, installed.stderr
    ready = time.monotonic()
    demo = make(clone, "demo")
    print(f"installation {ready - started:.0f} s, demo {time.monotonic() - ready:.0f} s")
    assert demo.returncode == 0, demo.stderr
    table = {line.split()[0]: line for line in demo.stdout.splitlines() if line.strip()}
    assert {"GatedRNN", "Persistence", "Climatology"} <= table.keys()
    for word in ("rmse", "crps", "coverage_90", "width_90", "vpt"):
        assert word in table["forecast"]
    for picture in ("fan.png", "hovmoeller.png"):
        assert f"demo/{picture}" in demo.stdout.split()
        assert (clone / "demo" / picture).read_bytes()[:4] == b"\x89PNG"
    assert "epoch 1/" in demo.stderr  # progress is shown
    assert "Traceback" not in demo.stderr
