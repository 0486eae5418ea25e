"""`stgate simulate` and `stgate lyapunov`: what they print, what they refuse, and runs that are killed and resumed."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import xarray as xr
from helpers import environment, one_line

import stgate
from stgate.simulate.registry import SYSTEMS

SMALL = {
    "lorenz96": ("--nodes", 8, "--duration", 1, "--spinup", 1),
    "lorenz96-two-scale": ("--preset", "wilks2005", "--duration", 0.2, "--spinup", 0.1, "--scales", "x", "y"),
    "lorenz96-three-scale": ("--duration", 0.1, "--spinup", 0.1, "--scales", "x"),
    "kuramoto-sivashinsky": ("--length", 22, "--duration", 2, "--spinup", 5),
    "sensor-network": ("--stations", 4, "--places", 1, "--duration", 24),
}


def test_every_system_is_listed_and_has_its_help(stgate_command):
    assert {name.replace("_", "-") for name in SYSTEMS} == set(SMALL)
    code, out, _ = stgate_command("simulate")
    assert code == 0 and all(name in out for name in SMALL)
    for name in SMALL:
        code, out, _ = stgate_command("simulate", name, "--help")
        assert code == 0 and f"stgate simulate {name} --duration" in out


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
@pytest.mark.parametrize("system", SMALL)
def test_every_system_writes_a_panel_that_is_the_functions(stgate_command, tmp_path, system, suffix):
    out = tmp_path / f"panel{suffix}"
    quick = ("--no-verify",) * system.endswith("-scale")  # their twin runs take long
    code, printed, err = stgate_command("simulate", system, *SMALL[system], *quick, "--seed", 3, "--out", out)
    assert (code, printed) == (0, "") and err.splitlines()[-1] == f"wrote {out}"
    panel = stgate.open_panel(out)
    assert f"simulate {system}" in panel.attrs["history"]
    arguments = {k.lstrip("-"): v for k, v in zip(SMALL[system][::2], SMALL[system][1::2], strict=False)}
    if "scales" in arguments:
        arguments["scales"] = SMALL[system][SMALL[system].index("--scales") + 1 :]
    same = getattr(stgate.simulate, system.replace("-", "_"))(**arguments, seed=3, verify=False)
    for name in same.data_vars:
        np.testing.assert_array_equal(panel[name].values, same[name].values)
    assert list(panel.data_vars) == list(same.data_vars)
    assert sorted(p.name for p in tmp_path.iterdir()) == [out.name]


@pytest.mark.parametrize("system", SMALL)
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--duration", "-1"), ("duration -1", "zero or more")),
        (("--step", "0"), ("step 0",)),
        (("--every", "0"), ("every 0", "at least 1")),
        (("--members", "0"), ("members 0",)),
        (("--seed", "-1"), ("seed -1",)),
        (("--spinup", "-1"), ("spinup -1",)),
        (("--step", "1000", "--duration", "100000"), ("step 1000", "--force")),
        (("--dtype", "float16"), ("float16",)),
        (("--memberz", "3"), ("did you mean --members?",)),
    ],
)
def test_a_wrong_request_is_one_line_and_leaves_nothing(stgate_command, tmp_path, monkeypatch, system, options, words):
    monkeypatch.chdir(tmp_path)
    one_line(stgate_command("simulate", system, *options, "--out", "panel.zarr"), *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("lorenz96", "--nodes", 3), ("nodes 3", "at least 4")),
        (("lorenz96", "--forcing", 1, 2), ("forcing", "2 values for 40 sites")),
        (("lorenz96-two-scale", "--preset", "wilks2006"), ("did you mean wilks2005?",)),
        (("lorenz96-two-scale", "--coupling", "summ"), ("did you mean sum?",)),
        (("lorenz96-two-scale", "--scales", "z"), ("scales 'z'", "known: x, y")),
        (("lorenz96-two-scale", "--b", 0), ("b 0", "positive")),
        (("lorenz96-three-scale", "--d", 0), ("d 0", "positive")),
        (("kuramoto-sivashinsky", "--length", -22), ("length -22", "positive")),
        (("kuramoto-sivashinsky", "--nodes", 63), ("nodes 63", "even")),
        (("lorenz96", "--initial", "none.nc"), ("none.nc", "no such file")),
        (("sensor-network", "--start", "soon"), ("'soon'", "2020-01-01")),
        (("--nodes", 40), ("name the system first",)),
    ],
)
def test_a_wrong_parameter_is_one_line(stgate_command, tmp_path, arguments, words):
    one_line(stgate_command("simulate", *arguments, "--out", tmp_path / "panel.nc"), *words)


def test_a_dry_run_tells_size_and_time_and_writes_nothing(stgate_command, tmp_path):
    long = ("--duration", 500000, "--members", 100, "--out", tmp_path / "l96.zarr")
    code, out, _ = stgate_command("simulate", "lorenz96", *long, "--dry-run")
    assert code == 0 and list(tmp_path.iterdir()) == []
    assert "100 members x 10,000,001 times x 40 nodes, 160 GB" in out
    assert "50,002,000 steps of 0.01" in out and re.search(r"about [\d,]+ s", out)


def test_a_panel_that_memory_cannot_hold_is_sent_to_a_store(stgate_command, tmp_path):
    huge = ("--duration", 500000, "--members", 10000, "--out", tmp_path / "l96.nc")
    one_line(stgate_command("simulate", "lorenz96", *huge), "takes 16 TB", "--out FILE.zarr")


def test_a_blow_up_is_exit_code_1_and_leaves_nothing(stgate_command, tmp_path):
    rough = ("--forcing", 16, "--step", 0.1, "--duration", 50, "--members", 8, "--force", "--no-verify")
    for name in ("l96.nc", "l96.zarr"):
        code, out, err = stgate_command("simulate", "lorenz96", *rough, "--out", tmp_path / name)
        assert (code, out) == (1, "")
        warning, error = err.splitlines()
        assert "may blow up" in warning
        assert re.search(r"member \d+ blew up (by time|in the spin-up).* try --step 0.025", error)
        assert list(tmp_path.iterdir()) == []


def test_only_a_store_can_be_resumed(stgate_command, tmp_path):
    result = stgate_command("simulate", "lorenz96", "--out", tmp_path / "l96.nc", "--resume")
    one_line(result, "--resume", ".zarr")


def test_a_finished_run_has_nothing_to_resume_and_is_not_overwritten_unasked(stgate_command, tmp_path):
    out = tmp_path / "l96.zarr"
    run = ("simulate", "lorenz96", *SMALL["lorenz96"], "--out", out)
    assert stgate_command(*run)[0] == 0
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert stgate_command(*run, "--resume")[0] == 0
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before
    one_line(stgate_command(*run), "exists", "--overwrite")
    one_line(stgate_command(*run, "--seed", 1, "--resume"), "seed 0, this one 1")
    assert stgate_command(*run, "--seed", 1, "--overwrite")[0] == 0
    assert xr.open_zarr(out, consolidated=False).attrs["seed"] == 1


RUN = ("--length", "22", "--members", "4", "--duration", "900", "--dtype", "float64", "--no-verify")
CHUNK = 2**17
"""Small, so that there is something to resume soon."""
PROGRAM = (
    f"import sys, stgate.simulate.plan as plan; plan.CHUNK = {CHUNK}; "
    "from stgate.__main__ import main; sys.exit(main(sys.argv[1:]))"
)


def test_a_run_killed_and_resumed_ends_in_the_same_bytes(stgate_command, tmp_path, monkeypatch):
    """Killed as a process of its own; it is resumed, and run without a break, in that of the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("stgate.simulate.plan.CHUNK", CHUNK)
    run = ("simulate", "kuramoto-sivashinsky", *RUN, "--out")
    killed = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *run, "killed.zarr"], env=environment(), stderr=subprocess.DEVNULL
    )
    restart = tmp_path / "killed.zarr.partial" / "restart.npz"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not restart.exists():
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL and restart.exists()
    with np.load(restart) as saved:
        assert 0 < int(saved["done"]) < 3601 and saved["states"].dtype == np.complex128
    assert not (tmp_path / "killed.zarr").exists()
    code, _, err = stgate_command(*run, "killed.zarr")
    assert code == 2 and "continue it with --resume, or replace it with --overwrite" in err
    # What a kill in the middle of a write leaves: zarr's temporary file, and ours.
    chunk = next(p for p in (tmp_path / "killed.zarr.partial" / "data" / "u").rglob("0") if p.is_file())
    for stray in (chunk.with_name("0.5c1aa422.partial"), restart.with_name(".unfinished")):
        stray.write_bytes(b"half")
    code, _, err = stgate_command(*run, "killed.zarr", "--resume")
    assert code == 0, err
    code, _, err = stgate_command(*run, "whole.zarr", "--workers", "1")
    assert code == 0, err

    def contents(store):
        return {str(p.relative_to(store)): p.read_bytes() for p in store.rglob("*") if p.is_file()}

    ours, theirs = contents(tmp_path / "killed.zarr"), contents(tmp_path / "whole.zarr")
    roots = [json.loads(files.pop("zarr.json"))["attributes"] for files in (ours, theirs)]
    for attrs in roots:
        attrs.pop("history")
    assert roots[0] == roots[1]
    assert ours == theirs
    assert sorted(p.name for p in tmp_path.iterdir()) == ["killed.zarr", "whole.zarr"]


def test_exponents_are_printed_as_a_table_and_as_json_and_written(stgate_command, tmp_path):
    run = ("lyapunov", "lorenz96", "--nodes", 5, "--duration", 20, "--members", 2)
    code, out, _ = stgate_command(*run, "--out", tmp_path / "exponents.nc")
    assert code == 0 and "Kaplan-Yorke dimension" in out and "sum of all exponents: -5" in out
    found = xr.open_dataset(tmp_path / "exponents.nc")
    assert found.sizes == {"rank": 5} and found.attrs["method"].startswith("tangent-linear RK4")
    code, out, _ = stgate_command(*run, "--json")
    told = json.loads(out)
    assert code == 0 and told["exponent"] == found["exponent"].values.tolist()
    code, out, _ = stgate_command(*run, "--exponents", 1)
    assert code == 0 and "give more --exponents" in out
    one_line(stgate_command("lyapunov", "sensor-network"), "sensor-network")
